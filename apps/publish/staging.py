"""A Space as it would be uploaded: complete in itself, and nothing else."""

import json
import shutil
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from apps.publish.closure import ROOT, import_closure
from apps.publish.requirements import requirements
from apps.web.space import SETTINGS, SpaceSettings
from pipelines.errors import InputError, nearest
from pipelines.home import disk_errors

__all__ = ["SPACES", "Staged", "spaces", "stage"]

SPACES = ROOT / "spaces"


@dataclass(frozen=True)
class Staged:
    """A staged Space.

    Attributes:
        folder: Where it lies.
        files: Size of each file in bytes, by its path in the Space.
    """

    folder: Path
    files: dict[str, int]

    @property
    def bytes(self) -> int:
        """Size of all files."""
        return sum(self.files.values())


def spaces() -> list[str]:
    """Names of the Spaces that there are."""
    return sorted(path.parent.name for path in SPACES.glob("*/app.py"))


def stage(
    space: str,
    folder: Path,
    *,
    model: str,
    adapter: str | None = None,
    language: str = "en",
    hardware: str = "cpu-basic",
    engine: dict[str, Any] | None = None,
) -> Staged:
    """Write a Space into an empty folder: ``app.py``, card, requirements, settings, licence, and our code it imports.

    Args:
        space: One of ``spaces()``.
        folder: Is emptied first.
        model: Model reference as the Space will resolve it.
        adapter: Hub id of an adapter, or None.
        language: Of the page.
        hardware: Flavour of the Hub, such as ``cpu-basic`` or ``zero-a10g``.
        engine: Options of the engine.

    Raises:
        InputError: ``publish_space``: there is no such Space.
        CinquainError: The disk is full.
    """
    app = SPACES / space / "app.py"
    if space not in spaces():
        raise InputError("publish_space", found=space, known=spaces(), nearest=nearest(space, spaces()))
    closure = import_closure(app)
    settings = SpaceSettings(
        cinquain=version("cinquain"), model=model, adapter=adapter, language=language, engine=engine or {}
    )
    with disk_errors(folder):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name in ("app.py", "README.md"):
            shutil.copyfile(SPACES / space / name, folder / name)
        shutil.copyfile(ROOT / "LICENSE", folder / "LICENSE")
        for path in closure.files:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / path, folder / path)
        (folder / "requirements.txt").write_text(requirements(closure.libraries, hardware), encoding="utf-8")
        (folder / SETTINGS).write_text(json.dumps(settings.model_dump(), indent=1) + "\n", encoding="utf-8")
        readme = (folder / "README.md").read_text(encoding="utf-8")
        (folder / "README.md").write_text(_with_facts(readme, model, hardware), encoding="utf-8")
    files = {str(path.relative_to(folder)): path.stat().st_size for path in sorted(folder.rglob("*")) if path.is_file()}
    return Staged(folder, files)


def _with_facts(readme: str, model: str, hardware: str) -> str:
    """The card with what is known only now: the model and the hardware, as the last lines of its front matter."""
    head, mark, body = readme.partition("\n---\n")
    name = model.partition("@")[0]
    facts = f"\nsuggested_hardware: {hardware}"
    if "/" in name and "://" not in name:
        facts += f"\nmodels:\n  - {name}"
    return head + facts + mark + body
