"""What a person sees of a model from nothing: a bar on a terminal, and at each evaluation what it writes by now."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from finetune.data.progress import RowProgress

__all__ = ["PretrainProgress"]


class PretrainProgress(RowProgress):
    """Shows steps, loss, bits per byte, speed, the time that is left, and samples."""

    @contextmanager
    def steps(self, code: str, total: int, tokens: int) -> Iterator[Callable[[dict[str, Any]], None]]:
        """Show that steps are trained.

        Args:
            code: Sentence of the training; it may show ``total``.
            total: Steps in all.
            tokens: Tokens of a step.

        Yields:
            A function that takes an entry of the log.
        """
        if self._quiet or not self._console().is_terminal:
            self.say(code, total=total)
            left = _Left(total)
            yield lambda entry: self._line(entry, left, tokens)
            return
        from rich.markup import escape
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bars

        figures = TextColumn("{task.fields[figures]}")
        shown = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), figures, TimeRemainingColumn()
        with Bars(*shown, console=self._console()) as bars:
            task = bars.add_task(escape(self._sentence(code, {"total": total})), total=total, figures="")
            last: dict[str, Any] = {}

            def show(entry: dict[str, Any]) -> None:
                last.update(entry)
                words = {"loss": "{:.3f}", "bits_per_byte": "{:.3f}", "tokens_per_s": "{:,.0f}"}
                values = {name: form.format(last[name]) if name in last else "–" for name, form in words.items()}
                bars.update(task, completed=entry["step"], figures=escape(self._sentence("pretrain_figures", values)))
                for sample in entry.get("samples", ()):
                    bars.console.print(
                        escape(self._sentence("pretrain_sample", {"step": entry["step"], "text": sample}))
                    )

            yield show

    def _line(self, entry: dict[str, Any], left: "_Left", tokens: int) -> None:
        left.take(entry, tokens)
        if "eval_loss" not in entry:
            return
        values = {
            "step": entry["step"],
            "loss": f"{entry['eval_loss']:.3f}",
            "speed": f"{left.speed:,.0f}" if left.speed else "–",
            "left": left.words(),
        }
        if "bits_per_byte" in entry:
            self.say("pretrain_judged", **values, bits=f"{entry['bits_per_byte']:.3f}")
        else:
            self.say("pretrain_judged_chats", **values)
        for sample in entry.get("samples", ()):
            self.say("pretrain_sample", step=entry["step"], text=sample)


class _Left:
    """How long the rest will take, by the time that the steps of this start took."""

    def __init__(self, total: int) -> None:
        self.total, self.speed = total, 0.0
        self._first: tuple[int, float] | None = None
        self._step = 0

    def take(self, entry: dict[str, Any], tokens: int) -> None:
        self._first = self._first or (entry["step"], time.monotonic())
        self._step = entry["step"]
        self.speed = entry.get("tokens_per_s", self.speed)

    def words(self) -> str:
        begun, at = self._first or (0, time.monotonic())
        if self._step <= begun:
            return "–"
        seconds = (time.monotonic() - at) / (self._step - begun) * (self.total - self._step)
        return f"{int(seconds // 60)}:{int(seconds % 60):02d}"
