"""What a person says on the command line of ``cinquain data`` as a configuration: files and flags, or a YAML file."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from apps.cli.run import parse_settings

if TYPE_CHECKING:
    from finetune.data import DataConfig, Source

__all__ = ["Flags", "configuration", "parse_pairs", "single_source"]

_OVERRIDE = re.compile(r"[a-z_]+(\.[a-z_0-9]+)*=")
_NEXT_PAIR = re.compile(r",(?=\s*[\w.]+\s*=)")
_OWN_ENDINGS = {".yaml", ".yml"}


@dataclass(frozen=True)
class Flags:
    """Options that say something of the data.

    Attributes:
        task: Name of the task.
        model: Reference of the model that will read the rows.
        columns: ``field=column`` words.
        values: ``field=value`` words.
        group: Column whose rows belong together.
        limit: Most records of each file.
        validation: Files that go to validation as a whole.
        test: Files that go to test as a whole.
    """

    task: str | None = None
    model: str | None = None
    columns: Sequence[str] = ()
    values: Sequence[str] = ()
    group: str | None = None
    limit: int | None = None
    validation: Sequence[str] = ()
    test: Sequence[str] = field(default=())

    @property
    def of_files(self) -> list[str]:
        """Names of the options given that speak of single files, which a YAML file describes itself."""
        names = ("columns", "values", "group", "limit", "validation", "test")
        return [f"--{name}" for name in names if getattr(self, name)]


def configuration(words: Sequence[str], flags: Flags) -> "DataConfig":
    """The configuration that a command line means.

    Args:
        words: Files of rows, or one YAML file; and ``key=value`` with dots for what lies deeper: ``split.test=0.1``.
        flags: Options.

    Raises:
        InputError: No files, files and a YAML file, a key that does not exist (with the nearest ones), a wrong value.
    """
    from finetune.data import DataConfig
    from pipelines.errors import InputError
    from pipelines.requests import validate

    overrides = [word for word in words if _OVERRIDE.match(word) and not Path(word).exists()]
    files = [word for word in words if word not in overrides]
    own = [word for word in files if Path(word).suffix.lower() in _OWN_ENDINGS]
    if not own:
        data = _from_files(files, flags)
    elif len(files) > 1:
        raise InputError("data_cli_one_file", path=own[0])
    elif flags.of_files:
        raise InputError("data_cli_flag_and_file", path=own[0], options=flags.of_files)
    else:
        data = _from_yaml(Path(own[0]))
    for name, value in {"task": flags.task, "model": flags.model}.items():
        if value is not None:
            data[name] = value
    for name, value in _overrides(overrides).items():
        _put(data, name, value)
    _check_keys(data)
    if not data.get("task"):
        raise InputError("data_cli_no_task", tasks=_tasks())
    if not data.get("sources"):
        raise InputError("data_cli_no_files")
    return validate(DataConfig, data, "data")


def single_source(path: str, flags: Flags) -> "Source":
    """The source that one file and its options mean."""
    from finetune.data import Source
    from pipelines.requests import validate

    return validate(Source, _source(path, flags), "data")


def parse_pairs(words: Sequence[str], option: str) -> dict[str, Any]:
    """``{"text": "source", "reply": "target"}`` from ``["text=source,reply=target"]``; a value may hold commas.

    Raises:
        InputError: No ``=``, or the same name twice.
    """
    return parse_settings([pair.strip() for word in words for pair in _NEXT_PAIR.split(word)], option)


def _from_files(files: Sequence[str], flags: Flags) -> dict[str, Any]:
    from pipelines.errors import InputError

    if not files:
        raise InputError("data_cli_no_files")
    sources = [_source(path, flags) for path in files]
    sources += [_source(path, flags, use="validation") for path in flags.validation]
    sources += [_source(path, flags, use="test") for path in flags.test]
    names = [_short(source["path"]) for source in sources]
    for source, name in zip(sources, names, strict=True):
        if names.count(name) > 1:  # fr/train.jsonl and de/train.jsonl
            source["name"] = source["path"]
    data: dict[str, Any] = {"sources": sources}
    if flags.validation:
        data["split"] = {"validation": 0.0}  # it is there: none has to be taken from the other rows
    return data


def _source(path: str, flags: Flags, **more: Any) -> dict[str, Any]:
    source: dict[str, Any] = {"path": _expanded(path), **more}
    if flags.columns:
        source["columns"] = parse_pairs(flags.columns, "--columns")
    if flags.values:
        source["values"] = parse_pairs(flags.values, "--values")
    given = {"group": flags.group, "limit": flags.limit}
    return source | {name: value for name, value in given.items() if value is not None}


def _expanded(path: str) -> str:
    from finetune.data.settings import is_file_name

    return str(Path(path).expanduser()) if is_file_name(path) else path


def _short(path: str) -> str:
    from finetune.data.settings import is_file_name

    return Path(path).name if is_file_name(path) else path


def _from_yaml(path: Path) -> dict[str, Any]:
    """The keys of a file; paths in it are relative to it."""
    import yaml

    from finetune.data.settings import beside, read_yaml
    from pipelines.errors import InputError

    try:
        data = read_yaml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        problem = (isinstance(error, OSError) and error.strerror) or " ".join(str(error).split())
        raise InputError("data_cli_yaml", path=str(path), problem=problem) from error
    if not isinstance(data, dict) or not all(isinstance(name, str) for name in data):
        raise InputError("data_cli_yaml_keys", path=str(path))
    return beside(data, path.parent)


def _overrides(words: Sequence[str]) -> dict[str, Any]:
    from finetune.data.settings import read_value
    from pipelines.errors import InputError

    found: dict[str, Any] = {}
    for word in words:
        name, _, raw = word.partition("=")
        if name in found:
            raise InputError("cli_set_twice", field=name)
        found[name] = read_value(raw)
    return found


def _put(data: dict[str, Any], name: str, value: Any) -> None:
    """Set a value that a dotted name leads to; a number leads into a list: ``sources.0.weight``."""
    place: Any = data
    *parents, last = name.split(".")
    for parent, child in zip(parents, [*parents, last][1:], strict=True):
        if isinstance(place, list):
            inner = place[int(parent)] if parent.isdecimal() and int(parent) < len(place) else None
        else:
            inner = place.get(parent)
            if not isinstance(inner, dict | list):
                inner = place[parent] = {}
        if not isinstance(inner, dict | list) or (isinstance(inner, list) and not child.isdecimal()):
            raise _unknown(name)
        place = inner
    if isinstance(place, list):
        raise _unknown(name)
    lists = name in ("languages", "overlap")
    place[last] = value.split(",") if lists and isinstance(value, str) else value


def _check_keys(data: dict[str, Any]) -> None:
    """See that every key exists, before pydantic, whose complaint would not know the nearest ones below the top."""
    from finetune.data import DataConfig, Source

    for name, value in data.items():
        if name not in DataConfig.model_fields:
            raise _unknown(name)
        if name in _parts() and isinstance(value, dict):
            for inner in value:
                if inner not in _parts()[name].model_fields:
                    raise _unknown(f"{name}.{inner}")
    sources = data.get("sources")
    for place, source in enumerate(sources if isinstance(sources, list) else []):
        for inner in source if isinstance(source, dict) else ():
            if inner not in Source.model_fields:
                raise _unknown(f"sources.{place}.{inner}")


def _parts() -> dict[str, Any]:
    from finetune.data import Duplicates, Lengths, Split

    return {"split": Split, "lengths": Lengths, "duplicates": Duplicates}


def _unknown(name: str) -> Exception:
    from finetune.data import DataConfig, Source
    from pipelines.errors import InputError, nearest

    known = list(DataConfig.model_fields)
    known += [f"{part}.{field}" for part, kind in _parts().items() for field in kind.model_fields]
    known += [f"sources.0.{field}" for field in Source.model_fields]
    return InputError("data_cli_key", found=name, nearest=nearest(name, known))


def _tasks() -> list[str]:
    from pipelines import TASKS

    return list(TASKS)
