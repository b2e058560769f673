"""The front matter of a Space's README, checked by rules of our own: the Hub checks it only when it is uploaded.

Rules: https://huggingface.co/docs/hub/spaces-config-reference, and what the Hub refused in public build logs.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipelines.errors import InputError

__all__ = ["check_card", "front_matter"]

_COLOURS = ("red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray")
_PYTHONS = ("3.10", "3.12")
_SHORT = 60
_KEYS = {
    "title", "emoji", "colorFrom", "colorTo", "sdk", "sdk_version", "python_version", "app_file", "short_description",
    "license", "suggested_hardware", "startup_duration_timeout", "models", "datasets", "tags", "thumbnail", "pinned",
    "header", "fullWidth", "disable_embedding", "hf_oauth", "hf_oauth_scopes", "hf_oauth_expiration_minutes",
    "preload_from_hub", "custom_headers", "base_path",
}  # fmt: skip
_NEEDED = ("title", "sdk", "sdk_version", "python_version", "app_file", "license")


def front_matter(text: str) -> dict[str, Any]:
    """The YAML between the first two lines of ``---``.

    Raises:
        ValueError: There is none, or it is no mapping.
    """
    import yaml

    found = re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)
    try:
        loaded = yaml.safe_load(found[1]) if found else None
    except yaml.YAMLError as error:
        raise ValueError(str(error).splitlines()[0]) from error
    if not isinstance(loaded, dict):
        raise ValueError("it must begin with a mapping between two lines of ---")
    return loaded


def check_card(path: Path, gradio: str) -> dict[str, Any]:
    """Check a README.

    Args:
        path: The file.
        gradio: The version that the Space is resolved and tried with.

    Returns:
        Its front matter.

    Raises:
        InputError: ``publish_card…``, with the line and what is wrong with it.
    """
    text = path.read_text(encoding="utf-8")
    try:
        found = front_matter(text)
    except ValueError as error:
        raise InputError("publish_card_form", path=path.name, problem=str(error)) from error
    for key, code, details in _problems(found, path.parent, gradio):
        lines = [number for number, line in enumerate(text.splitlines(), 1) if line.startswith(f"{key}:")]
        raise InputError(code, path=path.name, line=lines[0] if lines else 1, key=key, **details)
    return found


def _problems(card: dict[str, Any], folder: Path, gradio: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Keys, and what is wrong with them."""
    for key in _NEEDED:
        if not card.get(key):
            yield key, "publish_card_missing", {}
    for key in card:
        if key not in _KEYS:
            yield key, "publish_card_unknown", {}
    for key in ("sdk_version", "python_version"):
        if not isinstance(card[key], str):
            yield key, "publish_card_quotes", {"found": card[key]}
    allowed = {"sdk": ("gradio",), "sdk_version": (gradio,), "python_version": _PYTHONS}
    for key, known in {**allowed, "colorFrom": _COLOURS, "colorTo": _COLOURS}.items():
        if key in card and card[key] not in known:
            yield key, "publish_card_value", {"found": card[key], "known": known}
    if len(str(card.get("short_description", ""))) > _SHORT:
        yield "short_description", "publish_card_long", {"limit": _SHORT}
    if "emoji" in card and re.search(r"[\w\s]", str(card["emoji"])):
        yield "emoji", "publish_card_emoji", {"found": card["emoji"]}
    if not (folder / str(card["app_file"])).is_file():
        yield "app_file", "publish_card_app", {"found": card["app_file"]}
