"""A benchmark is looked for among the rows that a model was trained on, and every report says what came of it."""

import json
from pathlib import Path

import pytest

from eval.benchmarks import Benchmark, BenchmarkRow
from eval.contamination import contamination
from finetune.data import DataConfig, Source
from finetune.data.prepare import prepare
from pipelines import InputError
from pipelines.wording import sentence

LONG = "The ferry leaves the old harbour at seven in the morning and comes back before the tide turns at noon."
SHORT = "Please close the garden gate behind you."


def benchmark() -> Benchmark:
    rows = (
        BenchmarkRow("long", {"text": LONG, "target": "fr"}, ("Le bac part à sept heures.",)),
        BenchmarkRow("short", {"text": SHORT, "target": "fr"}, ("Fermez le portail du jardin.",)),
        BenchmarkRow("yes", {"text": "Yes.", "target": "fr"}, ("Oui.",)),
        BenchmarkRow("free", {"text": "Nobody has ever trained on this sentence about a purple lamp and two ladders."}),
    )
    return Benchmark("mine", 1, "translation", rows, ("chrf",))


def prepared(folder: Path, texts: list[str]) -> Path:
    replies = [f"Réponse {number} " + "mot " * (len(text) // 5) for number, text in enumerate(texts)]
    rows = [{"text": text, "reply": reply, "target": "fr"} for text, reply in zip(texts, replies, strict=True)]
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    config = DataConfig(task="translation", sources=[Source(path=str(path))], language=False, split={"validation": 0.0})
    prepare(config, folder / "data", processes=1)
    return folder / "data"


@pytest.mark.model
def test_rows_that_were_trained_on_are_found_whatever_stands_around_them(tmp_path: Path) -> None:
    data = prepared(tmp_path, [f"News: {LONG.upper()} Tickets at the pier.", SHORT, "Yes.", "Something else entirely."])
    found = contamination(benchmark(), data)
    assert found.rows == ("long", "short")
    assert (found.total, found.trained) == (4, 4)
    assert found.data_sha256 == json.loads((data / "ledger.json").read_bytes())["result_sha256"]
    assert found.note.code == "eval_contaminated"
    assert sentence(found.note).startswith("2 of 4 rows stand among the 4 training rows of data (")
    assert contamination(benchmark(), tmp_path) == found  # an adapter's folder has them in `data`


@pytest.mark.model
def test_rows_that_were_not_trained_on(tmp_path: Path) -> None:
    found = contamination(benchmark(), prepared(tmp_path, ["Something else entirely.", "Close the gate."]))
    assert found.rows == ()
    assert found.note.code == "eval_not_contaminated"


@pytest.mark.parametrize("broken", [None, "", "{", "{}\n"])
def test_a_folder_without_a_ledger_or_with_broken_rows_is_said(tmp_path: Path, broken: str | None) -> None:
    if broken is not None:
        (tmp_path / "ledger.json").write_text('{"result_sha256": "0"}' if broken else "")
        (tmp_path / "train.jsonl").write_text(broken)
    with pytest.raises(InputError, match=r"holds no ledger.json"):
        contamination(benchmark(), tmp_path)
