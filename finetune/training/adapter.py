"""The model that is trained: a frozen base with an adapter of PEFT on it."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from finetune.recipe import AdapterConfig
from pipelines.engines.device import DeviceChoice
from pipelines.errors import InputError, nearest
from pipelines.models.source import ModelSource

__all__ = ["load_base", "with_adapter", "with_saved_adapter"]


def load_base(source: ModelSource, choice: DeviceChoice, *, sharded: bool = False) -> Any:
    """The base model, frozen, as serving loads it.

    Args:
        source: Where it is.
        choice: Device, number format and quantization.
        sharded: It is going to be divided among GPUs, and is loaded into main memory first.

    Raises:
        InputError: It cannot be loaded, with the reason.
    """
    from pipelines.engines.loading import load_model
    from pipelines.engines.placement import Placement
    from pipelines.engines.seq2seq.loading import is_encoder_decoder

    placement = Placement(("cpu",) if sharded and not choice.quantization else (choice.device,))
    return load_model(source, choice, placement, encoder_decoder=is_encoder_decoder(source))[0]


def with_adapter(model: Any, source: ModelSource, config: AdapterConfig, seed: int) -> Any:
    """The model with a fresh adapter; nothing else of it can be trained.

    Args:
        model: The base.
        source: Where it is; the adapter names it.
        config: Kind, rank, targets.
        seed: Of the adapter's first weights.

    Raises:
        InputError: ``adapter_target_missing`` for a module that the model does not have.
    """
    import torch
    from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training
    from transformers.pytorch_utils import Conv1D

    if isinstance(config.targets, list):
        kinds = (torch.nn.Linear, Conv1D)  # GPT-2 has linear layers of its own
        linear = {name for name, module in model.named_modules() if isinstance(module, kinds)}
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
    with _quiet():
        # Weights of the adapter stay in float32 whatever the base has: steps of 1e-4 are lost in bfloat16's 8 bits.
        trained = get_peft_model(model, lora, autocast_adapter_dtype=True)
    # What a person wrote, never the folder of this machine's cache that it stands for.
    lora.base_model_name_or_path, lora.revision = source.hub_id or source.reference, source.revision
    return trained


def with_saved_adapter(model: Any, adapter: Path) -> Any:
    """The model with an adapter that was trained before, to be judged or merged.

    Args:
        model: The base.
        adapter: Folder of the adapter.
    """
    from peft import PeftModel

    with _quiet():
        return PeftModel.from_pretrained(model, str(adapter)).eval()


@contextmanager
def _quiet() -> Iterator[None]:
    """PEFT asks transformers by a name that is going to change (``is_gradient_checkpointing``, 5.23)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield
