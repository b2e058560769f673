"""What an ``app.py`` needs of this repository: the files that it imports, those that they import, and their data."""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

__all__ = ["PACKAGES", "ROOT", "Closure", "import_closure"]

ROOT = Path(__file__).resolve().parent.parent.parent
"""The checkout: Cinquain is installed from it (``pip install -e .``) and publishes from it."""
PACKAGES = ("pipelines", "apps", "eval", "finetune")
_NAMED = (".py", ".html")


@dataclass(frozen=True)
class Closure:
    """What a Space holds and what it needs.

    Attributes:
        files: Our files, relative to the checkout, in order of their names.
        libraries: First parts of the names of everything else that they import, the standard library left out.
    """

    files: tuple[Path, ...]
    libraries: frozenset[str]


@cache  # a publish stages twice, and reading 170 files takes over a second
def import_closure(app: Path, root: Path = ROOT) -> Closure:
    """Follow the imports of a file, those inside of functions too, through our packages.

    A file that is read or run by its name comes along where the name stands in the code (``"guest.py"``); YAML files of
    a package come along with it.

    Args:
        app: The ``app.py``; it is not part of the result.
        root: The folder that holds our packages.
    """
    found: set[Path] = set()
    libraries: set[str] = set()
    waiting = [app]
    while waiting:
        path = waiting.pop()
        tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
        for name in _imported(tree):
            if name.partition(".")[0] not in PACKAGES:
                libraries.add(name.partition(".")[0])
        for other in _ours(tree, path, app.parent, root):
            if other not in found:
                found.add(other)
                if other.suffix == ".py":
                    waiting.append(other)
                if other.name == "__init__.py":
                    found.update(_data(other.parent))
    return Closure(
        tuple(sorted(path.relative_to(root) for path in found)),
        frozenset(libraries - sys.stdlib_module_names - {"__future__"} - {path.stem for path in found}),
    )


def _imported(tree: ast.AST) -> Iterator[str]:
    """Absolute names of modules, and of what is taken from them: that may be a module too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _ours(tree: ast.AST, path: Path, app: Path, root: Path) -> Iterator[Path]:
    for name in _imported(tree):
        parts = name.split(".")
        if parts[0] not in PACKAGES:
            continue
        for length in range(1, len(parts) + 1):
            place = root.joinpath(*parts[:length])
            if (package := place / "__init__.py").is_file():
                yield package
            elif (module := place.with_suffix(".py")).is_file():
                yield module
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.endswith(_NAMED):
            beside = path.parent / node.value
            if path.parent != app and "/" not in node.value and beside.is_file():
                yield beside


def _data(package: Path) -> Iterator[Path]:
    """Data files of a package: in its folder, and below it in folders that are no packages of their own."""
    for path in sorted(package.iterdir()):
        if path.is_dir() and not (path / "__init__.py").exists() and path.name != "__pycache__":
            yield from _data(path)
        elif path.suffix == ".yaml":
            yield path
