"""The house rules that no tool checks: import arrows, public names, light start, file sizes."""

import ast
import importlib
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MAY_IMPORT = {
    "pipelines": set(),
    "eval": {"pipelines"},
    "finetune": {"eval", "pipelines"},
    "apps": {"finetune", "eval", "pipelines"},
}
FILES = sorted(path for package in MAY_IMPORT for path in (ROOT / package).rglob("*.py"))
IMPORTABLE = [path for path in FILES if path.name != "__main__.py"]  # those run when imported
CLI = [path for path in FILES if path.is_relative_to(ROOT / "apps" / "cli")]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
HEAVY = {"torch", "transformers", "gradio", "peft", "accelerate", "gguf", "huggingface_hub", "numpy"}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


each_file = pytest.mark.parametrize("path", FILES, ids=name_of)
each_module = pytest.mark.parametrize("path", IMPORTABLE, ids=name_of)


def imports(source: str, *, top_only: bool = False) -> set[str]:
    """First parts of the absolute names that a module imports: anywhere in it, or only when it is itself imported."""
    return set(_imports(ast.parse(source), top_only))


def _imports(node: ast.AST, top_only: bool) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in child.names)
        elif isinstance(child, ast.ImportFrom) and child.level == 0 and child.module:
            yield child.module.partition(".")[0]
        elif not (top_only and _runs_later(child)):
            yield from _imports(child, top_only)


def _runs_later(node: ast.AST) -> bool:
    if isinstance(node, ast.If):
        return "TYPE_CHECKING" in ast.unparse(node.test)
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def test_imports_are_found_wherever_they_hide() -> None:
    source = "import a.b\nif x:\n    from c.d import e\ndef f():\n    import g\nfrom . import h\n"
    assert imports(source) == {"a", "c", "g"}
    assert imports(source, top_only=True) == {"a", "c"}


@each_file
def test_import_arrows(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    forbidden = set(MAY_IMPORT) - MAY_IMPORT[package] - {package} | {"tests", "bench"}
    assert not imports(path.read_text(encoding="utf-8")) & forbidden


def test_the_spaces_library_is_imported_in_at_most_one_file_of_apps() -> None:
    importers = [path for path in FILES if "spaces" in imports(path.read_text(encoding="utf-8"))]
    assert len(importers) <= 1
    assert all(path.is_relative_to(ROOT / "apps") for path in importers)


@pytest.mark.parametrize("folder", ["spaces", "tests", "bench"])
def test_folders_that_are_no_packages(folder: str) -> None:
    # spaces/__init__.py would shadow Hugging Face's library of that name; tests are imported by path.
    assert not list((ROOT / folder).rglob("__init__.py"))


def test_every_folder_with_code_is_a_package() -> None:
    # setuptools leaves out folders without __init__.py (namespaces = false): they work here and are missing elsewhere.
    folders = {path.parent for path in FILES}
    assert not [str(folder.relative_to(ROOT)) for folder in sorted(folders) if not (folder / "__init__.py").is_file()]


def test_exactly_the_four_packages_are_installed() -> None:
    find = PROJECT["tool"]["setuptools"]["packages"]["find"]
    assert find["namespaces"] is False
    # In a process of its own: setuptools refuses one in which something has imported Python's own distutils.
    program = (
        "import json, sys; from setuptools import find_packages; "
        "print(json.dumps(find_packages(sys.argv[1], include=sys.argv[2:])))"
    )
    call = [sys.executable, "-W", "ignore", "-c", program, str(ROOT), *find["include"]]
    found = json.loads(subprocess.run(call, capture_output=True, text=True, check=True).stdout)
    assert {name for name in found if "." not in name} == set(MAY_IMPORT)
    assert {name.partition(".")[0] for name in found} == set(MAY_IMPORT)


@each_module
def test_public_names_exist_and_are_listed_once(path: Path) -> None:
    module = importlib.import_module(module_name(path))
    names = getattr(module, "__all__", [])
    assert len(set(names)) == len(names)
    assert not [name for name in names if not hasattr(module, name)]


@each_module
def test_what_a_module_defines_is_private_or_listed(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    module = importlib.import_module(module_name(path))
    if not hasattr(module, "__all__"):
        return
    # A decorated function of the command line is public as a command, and nothing imports it.
    own = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    defined = {node.name for node in own if not (path in CLI and node.decorator_list)}
    assert {name for name in defined if not name.startswith("_")} <= set(module.__all__)


@each_file
def test_files_are_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 350


@pytest.mark.parametrize("module", ["pipelines", "apps.cli.main"])
def test_light_start(module: str) -> None:
    code = f"import sys, {module}; print(*sorted({HEAVY!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("path", CLI, ids=module_name)
def test_subcommands_import_heavy_libraries_inside_functions(path: Path) -> None:
    assert not imports(path.read_text(encoding="utf-8"), top_only=True) & HEAVY


def test_no_path_of_one_machine_is_written_down() -> None:
    machine = re.compile(r"(?<![\w.}/~-])/(?:home|Users|root|work|opt|mnt)/\w+")
    texts = [
        *FILES,
        *(ROOT / "tests").glob("*.py"),
        ROOT / "Makefile",
        ROOT / "constraints.txt",
        ROOT / "pyproject.toml",
    ]
    found = [path.name for path in texts if machine.search(path.read_text(encoding="utf-8"))]
    assert not found


def test_licence() -> None:
    assert PROJECT["project"]["license"] == "Apache-2.0"
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")


def test_every_dependency_is_pinned() -> None:
    def name(requirement: str) -> str:
        return re.split(r"[^\w.-]", requirement)[0].lower().replace("_", "-")

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [
        *project["dependencies"],
        *(line for lines in project["optional-dependencies"].values() for line in lines),
    ]
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.lower().replace("_", "-").split("==") for line in lines if line and not line.startswith("#"))
    assert {name(requirement) for requirement in wanted} <= set(pins)
    assert pins["torch"] == "2.13.0"  # no local tag: a CPU build and PyPI's CUDA build both satisfy it
