"""Before a metric is trusted: what references, empty and constant replies must score."""

import dataclasses

import numpy as np
import pytest

from eval.benchmarks.definition import BenchmarkRow
from eval.metrics import METRICS, for_task, named, self_test
from eval.metrics.base import Metric, percent
from pipelines.tasks import TASKS
from pipelines.wording import sentence

TEXTS = [
    "The library closes at 17:00 on Fridays.",
    "Twenty geese crossed the frozen canal before dawn.",
    "My aunt repairs old clocks in her kitchen, {name}.",
]


def rows(task: str) -> list[BenchmarkRow]:
    found = []
    for number, text in enumerate(TEXTS):
        request = {
            "translation": {"text": f"{text} {number}", "target": "en"},
            "summarization": {"text": f"{text} It rained all day long."},
            "dialogue": {"messages": [{"role": "user", "content": "Tell me something."}]},
            "code_generation": {"instruction": text},
            "creative_writing": {"brief": text, "form": "letter"},
        }[task]
        gold = {"code_generation": f"print({text!r})", "creative_writing": f"Dear reader,\n{text}"}.get(task, text)
        found.append(BenchmarkRow(f"row-{number}", request, (gold,), facts={"keywords": [text.split()[1]]}))
    return found


@pytest.mark.parametrize("task", TASKS)
def test_every_metric_can_be_trusted_on_rows_that_it_is_made_for(task: str) -> None:
    silent = {"self_repetition"}  # no row here has an earlier turn of the model
    notes = [note for name in for_task(task) if name not in silent for note in self_test(named(name), rows(task))]
    assert not notes


def test_a_metric_without_anything_to_look_at_says_so() -> None:
    (note,) = self_test(named("self_repetition"), rows("dialogue"))
    assert note.code == "metric_silent"
    assert sentence(note).startswith("repeats its earlier turns: no row")
    bare = [dataclasses.replace(row, facts={}) for row in rows("dialogue")]
    assert [note.code for note in self_test(named("context_recall"), bare)] == ["metric_silent"]


def test_references_that_do_not_score_the_best_are_named() -> None:
    asked = rows("dialogue")
    asked[1] = dataclasses.replace(asked[1], facts={"keywords": ["swans"]})
    (note,) = self_test(named("context_recall"), asked)
    assert (note.code, note.parameters["count"], note.parameters["rows"]) == ("metric_gold", 1, ["row-1"])
    assert "score 66.67 instead of 100.0 (1 rows, among them row-1)" in sentence(note)


def test_references_of_one_word_are_found_too_short_for_bleu() -> None:
    asked = [BenchmarkRow(str(n), {}, (word,)) for n, word in enumerate(("ja", "nein"))]
    assert [note.code for note in self_test(named("bleu"), asked)] == ["metric_gold"]
    assert not self_test(named("chrf"), asked)


def test_references_of_several_lengths_make_ter_no_suspect() -> None:
    asked = [BenchmarkRow(str(n), {}, (text, f"{text} Yes.")) for n, text in enumerate(TEXTS)]
    assert 90 < named("ter").score([""] * 3, asked) < 99
    assert not self_test(named("ter"), asked)


def test_rows_that_one_reply_answers_are_no_benchmark() -> None:
    asked = [BenchmarkRow(str(n), {}, ("neutral",)) for n in range(5)]
    (note,) = self_test(named("chrf"), asked)
    assert (note.code, note.parameters["reply"]) == ("metric_constant", "neutral")
    assert not self_test(named("chrf"), asked[:1])


def test_a_metric_that_rewards_silence_is_found() -> None:
    def of_rows(replies: list[str], asked: list[BenchmarkRow]) -> np.ndarray:
        return np.array(
            [[not set(reply) - set(row.references[0]), 1] for reply, row in zip(replies, asked, strict=True)], float
        )

    letters = Metric("letters", "letters", "letters", of_rows, percent, best=100.0, worst=0.0)
    assert [note.code for note in self_test(letters, rows("translation"))] == ["metric_empty"]


def test_rows_without_references_are_tried_with_what_can_be_tried() -> None:
    bare = [dataclasses.replace(row, references=()) for row in rows("creative_writing")]
    for name in set(for_task("creative_writing")) & set(METRICS):
        assert not self_test(named(name), bare), name
