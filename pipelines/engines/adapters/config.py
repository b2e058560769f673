"""Which adapters can be served beside others on one base model: what PEFT's config says, before anything is loaded."""

from pathlib import Path
from typing import Any

from pipelines.errors import InputError

__all__ = ["adapter_config"]

_PLAIN_INITIALISATIONS = (True, False, "gaussian", "orthogonal", "eva")
"""The others (PiSSA, OLoRA, CorDA, LoftQ…) subtract something from the base model's weights as they are put in."""


def adapter_config(path: Path, model: Any, loaded: str | None) -> Any:
    """The config of an adapter that can be put into a model and taken out again.

    Args:
        path: Its folder.
        model: The model.
        loaded: Kind of the adapters that are in it already.

    Raises:
        InputError: ``adapter_kind``, ``adapter_kinds_differ``, ``adapter_unsupported`` or ``adapter_offloaded``.
    """
    from peft import PeftConfig
    from peft.mapping import PEFT_TYPE_TO_TUNER_MAPPING
    from peft.tuners.tuners_utils import BaseTuner

    config: Any = PeftConfig.from_pretrained(str(path))
    kind = config.peft_type.value
    tuner = PEFT_TYPE_TO_TUNER_MAPPING.get(config.peft_type, object)
    if config.is_prompt_learning or config.is_adaption_prompt or not issubclass(tuner, BaseTuner):
        raise InputError("adapter_kind", adapter=str(path), found=kind)
    if loaded and loaded != kind:
        raise InputError("adapter_kinds_differ", adapter=str(path), found=kind, loaded=loaded)
    if (how := getattr(config, "init_lora_weights", True)) not in _PLAIN_INITIALISATIONS:
        raise InputError("adapter_unsupported", adapter=str(path), found=f"init_lora_weights={how}")
    if getattr(config, "alora_invocation_tokens", None):  # needs PEFT's own generate; would be off in silence
        raise InputError("adapter_unsupported", adapter=str(path), found="activated LoRA (alora_invocation_tokens)")
    if any(parameter.is_meta for parameter in model.parameters()):
        raise InputError("adapter_offloaded", model=getattr(model.config, "name_or_path", "") or "-")
    config.inference_mode = True
    if hasattr(config, "bias"):
        config.bias = "none"  # AdapterLayers takes them from the file; PEFT would write them into the base for good
    return config
