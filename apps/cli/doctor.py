"""``cinquain doctor``: what this machine has, what is missing, and the line that fixes it."""

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Annotated, Literal

import typer

from apps.cli.network import index_address, reachable
from apps.cli.terminal import Language, console, sanitize, say, to_json

__all__ = ["Check", "app", "examine"]

SCHEMA_VERSION = 1

_SHOWN_LIBRARIES = (
    "torch",
    "transformers",
    "tokenizers",
    "peft",
    "accelerate",
    "gradio",
    "huggingface-hub",
    "pydantic",
)
_GIGABYTE = 1e9
# The embedded model takes 0.73 GB while it is converted (wheel, GGUF, safetensors), 1.1 GB of memory while it runs.
_DISK_FOR_MODEL = 1.0 * _GIGABYTE
_MEMORY_FOR_MODEL = 1.5 * _GIGABYTE

app = typer.Typer(add_completion=False)


@dataclass(frozen=True)
class Check:
    """One line of the report.

    Attributes:
        name: What was looked at.
        state: ``ok``; ``optional``: absent, and something works without it; ``missing``: needed.
        value: What was found.
        fix: The line to type or the thing to do, "" where nothing is to be done.
    """

    name: str
    state: Literal["ok", "optional", "missing"]
    value: str
    fix: str = ""


@app.command()
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Make no network call.")] = False,
    lang: Language = None,
) -> int:
    """Show versions, device, memory, disk, cache, what is reachable, and what is missing."""
    checks = []
    screen = console()
    for check in examine(offline=offline):
        checks.append(check)
        if not as_json:
            mark, style = {"ok": ("✓", "green"), "optional": ("–", "yellow"), "missing": ("✗", "bold red")}[check.state]
            screen.print(f"{mark} ", style=style, end="")
            screen.print(f"{say(f'doctor_{check.name}')}: {sanitize(check.value)}", soft_wrap=True)
            if check.fix:
                screen.print(f"    {check.fix}", style="cyan", soft_wrap=True)
    healthy = all(check.state != "missing" for check in checks)
    if as_json:
        report = {"schema_version": SCHEMA_VERSION, "ok": healthy, "checks": [asdict(check) for check in checks]}
        typer.echo(to_json(report, indent=2))
    else:
        screen.print(say("doctor_well" if healthy else "doctor_ill"), style="bold")
    return 0 if healthy else 1


def examine(*, offline: bool = False) -> Iterator[Check]:
    """All checks, one after another, the quick ones first."""
    yield _python()
    yield from _libraries()
    yield from _device()
    yield _processor()
    yield _memory()
    yield from _cache()
    yield _keys()
    yield from _network(offline)
    for program, package, purpose in (
        (("chromium", "chromium-browser", "google-chrome"), "chromium", "doctor_for_browser_tests"),
        (("bwrap",), "bubblewrap", "doctor_for_sandbox"),
        (("make",), "make", "doctor_for_make"),
        (("git",), "git", "doctor_for_git"),
    ):
        yield _program(program, package, purpose)
    yield _sandbox()


def _python() -> Check:
    value = f"{platform.python_version()} ({platform.system()} {platform.machine()}, {sys.executable})"
    return Check("python", "ok", value)


def _libraries() -> Iterator[Check]:
    """The versions that matter, and everything that pyproject.toml asks for and is absent or of another version."""
    from packaging.requirements import Requirement

    versions = {name: _version(name) for name in _SHOWN_LIBRARIES}
    shown = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    fix = f"{sys.executable} -m pip install -c constraints.txt -e ."
    try:
        requirements = [Requirement(line) for line in metadata.requires("cinquain") or ()]
    except metadata.PackageNotFoundError:
        requirements = []
    wrong = []
    for requirement in requirements:
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        found = _version(requirement.name)
        if found is None or not requirement.specifier.contains(found, prereleases=True):
            wrong.append(f"{requirement} ({found or say('doctor_absent')})")
    wrong += [name for name, version in versions.items() if version is None and not requirements]
    yield Check("libraries", "ok", shown)
    if wrong:
        yield Check("libraries_wrong", "missing", ", ".join(wrong), fix)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _device() -> Iterator[Check]:
    from pipelines.engines.device import choose_device
    from pipelines.errors import CinquainError

    try:
        choice = choose_device()
    except (ImportError, OSError) as error:  # no torch, or one whose libraries this system cannot load
        yield Check("device", "missing", str(error), f"{sys.executable} -m pip install -c constraints.txt -e .")
        return
    except CinquainError as error:
        yield Check("device", "missing", say(error))
        return
    yield Check("device", "ok", f"{choice.device}, {choice.label}: {say(choice.reason)}")
    yield Check("attention", "ok", say(choice.attention_reason))


