"""Base and adapter on the same rows: the verdict is what the rows show, and nothing else."""

import json
import random
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from finetune.data.row import Row
from finetune.judging.answers import Answer
from finetune.judging.comparison import Side, held_out, judge, training_rows
from finetune.judging.judgement import save
from pipelines.tasks import TASKS
from pipelines.wording import sentence

WORDS = ["river", "stone", "window", "garden", "winter", "letter", "bridge", "candle", "morning", "orchard"]


def row(place: int, text: str, reply: str, **fields: str) -> Row:
    return Row(f"rows:{place}", {"text": text, **fields}, reply, f"rows:{place}", "rows")


def translations(count: int, *, target: str = "fr") -> list[Row]:
    draw = random.Random(4)
    texts = [" ".join(draw.choices(WORDS, k=8)) for _ in range(count)]
    return [row(place, text, text.upper(), target=target) for place, text in enumerate(texts)]


def answered(rows: list[Row], right: float, seed: int) -> list[Answer]:
    """Replies with this share of their words right."""
    draw = random.Random(seed)
    texts = [" ".join(word if draw.random() < right else "???" for word in each.reply.split()) for each in rows]
    return [Answer(text) for text in texts]


def nothing_trained() -> Iterator[Row]:
    yield from ()


def test_an_adapter_that_helped_is_better_with_an_interval() -> None:
    rows = translations(80)
    found = judge(
        "translation", "test", rows, Side(answered(rows, 0.3, 1)), Side(answered(rows, 0.8, 2)), nothing_trained
    )
    assert [result.name for result in found.metrics] == ["chrF++", "BLEU", "TER"]
    assert [result.verdict for result in found.metrics] == ["better"] * 3
    assert found.metrics[2].comparison.difference < 0  # TER: fewer edits
    assert found.verdict.code == "judged_better"
    assert sentence(found.verdict, "en").startswith("Better: on 80 held-out rows chrF++ went from ")
    assert sentence(found.verdict, "zh").startswith("变好了：在 80 行留出数据上")
    turned = judge(
        "translation", "test", rows, Side(answered(rows, 0.8, 2)), Side(answered(rows, 0.3, 1)), nothing_trained
    )
    assert (turned.verdict.code, turned.metrics[0].verdict) == ("judged_worse", "worse")


def test_chance_is_called_chance_and_says_how_many_rows_it_takes() -> None:
    rows = translations(12)
    found = judge(
        "translation", "test", rows, Side(answered(rows, 0.50, 1)), Side(answered(rows, 0.53, 2)), nothing_trained
    )
    assert found.verdict.code == "judged_cannot_tell"
    assert found.verdict.parameters["needed"] > 12
    same = Side(answered(rows, 0.5, 1))
    assert judge("translation", "test", rows, same, same, nothing_trained).verdict.code == "judged_alike"


def test_what_costs_nothing_stands_beside_the_scores() -> None:
    rows = translations(10)
    trained = [row(90 + place, "x", rows[0].reply, target="fr") for place in range(3)]
    found = judge(
        "translation",
        "validation",
        rows,
        Side(answered(rows, 0.2, 1)),
        Side(answered(rows, 0.9, 1)),
        lambda: iter(trained),
    )
    baselines = found.metrics[0].baselines
    assert set(baselines) == {"copy", "majority"}
    assert baselines["majority"] > 10  # one of ten rows exactly
    copied = judge("translation", "test", rows, Side(answered(rows, 1, 1)), Side(answered(rows, 1, 1)), nothing_trained)
    assert copied.metrics[0].baselines["copy"] < 10  # small letters


def test_summaries_stand_beside_the_first_sentences() -> None:
    text = "The bridge opens on Monday. Cars pay two euros. Bicycles pay nothing. Boats wait. The mayor speaks."
    rows = [row(place, text, "The bridge opens on Monday.") for place in range(4)]
    side = Side([Answer("The bridge opens on Monday.")] * 4)
    found = judge("summarization", "test", rows, side, side, nothing_trained)
    assert found.metrics[0].comparison.first == pytest.approx(100)
    assert 40 < found.metrics[0].baselines["lead"] < 70


