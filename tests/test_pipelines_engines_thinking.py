"""Thinking is parted from the answer: by text, by tokens, by channels, and on a tiny model that thinks."""

import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pipelines import Pipeline
from pipelines.engines.assembly import TextAssembler
from pipelines.engines.base import Call
from pipelines.engines.local import LocalEngine
from pipelines.engines.markers import Markers, joined_thoughts, thought_note
from pipelines.engines.thinking import BLOCKS, Block, BlockSplitter, HarmonySplitter
from pipelines.generation import FinishReason, Generation, Note
from pipelines.models.source import ModelSource
from pipelines.prompts import Prompt
from pipelines.tasks.dialogue import Dialogue
from pipelines.wording import sentence
from tests.doubles.tiny import CHAT_TEMPLATE, tiny_chat_model, tiny_tokenizer

THOUGHT = "The person asks who I am. I look into myself."
SHORT_QUESTION, LONG_QUESTION = "Who are you?", "Who are you? Think."
ANSWER = "A tiny model."
NO_SYSTEM = Prompt(task="dialogue", version=1, templates={"system": ""})
PAIRS = [
    (SHORT_QUESTION, ANSWER),
    (LONG_QUESTION, f"<think>\n{THOUGHT}\n</think>\n\n{ANSWER}"),
    ("Count.", "<think>\none two three</think>four"),
    ("What is a tag?", "It looks like <think> and ends with </think> in the text."),
]

TOKENIZER = tiny_tokenizer([text for pair in PAIRS for text in pair])

# Pieces of text that come close to markers without being one.
near = st.lists(st.sampled_from(["<", "</", "think", ">", "a", " ", "\n", "[THINK", "é中", "STOP"]), max_size=12).map(
    "".join
)
blank = st.text(alphabet=" \n", max_size=3)


def cut(text: str, places: list[int]) -> list[str]:
    """A text in pieces."""
    bounds = sorted({place % (len(text) + 1) for place in places} | {0, len(text)})
    return [text[start:end] for start, end in pairwise(bounds)]


def special_tokens(tokenizer: Any) -> set[int]:
    return {token for token, added in tokenizer.added_tokens_decoder.items() if added.special}


@given(
    st.sampled_from(BLOCKS),
    st.lists(near, max_size=2),
    near,
    blank,
    st.booleans(),
    st.lists(st.integers(0, 200), max_size=20),
)
def test_pieces_hold_the_whole_answer_and_nothing_else(
    block: Block, thoughts: list[str], answer: str, gap: str, opened: bool, places: list[int]
) -> None:
    assume(not any(block.closing in thought for thought in thoughts))
    parts = [f"{block.opening}{thought}{block.closing}{gap}" for thought in thoughts]
    answer = f"x{answer}"
    reply = "".join([gap, *parts, answer])
    begins = block if opened and parts else None
    if begins:
        reply = reply.lstrip().removeprefix(block.opening)
    splitter = BlockSplitter((BLOCKS[0], block), begins)
    pieces = [splitter.push(piece) for piece in cut(reply, places)] + [splitter.finish()]
    assert "".join(pieces) == (answer if parts else gap + answer)
    assert splitter.thought == "".join(thoughts)
    assert not splitter.thinking


@given(near, near, st.lists(st.integers(0, 200), max_size=20))
def test_without_a_block_every_character_is_the_answer(before: str, after: str, places: list[int]) -> None:
    text = f"{before} b {after}"
    if any(text.lstrip().startswith((block.opening, block.closing)) for block in BLOCKS):
        return
    splitter = BlockSplitter(BLOCKS)
    assert "".join([splitter.push(piece) for piece in cut(text, places)] + [splitter.finish()]) == text


@given(near, near, st.lists(st.integers(0, 200), max_size=20))
def test_channels_other_than_final_are_thinking(thought: str, answer: str, places: list[int]) -> None:
    splitter = HarmonySplitter()
    pieces: list[str] = []

    def message(channel: str, text: str) -> None:
        for marker, words in (("<|channel|>", channel), ("<|message|>", text), ("<|end|>", "")):
            pieces.append(splitter.mark(marker))
            pieces.extend(splitter.push(piece) for piece in cut(words, places))

    message("analysis", thought)
    splitter.mark("<|start|>")
    splitter.push("assistant")
    message("commentary", thought)
    assert splitter.thinking
    message("final", answer)
    assert "".join(pieces) + splitter.finish() == answer
    assert splitter.thought.replace("\n", "") == (thought + thought).replace("\n", "")
    assert not splitter.thinking


