"""What a person sees while rows are worked on: how many a second, and how long it will take."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pipelines.models.progress import Progress

__all__ = ["RowProgress"]


class RowProgress(Progress):
    """Shows a bar over rows on a terminal, and one line per step elsewhere."""

    @contextmanager
    def rows(self, code: str, total: int) -> Iterator[Callable[[int], None]]:
        """Show that rows are worked on.

        Args:
            code: Sentence of the step; it may show ``total`` and ``done`` (0).
            total: Rows in all.

        Yields:
            A function that takes the number of rows that are done now.
        """
        with self._bar(code, total, 0) as advance:
            yield lambda rows: advance(rows, rows)

    @contextmanager
    def blocks(self, code: str, total: int, done: int) -> Iterator[Callable[[int], None]]:
        """Show that blocks of rows are worked on.

        Args:
            code: Sentence of the step; it may show ``total`` and ``done``.
            total: Blocks in all.
            done: Blocks that an earlier run did.

        Yields:
            A function that takes the number of rows of a block that is done.
        """
        with self._bar(code, total, done) as advance:
            yield lambda rows: advance(1, rows)

    @contextmanager
    def _bar(self, code: str, total: int, done: int) -> Iterator[Callable[[int, int], None]]:
        """Yields a function that takes how far the bar goes on, and how many rows that were."""
        if self._quiet or not self._console().is_terminal:
            self.say(code, total=total, done=done)
            yield lambda steps, rows: None
            return
        from rich.markup import escape
        from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bars

        shown = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[speed]}"), TimeRemainingColumn()
        with Bars(*shown, console=self._console()) as bars:
            description = escape(self._sentence(code, {"total": total, "done": done}))
            task = bars.add_task(description, total=total, completed=done, speed="")
            began, rows_so_far = time.monotonic(), 0

            def advance(steps: int, rows: int) -> None:
                nonlocal rows_so_far
                rows_so_far += rows
                speed = rows_so_far / max(time.monotonic() - began, 1e-3)
                bars.update(task, advance=steps, speed=f"{speed:,.1f}/s" if speed < 100 else f"{speed:,.0f}/s")

            yield advance
