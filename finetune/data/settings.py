"""Settings in YAML files: read as YAML 1.2 reads them, with paths relative to the file."""

import re
from functools import cache
from pathlib import Path
from typing import Any

__all__ = ["beside", "is_file_name", "model_beside", "read_value", "read_yaml"]


def read_yaml(text: str) -> Any:
    """The content of a YAML text.

    Raises:
        yaml.YAMLError: It is none.
        RecursionError: It is nested without end.
    """
    import yaml

    return yaml.load(text, _loader())


def read_value(text: str) -> Any:
    """A value as it stands on a command line: YAML where it is that, and else the text itself."""
    import yaml

    try:
        return read_yaml(text)
    except (yaml.YAMLError, RecursionError):
        return text


def beside(data: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The settings of a data preparation with their files named from the working folder.

    Args:
        data: Plain data with ``sources``, ``overlap`` and ``model``; sources may be bare paths. Not changed.
        folder: What relative paths in it are relative to: the folder of the file that says them.
    """
    found = dict(data)
    if isinstance(data.get("sources"), list):
        found["sources"] = [_source(source, folder) for source in data["sources"]]
    if isinstance(data.get("overlap"), list):
        found["overlap"] = [_from(folder, name) if name != "humaneval" else name for name in data["overlap"]]
    if "model" in data:
        found["model"] = model_beside(data["model"], folder)
    return found


def model_beside(model: Any, folder: Path) -> Any:
    """A model reference; the folder or file of that name beside the settings where there is one."""
    if isinstance(model, str) and "://" not in model and (folder / Path(model).expanduser()).exists():
        return str(folder / Path(model).expanduser())
    return model


def is_file_name(path: str) -> bool:
    """Whether a source names a file, and neither a data set of the Hub nor a set that ships."""
    return not path.startswith(("hub:", "shipped:"))


def _source(source: Any, folder: Path) -> Any:
    if isinstance(source, str):
        return {"path": _from(folder, source)}
    if isinstance(source, dict) and "path" in source:
        return {**source, "path": _from(folder, source["path"])}
    return source


def _from(folder: Path, path: Any) -> Any:
    return str(folder / Path(path).expanduser()) if isinstance(path, str) and is_file_name(path) else path


@cache
def _loader() -> Any:
    """A safe loader in which only true and false are truth values, as in YAML 1.2: ``no`` is Norwegian, not false."""
    import yaml

    class Loader(yaml.SafeLoader):
        """YAML 1.1 has 22 words for true and false, and reads dates."""

    kinds = ("tag:yaml.org,2002:bool", "tag:yaml.org,2002:timestamp")
    Loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag not in kinds]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    Loader.add_implicit_resolver(kinds[0], re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF"))
    return Loader
