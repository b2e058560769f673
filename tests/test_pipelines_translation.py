import random
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.engines.base import Call
from pipelines.engines.scripted import ScriptedEngine
from pipelines.errors import InputError
from pipelines.generation import Generation, Note
from pipelines.pipeline import Pipeline
from pipelines.prompts import load_prompt
from pipelines.tasks.translation import CHUNK_TOKENS, Translation, TranslationRequest
from pipelines.wording import sentence

PARAGRAPHS = (
    "The first paragraph. It has two sentences.\n\n  - an item of a list\n  - another item\n\n\nThe end of the text.\n"
)


def upper(call: Call) -> str:
    assert isinstance(call.request, TranslationRequest)
    return call.request.text.upper()


def translation(script: Any = upper, **options: Any) -> Pipeline:
    return Pipeline(Translation(), ScriptedEngine(script, **options), load_prompt("translation"))


def codes(notes: Iterable[Note]) -> list[str]:
    return [note.code for note in notes]


def only(result: Generation, code: str) -> Note:
    (note,) = [note for note in result.notes if note.code == code]
    assert all(not sentence(note, language).startswith(code) for language in ("en", "zh"))
    return note


def book(characters: int) -> str:
    """Prose in paragraphs, the same each time."""
    draw = random.Random(7)
    words = [
        "the",
        "river",
        "bridge",
        "of",
        "and",
        "a",
        "town",
        "morning",
        "walked",
        "slowly",
        "people",
        "under",
        "old",
        "trees",
        "while",
        "nobody",
        "spoke",
        "until",
    ]
    parts, length = [], 0
    while length < characters:
        lengths = [draw.randint(4, 14) for _ in range(draw.randint(1, 9))]
        paragraph = " ".join(" ".join(draw.choices(words, k=count)).capitalize() + "." for count in lengths)
        parts.append(paragraph)
        length += len(paragraph) + 2
    return "\n\n".join(parts)[:characters]


def test_a_short_text_streams_as_it_is_generated() -> None:
    pipeline = translation(["Sure, here is the translation:\n\nBonjour tout le monde, ici et ailleurs."])
    stream = pipeline.stream(text="Hello everybody.", target="French", source="en")
    pieces = list(stream)
    assert len(pieces) > 3
    assert "".join(pieces) == stream.generation.text == "Bonjour tout le monde, ici et ailleurs."
    assert stream.generation.notes == []


def test_structure_never_reaches_the_model() -> None:
    pipeline = translation()
    result = pipeline(text=PARAGRAPHS, target="fr", source="en")
    assert result.text == PARAGRAPHS.upper()
    engine = pipeline.engine
    assert isinstance(engine, ScriptedEngine)
    assert [call.request.text for call in engine.calls if call.request] == [  # type: ignore[attr-defined]
        "The first paragraph. It has two sentences.",
        "an item of a list",
        "another item",
        "The end of the text.",
    ]


LINES = ["Hello there. ", "It rains", "\n", "\n\n", "- ", "  ", "3", "你好。", "<b>", "{x}", "\t"]


@given(st.lists(st.sampled_from(LINES)).map("".join).filter(str.strip))
def test_a_model_that_repeats_its_input_gives_the_text_back(text: str) -> None:
    # Only blank space between the sentences of one line may differ.
    result = translation(lambda call: call.request.text)(text=text, source="en", target="fr")  # type: ignore[union-attr]
    assert re.sub(r"[^\S\n]+", "", result.text) == re.sub(r"[^\S\n]+", "", text)
    assert result.text.count("\n") == text.count("\n")


def test_wrapped_lines_are_translated_as_one_and_told() -> None:
    text = "It was a bright cold day in the month of April, and the\nclocks of the town were striking.\n\nThe end.\n"
    result = translation()(text=text, source="en", target="fr")
    assert result.text == text.replace("the\nclocks", "the clocks").upper()
    assert only(result, "lines_joined").span == (0, 89)


def test_stream_call_and_batch_give_the_same() -> None:
    fields: list[Mapping[str, Any]] = [
        {"text": PARAGRAPHS, "target": "fr"},
        {"text": "Hello {name}.", "target": "de"},
        {"text": "One line that is plain enough.", "target": "es"},
    ]
    batch = translation().batch(fields)
    for request, together in zip(fields, batch, strict=True):
        stream = translation().stream(**request)
        assert "".join(stream) == stream.generation.text == together.text == translation()(**request).text
        assert stream.generation.notes == together.notes


