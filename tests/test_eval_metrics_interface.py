"""Metrics on the interface of ``evaluate``: ours for everybody, everybody's for us, and none of its traps."""

import json
import math
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from eval.benchmarks import load_benchmark
from eval.benchmarks.definition import BenchmarkRow
from eval.metrics import METRICS, from_module, named
from eval.scoring import score
from pipelines.errors import CinquainError, InputError
from tests.doubles.eval_runs import finished_run

ROOT = Path(__file__).parent.parent / "eval" / "metrics"
TEXTS = ["The station is behind the old church.", "Ring twice, then wait."]
COLUMNS: dict[str, list[Any]] = {
    "references": TEXTS,
    "sources": ["Der Bahnhof {x} ist 3 km entfernt.", "Zweimal klingeln."],
    "conversations": [[{"role": "user", "content": text}] for text in TEXTS],
    "keywords": [["station"], ["ring", "wait"]],
    "forms": ["letter", "free"],
    "tests": ["assert station() == 3", "assert ring(2) == 'ring ring'"],
}
MODULE = '''"""Somebody's metric."""

import datasets
import evaluate

from .helper import share


class Letters(evaluate.Metric):
    """Share of the letters of the reference."""

    higher_is_better = {better}

    def _info(self):
        text = datasets.Value("string")
        columns = datasets.Features({{"predictions": text, "{column}": {feature}}})
        return evaluate.MetricInfo(description="", citation="", inputs_description="", features=columns)

    def _compute(self, predictions, {column}):
        return {result}
'''
HELPER = """def share(predictions, references):
    pairs = zip(predictions, references)
    return sum(len(set(a) & set(b)) / len(set(b)) for a, b in pairs) / len(predictions)
"""


@pytest.fixture(scope="module", autouse=True)
def evaluate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CINQUAIN_HOME", str(tmp_path_factory.mktemp("home")))
        from eval.metrics import interface

        patch.setattr(interface.evaluate.config, "HF_MODULES_CACHE", tmp_path_factory.mktemp("modules"))
        yield interface.evaluate


@pytest.fixture
def chrf(evaluate: Any) -> Any:
    return evaluate.load(str(ROOT / "chrf"))


def module(folder: Path, name: str = "letters", **parts: str) -> Path:
    defaults = {"better": "True", "column": "references", "feature": "text"}
    defaults["result"] = '{"letters": share(predictions, references), "length": 3}'
    (folder / name).mkdir()
    (folder / name / f"{name}.py").write_text(MODULE.format(**defaults | parts))
    (folder / name / "helper.py").write_text(HELPER)
    return folder / name


def test_every_metric_has_its_folder() -> None:
    assert {path.name for path in ROOT.iterdir() if path.is_dir() and path.name != "__pycache__"} == set(METRICS)


@pytest.mark.parametrize("key", METRICS)
def test_each_folder_is_its_metric(evaluate: Any, key: str) -> None:
    loaded = evaluate.load(str(ROOT / key))
    given = {name: entries for name, entries in COLUMNS.items() if name in loaded.features}
    found = loaded.compute(predictions=TEXTS, **given)
    rows = []
    for references, text, messages, keywords, form, tests in zip(*COLUMNS.values(), strict=True):
        request = {"text": text, "messages": messages, "form": form}
        gold = (references,) if "references" in given else ()
        rows.append(BenchmarkRow("r", request, gold, facts={"keywords": keywords, "tests": tests}))
    assert set(found) == {key, "signature", "rows"}
    assert found[key] == named(key).score(TEXTS, rows) or math.isnan(found[key])
    assert (found["signature"], len(found["rows"])) == (named(key).signature, 2)
    assert from_module(ROOT / key) is named(key)


def test_rows_come_in_parts_and_several_references_stand_in_a_list(chrf: Any) -> None:
    chrf.add(prediction=TEXTS[0], reference=["Nothing.", TEXTS[0]])
    chrf.add_batch(predictions=[TEXTS[1]], references=[TEXTS[1]])
    assert chrf.compute()["rows"] == pytest.approx([100, 100])
    assert chrf.compute(predictions=["Ja\ud800."], references=["Ja."])["chrf"] > 0


def test_each_row_has_its_own_language(evaluate: Any) -> None:
    bleu = evaluate.load(str(ROOT / "bleu"))
    texts = [TEXTS[0], "图书馆周三关门。"]
    assert bleu.compute(predictions=texts, references=texts, language=["en", "zh"])["rows"] == pytest.approx([100, 100])
    with pytest.raises(InputError):
        bleu.compute(predictions=texts, references=texts, language=["en"])


def test_metrics_are_combined(evaluate: Any) -> None:
    both = evaluate.combine([evaluate.load(str(ROOT / key)) for key in ("chrf", "rouge1")])
    assert {"chrf", "rouge1"} < set(both.compute(predictions=TEXTS, references=TEXTS))


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"predictions": ["a", 5], "references": ["a", "b"]}, "metric_row"),
        ({"predictions": ["a", None], "references": ["a", "b"]}, "metric_row"),
        ({"predictions": ["a", "b"], "references": [["a"], 5]}, "metric_column"),
        ({"predictions": ["a", "b"], "references": [["a"], [5]]}, "metric_column"),
        ({"predictions": ["a", "b"], "references": [["a"], []]}, "metric_reference_missing"),
        ({"predictions": ["a", "b"], "references": [["a"]]}, "metric_rows"),
        ({"predictions": "ab", "references": ["a", "b"]}, "metric_rows"),
        ({"predictions": [], "references": []}, "metric_rows"),
        ({}, "metric_rows"),
        ({"predictions": ["a"]}, "metric_columns"),
    ],
)
def test_what_evaluate_takes_for_text_is_refused(chrf: Any, given: dict[str, Any], code: str) -> None:
    with pytest.raises(InputError) as caught:
        chrf.compute(**given)
    assert caught.value.code == code


