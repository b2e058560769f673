"""Creative writing: forms, variants, modes, rows."""

import json
import threading

import pytest

from pipelines import InputError, Pipeline, load_prompt
from pipelines.engines.scripted import ScriptedEngine
from pipelines.tasks.creative_writing import CreativeRequest, CreativeWriting
from pipelines.text.verse import check_form

TASK = CreativeWriting()
HAIKU = "An old silent pond\nA frog jumps into the pond\nSplash! Silence again."
POEMS = [
    "the sea is calm tonight\nthe tide is full\nthe moon lies fair\nupon the straits",
    "the sea is calm today\nthe tide is full\nthe moon lies fair\nupon the straits",
    "rain on tin roofs\nsomeone hums\na kettle answers\nnobody is late",
    "only one line",
]


def writer(*replies, **engine):
    return Pipeline(TASK, ScriptedEngine(list(replies), **engine), load_prompt("creative_writing"))


def codes(result):
    return [note.code for note in result.notes]


def asked(**fields):
    return TASK.messages(CreativeRequest(**fields), load_prompt("creative_writing"))[-1]["content"]


def test_one_text_streams_without_its_preamble():
    stream = writer(f"Sure, here is a haiku:\n\n{HAIKU}").stream(brief="a pond", form="haiku")
    pieces = list(stream)
    assert len(pieces) > 3
    assert "".join(pieces) == stream.generation.text == HAIKU
    assert stream.generation.variants == []
    assert codes(stream.generation) == ["form_ok"]


def test_what_the_form_lacks_is_noted():
    result = writer("A pond\nA frog jumps into the pond\nSplash! Silence again.")(brief="a pond", form="haiku")
    (note,) = result.notes
    assert note.parameters == {"check": "syllables_line_1", "expected": "5", "found": "2"}


def test_free_text_is_not_checked():
    assert writer("Anything at all.")(brief="x").notes == []


def test_variants_have_their_own_seeds_and_are_ranked():
    pipeline = writer(*POEMS)
    stream = pipeline.stream(brief="the sea", form="poem", variants=4, seed=40)
    pieces = list(stream)
    result = stream.generation
    assert [call.options.seed for call in pipeline.engine.calls] == [40, 41, 42, 43]
    assert result.variants == [POEMS[0], POEMS[2], POEMS[1], POEMS[3]]
    assert pieces == [result.text] == [POEMS[0]]
    ranked = result.notes[0].parameters
    assert (ranked["count"], ranked["order"], ranked["failures"]) == (4, [1, 3, 2, 4], [0, 0, 0, 1])
    assert 0 < ranked["similarity"] < 1
    assert 0 < ranked["distinct"] < 1
    assert codes(result) == ["variants_ranked", "form_ok"]
    json.dumps(result.to_json())


def test_a_form_that_is_kept_wins():
    result = writer("one line", POEMS[0])(brief="x", form="poem", variants=2, seed=1)
    assert result.text == POEMS[0]


def test_empty_variants_are_counted():
    result = writer("", "Words.")(brief="x", variants=2)
    assert (result.text, result.variants, codes(result)) == ("Words.", ["Words."], ["variants_empty"])
    assert writer("")(brief="x", variants=2).text == ""


def test_greedy_variants_would_be_the_same():
    pipeline = writer("Words.")
    result = pipeline(brief="x", variants=3, temperature=0)
    assert (result.text, codes(result), len(pipeline.engine.calls)) == ("Words.", ["variants_greedy"], 1)


def stopped_after(tokens, *replies):
    cancel = threading.Event()
    seen = []

    def count():
        seen.append(1)
        if len(seen) == tokens:
            cancel.set()

    return writer(*replies, on_token=count).stream(brief="x", variants=2, seed=1, cancel=cancel)


def test_variants_that_were_finished_before_a_stop_are_kept():
    stream = stopped_after(5, "One two three.", "Four five six seven.")
    assert "".join(stream) == stream.generation.text == "One two three."
    assert codes(stream.generation) == ["variants_unfinished", "reply_cancelled"]


