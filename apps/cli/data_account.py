"""The account of a prepared data set, short enough for a terminal: rows, reasons, tokens, and where the page lies."""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from apps.cli.terminal import console, language, sanitize, say

if TYPE_CHECKING:
    from finetune.data import Ledger

__all__ = ["print_account", "print_counts", "print_histogram", "print_languages"]

_WIDTH = 40
"""Characters of the longest bar."""


def print_account(ledger: "Ledger", out: Path) -> None:
    """Print what became of the rows, and what was written where."""
    screen = console()
    lines = [say("data_page_lead", read=f"{ledger.read:,}", kept=f"{ledger.kept:,}")]
    for name, part in ledger.splits.items():
        if part.rows:
            numbers = {"rows": part.rows, "tokens": part.tokens, "trained": part.trained_tokens}
            lines.append("  " + say("data_cli_part", path=str(out / f"{name}.jsonl"), **numbers))
    screen.print("\n".join(lines), soft_wrap=True)
    dropped = ledger.dropped()
    print_counts(say("data_cli_dropped", rows=dropped.total()), dropped.most_common())
    changes = [(f"{name}.{kind}", n) for name, step in ledger.steps.items() for kind, n in sorted(step.changes.items())]
    print_counts(say("data_cli_changed"), changes)
    lines = []
    if added := sum(step.added for step in ledger.steps.values()):
        lines.append(say("data_cli_added", rows=added))
    tokens = ledger.tokens
    lines += [
        say("data_cli_tokens", model=tokens["model"], before=tokens["before"], after=tokens["after"]),
        say("data_cli_over_long", rows=tokens["over_long"], share=100 * tokens["eos_lost_share"]),
        say("data_cli_result", sha256=ledger.result_sha256),
        say("data_cli_page", path=str(out / "ledger.html")),
    ]
    if dropped:
        lines.append(say("data_cli_rejected", path=str(out / "rejected.jsonl")))
    screen.print("\n".join(lines), soft_wrap=True)


def print_counts(title: str, counts: Iterable[tuple[str, int]]) -> None:
    """Print numbers with what they count, largest first where they come so, and what it means; nothing for none."""
    rows = [(f"{count:,}", sanitize(kind), _meaning(kind)) for kind, count in counts]
    if not rows:
        return
    wide, long = max(len(row[0]) for row in rows), max(len(row[1]) for row in rows)
    lines = [f"  {number:>{wide}}  {kind:<{long}}  {meaning}".rstrip() for number, kind, meaning in rows]
    console().print("\n".join([title, *lines]), soft_wrap=True)


def print_histogram(title: str, counts: Iterable[tuple[str, int, str]]) -> None:
    """Print bars.

    Args:
        title: The line above them.
        counts: Label, number and a remark, for each bar.
    """
    rows = [(sanitize(label), count, remark) for label, count, remark in counts]
    most = max((count for _, count, _ in rows), default=0)
    if not most:
        return
    long, wide = max(len(label) for label, _, _ in rows), len(f"{most:,}")
    lines = [
        f"  {label:>{long}}  {count:>{wide},}  {'█' * max(round(_WIDTH * count / most), 1)} {remark}".rstrip()
        for label, count, remark in rows
    ]
    console().print("\n".join([title, *lines]), soft_wrap=True)


def print_languages(languages: dict[str, int]) -> None:
    """Print which languages replies are in."""
    from pipelines.text.languages import language_name

    def named(tag: str) -> str:
        if tag == "und":
            return say("data_page_und")
        with suppress(ValueError):  # no tag at all: the folder came from elsewhere
            return language_name(tag, language())
        return ""

    print_histogram(say("data_page_languages"), [(tag, count, named(tag)) for tag, count in languages.items()])


def _meaning(kind: str) -> str:
    """What a reason or a kind of change means, in words; empty where nobody has written it down."""
    from pipelines.wording import sentences

    code = f"data_means_{kind.rpartition('.')[2]}"
    return say(code) if code in sentences() else ""
