"""Layers of adapters inside a model in memory: put in, switched for a batch or for some of its rows, taken out again.

PEFT puts the layers in and computes them. What it lacks for serving is done here: a base model that is bitwise itself
whenever no adapter is in force, whatever an adapter's file brought along; rows of one batch under different adapters
without hundreds of hooks for each token; and a failed load that leaves nothing behind.
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipelines.engines.adapters.config import adapter_config
from pipelines.engines.adapters.rows import Rows, adds_to_rows, lora_layers
from pipelines.engines.loading import first_line
from pipelines.errors import InputError

__all__ = ["AdapterLayers", "Layers"]


@dataclass(frozen=True, eq=False)
class Layers:
    """What one adapter has in the model.

    Attributes:
        key: Its name inside PEFT.
        kind: ``LORA``, ``DORA`` or another of PEFT's kinds.
        mixable: Whether its rows may share a batch with the base model's and with those of other mixable adapters.
        changes: Parameters of the base model that it replaces while it is in force: (module, attribute, values).
    """

    key: str
    kind: str
    mixable: bool = False
    changes: tuple[tuple[Any, str, Any], ...] = ()


class AdapterLayers:
    """The adapters' layers in one model. Whoever calls must hold the model's lock.

    Args:
        model: A model of transformers, in inference; changed in place.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._peft: Any = None
        self._count = 0
        self._active: Layers | None = None
        self._replaced: list[tuple[Any, str, Any]] = []

    def add(self, path: Path) -> Layers:
        """Put an adapter's layers in, switched off.

        Raises:
            InputError: One sentence why it cannot be; the model is as it was.
        """
        from peft import PeftModel

        self.switch(None)
        self._count += 1
        key = f"cinquain{self._count}"  # PEFT takes no dots in a name, and none that is part of "lora_"
        try:
            config = adapter_config(path, self._model, self._peft.peft_type.value if self._peft else None)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of tied weights and checkpoints: they speak to who trains
                if self._peft is None:
                    self._peft = PeftModel(self._model, config, key)
                else:
                    self._peft.add_adapter(key, config)
            changes = self._fill(key, path)
            self._model.eval()
            self._enable(False)
            kind = "DORA" if getattr(config, "use_dora", False) else str(config.peft_type.value)
            layers = Layers(key, kind, False, changes)
            self.switch(layers)
            # Runs the model once, so that an adapter that cannot run fails now and not under somebody's request.
            mixable = adds_to_rows(self._model, key) and not changes
            self.switch(None)
            return replace(layers, mixable=mixable)
        except Exception as error:
            if self._active:
                self.switch(None)
            self._take_out(key)
            code = "adapter_load_failed" if self._peft is None else "adapter_load_failed_beside"
            if isinstance(error, InputError):
                raise
            # Adapters of strangers fail in many ways, and each means the same: this one does not fit this model.
            raise InputError(code, adapter=str(path), reason=first_line(error)) from error

    def remove(self, layers: Layers) -> None:
        """Take an adapter's layers out; with the last one the model is what it was before the first."""
        self.switch(None)
        self._take_out(layers.key)

    def switch(self, layers: Layers | None) -> None:
        """Put one adapter in force for all rows, or none."""
        if layers is self._active:
            return
        from torch import no_grad

        with no_grad():
            for module, attribute, values in self._replaced:
                _set(module, attribute, values)
            self._replaced, self._active = [], None
            self._enable(layers is not None)
            if layers is None:
                return
            self._peft.base_model.set_adapter(layers.key, inference_mode=True)
            for module, attribute, values in layers.changes:
                self._replaced.append((module, attribute, getattr(module, attribute).detach().clone()))
                _set(module, attribute, values)
        self._active = layers

    @contextmanager
    def serving(self, rows: Sequence[Layers | None]) -> Iterator[Rows]:
        """Have each row of a batch answered by its own adapter; equal ones must be neighbours.

        Where they differ all must be mixable, and the batch must tell ``Rows.keep`` which rows stay.
        """
        state = Rows([row.key if row else None for row in rows])
        if rows[0] and not rows[0].mixable:
            self.switch(rows[0])
            yield state
            return
        self.switch(None)
        keys = {key for key in state.keys if key}
        # Once for the whole batch: PEFT's own way registers and removes them at every token. On SmolLM2-135M, eight
        # rows under two adapters and none, a pass took 131 ms so and 160 ms that way; switching takes 30 ms.
        hooks = [layer.register_forward_hook(state.add_to) for layer in lora_layers(self._model, keys)]
        try:
            yield state
        finally:
            for hook in hooks:
                hook.remove()

    def _enable(self, enabled: bool) -> None:
        from peft.tuners.lora.layer import LoraLayer
        from peft.tuners.tuners_utils import BaseTunerLayer
        from peft.utils.other import AuxiliaryTrainingWrapper
        from torch.nn import Linear

        for module in self._model.modules():
            if isinstance(module, BaseTunerLayer | AuxiliaryTrainingWrapper):
                module.enable_adapters(enabled)
                # What PEFT's forward does when it is switched off, without asking each of 200 layers at every token.
                module.__dict__.pop("forward", None)
                if not enabled and isinstance(module, LoraLayer) and isinstance(module.base_layer, Linear):
                    module.__dict__["forward"] = module.base_layer.__call__

    def _fill(self, key: str, path: Path) -> tuple[tuple[Any, str, Any], ...]:
        """Load the weights into the layers; returns what the file says of the base model's own parameters."""
        from peft.tuners.tuners_utils import BaseTunerLayer
        from peft.utils.other import AuxiliaryTrainingWrapper
        from peft.utils.save_and_load import load_peft_weights, set_peft_model_state_dict
        from torch import equal

        renamed = getattr(self._model, "_checkpoint_conversion_mapping", None)
        weights = load_peft_weights(str(path), device="cpu", key_mapping=renamed)
        whole = set()  # weights of modules that the adapter brings as a whole, under the names of the base's own
        for name, module in self._peft.named_modules():
            inner = getattr(module, "original_module", getattr(module, "base_layer", None))
            if isinstance(inner, AuxiliaryTrainingWrapper | BaseTunerLayer):
                raise TypeError(f"{name} is changed by another adapter in another way")
            if isinstance(module, AuxiliaryTrainingWrapper):
                whole |= {_plain(f"{name}.{each}") for each in module.adapter_state_dict_load_map(key)}
        base = {_plain(name): name for name, _ in self._model.named_parameters(remove_duplicate=False)}
        changes = []
        for name in [name for name in weights if _plain(name) in base and _plain(name) not in whole]:
            owner, _, attribute = base[_plain(name)].rpartition(".")
            module = self._model.get_submodule(owner)
            parameter, values = getattr(module, attribute), weights.pop(name)
            if values.shape != parameter.shape:
                raise ValueError(f"{name} has the shape {[*values.shape]}, and the model's own {[*parameter.shape]}")
            if not equal(values := values.to(parameter), parameter):  # PEFT saves unchanged embeddings, too
                changes.append((module, attribute, values))
        result = set_peft_model_state_dict(self._peft, weights, adapter_name=key)
        prefix = self._peft.base_model.prefix  # beside these only what is tied to other weights counts as missing
        missing = [name for name in result.missing_keys if f".{key}." in f"{name}." and prefix in name]
        if missing or result.unexpected_keys:
            names = [*result.unexpected_keys, *missing][:3]
            raise InputError(
                "adapter_weights_differ",
                adapter=str(path), missing=len(missing), unknown=len(result.unexpected_keys), names=names,
            )  # fmt: skip
        self._refresh_one_row_copies(key)
        return tuple(changes)

    def _refresh_one_row_copies(self, key: str) -> None:
        """Whole modules began as copies of the base's, with its bfloat16 weights; see ``one_row.py``."""
        from pipelines.engines.one_row import use_one_row_copies

        for module in self._model.modules():
            if key in getattr(module, "modules_to_save", {}):
                use_one_row_copies(module.modules_to_save[key], anew=True)

    def _take_out(self, key: str) -> None:
        """Take out what one adapter has in the model, however far loading it came."""
        from peft.tuners.tuners_utils import BaseTunerLayer
        from peft.utils.other import AuxiliaryTrainingWrapper

        gone: list[str] = []
        for name, module in list(self._model.named_modules()):
            if name.startswith(tuple(gone)) or not isinstance(module, BaseTunerLayer | AuxiliaryTrainingWrapper):
                continue
            if module._get_available_adapters() - {key}:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # that another adapter is in force now: all are switched off below
                    if isinstance(module, AuxiliaryTrainingWrapper):
                        module.delete_adapter(key, new_active_adapters=None)
                    else:
                        module.delete_adapter(key)
                continue
            whole = isinstance(module, AuxiliaryTrainingWrapper)
            parent, _, child = name.rpartition(".")
            original = module.original_module if whole else module.get_base_layer()
            setattr(self._model.get_submodule(parent), child, original)
            gone.append(f"{name}.")
        if self._peft is not None:
            self._peft.peft_config.pop(key, None)
            if self._peft.peft_config:
                self._enable(False)
                return
        self._peft = None
        self._model.__dict__.pop("peft_config", None)


def _plain(name: str) -> str:
    """The name of a parameter as the model without adapters has it."""
    return name.removeprefix("base_model.model.").replace(".base_layer", "").replace(".original_module", "")


def _set(module: Any, attribute: str, values: Any) -> None:
    from pipelines.engines.one_row import OneRowLinear, use_one_row_copies

    getattr(module, attribute).copy_(values)
    if isinstance(module, OneRowLinear):
        use_one_row_copies(module, anew=True)
