"""How models are spoken to: templates of several kinds, and documents for base models, up to a trained one."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from pipelines import Pipeline, load_prompt
from pipelines.engines.chat import PLAIN_STOP, PLAIN_TEMPLATE, THINKING_TOKENS, ChatFormat
from pipelines.engines.local import LocalEngine
from pipelines.errors import InputError
from pipelines.models.source import ModelSource
from pipelines.prompts import Message
from pipelines.tasks import TASKS
from pipelines.tasks.dialogue import Dialogue
from tests.doubles.tiny import CHAT_TEMPLATE, tiny_llama, tiny_tokenizer

MESSAGES: list[Message] = [
    {"role": "system", "content": "Be kind."},
    {"role": "user", "content": "Hello."},
    {"role": "assistant", "content": "Good day."},
    {"role": "user", "content": "Who are you?"},
]
# As Gemma 2 does it: no system role, other names for the roles, and a refusal where turns do not alternate.
REFUSES_SYSTEM = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate') }}{% endif %}"
    "<turn>{{ 'model' if message['role'] == 'assistant' else 'user' }}\n{{ message['content'] | trim }}</turn>\n"
    "{% endfor %}{% if add_generation_prompt %}<turn>model\n{% endif %}"
)
# As Mistral 7B v0.1 does it: a system message breaks the order of the roles.
NEEDS_ORDER = (
    "{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "{% if message['role'] == 'user' %}[INST] {{ message['content'] }} [/INST]{% else %}{{ message['content'] }}</s>"
    "{% endif %}{% endfor %}"
)
IGNORES_SYSTEM = (
    "{% for message in messages %}{% if message['role'] != 'system' %}<{{ message['role'] }}>{{ message['content'] }}"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)
SWITCH = (
    CHAT_TEMPLATE + "{% if enable_thinking is defined and enable_thinking is false and add_generation_prompt %}"
    "<think>\n\n</think>\n\n{% endif %}"
)


def format_of(own: str | None, **options: Any) -> ChatFormat:
    tokenizer = tiny_tokenizer(["Hello."])
    tokenizer.chat_template = own
    model = SimpleNamespace(generation_config=SimpleNamespace(eos_token_id=1))
    return ChatFormat(model, tokenizer, "tiny", **options)


def written(chat: ChatFormat, messages: list[Message] = MESSAGES, *, reply: bool = True) -> str:
    return str(chat.tokenizer.decode(chat.tokens(messages, reply=reply), skip_special_tokens=False))


@pytest.mark.parametrize("template", [REFUSES_SYSTEM, NEEDS_ORDER, IGNORES_SYSTEM])
def test_the_system_message_goes_into_the_first_turn_where_the_template_has_no_place_for_it(template: str) -> None:
    text = written(format_of(template))
    assert "Be kind.\n\nHello." in text
    assert text.count("Be kind.") == 1
    assert text.index("Hello.") < text.index("Good day.") < text.index("Who are you?")


def test_a_template_with_a_system_role_keeps_it() -> None:
    assert written(format_of(CHAT_TEMPLATE)).startswith("<|system|>Be kind.<|end|><|user|>Hello.<|end|>")


def test_a_conversation_that_a_template_refuses_is_one_sentence() -> None:
    twice = [MESSAGES[1], MESSAGES[1]]
    with pytest.raises(InputError, match="roles must alternate"):
        format_of(NEEDS_ORDER).tokens(twice)
    with pytest.raises(InputError, match="cannot write this conversation"):
        format_of("{{ raise_exception('never') }}")


def test_thinking_is_turned_off_and_on_by_the_switch_of_the_template_alone() -> None:
    assert written(format_of(SWITCH)).endswith("<|assistant|><think>\n\n</think>\n\n")
    assert written(format_of(SWITCH, thinking=True)).endswith("<|assistant|>")
    assert written(format_of(CHAT_TEMPLATE, thinking=True)) == written(format_of(CHAT_TEMPLATE))


def test_room_for_thinking_is_kept_where_it_is_to_be_expected() -> None:
    assert format_of(SWITCH).thinking_tokens == 0
    assert format_of(SWITCH, thinking=True).thinking_tokens == THINKING_TOKENS
    assert format_of(SWITCH, thinking=True, context_length=1000).thinking_tokens == 500
    assert format_of(CHAT_TEMPLATE, thinking=True).thinking_tokens == 0
    always = CHAT_TEMPLATE.replace("<|assistant|>{% endif %}", "<|assistant|><think>{% endif %}")
    assert format_of(always).thinking_tokens == THINKING_TOKENS


def test_gpt_oss_thinks_as_little_as_it_can() -> None:
    template = "Reasoning: {{ reasoning_effort | default('medium') }}<|channel|>" + CHAT_TEMPLATE
    assert written(format_of(template)).startswith("Reasoning: low")
    assert written(format_of(template, thinking=True)).startswith("Reasoning: medium")


def test_the_template_of_an_adapter_is_used_instead() -> None:
    chat = format_of(CHAT_TEMPLATE, template=IGNORES_SYSTEM)
    assert chat.template == IGNORES_SYSTEM
    assert written(chat).startswith("<user>Be kind.")
    assert not chat.plain
    assert format_of(CHAT_TEMPLATE, template=PLAIN_TEMPLATE).plain


@pytest.mark.parametrize("template", [None, ""])
def test_a_model_without_a_template_reads_a_document(template: str | None) -> None:
    chat = format_of(template)
    assert written(chat) == (
        "Be kind.\n### User\nHello.\n### Assistant\nGood day.\n### User\nWho are you?\n### Assistant\n"
    )
    assert (chat.plain, chat.stop) == (True, PLAIN_STOP)
    assert set(range(5)) <= set(chat.ending), "any special token begins another text"
    whole, beginning = chat.tokens(MESSAGES), chat.tokens(MESSAGES[:3], reply=False)
    assert whole[: len(beginning)] == beginning, "what was computed for the beginning could not be used again"


@pytest.mark.parametrize(
    "pattern",
    [
        r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",  # GPT-2, SmolLM2
        r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",  # Llama 3, Qwen
    ],
)
@pytest.mark.parametrize("end", ["word", "end.", "```", "中。", "7", "a  ", '"'])
def test_the_beginning_of_a_document_has_the_same_tokens_whatever_follows(pattern: str, end: str) -> None:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    messages = [*MESSAGES[:2], {"role": "assistant", "content": end}]
    text = f"{end}\n\n### User\n{end}\n### Assistant\n## #\n" * 9
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator([text], trainers.BpeTrainer(vocab_size=600, initial_alphabet=alphabet))
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>")
    chat = ChatFormat(SimpleNamespace(generation_config=SimpleNamespace(eos_token_id=None)), fast, "tiny")
    beginning = chat.tokens(messages, reply=False)
    assert chat.tokens([*messages, MESSAGES[3]])[: len(beginning)] == beginning


def test_a_document_begins_with_the_token_that_the_tokenizer_begins_texts_with() -> None:
    from tokenizers.processors import TemplateProcessing

    tokenizer = tiny_tokenizer(["Hello."])
    tokenizer.chat_template = None
    tokenizer.bos_token = "<|system|>"
    model = SimpleNamespace(generation_config=SimpleNamespace(eos_token_id=[1, 4]))
    assert ChatFormat(model, tokenizer, "tiny").template == PLAIN_TEMPLATE
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing("<|system|> $A", None, [("<|system|>", 2)])
    chat = ChatFormat(model, tokenizer, "tiny")
    assert chat.tokens(MESSAGES)[:2] == [2, chat.tokenizer.encode("Be", add_special_tokens=False)[0]]
    assert chat.plain


@pytest.fixture(scope="module")
def base_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that has learned to go on with documents of questions and answers, and never to end one."""
    folder = tmp_path_factory.mktemp("base")
    task, prompt = Dialogue(), load_prompt("dialogue").for_base_model()
    pairs = [("Who are you?", "A tiny model."), ("Count to three.", "one\ntwo\nthree")]
    conversations = [
        task.messages(task.request_type(messages=[{"role": "user", "content": question}]), prompt)
        for question, _ in pairs
    ]
    tokenizer = tiny_tokenizer([message["content"] for messages in conversations for message in messages])
    tokenizer.chat_template = None
    model = tiny_llama(len(tokenizer))
    rows, starts = [], []
    for messages, (_, answer) in zip(conversations, pairs, strict=True):
        rest = [{"role": "assistant", "content": answer}, *conversations[0][1:]]
        options: dict[str, Any] = {"chat_template": PLAIN_TEMPLATE, "tokenize": True, "return_dict": False}
        starts.append(len(tokenizer.apply_chat_template(messages, add_generation_prompt=True, **options)))
        rows.append(tokenizer.apply_chat_template([*messages, *rest], **options)[: starts[-1] + 60])
    width = max(map(len, rows))
    ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    columns = torch.arange(width)[None]
    labels = ids.masked_fill((ids == 0) | (columns < torch.tensor(starts)[:, None]), -100)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(60):
        loss = model(input_ids=ids, attention_mask=(ids != 0).long(), labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1, f"the base model did not learn: loss {loss.item():.3f}"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    assert not (folder / "chat_template.jinja").exists()
    return folder


@pytest.mark.parametrize(
    ("question", "answer"), [("Who are you?", "A tiny model."), ("Count to three.", "one\ntwo\nthree")]
)
def test_a_base_model_answers_and_ends_before_the_next_section(base_model: Path, question: str, answer: str) -> None:
    pipeline = Pipeline(Dialogue(), LocalEngine(ModelSource("base", "folder", base_model), dtype="float32"))
    fields = {"messages": [{"role": "user", "content": question}], "temperature": 0.0, "repetition_penalty": 1.0}
    stream = pipeline.stream(**fields)
    pieces = list(stream)
    assert "".join(pieces) == stream.generation.text == answer
    assert stream.generation.finish_reason == "stop"
    assert stream.generation.notes == []
    assert len(pieces) > 3
    (batched,) = pipeline.batch([fields])
    assert (batched.text, batched.usage) == (answer, stream.generation.usage)


def test_a_base_model_is_asked_with_the_examples_and_its_results_say_so(base_model: Path) -> None:
    engine = LocalEngine(ModelSource("base", "folder", base_model), dtype="float32")
    for name in TASKS:
        prompt = engine.wording(name, None)
        assert prompt == load_prompt(name).for_base_model() == engine.wording(name, load_prompt(name))
        assert prompt.digest(engine.chat_template) != load_prompt(name).digest(engine.chat_template)
    result = Pipeline(Dialogue(), engine)(messages=[{"role": "user", "content": "Who are you?"}], max_new_tokens=4)
    assert result.provenance["prompt_sha256"] == engine.wording("dialogue", None).digest(engine.chat_template)


@pytest.mark.model
@pytest.mark.parametrize(
    ("task", "fields", "expected"),
    [
        ("code_generation", {"instruction": "Write a function that reverses a string."}, "[::-1]"),
        ("dialogue", {"messages": [{"role": "user", "content": "What is the capital of France?"}]}, "Paris"),
    ],
)
def test_the_embedded_model_works_as_a_base_model(
    embedded_model: Path, tmp_path: Path, task: str, fields: dict[str, Any], expected: str
) -> None:
    for file in embedded_model.iterdir():
        if file.name != "chat_template.jinja":
            (tmp_path / file.name).symlink_to(file)
    engine = LocalEngine(ModelSource("base", "folder", tmp_path), dtype="float32")
    assert engine.format.plain
    result = Pipeline(TASKS[task](), engine)(**fields, temperature=0.0, max_new_tokens=100)
    assert expected in result.text
    assert "###" not in result.text
    assert result.finish_reason == "stop"