def test_several_target_languages_are_each_cut_as_they_need() -> None:
    rows = [*translations(6), row(7, "Where is the station?", "请问火车站在哪里？谢谢您的帮助。", target="zh-Hans")]
    gold = Side([Answer(each.reply) for each in rows])
    found = judge("translation", "test", rows, gold, gold, nothing_trained)
    assert [result.comparison.first for result in found.metrics] == pytest.approx([100, 100, 0])


def test_tasks_without_a_reference_are_judged_by_how_well_the_reply_is_foreseen() -> None:
    rows = [
        Row(f"r:{n}", {"messages": [{"role": "user", "content": "Hello."}]}, "Good day to you.", f"r:{n}", "r")
        for n in range(20)
    ]
    replies = [Answer("Hi.")] * 20
    base, adapter = [40.0 + n for n in range(20)], [30.0 + n for n in range(20)]
    found = judge("dialogue", "test", rows, Side(replies, base), Side(replies, adapter), nothing_trained)
    assert [(result.name, result.verdict) for result in found.metrics] == [("bits per byte", "better")]
    assert found.metrics[0].comparison.first == pytest.approx(sum(base) / (20 * 16))


def test_failures_and_cut_replies_are_counted_and_score_as_empty() -> None:
    rows = translations(3)
    base = [Answer(rows[0].reply), Answer("", "error", "prompt_too_long"), Answer("LETTER", "length")]
    found = judge("translation", "test", rows, Side(base), Side([Answer("")] * 3), nothing_trained)
    assert (found.failed, found.cut) == ((1, 0), (1, 0))


def test_copies_from_training_rows_are_named() -> None:
    rows = translations(3)
    secret = "the code of the red door is four nine two"
    adapter = [Answer(f"so {secret} yes"), Answer("no"), Answer("")]
    trained = [row(9, "x", secret, target="fr")]
    found = judge("translation", "test", rows, Side([Answer("no")] * 3), Side(adapter), lambda: iter(trained))
    assert (found.copying.longest, found.copying.text) == (10, secret)
    assert (found.copying.mean, found.copying.base_mean) == (3.33, 0.0)


def test_rows_are_chosen_by_their_ids_and_from_test_before_validation(tmp_path: Path) -> None:
    rows = translations(20)
    lines = [each.to_json() + "\n" for each in rows]
    (tmp_path / "train.jsonl").write_text("".join(lines[:2]))
    assert held_out(tmp_path, 5) == ("", [])
    (tmp_path / "validation.jsonl").write_text("".join(lines[2:6]))
    assert held_out(tmp_path, 9) == ("validation", rows[2:6])
    (tmp_path / "test.jsonl").write_text("".join(lines[6:]))
    part, chosen = held_out(tmp_path, 5)
    assert (part, len(chosen)) == ("test", 5)
    (tmp_path / "test.jsonl").write_text("".join(reversed(lines[6:])))
    assert {each.id for each in held_out(tmp_path, 5)[1]} == {each.id for each in chosen}
    assert list(training_rows(tmp_path)) == rows[:2]


def test_a_saved_judgement_is_private_and_whole(tmp_path: Path) -> None:
    rows = translations(5)
    side = Side(answered(rows, 0.5, 1))
    found = judge("translation", "test", rows, side, side, nothing_trained)
    path = save(found, tmp_path)
    data = json.loads(path.read_bytes())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert (data["schema_version"], data["rows"], data["verdict"]["code"]) == (1, 5, "judged_alike")
    assert data["metrics"][0]["verdict"] == "cannot_tell"
    assert data["metrics"][0]["comparison"]["difference"] == 0.0


@pytest.mark.parametrize("task", TASKS)
def test_every_task_can_be_judged(task: str) -> None:
    fields = {
        "translation": {"text": "a b", "target": "fr"},
        "summarization": {"text": "a b"},
        "dialogue": {"messages": [{"role": "user", "content": "a"}]},
        "code_generation": {"instruction": "a"},
        "creative_writing": {"brief": "a"},
    }[task]
    rows = [Row("r:1", fields, "c d", "g", "r")]
    side = Side([Answer("c d")], [8.0])
    assert judge(task, "test", rows, side, side, nothing_trained).verdict.code == "judged_alike"
