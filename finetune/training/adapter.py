"""The model that is trained: a frozen base with an adapter of PEFT on it."""

from typing import Any

from finetune.recipe import AdapterConfig
from pipelines.engines.device import DeviceChoice
from pipelines.errors import InputError, nearest
from pipelines.models.source import ModelSource

__all__ = ["load_base", "with_adapter"]


def load_base(source: ModelSource, choice: DeviceChoice, quantization: str | None = None) -> Any:
    """The base model, frozen, with its weights in the number format of ``choice``.

    Raises:
        InputError: ``quantization_device`` or ``quantization_package``.
    """
    import torch
    import transformers

    from pipelines.engines.seq2seq.loading import is_encoder_decoder

    kind = transformers.AutoModelForSeq2SeqLM if is_encoder_decoder(source) else transformers.AutoModelForCausalLM
    dtype = getattr(torch, choice.dtype)
    options: dict[str, Any] = {"dtype": dtype}
    if quantization == "4bit":
        options["quantization_config"] = transformers.BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        )
    elif quantization == "8bit":
        options["quantization_config"] = transformers.BitsAndBytesConfig(load_in_8bit=True)
    if quantization:
        options["device_map"] = {"": choice.device}
    model = kind.from_pretrained(**source.arguments(), **options)
    model.config.use_cache = False
    return model


def with_adapter(model: Any, config: AdapterConfig, seed: int) -> Any:
    """The model with a fresh adapter; nothing else of it can be trained.

    Args:
        model: The base.
        config: Kind, rank, targets.
        seed: Of the adapter's first weights.

    Raises:
        InputError: ``adapter_target_missing`` for a module that the model does not have.
    """
    import torch
    from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training

    if isinstance(config.targets, list):
        linear = {name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
        names = {name.rpartition(".")[2] for name in linear}
        for target in config.targets:
            if not any(name == target or name.endswith(f".{target}") for name in linear):
                raise InputError("adapter_target_missing", target=target, nearest=nearest(target, sorted(names)))
    if config.quantization:
        model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    torch.manual_seed(seed)
    lora = LoraConfig(
        task_type="SEQ_2_SEQ_LM" if model.config.is_encoder_decoder else "CAUSAL_LM",
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        target_modules=config.targets,
        use_rslora=config.kind == "rslora",
        use_dora=config.kind == "dora",
    )
    # Weights of the adapter stay in float32 whatever the base has: steps of 1e-4 are lost in bfloat16's 8 bits.
    return get_peft_model(model, lora, autocast_adapter_dtype=True)
