"""What a Space installs: our libraries in the versions that were tried, and the proof that they can be had together."""

import os
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from apps.publish.closure import ROOT
from pipelines.errors import CinquainError, InputError

__all__ = ["gradio_version", "install_line", "requirements", "resolve"]

PYTHON = "3.12"
_IMPLICIT = {"accelerate", "language-data", "protobuf", "sacremoses", "sentencepiece"}
"""Libraries that no file of ours imports: transformers does, by the kind of model, and langcodes for names."""
_CPU_INDEX = "--extra-index-url https://download.pytorch.org/whl/cpu"
"""A torch without CUDA, a tenth of the size, where the hardware has no GPU."""


def _pins() -> dict[str, str]:
    """Versions by the names of packages, from ``spaces/constraints.txt``."""
    lines = (ROOT / "spaces" / "constraints.txt").read_text(encoding="utf-8").splitlines()
    found = [re.fullmatch(r"([A-Za-z0-9_.-]+)==(\S+)", line.partition("#")[0].strip()) for line in lines]
    return {_normal(match[1]): match[2] for match in found if match}


def gradio_version() -> str:
    """The version of Gradio that Spaces are made with."""
    return _pins()["gradio"]


def requirements(libraries: frozenset[str], hardware: str) -> str:
    """The ``requirements.txt`` of a Space.

    Args:
        libraries: Names under which it imports what is not ours.
        hardware: ``zero-a10g`` brings its own torch; a name that begins with ``cpu`` has no GPU.
    """
    from importlib.metadata import packages_distributions

    installed = packages_distributions()
    named = {_normal(each) for library in libraries for each in installed.get(library, [library])}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    ours = {_normal(re.split(r"[<>=\[;, ]", line)[0]) for line in project}
    # Gradio comes by sdk_version; another version here would make the build fail.
    wanted = sorted((named | _IMPLICIT) & ours - {"gradio", "torch"})
    pins = _pins()
    lines = [f"{name}=={pins[name]}" for name in wanted]
    if not hardware.startswith("zero"):
        lines.append(f"torch=={pins['torch']}")
    if hardware.startswith("cpu"):
        lines.insert(0, _CPU_INDEX)
    return "\n".join(lines) + "\n"


def install_line(gradio: str) -> list[str]:
    """What a Space's build installs beside ``requirements.txt``, in the same resolution (seen in build logs, 2026)."""
    return [f"gradio[oauth,mcp]=={gradio}", "uvicorn>=0.14.0", "websockets>=10.4", "spaces"]


def resolve(folder: Path, hardware: str) -> list[str]:
    """Resolve a staged Space for its Python on Linux, without installing anything.

    Args:
        folder: The staged Space.
        hardware: As in ``requirements``.

    Returns:
        The pins that the build will arrive at, as far as they are ours to know.

    Raises:
        CinquainError: ``publish_resolve`` with the reason; ``publish_index`` where the package index cannot be reached.
        InputError: ``publish_uv``: uv is not there.
    """
    lines = [line for line in (folder / "requirements.txt").read_text().splitlines() if not line.startswith("--")]
    if hardware.startswith("zero"):
        lines.append("torch>=2.8,<2.12")  # what ZeroGPU offers
    call = [_uv(), "pip", "compile", "-", "--python-version", PYTHON, "--python-platform", "x86_64-unknown-linux-gnu",
            "--constraints", str(ROOT / "spaces" / "constraints.txt"), "--no-header", "--no-annotate", "--quiet",
            "--no-config"]  # fmt: skip
    text = "\n".join([*lines, *install_line(gradio_version())]) + "\n"
    with tempfile.TemporaryDirectory() as place:
        done = subprocess.run(call, input=text, capture_output=True, text=True, cwd=place, env=_environment())
    if done.returncode == 0:
        return [line for line in done.stdout.splitlines() if line and line[0] not in "#-"]
    said = [line.strip(" ×╰─▶│├") for line in done.stderr.splitlines() if line.strip()]
    lost = any(word in done.stderr for word in ("error sending request", "Failed to fetch", "dns error"))
    raise CinquainError("publish_index" if lost else "publish_resolve", problem=" ".join(said)[:600])


def _uv() -> str:
    beside = Path(sys.executable).with_name("uv.exe" if os.name == "nt" else "uv")
    if beside.is_file():
        return str(beside)
    try:
        from uv import find_uv_bin
    except ImportError as error:
        raise InputError("publish_uv") from error
    return str(find_uv_bin())


def _environment() -> dict[str, str]:
    """The environment, with pip's index for uv, which does not read pip's settings; never in the command line."""
    own = dict(os.environ)
    if (index := own.get("PIP_INDEX_URL")) and "UV_DEFAULT_INDEX" not in own:
        own["UV_DEFAULT_INDEX"] = index
    return own


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