def test_a_long_text_is_translated_whole_and_accounted_for() -> None:
    text = book(600_000)
    pipeline = translation(lambda call: call.request.text)  # type: ignore[union-attr]
    result = pipeline(text=text, target="fr", source="en")
    assert result.text == text
    split = only(result, "text_split")
    spans = split.parameters["spans"]
    assert spans[0][0] == 0
    assert spans[-1][1] == len(text) == split.parameters["characters"]
    assert all(one[1] == two[0] for one, two in pairwise(spans))
    engine = pipeline.engine
    assert isinstance(engine, ScriptedEngine)
    assert len(engine.calls) == len(spans) == split.parameters["parts"]
    assert all(engine.count_tokens(call.request.text) <= CHUNK_TOKENS for call in engine.calls)  # type: ignore[union-attr]


def test_sentences_of_one_paragraph_are_joined_as_the_target_writes() -> None:
    long = " ".join(f"This is sentence number {'x' * (index % 5)} of them." for index in range(60))
    assert translation(["A."])(text=long, source="en", target="fr").text == "A. A. A."
    assert translation(["好。"])(text=long, source="en", target="zh").text == "好。好。好。"
    chinese = "今天天气很好，我们去公园散步。" * 40
    assert translation(["A."])(text=chinese, source="zh", target="en").text == " ".join(["A."] * 4)


def test_what_was_lost_is_asked_for_once_more() -> None:
    pipeline = translation(["Bonjour, vous avez des messages.", "Bonjour {name}, vous avez 3 messages."])
    result = pipeline(text="Hello {name}, you have 3 messages.", source="en", target="fr")
    assert result.text == "Bonjour {name}, vous avez 3 messages."
    assert result.notes == []
    assert isinstance(pipeline.engine, ScriptedEngine)
    first, second = (call.messages[-1]["content"] for call in pipeline.engine.calls)
    assert first.count("{name}") == 1
    assert "{name}  3" in second


def test_the_better_of_two_outputs_stays_and_the_loss_is_noted() -> None:
    text = "Hello {name}, you have 3 messages."
    result = translation(["Bonjour {name}.", "Bonjour."])(text=text, source="en", target="fr")
    assert result.text == "Bonjour {name}."
    note = only(result, "translation_lost")
    assert note.parameters["missing"] == ["3"]
    assert note.span == (0, len(text))
    assert "3" in sentence(note, "zh")


def test_glossary_terms_are_asked_for_and_checked() -> None:
    pipeline = translation(["La barre d'outils est cachée."])
    result = pipeline(
        text="The toolbar is hidden.", source="en", target="fr", glossary={"toolbar": "ruban", "engine": "moteur"}
    )
    assert only(result, "glossary_unused").parameters["terms"] == ["toolbar → ruban"]
    assert isinstance(pipeline.engine, ScriptedEngine)
    assert "toolbar = ruban" in pipeline.engine.calls[0].messages[-1]["content"]
    assert "moteur" not in str(pipeline.engine.calls)  # costs nothing where it is not used


def test_numbers_and_addresses_alone_are_copied() -> None:
    pipeline = translation()
    result = pipeline(text="https://example.org/a\n\n12,000\n\n{name}\n", source="en", target="fr")
    assert result.text == "https://example.org/a\n\n12,000\n\n{name}\n"
    assert isinstance(pipeline.engine, ScriptedEngine)
    assert pipeline.engine.calls == []


def test_languages_are_detected_named_and_checked() -> None:
    english = "The weather is so nice today that we went to the park for a long walk."
    result = translation()(text=english, target="français")
    assert only(result, "source_detected").parameters["language"] == "en"
    wrong = only(result, "wrong_language")
    assert (wrong.parameters["expected"], wrong.parameters["found"]) == ("fr", "en")
    assert "same_language" in codes(translation()(text=english, target="English").notes)
    assert "same_language" not in codes(translation()(text=english, source="en-US", target="en-GB").notes)
    assert "source_unsure" in codes(translation()(text="Ok", target="fr").notes)
    with pytest.raises(InputError) as caught:
        translation()(text="Hello", target="Frenhc")
    assert caught.value.code == "language_unknown"
    assert "French" in str(caught.value)


