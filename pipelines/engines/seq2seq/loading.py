"""Loading an encoder–decoder model and its tokenizer; which models are of this kind, told before torch is imported."""

import json
import warnings
from typing import Any

from pipelines.engines.device import DeviceChoice
from pipelines.engines.placement import Placement
from pipelines.errors import InputError
from pipelines.models.conversion import quiet_transformers
from pipelines.models.families import MODEL_TYPES
from pipelines.models.source import ModelSource

__all__ = ["ending_tokens", "is_encoder_decoder", "load_seq2seq"]


def is_encoder_decoder(source: ModelSource) -> bool:
    """Whether a model has an encoder and a decoder, by its ``config.json``.

    A folder's file is read; a Hub id's is taken from the cache, or fetched, as loading the model would.
    """
    config: dict[str, Any]
    if source.kind == "folder":
        assert source.path is not None
        config = json.loads((source.path / "config.json").read_bytes())
    elif source.kind == "hub":
        from transformers import PreTrainedConfig

        arguments = source.arguments()
        try:
            config, _ = PreTrainedConfig.get_config_dict(
                arguments["pretrained_model_name_or_path"], revision=arguments["revision"]
            )
        except Exception:
            return False  # whatever is wrong with it, loading says it in one sentence
    else:
        return False  # a GGUF file: its readers know causal models only
    return bool(config.get("is_encoder_decoder")) or config.get("model_type") in MODEL_TYPES


def load_seq2seq(source: ModelSource, choice: DeviceChoice, placement: Placement) -> tuple[Any, Any]:
    """The model, ready for inference where it was placed, and its tokenizer.

    Raises:
        InputError: ``model_load_failed`` with transformers' own reason, ``model_weights_missing``.
    """
    import torch
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    from pipelines.engines.loading import first_line

    loaded: Any
    try:
        with quiet_transformers(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Recommended: pip install sacremoses")
            tokenizer = AutoTokenizer.from_pretrained(**source.arguments())
            loaded = AutoModelForSeq2SeqLM.from_pretrained(
                **source.arguments(),
                **placement.arguments(),
                dtype=getattr(torch, choice.dtype),
                use_safetensors=True,  # never a pickle, from the Hub neither
                output_loading_info=True,
            )
    except Exception as error:
        # As in loading.py: files of strangers fail in many ways, and each means that this model cannot be loaded.
        raise InputError("model_load_failed", model=source.reference, reason=first_line(error)) from error
    model, report = loaded
    if missing := sorted(report["missing_keys"]):  # transformers fills them with random numbers and goes on
        raise InputError(
            "model_weights_missing", model=source.reference, count=len(missing), names=", ".join(missing[:3])
        )
    return model.eval().requires_grad_(False), tokenizer


def ending_tokens(said: Any, tokenizer: Any) -> frozenset[int]:
    """Tokens that end a reply: the generation config's, and the tokenizer's own."""
    configured = said.eos_token_id
    tokens = {*(configured if isinstance(configured, list) else [configured]), tokenizer.eos_token_id}
    return frozenset(token for token in tokens if token is not None)
