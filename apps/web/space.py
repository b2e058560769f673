"""The app as a Gradio Space serves it; the ``app.py`` of each Space in ``spaces/`` is one call of ``launch_space``."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from apps.web.app import PAGES, SERVED, build_demo
from apps.web.zero_gpu import is_zero_gpu
from pipelines import DEFAULT_MODEL
from pipelines.models.hub.errors import endpoint

__all__ = ["SETTINGS", "SpaceSettings", "adapter_folder", "launch_space"]

SETTINGS = "space.json"


class SpaceSettings(BaseModel):
    """What a Space serves: the file ``space.json`` beside its ``app.py``, which ``cinquain publish`` writes.

    Attributes:
        schema_version: Of this file.
        cinquain: Version of Cinquain that the Space was made with.
        model: Model reference: a Hub id with its revision; on a laptop any other.
        adapter: Hub id of an adapter with its revision (``org/name@revision``), or its folder.
        language: Of the page, ``en`` or ``zh``.
        engine: Options of the engine.
    """

    model_config = ConfigDict(extra="forbid")

    schema_version: int = 1
    cinquain: str = ""
    model: str = DEFAULT_MODEL
    adapter: str | None = None
    language: str = "en"
    engine: dict[str, Any] = {}


def launch_space(app_file: str, pages: Iterable[str] = PAGES) -> None:
    """Serve a Space until it is ended.

    It listens where the Space's environment says (``GRADIO_SERVER_NAME``, ``GRADIO_SERVER_PORT``), which Hugging Face
    sets; without that, on this machine only.

    Args:
        app_file: ``__file__`` of its ``app.py``; ``space.json`` lies beside it, or nowhere: then it serves the embedded
            model.
        pages: Which of ``PAGES``.
    """
    path = Path(app_file).resolve().parent / SETTINGS
    settings = SpaceSettings.model_validate_json(path.read_bytes()) if path.is_file() else SpaceSettings()
    adapter = settings.adapter and adapter_folder(settings.adapter)
    options = {**settings.engine, **({"device": "cuda"} if is_zero_gpu() else {})}
    demo = build_demo(settings.model, adapter, options=options, language=settings.language, pages=tuple(pages))
    from apps.web.security import middleware
    from apps.web.theme import CSS, theme

    public = "SPACE_ID" in os.environ
    demo.launch(
        server_name=None if public else "127.0.0.1", theme=theme(), css=CSS,
        app_kwargs={"middleware": middleware(space=public)}, **SERVED,
    )  # fmt: skip


def adapter_folder(reference: str) -> str:
    """The folder of an adapter, fetched from the Hub where it is an id of it."""
    if Path(reference).is_dir():
        return reference
    from huggingface_hub import snapshot_download

    name, _, revision = reference.partition("@")
    return snapshot_download(name, revision=revision or None, endpoint=endpoint())
