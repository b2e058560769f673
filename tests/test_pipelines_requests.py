"""Requests: what is refused, and that each refusal names its field and a way out."""

from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.errors import InputError, nearest
from pipelines.generation import GenerationOptions
from pipelines.requests import MAX_CHARACTERS, TaskRequest, Text, split_options, validate


class Sample(TaskRequest):
    text: Text
    kind: Literal["plain", "fancy"] = "plain"
    count: int = 1


def refused(**fields):
    with pytest.raises(InputError) as caught:
        validate(Sample, fields, "sample")
    assert str(caught.value)
    return caught.value


def test_valid_fields_make_a_frozen_request():
    request = validate(Sample, {"text": "  kept as it is  "}, "sample")
    assert request == Sample(text="  kept as it is  ")
    with pytest.raises(ValueError, match="frozen"):
        request.text = "other"


@pytest.mark.parametrize("text", ["", "   ", "\n\t", "\u3000"])
def test_blank_text(text):
    assert (refused(text=text).code, refused(text=text).parameters) == ("text_empty", {"field": "text"})


def test_text_over_the_limit():
    error = refused(text="x" * (MAX_CHARACTERS + 1))
    assert error.code == "text_too_large"
    assert error.parameters["characters"] == MAX_CHARACTERS + 1
    assert validate(Sample, {"text": "x" * MAX_CHARACTERS}, "sample")


def test_text_that_is_no_unicode():
    assert refused(text="ab\ud800").parameters == {"field": "text", "position": 2}


def test_text_that_is_no_text():
    assert refused(text=b"\x00\xff").code == "field_invalid"
    assert refused(text=None).code == "field_invalid"


def test_a_missing_field_names_itself():
    assert refused().parameters == {"task": "sample", "field": "text"}


def test_an_unknown_field_names_the_nearest():
    error = refused(text="x", cuont=2)
    assert (error.code, error.parameters["nearest"]) == ("field_unknown", "count")


def test_a_wrong_choice_lists_the_choices():
    error = refused(text="x", kind="fance")
    assert error.code == "field_choice"
    assert "'plain' or 'fancy'" in error.parameters["choices"]
    assert "fance" in error.parameters["found"]


def test_a_wrong_value_is_shown_shortened():
    error = refused(text="x", count="many" * 100)
    assert error.code == "field_invalid"
    assert len(error.parameters["found"]) <= 60


def test_errors_exit_with_2():
    assert refused().exit_code == 2


def test_keywords_are_parted():
    fields, options = split_options(Sample, {"text": "x", "count": 3, "seed": 1, "stop": ["a"]}, "sample")
    assert fields == {"text": "x", "count": 3}
    assert options == GenerationOptions(seed=1, stop=("a",))


@pytest.mark.parametrize(
    ("name", "suggestion"), [("txt", "text"), ("temprature", "temperature"), ("max_tokens", "max_new_tokens")]
)
def test_an_unknown_keyword_names_the_nearest_field_or_option(name, suggestion):
    with pytest.raises(InputError) as caught:
        split_options(Sample, {name: 1}, "sample")
    assert caught.value.code == "field_unknown"
    assert suggestion in caught.value.parameters["nearest"]


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": -1}, {"temperature": float("nan")}, {"top_p": 0}, {"max_new_tokens": 0}, {"deadline_s": 0},
        {"deadline_s": float("inf")},
        {"seed": -1}, {"repetition_penalty": 0.5}, {"stop": 3},
    ],
)  # fmt: skip
def test_invalid_options_name_themselves(options):
    with pytest.raises(InputError) as caught:
        split_options(Sample, {"text": "x", **options}, "sample")
    assert caught.value.parameters["field"] == next(iter(options))


def test_an_empty_stop_string_is_refused():
    """Every text begins with it: one engine would stop at once, another would never."""
    with pytest.raises(InputError) as caught:
        split_options(Sample, {"text": "x", "stop": ["a", ""]}, "sample")
    assert caught.value.parameters["field"] == "stop.1"


def test_options_lie_over_defaults_only_where_they_are_set():
    defaults = GenerationOptions(max_new_tokens=9, temperature=0.5, stop=("a",))
    assert GenerationOptions().over(defaults) == defaults
    assert GenerationOptions(temperature=None).over(defaults) == defaults
    given_ = GenerationOptions(temperature=0.0, stop=())
    assert given_.over(defaults) == GenerationOptions(max_new_tokens=9, temperature=0.0, stop=())


@given(st.dictionaries(st.text(max_size=8), st.one_of(st.none(), st.integers(), st.text(), st.lists(st.integers()))))
def test_any_fields_make_a_request_or_one_sentence(fields):
    try:
        request = validate(Sample, fields, "sample")
    except InputError as error:
        request, sentence = None, str(error)
    else:
        sentence = ""
    assert request or sentence


def test_nearest_gives_all_where_none_is_close():
    assert nearest("zzz", ["one", "two"]) == "one, two"
    assert nearest("onw", ["one", "two"]) == "one"
