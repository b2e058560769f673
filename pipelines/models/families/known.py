"""Which family a model belongs to, told by its config, its tokenizer and its vocabulary; never by its name."""

import re
from typing import Any

from pipelines.errors import InputError
from pipelines.models.families.codes import Languages, is_group, tag_of
from pipelines.models.families.family import Family

__all__ = ["MODEL_TYPES", "find_family"]

_SUMMARIZERS = {"bart", "pegasus", "pegasus_x", "bigbird_pegasus", "led", "prophetnet", "mvp"}
_TEXT_TO_TEXT = {"t5", "mt5", "umt5", "longt5", "switch_transformers", "t5gemma", "t5gemma2"}

MODEL_TYPES = {"marian", "m2m_100", "nllb-moe", "mbart", *_SUMMARIZERS, *_TEXT_TO_TEXT}
"""What transformers calls the architectures that are known here."""

_FLORES = re.compile(r"[a-z]{3}_[A-Z][a-z]{3}")
_MBART = re.compile(r"[a-z]{2,3}_[A-Z]{2}")
_MADLAD = re.compile(r"<2([A-Za-z]{2,3}(?:[_-][A-Za-z]+)*)>")
_PAIR = re.compile(r"translation_(\w+)_to_(\w+)")


def find_family(config: Any, generation_config: Any, tokenizer: Any, model: str, prefix: str | None = None) -> Family:
    """The family of a model.

    Args:
        config: Its config.
        generation_config: Its generation config, for the tokens that a reply starts with.
        tokenizer: Its tokenizer.
        model: Its reference, for errors.
        prefix: What the person says it reads before a text ("" for nothing); None to find out.

    Raises:
        InputError: ``seq2seq_unknown``.
    """
    kind = config.model_type
    start = _start(config, generation_config)
    if kind not in MODEL_TYPES:
        raise InputError("seq2seq_unknown", model=model, found=kind, known=sorted(MODEL_TYPES))
    if prefix is not None:
        forced = _tokens(generation_config.forced_bos_token_id, config)
        tasks = ("translation", "summarization")
        return Family("prefixed", model, tasks, start + forced, prefixes=dict.fromkeys(tasks, prefix))
    if kind == "marian":
        return _marian(tokenizer, model, start)
    if kind in ("m2m_100", "nllb-moe", "mbart") and (family := _coded(config, generation_config, tokenizer, model)):
        return family
    if kind in _TEXT_TO_TEXT:
        return _text_to_text(config, tokenizer, model, start)
    forced = _tokens(generation_config.forced_bos_token_id, config)
    prefixes = {"summarization": getattr(config, "prefix", None) or ""}
    prefixes |= _task_prefixes(config, {"summarization"})
    return Family("summarizer", model, ("summarization",), start + forced, prefixes=prefixes)


def _marian(tokenizer: Any, model: str, start: tuple[int, ...]) -> Family:
    """OPUS-MT: one target, or a tag such as ``>>fra<<`` for each of many.

    A tag may be in the vocabulary of a model that was trained for one target only; with one tag there is no choice.
    """
    tags = [token[2:-2] for token in tokenizer.get_vocab() if token.startswith(">>") and token.endswith("<<")]
    source, target = getattr(tokenizer, "source_lang", None), getattr(tokenizer, "target_lang", None)
    sources = Languages([source] if source and not is_group(source) else [])
    many = Languages(tags)
    one = target is not None and not is_group(target)
    if many and not (one and len(many.tags) == 1):
        return Family(
            "marian", model, ("translation",), start, manner="tag", tag=">>{}<< ", sources=sources, targets=many
        )
    targets = Languages([target] if one and target else [])
    return Family("marian", model, ("translation",), start, sources=sources, targets=targets)


