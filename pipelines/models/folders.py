"""Check a model folder or an adapter folder before it is loaded: what is missing is named, pickles are refused."""

import json
from pathlib import Path
from typing import Any

from pipelines.errors import InputError

__all__ = [
    "PICKLE_SUFFIXES",
    "WEIGHT_INDEX",
    "check_adapter",
    "check_config",
    "check_folder",
    "has_tokenizer",
    "weight_files",
]

PICKLE_SUFFIXES = {".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"}

# Each line is enough for a tokenizer of transformers: fast, SentencePiece, byte-level BPE, WordPiece, Marian.
_TOKENIZERS = [
    {"tokenizer.json"},
    {"tokenizer.model"},
    {"spiece.model"},
    {"sentencepiece.bpe.model"},
    {"vocab.json", "merges.txt"},
    {"vocab.txt"},
    {"vocab.json", "source.spm", "target.spm"},
]
WEIGHT_INDEX = "model.safetensors.index.json"


def check_folder(folder: Path, reference: str) -> None:
    """Check that a folder holds a whole model in safetensors.

    Raises:
        InputError: ``model_is_adapter``, ``model_folder_gguf``, ``model_pickle``, ``model_missing_files``,
            ``model_bad_file``.
    """
    names = {path.name for path in folder.iterdir() if path.is_file()}
    missing = []
    if "config.json" not in names:
        if "adapter_config.json" in names:
            raise InputError("model_is_adapter", path=str(folder))
        if ggufs := sorted(name for name in names if name.lower().endswith(".gguf")):
            raise InputError("model_folder_gguf", path=str(folder), file=str(folder / ggufs[0]))
        missing.append("config.json")
    else:
        config = _read_json(folder / "config.json")
        if "model_type" not in config:
            raise InputError("model_bad_file", path=str(folder / "config.json"), problem="it names no model_type")
        if "auto_map" in config:  # asked only here, because what transformers knows takes seconds to import
            check_config(config, reference)
    if not has_tokenizer(names):
        missing.append("tokenizer.json")
    weights = _weights(folder, names)
    pickles = sorted(name for name in names if Path(name).suffix.lower() in PICKLE_SUFFIXES)
    if weights == ["model.safetensors"] and "model.safetensors" not in names and pickles:
        _refuse_pickle(folder, pickles)
    missing += [name for name in weights if not (folder / name).is_file()]
    if missing:
        raise InputError("model_missing_files", reference=reference, path=str(folder), files=missing)
    for name in weights:
        _check_safetensors(folder / name)


def has_tokenizer(names: set[str]) -> bool:
    """Whether these files are enough for one of transformers' tokenizers."""
    return any(files <= names for files in _TOKENIZERS)


def check_config(config: dict[str, Any], reference: str) -> None:
    """Check that the installed transformers has the architecture, so that no code of the model's own is needed.

    Raises:
        InputError: ``model_bad_config``, ``model_remote_code``, ``model_architecture_unknown``, or
            ``model_not_generative`` for one that makes no text (BERT is known, but answers nothing).
    """
    import transformers
    from transformers.models.auto import modeling_auto

    kind = config.get("model_type")
    if not isinstance(kind, str):
        raise InputError("model_bad_config", model=reference)
    if kind not in transformers.CONFIG_MAPPING:
        code = "model_remote_code" if "auto_map" in config else "model_architecture_unknown"
        raise InputError(code, model=reference, architecture=kind, version=transformers.__version__)
    makers = (
        modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        modeling_auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
    )
    if not any(kind in names for names in makers):
        raise InputError("model_not_generative", model=reference, architecture=kind)


def check_adapter(folder: Path) -> None:
    """Check that a folder holds a whole PEFT adapter in safetensors.

    Raises:
        InputError: ``adapter_is_model``, ``adapter_missing_files``, ``model_pickle``, ``model_bad_file``.
    """
    names = {path.name for path in folder.iterdir() if path.is_file()}
    if "adapter_config.json" not in names and "config.json" in names:
        raise InputError("adapter_is_model", path=str(folder))
    if "adapter_model.safetensors" not in names and "adapter_model.bin" in names:
        _refuse_pickle(folder, ["adapter_model.bin"])
    if missing := [name for name in ("adapter_config.json", "adapter_model.safetensors") if name not in names]:
        raise InputError("adapter_missing_files", path=str(folder), files=missing)
    if "peft_type" not in _read_json(folder / "adapter_config.json"):
        raise InputError("model_bad_file", path=str(folder / "adapter_config.json"), problem="it names no peft_type")
    _check_safetensors(folder / "adapter_model.safetensors")


def weight_files(folder: Path) -> list[str]:
    """File names of a model's weights, in order.

    Raises:
        InputError: ``model_bad_file`` for an index that names no shards, or files elsewhere.
    """
    return _weights(folder, {path.name for path in folder.iterdir()})


def _weights(folder: Path, names: set[str]) -> list[str]:
    """File names of the weights: one file, or every shard that the index names."""
    if "model.safetensors" in names or WEIGHT_INDEX not in names:
        return ["model.safetensors"]
    shards = _read_json(folder / WEIGHT_INDEX).get("weight_map")
    if not isinstance(shards, dict) or not shards:
        raise InputError("model_bad_file", path=str(folder / WEIGHT_INDEX), problem="it has no weight_map")
    listed = sorted({str(name) for name in shards.values()})
    for name in listed:
        # transformers joins these names to the folder: a hostile index could point anywhere.
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise InputError("model_bad_file", path=str(folder / WEIGHT_INDEX), problem=f"it names {name!r} as a shard")
    return listed


def _refuse_pickle(folder: Path, pickles: list[str]) -> None:
    raise InputError("model_pickle", path=str(folder), files=pickles)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_bytes())
    except ValueError as error:
        raise InputError("model_bad_file", path=str(path), problem=f"it is not JSON: {error}") from error
    if not isinstance(data, dict):
        raise InputError("model_bad_file", path=str(path), problem="it is not a JSON object")
    return data


def _check_safetensors(path: Path) -> None:
    """Read the header, which says how long the file must be."""
    from safetensors import SafetensorError, safe_open

    try:
        # "np" needs no torch, which takes seconds to import.
        with safe_open(path, framework="np"):
            pass
    except SafetensorError as error:
        raise InputError("model_bad_file", path=str(path), problem=str(error).rstrip(".")) from error
