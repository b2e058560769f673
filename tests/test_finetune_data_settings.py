"""Settings files are read as YAML 1.2, and name files from where they lie."""

from pathlib import Path

import pytest

from finetune.data.settings import beside, is_file_name, read_value, read_yaml


def test_words_that_old_yaml_takes_for_truth_values_and_dates_are_text() -> None:
    assert read_yaml("languages: [no, en]\nwhen: 2024-01-05\nrepair: false\nname: on") == {
        "languages": ["no", "en"],
        "when": "2024-01-05",
        "repair": False,
        "name": "on",
    }


@pytest.mark.parametrize(
    ("text", "value"),
    [("2", 2), ("0.5", 0.5), ("true", True), ("null", None), ("[a, b]", ["a", "b"]), ("a: [", "a: [")],
)
def test_a_value_of_the_command_line(text: str, value: object) -> None:
    assert read_value(text) == value


def test_files_are_named_from_the_settings_file_and_sets_by_their_names(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    data = {
        "sources": ["a.jsonl", {"path": "b/c.csv", "weight": 2}, {"path": "hub:org/name"}, "shipped:dialogue", 7],
        "overlap": ["humaneval", "bench.jsonl"],
        "model": "model",
        "task": "dialogue",
    }
    found = beside(data, tmp_path)
    assert found["sources"] == [
        {"path": str(tmp_path / "a.jsonl")},
        {"path": str(tmp_path / "b" / "c.csv"), "weight": 2},
        {"path": "hub:org/name"},
        {"path": "shipped:dialogue"},
        7,
    ]
    assert found["overlap"] == ["humaneval", str(tmp_path / "bench.jsonl")]
    assert found["model"] == str(tmp_path / "model")
    assert beside({"model": "smollm2-135m"}, tmp_path) == {"model": "smollm2-135m"}
    assert beside({"sources": "a.jsonl", "overlap": None}, tmp_path) == {"sources": "a.jsonl", "overlap": None}
    assert data["sources"][0] == "a.jsonl"


def test_absolute_paths_and_home_folders_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert beside({"sources": ["/a.jsonl", "~/b.jsonl"]}, Path("elsewhere"))["sources"] == [
        {"path": "/a.jsonl"},
        {"path": str(tmp_path / "b.jsonl")},
    ]
    assert not is_file_name("hub:a/b")