def test_a_stop_before_any_variant_is_finished_leaves_its_beginning():
    stream = stopped_after(3, "One two three.", "Four five six seven.")
    assert "".join(stream) == stream.generation.text == "One two"
    assert stream.generation.finish_reason == "cancelled"


@pytest.mark.parametrize(
    ("fields", "options", "tokens"),
    [
        ({"form": "haiku"}, {}, 96),
        ({"length": "short"}, {}, 256),
        ({}, {}, 768),
        ({"length": "long"}, {}, 1536),
        ({"length": "long"}, {"max_new_tokens": 50}, 50),
    ],
)
def test_the_length_bounds_the_tokens(fields, options, tokens):
    pipeline = writer("x")
    pipeline(brief="x", **fields, **options)
    assert pipeline.engine.calls[0].options.max_new_tokens == tokens


def test_a_text_cut_by_its_length_names_the_way_out():
    words = " ".join(f"word{number}" for number in range(400))
    result = writer(words)(brief="x", length="short")
    assert (codes(result), result.finish_reason) == (["reply_at_task_limit"], "length")
    assert codes(writer(words)(brief="x", max_new_tokens=20)) == ["reply_at_limit"]


def test_the_prompt_says_what_was_asked():
    words = asked(brief="a lighthouse", form="story", tone="ironic", length="short", language="French")
    for part in ("story", "a lighthouse", "ironic", "short", "French"):
        assert part in words


def test_a_bare_brief_stands_alone():
    assert asked(brief="Continue this poem:\nO rose") == "Continue this poem:\nO rose"


def test_continue_and_rewrite_take_a_text():
    assert "O rose" in asked(mode="continue", text="O rose", form="poem")
    assert "Rewrite" in asked(mode="rewrite", text="O rose", form="email")
    pipeline = writer("A frog jumps into the pond\nSplash! Silence again.")
    assert codes(pipeline(mode="continue", text="An old silent pond", form="haiku")) == ["form_ok"]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({}, "field_missing"),
        ({"brief": " "}, "text_empty"),
        ({"mode": "continue"}, "creative_text_missing"),
        ({"mode": "rewrite", "brief": "x"}, "creative_text_missing"),
        ({"brief": "x", "text": "y"}, "creative_text_unused"),
        ({"brief": "x", "form": "limerick"}, "field_choice"),
        ({"brief": "x", "variants": 9}, "field_invalid"),
        ({"brief": "x", "language": "gibberish"}, "language_unknown"),
        ({"brief": "x", "forms": "poem"}, "field_unknown"),
    ],
)
def test_wrong_requests_are_refused(fields, code):
    with pytest.raises(InputError) as caught:
        writer("x")(**fields)
    assert caught.value.code == code
    assert str(caught.value)


def test_rows():
    request, reply = TASK.from_row({"prompt": "写一首诗", "response": "床前明月光", "lang": "zh", "form": "五言绝句"})
    assert (request.brief, request.language, request.form, reply) == ("写一首诗", "zh", "free", "床前明月光")
    request, reply = TASK.from_row({"brief": "a pond", "text": HAIKU, "form": "haiku", "tone": "calm"})
    assert (request.form, request.tone, request.text, reply) == ("haiku", "calm", None, HAIKU)


@pytest.mark.parametrize(
    ("row", "code"), [({"poem": "x"}, "row_columns"), ({"prompt": "x", "response": ""}, "text_empty")]
)
def test_rows_that_cannot_be_used_say_why(row, code):
    with pytest.raises(InputError) as caught:
        TASK.from_row(row)
    assert caught.value.code == code


def test_the_worked_haiku_are_haiku() -> None:
    for example in load_prompt("creative_writing").examples["haiku"]:
        assert all(fact.ok for fact in check_form(example.reply, "haiku"))