def test_no_text_is_left_where_others_read_it(evaluate: Any, tmp_path: Path) -> None:
    loaded = evaluate.load(str(ROOT / "chrf"), cache_dir=str(tmp_path))
    loaded.add_batch(predictions=TEXTS, references=TEXTS)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    from eval.metrics.interface import private_cache

    assert stat.S_IMODE(Path(private_cache()).stat().st_mode) == 0o700
    assert evaluate.config.HF_EVALUATE_OFFLINE


def test_somebody_s_module_in_a_folder_is_a_metric(tmp_path: Path) -> None:
    found = from_module(module(tmp_path))
    rows = [BenchmarkRow("1", {}, ("abc",)), BenchmarkRow("2", {}, ("xy", "never looked at"))]
    assert found.score(["cab", "x"], rows) == pytest.approx(0.75)
    assert found.statistics(["cab", "x"], rows).tolist() == [[1, 1], [0.5, 1]]
    assert (found.key, found.higher_is_better, found.needs_references) == ("letters", True, True)
    assert from_module(tmp_path / "letters" / "letters.py").signature == found.signature
    with pytest.raises(InputError) as caught:
        found.score(["a"], [BenchmarkRow("1", {})])
    assert caught.value.code == "metric_reference_missing"


def test_a_module_may_look_at_other_columns_and_prefer_less(tmp_path: Path) -> None:
    path = module(tmp_path, "shorter", better="False", column="sources", result="len(predictions[0])")
    with pytest.raises(CinquainError) as caught:  # a number, not a dictionary
        from_module(path).score(["abc"], [BenchmarkRow("row-7", {"text": "x"})])
    assert (caught.value.code, caught.value.parameters["row"]) == ("metric_module_failed", "row-7")
    result = '{"ratio": len(predictions[0]) / len(sources[0])}'
    found = from_module(module(tmp_path, "ratio", better="False", column="sources", result=result))
    assert found.score(["ab"], [BenchmarkRow("1", {"text": "abcd"})]) == 0.5
    assert not found.higher_is_better
    with pytest.raises(InputError) as missing:
        found.score(["ab"], [BenchmarkRow("1", {})])
    assert missing.value.code == "metric_column"


@pytest.mark.parametrize(
    ("parts", "code"),
    [
        ({"column": "images"}, "metric_module_columns"),
        ({"feature": "no_such_name"}, "metric_module_broken"),
        ({"result": '{"a": 1, "b": 2}'}, "metric_module_scores"),
        ({"result": "1 / 0"}, "metric_module_failed"),
    ],
)
def test_a_module_that_cannot_be_used_is_one_sentence(tmp_path: Path, parts: dict[str, str], code: str) -> None:
    with pytest.raises(CinquainError) as caught:
        from_module(module(tmp_path, **parts)).score(["a"], [BenchmarkRow("1", {}, ("a",))])
    assert caught.value.code == code


def test_a_path_is_never_looked_up_on_the_hub(tmp_path: Path) -> None:
    for path in ("sacrebleu", tmp_path / "nothing.py", tmp_path):
        with pytest.raises(InputError) as caught:
            from_module(path)
        assert caught.value.code == "metric_module_missing"
    with pytest.raises(InputError) as unknown:
        named("sacrebleu")
    assert unknown.value.code == "metric_unknown"


def test_the_card_names_every_metric_with_its_column_and_direction(evaluate: Any) -> None:
    card = (ROOT / "README.md").read_text(encoding="utf-8")
    lines = re.findall(r"(?m)^\| (`.*`) \| .* \| ?(\w*) ?\| (.) \|$", card)
    found = {name: (column, arrow) for names, column, arrow in lines for name in re.findall(r"`(\w+)`", names)}
    arrows = {True: "↑", False: "↓", None: "–"}
    columns = {key: "".join(evaluate.load(str(ROOT / key)).columns) for key in METRICS}
    assert found == {key: (columns[key], arrows[named(key).higher_is_better]) for key in METRICS}


def test_the_example_of_the_card_scores_a_benchmark_of_one_s_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = (ROOT / "README.md").read_text(encoding="utf-8")
    (module_text,), (benchmark_text,) = (re.findall(f"(?s)```{kind}\\n(.*?)```", card) for kind in ("python", "yaml"))
    (tmp_path / "questions").mkdir()
    (tmp_path / "questions" / "questions.py").write_text(module_text)
    (tmp_path / "mine.yaml").write_text(benchmark_text)
    row = {"messages": [{"role": "user", "content": "My cat is ill."}], "facts": {"keywords": ["cat"]}}
    rows = [{**row, "reply": reply} for reply in ("What ails the cat?", "Poor cat.")]
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.chdir(tmp_path)
    benchmark = load_benchmark("mine.yaml")
    run = finished_run(benchmark, ["Why?", "So."], tmp_path / "run")
    assert {metric.name: metric.total.value for metric in score(run, benchmark).metrics} == {
        "recall of the context": 0,
        "questions": 50,
    }
