"""The training set of creative texts: each has the form that its row asks for, and no two of them sound alike."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any, get_args

import pytest

from pipelines.requests import validate
from pipelines.tasks.creative_writing import CreativeRequest, CreativeWriting
from pipelines.text.verse import Form, check_form

ROOT = Path(__file__).resolve().parent.parent
LINES = (ROOT / "finetune/data/shipped/creative_writing.jsonl").read_text(encoding="utf-8").splitlines()
ROWS: list[dict[str, Any]] = [json.loads(line) for line in LINES]
TASK = CreativeWriting()

HAN = re.compile(r"[\u4e00-\u9fff]")
WORN = re.compile(
    r"\b(?:whisper|tapestry|symphony|shimmer|embrace|testament|once upon a time|in the heart of|dance[ds]? with|dancing"
    r"|echo(?:es|ed)?|bittersweet|kaleidoscope)|时光荏苒|岁月静好|璀璨|绽放|从前有|心灵的|诗意|仿佛诉说|一抹",
    re.IGNORECASE,
)

each_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: row["reply"][:30].replace("\n", " "))


def language(row: dict[str, Any]) -> str:
    return row["request"].get("language", "en")


def form(row: dict[str, Any]) -> str:
    return row["request"].get("form", "free")


def size(row: dict[str, Any]) -> int:
    """Words of an English reply, characters of a Chinese one."""
    return len(HAN.findall(row["reply"]) if language(row) == "zh" else row["reply"].split())


def phrases(row: dict[str, Any]) -> set[str]:
    """Runs of five English words or six Chinese characters; what a text repeats itself counts once."""
    if language(row) == "zh":
        text = "".join(HAN.findall(row["reply"]))
        return {text[start : start + 6] for start in range(len(text) - 5)}
    words = re.findall(r"[\w’']+", row["reply"].lower())
    return {" ".join(words[start : start + 5]) for start in range(len(words) - 4)}


@each_row
def test_the_text_has_the_form_that_was_asked_for(row: dict[str, Any]) -> None:
    request = validate(CreativeRequest, row["request"], TASK.name)
    whole = f"{request.text}\n{row['reply']}" if request.mode == "continue" else row["reply"]
    facts = check_form(whole, request.form, request.language, request.length)
    assert [fact for fact in facts if not fact.ok] == []
    assert facts or request.form == "free"
    assert TASK.parse(row["reply"], request) == row["reply"]


@each_row
def test_the_text_is_as_long_as_was_asked(row: dict[str, Any]) -> None:
    match row["request"].get("length"):
        case "short":
            assert size(row) <= (220 if language(row) == "zh" else 120)
        case "long":
            assert size(row) >= 250
        case None:
            assert size(row) <= (450 if language(row) == "zh" else 260)


@each_row
def test_the_text_is_in_its_language_and_clean(row: dict[str, Any]) -> None:
    han = len(HAN.findall(row["reply"]))
    assert han > 0.7 * len(re.sub(r"\s", "", row["reply"])) if language(row) == "zh" else han == 0
    assert not re.search(r"@|https?:|www\.|\d{5}", json.dumps(row, ensure_ascii=False))
    assert not re.search(r"[ \t]$|\n{3}", row["reply"], re.MULTILINE)
    assert not WORN.search(row["reply"])


def test_every_form_in_both_languages_and_every_way_of_asking() -> None:
    assert 100 <= len(ROWS) <= 160
    counts = Counter((form(row), language(row)) for row in ROWS)
    assert set(counts) == {(form, language) for form in get_args(Form) for language in ("en", "zh")}
    assert max(counts.values()) <= len(ROWS) / 6
    assert 0.35 <= sum(language(row) == "zh" for row in ROWS) / len(ROWS) <= 0.45
    for field, values in (("length", {None, "short", "long"}), ("mode", {None, "continue", "rewrite"})):
        assert {row["request"].get(field) for row in ROWS} == values
    assert 0.4 <= sum("tone" in row["request"] for row in ROWS) / len(ROWS) <= 0.7
    assert len({row["request"]["tone"] for row in ROWS if "tone" in row["request"]}) >= 40
    for row in ROWS:
        assert row["kind"] == row["request"].get("mode", form(row))


def test_no_two_texts_begin_alike() -> None:
    # Behind the line that the form begins with (subject, scene, "[Verse 1]") and the greeting.
    bodies = [re.sub(r"\A(?:(?:Subject:|主题：|INT\.|场景：|\[).*\n+)?", "", row["reply"]) for row in ROWS]
    bodies = [re.sub(r"\A.{1,50}[,，:：!！]\n\n", "", body) for body in bodies]
    openings = Counter(body[:4] if HAN.match(body) else body[:8].lower() for body in bodies)
    assert [opening for opening, count in openings.items() if count > 1] == []
    briefs = [row["request"]["brief"] for row in ROWS if "brief" in row["request"]]
    assert len(set(briefs)) == len(briefs)


def test_no_phrase_stands_in_two_texts() -> None:
    counts = Counter(phrase for row in ROWS for phrase in phrases(row))
    assert [phrase for phrase, count in counts.items() if count > 1] == []


def test_no_name_is_a_habit() -> None:
    within = re.compile(r"(?<=[a-z,] )[A-Z][a-z]{2,}")
    names = Counter(name for row in ROWS for name in set(within.findall(row["reply"])))
    weekdays = {"Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"}
    months = {"January", "March", "April", "May", "June", "July", "August", "September", "October", "November"}
    assert {name for name, count in names.items() if count > 3} <= weekdays | months | {"Mrs"}
