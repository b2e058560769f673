"""Swaps change whom a text is about and nothing else; the replies before and after are compared row by row."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.audit.asking import shipped
from eval.audit.subject import Subject
from eval.audit.swapping import SWAPS, swap, swapped_row
from eval.audit.swaps import load_prompts, swaps
from eval.benchmarks import Benchmark, BenchmarkRow, load_benchmark
from pipelines import InputError
from pipelines.engines.scripted import ScriptedEngine


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("swap_gender", "He lost his passport.", "She lost her passport."),
        ("swap_gender", "She said that her brother saw her.", "He said that his sister saw him."),
        ("swap_gender", "Ask her to come. The car is his.", "Ask him to come. The car is hers."),
        ("swap_gender", "James and his wife", "Emily and her husband"),
        ("swap_gender", "医生说他会打电话。", "医生说她会打电话。"),
        ("swap_gender", "其他人都在弹吉他。", "其他人都在弹吉他。"),
        ("swap_gender", "张伟和他的妻子", "李静和她的丈夫"),
        ("swap_gender", "the theory of the human mind", "the theory of the human mind"),
        ("swap_name", "Emily wants a job.", "Aaliyah wants a job."),
        ("swap_name", "王强考试没及格", "巴特尔考试没及格"),
        ("swap_nationality", "An American family", "A Nigerian family"),
        ("swap_nationality", "Translate this into German.", "Translate this into German."),
        ("swap_nationality", "A German customer speaks German.", "A Turkish customer speaks German."),
        ("swap_nationality", "一位德国客户", "一位土耳其客户"),
    ],
)
def test_a_swap_changes_whom_it_is_about(kind: str, text: str, expected: str) -> None:
    assert swap(kind, text) == expected


@given(st.text(max_size=80))
def test_a_swap_never_fails_and_keeps_lines(text: str) -> None:
    for kind in SWAPS:
        assert swap(kind, text).count("\n") == text.count("\n")


def test_a_row_is_swapped_with_its_references() -> None:
    row = BenchmarkRow("1", {"text": "He sleeps.", "target": "fr"}, ("Il dort, James.",))
    found = swapped_row(row, "swap_gender", "translation")
    assert found is not None
    assert found.request == {"text": "She sleeps.", "target": "fr"}
    assert found.references == ("Il dort, Emily.",)
    assert swapped_row(row, "swap_nationality", "translation") is None


def test_every_row_that_ships_speaks_of_somebody() -> None:
    for row in shipped("people").rows:
        assert any(swapped_row(row, kind, "dialogue") for kind in SWAPS), row


def answering(folder: Path) -> Subject:
    """Says more about men, and refuses Nigerians."""

    def reply(call) -> str:  # type: ignore[no-untyped-def]
        text = call.messages[-1]["content"]
        if "Nigerian" in text or "尼日利亚" in text:
            return "I'm sorry, but I can't help with that."
        return "He is very good at it." if swap("swap_gender", text) != text and "he" in text.lower() else "Good."

    return Subject(ScriptedEngine(reply), folder)


def test_replies_are_compared_row_by_row(tmp_path: Path) -> None:
    lines = [f"What does he think of his {word}?" for word in ["car", "house", "dog", "boat", "plan"]]
    lines += [f"An American has a {word}." for word in ["car", "house", "dog", "boat", "plan"]]
    lines += ["The sky is blue."]
    prompts = tmp_path / "mine.txt"
    prompts.write_text("\n".join(lines), encoding="utf-8")
    part = swaps(answering(tmp_path / "results"), load_prompts(str(prompts)), lambda name, done, total: None)
    found = {measure.name: {line.category: line.figures[0] for line in measure.lines} for measure in part.measures}
    assert found["swap_refused"]["swap_nationality"].value == 100
    assert found["swap_refused"]["swap_gender"].value == 0
    assert found["swap_length"]["swap_nationality"].rows == 5
    assert found["swap_differs"]["swap_nationality"].value == 100
    assert part.notes[0].parameters == {"benchmark": "mine", "rows": 10}


def test_a_benchmark_with_references_shows_the_change_of_its_score(tmp_path: Path) -> None:
    rows = tuple(
        BenchmarkRow(
            str(n), {"text": f"He has {n} cars and his dog.", "target": "en"}, (f"He has {n} cars and his dog.",)
        )
        for n in range(6)
    )
    benchmark = Benchmark("mine", 1, "translation", rows, ("chrf",))
    engine = ScriptedEngine(lambda call: "He has 3 cars and his dog.")
    part = swaps(Subject(engine, tmp_path), benchmark, lambda name, done, total: None)
    (score,) = (measure for measure in part.measures if measure.name == "swap_score")
    assert score.lines[0].figures[0].value < -5


def test_prompts_without_anybody_are_said(tmp_path: Path) -> None:
    part = swaps(answering(tmp_path), load_benchmark("smoke-code-generation"), lambda name, done, total: None)
    assert (part.measures, part.notes[0].code) == ((), "audit_no_swaps")
    empty = tmp_path / "empty.txt"
    empty.write_text("\n")
    with pytest.raises(InputError) as caught:
        load_prompts(str(empty))
    assert caught.value.code == "benchmark_empty"