def test_a_model_that_leaves_the_channels_out_has_answered() -> None:
    splitter = HarmonySplitter()
    assert splitter.push("Hello ") + splitter.push("there.") == "Hello there."
    assert not splitter.thinking


@pytest.mark.parametrize(
    ("reply", "answer", "thought"),
    [
        ("<think>a</think>\n\n<answer>\nHello.\n</answer>", "Hello.\n", "a"),
        ("<think>a</think><response>Hello</response> there", "Hello there", "a"),
        ("<answer>Hello.</answer>", "<answer>Hello.</answer>", ""),
        ("</think>\n\nHello.", "Hello.", ""),
        ("Use <think>a</think> for that.", "Use <think>a</think> for that.", ""),
        ("<think>a</think>Then <think>b</think>", "Then <think>b</think>", "a"),
        ("  <thi", "  <thi", ""),
        ("<think>never ends", "", "never ends"),
    ],
)
def test_replies_as_models_write_them(reply: str, answer: str, thought: str) -> None:
    splitter = BlockSplitter()
    assert "".join(map(splitter.push, reply)) + splitter.finish() == answer
    assert splitter.thought == thought


@pytest.mark.parametrize("special", [True, False])
@pytest.mark.parametrize("stop", [(), ("STOP",)])
def test_markers_that_are_tokens_are_seen_although_decoding_drops_them(special: bool, stop: tuple[str, ...]) -> None:
    tokenizer = tiny_tokenizer([THOUGHT, ANSWER])
    tokenizer.add_tokens(["[THINK]", "[/THINK]"], special_tokens=special)
    markers = Markers.of("", "", tokenizer.get_vocab(), special_tokens(tokenizer))
    assembler = TextAssembler(tokenizer, stop, markers)
    ids = tokenizer.encode("[THINK]It STOPs 中.[/THINK]The end 🙂 STOP here", add_special_tokens=False)
    assert len(set(markers.tokens) & set(ids)) == (2 if special else 0)
    text = "".join(map(assembler.push, ids)) + assembler.finish()
    assert text == assembler.text == ("The end 🙂 " if stop else "The end 🙂 STOP here")
    assert assembler.splitter.thought == "It STOPs 中."


@given(near, st.text(max_size=30), blank, st.lists(st.integers(0, 200), max_size=20), st.booleans())
def test_tokens_of_any_size_give_the_answer_up_to_the_stop_string(
    thought: str, answer: str, gap: str, places: list[int], stops: bool
) -> None:
    assume("</think>" not in thought)
    reply = f"<think>{thought}</think>{gap}x{answer}STOP"
    tokens = [token for piece in cut(reply, places) for token in TOKENIZER.encode(piece, add_special_tokens=False)]
    assembler = TextAssembler(TOKENIZER, ("STOP",) if stops else (), Markers())
    pieces = [assembler.push(token) for token in tokens]
    assert assembler.stopped is stops
    assert "".join(pieces) + assembler.finish() == assembler.text
    assert assembler.text == (f"x{answer}STOP".split("STOP")[0] if stops else f"x{answer}STOP")
    assert assembler.splitter.thought == thought


def test_a_special_token_is_never_text_and_opens_a_block_anywhere() -> None:
    tokenizer = tiny_tokenizer([THOUGHT, ANSWER])
    tokenizer.add_tokens(["[THINK]", "[/THINK]"], special_tokens=True)
    markers = Markers.of("", "", tokenizer.get_vocab(), special_tokens(tokenizer))
    reply = "[/THINK] First,[THINK]a[THINK]b[/THINK] then[/THINK], [THINK]c"
    assembler = TextAssembler(tokenizer, (), markers)
    text = "".join(map(assembler.push, tokenizer.encode(reply, add_special_tokens=False))) + assembler.finish()
    assert text == assembler.text == " First, then, "
    assert assembler.splitter.thought == "abc"
    assert assembler.splitter.thinking


