"""What a person sees while a model is fetched: a bar on a terminal, one line per step elsewhere."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pipelines.errors import CinquainError
from pipelines.generation import Note
from pipelines.wording import sentence

__all__ = ["Progress"]


class Progress:
    """Shows steps on standard error, so that standard output stays what a program may read.

    Args:
        quiet: Show nothing.
        language: ``en`` or ``zh``.
    """

    def __init__(self, *, quiet: bool = False, language: str = "en") -> None:
        self._quiet = quiet
        self._language = language

    def say(self, code: str, **parameters: Any) -> None:
        """Show one line."""
        self.tell(Note(code, parameters))

    def tell(self, item: Note | CinquainError) -> None:
        """Show the sentence of a note, or of a failure that does not end the run."""
        if not self._quiet:
            self._console().print(_shown(sentence(item, self._language)))

    @contextmanager
    def step(self, code: str, total: int | None = None, **parameters: Any) -> Iterator[Callable[[int], None]]:
        """Show that a step goes on; yields a function that takes the bytes done so far.

        Args:
            code: Sentence of the step.
            total: Bytes to do; None shows a spinner instead of a bar.
            parameters: Values in the sentence.
        """
        if self._quiet or not self._console().is_terminal:
            self.say(code, **parameters)
            yield lambda done: None
            return
        from rich.markup import escape
        from rich.progress import BarColumn, DownloadColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bars

        measure = [BarColumn(), DownloadColumn()] if total else [SpinnerColumn()]
        with Bars(
            TextColumn("{task.description}"), *measure, TimeElapsedColumn(), console=self._console(), transient=False
        ) as bars:
            task = bars.add_task(escape(self._sentence(code, parameters)), total=total)
            yield lambda done: bars.update(task, completed=done)
            bars.update(task, completed=total)

    def _console(self) -> Any:
        from rich.console import Console

        return Console(stderr=True, markup=False, highlight=False, emoji=False, soft_wrap=True)

    def _sentence(self, code: str, parameters: dict[str, Any]) -> str:
        return _shown(sentence(Note(code, parameters), self._language))


def _shown(text: str) -> str:
    """Without what a terminal would obey: names of files and packages may hold escape sequences."""
    return "".join(character for character in text if character.isprintable() or character in "\n\t\u3000\u00a0")
