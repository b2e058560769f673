"""Which models have an encoder and a decoder, told before torch is imported, and which tokens end their replies."""

import json
from typing import Any

from pipelines.models.families import MODEL_TYPES
from pipelines.models.source import ModelSource

__all__ = ["ending_tokens", "is_encoder_decoder"]


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


def ending_tokens(said: Any, tokenizer: Any) -> frozenset[int]:
    """Tokens that end a reply: the generation config's, and the tokenizer's own."""
    configured = said.eos_token_id
    tokens = {*(configured if isinstance(configured, list) else [configured]), tokenizer.eos_token_id}
    return frozenset(token for token in tokens if token is not None)