def test_an_empty_or_cut_reply_is_told() -> None:
    empty = translation([""])(text="Hello there.", source="en", target="fr")
    assert empty.text == "Hello there."
    assert only(empty, "translation_empty").span == (0, 12)
    cut = translation(["Un deux trois quatre cinq."])(text="One two.", source="en", target="fr", max_new_tokens=2)
    assert cut.text == "Un deux"
    assert only(cut, "translation_cut").parameters["tokens"] == 2
    assert cut.finish_reason == "length"


def counted(limit: int, then: Callable[[], None]) -> Callable[[], None]:
    left = [limit]

    def on_token() -> None:
        left[0] -= 1
        if left[0] == 0:
            then()

    return on_token


@pytest.mark.parametrize("tokens", [3, 40, 400, 1500])
def test_cancelling_in_the_middle_keeps_what_is_done(tokens: int) -> None:
    text = book(20_000)
    cancel = threading.Event()
    pipeline = translation(on_token=counted(tokens, cancel.set))
    stream = pipeline.stream(text=text, source="en", target="fr", cancel=cancel)
    shown = "".join(stream)
    result = stream.generation
    assert shown == result.text
    assert result.finish_reason == "cancelled"
    note = only(result, "not_translated")
    assert note.span is not None
    assert note.span[1] == len(text)
    done = text[: note.span[0]].upper()
    assert shown.startswith(done.rstrip())
    assert text.upper().startswith(shown.rstrip())


def test_a_deadline_ends_a_batch_with_what_is_done() -> None:
    text = book(20_000)
    pipeline = translation(on_token=counted(600, lambda: time.sleep(0.3)))
    (result,) = pipeline.batch([{"text": text, "source": "en", "target": "fr", "deadline_s": 0.3}])
    assert result.finish_reason == "deadline"
    note = only(result, "not_translated")
    assert note.span is not None
    assert text.upper().startswith(result.text.rstrip())
    assert len(result.text) >= note.span[0] - 2


def test_leaving_the_stream_early_notes_the_rest() -> None:
    stream = translation().stream(text=book(5_000), source="en", target="fr")
    next(stream)
    stream.close()
    assert only(stream.generation, "not_translated").parameters["start"] == 0


def test_a_context_that_holds_no_sentence_is_refused() -> None:
    with pytest.raises(InputError) as caught:
        translation(context_length=60)(text="Hello there.", source="en", target="fr")
    assert caught.value.code == "prompt_too_long"


def test_a_sentence_longer_than_a_chunk_is_cut_and_told() -> None:
    text = "word, " * 500
    result = translation()(text=text, source="en", target="fr")
    assert result.text.split() == text.upper().split()
    assert only(result, "sentence_split").parameters["tokens"] == CHUNK_TOKENS


@pytest.mark.parametrize(
    "row",
    [
        {"source": "Hello.", "target": "Bonjour.", "src_lang": "en", "tgt_lang": "fr"},
        {"text": "Hello.", "translation": "Bonjour.", "src_lang": "en", "tgt_lang": "fr"},
        {"translation": {"en": "Hello.", "fr": "Bonjour."}},
    ],
)
def test_rows_become_requests(row: dict[str, Any]) -> None:
    request, reply = Translation().from_row(row)
    assert (request.text, request.source, request.target, reply) == ("Hello.", "en", "fr", "Bonjour.")


def test_a_row_without_target_language_is_detected_or_refused() -> None:
    request, _ = Translation().from_row({"source": "Hello", "target": "Bonjour tout le monde, comment allez-vous ?"})
    assert request.target == "fr"
    for row in ({"source": "a", "target": "b"}, {"english": "a"}):
        with pytest.raises(InputError) as caught:
            Translation().from_row(row)
        assert caught.value.code == "row_columns"


def test_examples_bring_their_own_fields() -> None:
    prompt = load_prompt("translation")
    request = TranslationRequest(text="Bye.", target="fr", glossary={"bye": "salut"}, formality="formal")
    messages = Translation().messages(request, prompt)
    assert "salut" not in str(messages[:-1])
    assert "salut" in messages[-1]["content"]
    for examples in prompt.examples.values():
        assert all({"text", "source_name", "glossary", "keep", "formality"} <= set(item.fields) for item in examples)
