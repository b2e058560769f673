"""Dialogue: what a reply takes over from earlier turns, what it remembers of them, and whose part it speaks.

Repetition over turns as See et al. 2019 (arXiv:1902.08654) measure it: some is human, more of it is dull.
"""

import re
from collections.abc import Callable, Iterable

from eval.benchmarks.definition import BenchmarkRow
from eval.metrics.base import Metric, fault_rate, mean, row_by_row
from eval.metrics.words import SIGNATURE, grams, words

__all__ = ["echo", "role_leak", "self_repetition"]

_LEAK = re.compile(
    r"<\|[\w ]{1,40}\|>|</?s>|\[/?INST\]|<</?SYS>>|<(?:start|end)_of_turn>"
    r"|^\s{0,3}(?:#{1,4} ?)?\**(?:user|human|assistant|用户|助手)\**\s?[:：]"
    r"|^\s{0,3}#{1,4} ?(?:user|human|assistant|instruction|response)\s*$",
    re.IGNORECASE | re.MULTILINE,
)


def self_repetition() -> Metric:
    """Share of a reply's word pairs that an earlier turn of the model has already, mean over the replies.

    Rows without an earlier turn of the model say nothing.
    """
    return _taken_over("self_repetition", "repeats its earlier turns", lambda row: _turns(row, "assistant"))


def echo() -> Metric:
    """Share of a reply's word pairs that the user's last turn has, mean over the replies."""
    return _taken_over("echo", "echoes the user", lambda row: _turns(row, "user")[-1:])


def role_leak() -> Metric:
    """How many replies hold marks of a chat template, or a line that begins as another speaker's.

    The dialogue task cuts off what it recognises as such and says so in the notes of the record; what is counted here
    has reached the reader. A row whose conversation has such marks itself says nothing of that and counts as none.
    """

    def leaks(reply: str, row: BenchmarkRow) -> bool:
        return bool(_LEAK.search(reply)) and not any(map(_LEAK.search, [*_turns(row, "user"), *_turns(row, "system")]))

    return fault_rate("role_leak", "speaks another's part", "marks of templates, names of roles", leaks)


def _taken_over(key: str, name: str, earlier: Callable[[BenchmarkRow], Iterable[str]]) -> Metric:
    def of_row(reply: str, row: BenchmarkRow) -> tuple[float, float]:
        said = {pair for turn in earlier(row) for pair in grams(words(turn), 2)}
        pairs = grams(words(reply), 2)
        return (100 * sum(pair in said for pair in pairs) / len(pairs), 1) if said and pairs else (0, 0)

    return Metric(key, name, f"{name}|pairs|{SIGNATURE}", row_by_row(of_row), mean, higher_is_better=False)


def _turns(row: BenchmarkRow, role: str) -> list[str]:
    return [turn["content"] for turn in row.request["messages"] if turn["role"] == role]