def _coded(config: Any, generation_config: Any, tokenizer: Any, model: str) -> Family | None:
    """M2M100, NLLB, mBART: a token for each language, before or behind the source and at the start of the reply."""
    tokens: dict[str, int] = {}
    if isinstance(codes := getattr(tokenizer, "lang_code_to_id", None), dict) and config.model_type == "m2m_100":
        name, tokens = "m2m100", dict(codes)
    elif config.model_type == "mbart":
        name, tokens = "mbart", _vocabulary(tokenizer, _MBART)
    if not tokens:
        name, tokens = "nllb", _vocabulary(tokenizer, _FLORES)
    tokens = {code: token for code, token in tokens.items() if token < config.vocab_size and tag_of(code)}
    if not tokens:
        return None
    said = [
        generation_config.forced_bos_token_id,
        getattr(config, "forced_bos_token_id", None),
        generation_config.decoder_start_token_id,
        config.decoder_start_token_id if hasattr(config, "decoder_start_token_id") else None,
    ]
    # A model that was trained for one target says so by the token that its replies start with.
    only = [code for code, token in tokens.items() if token in said]
    languages = Languages(tokens)
    # mBART before its 50 languages starts the decoder with the language; the later ones with </s>, then the language.
    starts = name == "mbart" and "50" not in type(tokenizer).__name__ and "pt_XX" not in tokens
    return Family(
        name,
        model,
        ("translation",),
        () if starts else _start(config, generation_config),
        manner="start" if starts else "forced",
        tokens=tokens,
        sources=languages,
        targets=Languages(only) if only else languages,
        told_source=True,
    )


def _text_to_text(config: Any, tokenizer: Any, model: str, start: tuple[int, ...]) -> Family:
    """T5 and its kin: the task is in the text.

    MADLAD has a tag for each target. T5 names its prefixes in ``task_specific_params`` and knows nothing else; Flan-T5
    inherited that list with the config, and is told by its gated layers (T5 1.1), which were never trained for the
    prefixes alone. mT5 is gated and has no list to inherit: one with a list was trained for what it names. One without
    a list is what somebody made of it: an instruction can say everything.
    """
    tags = [match[1] for token in tokenizer.get_vocab() if (match := _MADLAD.fullmatch(token))]
    if len(tags) > 1:
        return Family("madlad", model, ("translation",), start, manner="tag", tag="<2{}> ", targets=Languages(tags))
    prefixes = _task_prefixes(config, {"summarization"})
    pairs = {
        (match[1], match[2]): str(params["prefix"])
        for task, params in (getattr(config, "task_specific_params", None) or {}).items()
        if (match := _PAIR.fullmatch(task)) and isinstance(params, dict) and params.get("prefix")
    }
    gated = config.model_type == "t5" and bool(config.is_gated_act)
    tasks = (("translation",) if pairs else ()) + tuple(prefixes)
    own_template = bool(getattr(tokenizer, "chat_template", None))
    return Family(
        "t5",
        model,
        tasks,
        start,
        instructed=gated or not tasks or own_template,
        sources=Languages(source for source, _ in pairs),
        targets=Languages(target for _, target in pairs),
        pairs=pairs,
        prefixes=prefixes,
        own_template=own_template,
    )


def _task_prefixes(config: Any, tasks: set[str]) -> dict[str, str]:
    params = getattr(config, "task_specific_params", None) or {}
    return {
        task: str(said["prefix"])
        for task, said in params.items()
        if task in tasks and isinstance(said, dict) and said.get("prefix")
    }


def _vocabulary(tokenizer: Any, pattern: re.Pattern[str]) -> dict[str, int]:
    return {token: number for token, number in tokenizer.get_vocab().items() if pattern.fullmatch(token)}


def _start(config: Any, generation_config: Any) -> tuple[int, ...]:
    """The token that the decoder starts with, by the order in which transformers looks for it."""
    for said in (
        generation_config.decoder_start_token_id,
        getattr(config, "decoder_start_token_id", None),
        generation_config.bos_token_id,
        getattr(config, "bos_token_id", None),
    ):
        if said is not None:
            return _tokens(said, config)
    return _tokens(getattr(config, "pad_token_id", None), config)


def _tokens(said: Any, config: Any) -> tuple[int, ...]:
    """One token, of a number or a list of them."""
    number = said[0] if isinstance(said, list) and said else said
    return () if number is None or number == [] else (int(number),)