def _processor() -> Check:
    name = platform.processor() or platform.machine()
    try:  # on Linux `platform` knows only the architecture
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), name)
    except OSError:
        pass
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Check("processor", "ok", say("doctor_cores", name=name, cores=usable))


def _memory() -> Check:
    import psutil

    memory = psutil.virtual_memory()
    value = say("doctor_free_of", free=_gigabytes(memory.available), total=_gigabytes(memory.total))
    low = memory.available < _MEMORY_FOR_MODEL
    return Check("memory", "optional" if low else "ok", value, say("doctor_fix_memory") if low else "")


def _cache() -> Iterator[Check]:
    from pipelines.home import home
    from pipelines.models.store import list_models

    folder = home()
    existing = next(path for path in (folder, *folder.parents) if path.is_dir())
    if os.access(existing, os.W_OK | os.X_OK):
        yield Check("cache", "ok", str(folder))
    else:
        yield Check("cache", "missing", f"{folder} ({say('doctor_not_writable')})", "export CINQUAIN_HOME=~/cinquain")
    disk = shutil.disk_usage(existing)
    models = list_models()
    lacking = [model for model in models if not model.cached]
    low = bool(lacking) and disk.free < _DISK_FOR_MODEL
    value = say("doctor_free_of", free=_gigabytes(disk.free), total=_gigabytes(disk.total))
    yield Check("disk", "missing" if low else "ok", value, say("doctor_fix_disk") if low else "")
    for model in models:
        if model.cached:
            yield Check("model", "ok", f"{model.name}, {_gigabytes(model.size_bytes)}")
        else:
            yield Check(
                "model", "optional", f"{model.name} ({say('doctor_absent')})", f"cinquain models pull {model.name}"
            )


def _keys() -> Check:
    """The keys of remote models that are set: their names only."""
    from pipelines.engines.remote.keys import keys_set

    return Check("keys", "ok", ", ".join(keys_set()) or say("doctor_keys_none"))


def _network(offline: bool) -> Iterator[Check]:
    from pipelines.home import offline_variable
    from pipelines.models.hub.errors import endpoint, shown

    if reason := "--offline" if offline else offline_variable():
        yield Check("network", "ok", say("doctor_network_skipped", reason=reason))
        return
    addresses = {"index": index_address(), "hub": shown(endpoint())}
    for name, problem in reachable(addresses).items():
        if problem is None:
            yield Check(name, "ok", addresses[name])
        else:
            yield Check(name, "optional", f"{addresses[name]} ({problem})", say(f"doctor_fix_{name}"))


def _sandbox() -> Check:
    """Whether a program that tries to get out is stopped, tried now."""
    from eval.sandbox import available_tier, refusal

    tier = available_tier()
    if tier:
        return Check("sandbox", "ok", tier)
    return Check("sandbox", "optional", say(f"term_{refusal('bubblewrap')}"), _install_line("bubblewrap"))


def _program(names: tuple[str, ...], package: str, purpose: str) -> Check:
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found:
        return Check(package, "ok", found)
    return Check(package, "optional", f"{say('doctor_absent')}; {say(purpose)}", _install_line(package))


def _install_line(package: str) -> str:
    """How this system installs a program."""
    root = "" if not hasattr(os, "geteuid") or os.geteuid() == 0 else "sudo "
    for manager, line in (
        ("apt-get", f"{root}apt-get install -y {package}"),
        ("dnf", f"{root}dnf install -y {package}"),
        ("pacman", f"{root}pacman -S {package}"),
        ("brew", f"brew install {package}"),
        ("winget", f"winget install {package}"),
    ):
        if shutil.which(manager):
            return line
    return say("doctor_fix_program", package=package)


def _gigabytes(size: float) -> str:
    return f"{size / _GIGABYTE:.1f} GB"