def test_channels_are_found_by_their_tokens_alone() -> None:
    tokenizer = tiny_tokenizer([THOUGHT, ANSWER])
    tokenizer.add_tokens(["<|start|>", "<|channel|>", "<|message|>", "<|call|>", "<|return|>"], special_tokens=True)
    markers = Markers.of(
        "<|channel|>analysis<|message|>", "<|start|>assistant", tokenizer.get_vocab(), special_tokens(tokenizer)
    )
    reply = "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Yes, analysis."
    assembler = TextAssembler(tokenizer, (), markers)
    text = "".join(map(assembler.push, tokenizer.encode(reply, add_special_tokens=False))) + assembler.finish()
    assert (text, assembler.splitter.thought.strip()) == ("Yes, analysis.", "Hm.")


def test_the_prompt_may_have_opened_the_block_or_closed_it() -> None:
    assert Markers.of("", "<|assistant|><think>\n", {}, ()).opened == BLOCKS[0]
    assert Markers.of("", "<|assistant|><think>\n\n</think>\n\n", {}, ()).opened is None
    gemma = Markers.of("<|channel>thought", "<|turn>model\n<|channel>thought\n<channel|>", {"<|channel>": 7}, {7})
    assert (gemma.opened, gemma.tokens) == (None, {7: "<|channel>"})


def test_the_note_says_how_much_and_keeps_both_ends_of_a_long_thinking() -> None:
    splitter = BlockSplitter()
    splitter.push(f"<think>begin {'x' * 9000} end</think>Yes.")
    note = thought_note(splitter, 1234, "stop")
    assert note is not None
    assert note.parameters["characters"] == 9010
    assert note.parameters["text"].startswith("begin x")
    assert note.parameters["text"].endswith("x end")
    assert len(note.parameters["text"]) < 4100
    for language in ("en", "zh"):
        assert "1234" in sentence(note, language)
        assert len(sentence(note, language)) < 80
    assert thought_note(BlockSplitter(), 0, "stop") is None


@pytest.mark.parametrize("reason", ["stop", "length", "deadline", "cancelled"])
def test_the_note_says_where_no_answer_came(reason: FinishReason) -> None:
    splitter = BlockSplitter(opened=BLOCKS[0])
    assert (thought_note(splitter, 0, reason) is None) == (reason != "length")
    splitter.push("Let me see")
    note = thought_note(splitter, 3, reason)
    assert note is not None
    assert (note.code, note.parameters["text"]) == ("model_thought_only", "Let me see")


def test_the_thoughts_of_many_calls_are_one_note() -> None:
    notes = [Note("x"), *(Note("model_thought", {"characters": 3000, "tokens": 7, "text": "y" * 3000}) for _ in "12")]
    whole = joined_thoughts([*notes, Note("z")])
    assert [note.code for note in whole] == ["x", "model_thought", "z"]
    assert (whole[1].parameters["characters"], whole[1].parameters["tokens"]) == (6000, 14)
    assert len(whole[1].parameters["text"]) < 4100
    assert joined_thoughts(notes[:2]) == notes[:2]


def test_the_name_of_a_channel_is_no_thought() -> None:
    splitter = BlockSplitter(BLOCKS)
    assert splitter.push("<|channel>thought\nHm.\n<channel|>Yes.") == "Yes."
    note = thought_note(splitter, 5, "stop")
    assert note is not None
    assert note.parameters["text"] == "Hm."


