"""Minimal pairs: their rows, and what is compared; a planted bias is found, a balanced training is not called one."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from apps.cli.main import main
from eval.audit.asking import shipped
from eval.audit.measuring import Measure, Part
from eval.audit.minimal_pairs import minimal_pairs as measured
from eval.audit.minimal_pairs import shared_text
from eval.audit.subject import Subject
from eval.benchmarks import Benchmark
from pipelines import InputError
from pipelines.engines.scripted import ScriptedEngine
from pipelines.generation import Note
from pipelines.wording import sentence
from tests.doubles.audit_models import balanced, even_model, sentences, skewed, taught_adapter
from tests.doubles.tiny_adapters import load

PAIRS = shipped("pairs")
SKEWED, BALANCED, UNTOUCHED = "gender", "age", "religion"


def minimal_pairs(subject: Subject, benchmark: Benchmark) -> Part:
    return measured(subject, benchmark, lambda name, done, total: None)


def some(*kinds: str) -> Benchmark:
    return replace(PAIRS, rows=tuple(row for row in PAIRS.rows if row.kind in kinds))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return even_model(tmp_path_factory.mktemp("base") / "tiny", sentences(some(SKEWED, BALANCED, UNTOUCHED)))


@pytest.fixture(scope="module")
def biased(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Learned the stereotypes of one category, and both sides of each pair of another."""
    texts = [*skewed(some(SKEWED)), *balanced(some(BALANCED))]
    return taught_adapter(base, tmp_path_factory.mktemp("adapter") / "biased", texts)


@pytest.fixture(scope="module")
def fair(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Learned both sides of each pair."""
    return taught_adapter(base, tmp_path_factory.mktemp("adapter") / "fair", balanced(some(SKEWED, BALANCED)))


def audited(base: Path, folder: Path, adapter: Path) -> tuple[Measure, Measure]:
    subject = Subject(load(base, adapter), folder, adapter.name)
    share, bits = minimal_pairs(subject, some(SKEWED, BALANCED, UNTOUCHED)).measures
    return share, bits


def test_the_rows_are_many_and_even() -> None:
    assert len(PAIRS.rows) == 128
    assert set(Counter((row.kind, row.language) for row in PAIRS.rows).values()) == {8}
    assert len({row.kind for row in PAIRS.rows}) == 8
    for row in PAIRS.rows:
        assert sentence(Note(f"term_audit_{row.kind}")) != f"term_audit_{row.kind}: {{}}"
        one, two = row.facts["stereotyped"], row.facts["other"]
        assert one != two
        assert "{" not in one + two
        assert one[-1] == two[-1]
    assert len({row.facts["stereotyped"] for row in PAIRS.rows}) == 128


def test_only_what_both_share_behind_the_difference_is_compared() -> None:
    one, two = [9, 9, 1, 5, 3, 4], [9, 9, 1, 6, 7, 3, 4]
    assert shared_text(one, two, 2) == (
        [False, False, False, False, True, True],
        [False, False, False, False, False, True, True],
    )


def test_a_planted_bias_is_found_where_it_is_and_nowhere_else(base: Path, biased: Path, tmp_path: Path) -> None:
    share, bits = audited(base, tmp_path, biased)
    changes = {line.category: line.change for line in bits.lines if line.change}
    assert changes[SKEWED].verdict == "higher"
    assert changes[SKEWED].p_value < 0.01
    assert changes[SKEWED].interval.low > 0
    assert [changes[category].verdict for category in (BALANCED, UNTOUCHED)] == ["cannot_tell"] * 2
    assert all(line.change.verdict == "cannot_tell" for line in share.lines[1:] if line.change)
    assert share.lines[0].figures[1].value > 75


def test_a_balanced_training_is_not_called_biased(base: Path, fair: Path, tmp_path: Path) -> None:
    for measure in audited(base, tmp_path, fair):
        assert [line.change.verdict for line in measure.lines if line.change] == ["cannot_tell"] * 3


def test_the_command_shows_both_sides_beside_each_other(
    base: Path, biased: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    report = tmp_path / "audit.md"
    words = ["eval", "audit", "--model", str(base), "--adapter", str(biased), "-e", "device=cpu", "-e", "dtype=float32"]
    words += ["--part", "pairs", "--part", "calibration", "--out", str(tmp_path / "results"), "--report", str(report)]
    assert main(words) == 0
    text = report.read_text(encoding="utf-8")
    line = next(each for each in text.splitlines() if each.startswith("| gender | 16 |") and "higher" in each)
    assert line.count("|") == 11
    assert "| + biased (bits) |" in text
    assert "| Category | Rows | + biased (%) | 95 % interval |" in text
    assert text.count("sure the model is") == 2  # confidence falls into other bins, so each side has a table
    assert "higher" in capsys.readouterr().out


def test_what_was_measured_is_kept_by_model_and_adapter(base: Path, biased: Path, tmp_path: Path) -> None:
    pairs = some(SKEWED)
    subject = Subject(load(base, biased), tmp_path, "biased")
    first = minimal_pairs(subject, pairs)
    folders = sorted(tmp_path.iterdir())
    assert len(folders) == 2
    kept = [folder / "bits.jsonl" for folder in folders]
    assert [len(path.read_text().splitlines()) for path in kept] == [32, 32]
    assert all(path.stat().st_mode & 0o077 == 0 for path in kept)
    whole = kept[0].read_bytes()
    kept[0].write_bytes(whole[: len(whole) // 2])  # as a kill leaves it
    again = minimal_pairs(subject, pairs)
    for one, two in zip(again.measures[1].lines[0].figures, first.measures[1].lines[0].figures, strict=True):
        assert one.value == pytest.approx(two.value, rel=1e-4)  # other batches, other rounding
    lines = [json.loads(line)["id"] for line in kept[0].read_text().splitlines()]
    assert len(set(lines)) == len(lines) == 32


def test_stopping_keeps_what_there_is(base: Path, biased: Path, tmp_path: Path) -> None:
    subject = Subject(load(base, biased), tmp_path, "biased")
    subject.cancel.set()
    stopped = minimal_pairs(subject, some(SKEWED))
    assert [figure.rows for line in stopped.measures[0].lines for figure in line.figures] == [0, 0]


def test_a_model_without_probabilities_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        minimal_pairs(Subject(ScriptedEngine(), tmp_path), PAIRS)
    assert caught.value.code == "audit_needs_causal"
