"""What a person sees while an adapter is trained: a bar with both losses on a terminal, a line at times elsewhere."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from finetune.data.progress import RowProgress

__all__ = ["TrainingProgress"]


class TrainingProgress(RowProgress):
    """Shows steps, the loss of the training rows and of the held-out ones, speed, and the time that is left."""

    @contextmanager
    def steps(self, total: int, done: int) -> Iterator[Callable[[dict[str, Any]], None]]:
        """Show that steps are trained.

        Args:
            total: Steps in all.
            done: Steps that an earlier run did.

        Yields:
            A function that takes an entry of the log.
        """
        if self._quiet or not self._console().is_terminal:
            self.say("training_steps", total=total, done=done)
            yield self._line
            return
        from rich.markup import escape
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bars

        figures = TextColumn("{task.fields[figures]}")
        shown = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), figures, TimeRemainingColumn()
        with Bars(*shown, console=self._console()) as bars:
            title = escape(self._sentence("training_steps", {"total": total, "done": done}))
            task = bars.add_task(title, total=total, completed=done, figures="")
            last: dict[str, Any] = {}

            def show(entry: dict[str, Any]) -> None:
                last.update(entry)
                words = {"loss": "{:.3f}", "eval_loss": "{:.3f}", "tokens_per_s": "{:,.0f}"}
                values = {name: form.format(last[name]) if name in last else "–" for name, form in words.items()}
                bars.update(task, completed=entry["step"], figures=escape(self._sentence("training_figures", values)))

            yield show

    def _line(self, entry: dict[str, Any]) -> None:
        if "eval_loss" in entry:
            self.say("training_judged", step=entry["step"], loss=f"{entry['eval_loss']:.4f}")
