"""``TransformerModel`` in the Llama format, which transformers, vLLM and GGUF tools read without code of ours."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.models.transformer import NORM_EPSILON, TransformerModel

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM

__all__ = ["from_llama", "save_llama", "to_llama"]

_NAMES = {
    "attention_norm": "input_layernorm",
    "attention.query": "self_attn.q_proj",
    "attention.key": "self_attn.k_proj",
    "attention.value": "self_attn.v_proj",
    "attention.output": "self_attn.o_proj",
    "feed_forward_norm": "post_attention_layernorm",
    "feed_forward.gate": "mlp.gate_proj",
    "feed_forward.up": "mlp.up_proj",
    "feed_forward.down": "mlp.down_proj",
}
"""Parts of a layer here → in the Llama format."""


def to_llama(model: TransformerModel, context_length: int = 2048, **config: Any) -> "LlamaForCausalLM":
    """The same model as transformers' Llama: its logits are equal.

    Args:
        model: The model; its weights are copied.
        context_length: Tokens that it was trained to read at once.
        config: Anything else that ``LlamaConfig`` takes, such as ``eos_token_id``.
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    llama = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=model.embedding.num_embeddings,
            hidden_size=model.embedding.embedding_dim,
            intermediate_size=model.hidden_dim,
            num_hidden_layers=len(model.layers),
            num_attention_heads=model.num_heads,
            rms_norm_eps=NORM_EPSILON,
            rope_parameters={"rope_type": "default", "rope_theta": model.rope_base},
            max_position_embeddings=context_length,
            tie_word_embeddings=True,
            **config,
        )
    )
    llama.load_state_dict({_llama_name(name): weight for name, weight in model.state_dict().items()}, strict=False)
    llama.to(dtype=model.embedding.weight.dtype)  # type: ignore[call-arg]
    return llama.eval()


def from_llama(llama: "LlamaForCausalLM") -> TransformerModel:
    """A model of the Llama format as ours.

    Raises:
        ValueError: It has what ours has not: grouped heads, biases, an output matrix of its own, scaled positions.
    """
    config = llama.config
    rope: dict[str, Any] = dict(config.rope_parameters or {})
    lacking = [
        name
        for name, differs in {
            "grouped heads": config.num_key_value_heads != config.num_attention_heads,
            "biases": config.attention_bias or config.mlp_bias,
            "an output matrix of its own": not config.tie_word_embeddings,
            "scaled positions": rope.get("rope_type") != "default",
        }.items()
        if differs
    ]
    if lacking:
        raise ValueError(f"TransformerModel has no {', '.join(lacking)}")
    model = TransformerModel(
        config.vocab_size,
        config.hidden_size,
        config.num_attention_heads,
        config.num_hidden_layers,
        hidden_dim=config.intermediate_size,
        rope_base=rope["rope_theta"],
    )
    weights = llama.state_dict()
    model.load_state_dict({name: weights[_llama_name(name)] for name in model.state_dict()})
    return model.to(llama.dtype).eval()


def save_llama(model: TransformerModel, tokenizer: Any, folder: Path, context_length: int = 2048) -> None:
    """Write a folder that every part of the suite takes as ``--model``.

    Args:
        model: The model.
        tokenizer: Of transformers; its end of text becomes the model's.
        folder: Where to write.
        context_length: See ``to_llama``.
    """
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    to_llama(model, context_length, **ends).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _llama_name(name: str) -> str:
    if name == "embedding.weight":
        return "model.embed_tokens.weight"
    if name == "norm.weight":
        return "model.norm.weight"
    _, index, part = name.split(".", 2)
    part, _, kind = part.rpartition(".")
    return f"model.layers.{index}.{_NAMES[part]}.{kind}"