@pytest.fixture(scope="module")
def thinker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that thinks where it was asked to, in plain text over several tokens; its template has the switch."""
    folder = tiny_chat_model(tmp_path_factory.mktemp("thinker"), PAIRS, steps=200)
    content = "{{ message['content'] }}"
    asked = content.replace("}}", "+ (' Think.' if enable_thinking and message['role'] == 'user' else '') }}")
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE.replace(content, asked))
    return folder


def ask(folder: Path, question: str, *, thinking: bool = False, **options: Any) -> Generation:
    engine = LocalEngine(ModelSource("thinker", "folder", folder), dtype="float32", thinking=thinking)
    stream = Pipeline(Dialogue(), engine, NO_SYSTEM).stream(
        messages=[{"role": "user", "content": question}], **{"temperature": 0.0, "repetition_penalty": 1.0, **options}
    )
    pieces = list(stream)
    result = stream.generation
    assert "".join(pieces) == result.text
    assert "<think>" not in result.text or "tag" in question
    return result


def test_a_model_that_thinks_is_heard_only_when_it_answers(thinker: Path) -> None:
    result = ask(thinker, SHORT_QUESTION, thinking=True, max_new_tokens=12)
    assert result.text == ANSWER
    assert result.finish_reason == "stop"
    (note,) = result.notes
    assert (note.code, note.parameters["text"]) == ("model_thought", THOUGHT)
    # The thinking alone is longer than the limit: it does not count there, but it was paid for.
    assert result.usage.completion_tokens > note.parameters["tokens"] > 12


def test_thinking_is_off_where_the_template_can_turn_it_off(thinker: Path) -> None:
    result = ask(thinker, SHORT_QUESTION)
    assert (result.text, result.notes) == (ANSWER, [])


def test_a_block_that_the_prompt_opened_is_thinking(thinker: Path, tmp_path: Path) -> None:
    opened = shutil.copytree(thinker, tmp_path / "opened")
    template = (opened / "chat_template.jinja").read_text()
    assert template.count("<|assistant|>{% endif %}") == 1
    template = template.replace("<|assistant|>{% endif %}", "<|assistant|><think>{{ '\\n' }}{% endif %}")
    (opened / "chat_template.jinja").write_text(template)
    result = ask(opened, LONG_QUESTION)
    assert result.text == ANSWER
    assert [note.parameters["text"] for note in result.notes] == [THOUGHT]
    engine = LocalEngine(ModelSource("opened", "folder", opened))
    call = Call([{"role": "user", "content": "Hello."}])
    # Half of this small context is kept for thinking.
    assert engine.room(call).reply == engine.context_length // 2 - engine.count_prompt(call.messages)


def test_stop_strings_end_the_answer_not_the_thinking(thinker: Path) -> None:
    assert ask(thinker, LONG_QUESTION, stop=["person"]).text == ANSWER
    result = ask(thinker, LONG_QUESTION, stop=["person", "tiny"])
    assert result.text.strip() == "A"
    assert result.notes[0].parameters["text"] == THOUGHT


def test_a_limit_cuts_the_answer_behind_the_thinking(thinker: Path) -> None:
    result = ask(thinker, LONG_QUESTION, max_new_tokens=2)
    assert result.finish_reason == "length"
    assert 0 < len(result.text) < len(ANSWER)
    assert ANSWER.startswith(result.text)
    assert [note.code for note in result.notes] == ["model_thought", "reply_at_limit"]


def test_thinking_without_an_end_is_no_answer(thinker: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.engines.chat.THINKING_TOKENS", 6)
    result = ask(thinker, LONG_QUESTION, max_new_tokens=4)
    assert (result.text, result.finish_reason) == ("", "length")
    note = result.notes[0]
    assert note.code == "model_thought_only"
    assert THOUGHT.startswith(note.parameters["text"])
    assert "max_new_tokens" in sentence(note)
    assert "max_new_tokens" in sentence(note, "zh")


def test_words_about_the_markers_are_part_of_an_answer(thinker: Path) -> None:
    assert ask(thinker, "What is a tag?").text == PAIRS[3][1]


def test_a_batch_parts_what_a_stream_parts(thinker: Path) -> None:
    engine = LocalEngine(ModelSource("thinker", "folder", thinker), dtype="float32")
    requests = [{"messages": [{"role": "user", "content": question}]} for question, _ in PAIRS]
    results = Pipeline(Dialogue(), engine, NO_SYSTEM).batch(requests, temperature=0.0, repetition_penalty=1.0)
    assert [result.text for result in results] == [ANSWER, ANSWER, "four", PAIRS[3][1]]
    assert [len(result.notes) for result in results] == [0, 1, 1, 0]
