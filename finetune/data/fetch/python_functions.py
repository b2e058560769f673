"""Functions of Python's standard library: signature and docstring in, body out. Sources are parsed, never imported.

Only functions that stand on their own are taken: whatever a function uses is a builtin, or an import or a short
constant of its module, which then stands before the signature. The rest (calls to neighbours, methods, state that the
module keeps) could not be written from the prompt alone, and would teach a model to call what is not there.
"""

import ast
import builtins
import hashlib
import platform
import re
import symtable
import sys
import sysconfig
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from finetune.data.fetch.archives import Wheel
from finetune.data.fetch.description import PublicSet

__all__ = ["PYTHON_FUNCTIONS"]

_NOT_WANTED = {
    "test", "tests", "idlelib", "lib2to3", "turtledemo", "pydoc_data", "ensurepip", "distutils", "site-packages",
    "dist-packages", "lib-dynload", "__pycache__", "__phello__", "_pyrepl",
}  # fmt: skip
"""Folders with tests, applications, bundled wheels, or what is not part of the library."""

SHORTEST_DOCSTRING, LONGEST_DOCSTRING = 30, 2_000
"""Characters: "Helper." says nothing to write code from. Examples (``>>>``) do not count for the shortest."""
FEWEST_LINES, MOST_LINES = 2, 60
LONGEST_CONSTANT = 200
_BUILTINS = frozenset(dir(builtins))
_OWN_LICENCE = re.compile(
    r"permission (is )?(hereby )?granted|permission to use, copy|redistribution and use in source"
    r"|spdx-license-identifier"
)
_GIVEN_TO_PYTHON = "licensed to psf under a contributor agreement"
"""Files of the library that say the first and not the second are not under Python's licence, but under that of whoever
wrote them: logging, tarfile, optparse, http.cookies…"""
_GLOBAL = re.compile(r"(?m)^\s+global\s+([\w, \t]+)")
"""In the text: to walk the trees of the whole library for them takes as long as everything else together."""
_HEAD = 8_000
"""Characters. Licences stand at the beginning, the last one found (platform) after 4,000."""


def _files() -> Iterator[tuple[str, bytes]]:
    """(path inside the library, content) of every source file, in order."""
    library = Path(sysconfig.get_path("stdlib"))
    paths = sorted(library.rglob("*.py"), key=lambda path: path.relative_to(library).as_posix())
    for path in paths:
        place = path.relative_to(library)
        if not _NOT_WANTED & set(place.parts) and path.is_file():
            yield place.as_posix(), path.read_bytes()


def _origin() -> dict[str, str]:
    """Version of Python and hash of the files that are read: distributions patch them."""
    digest = hashlib.sha256()
    for place, data in _files():
        digest.update(f"{place}\0{len(data)}\0".encode() + data)
    return {
        "name": platform.python_implementation(),
        "version": platform.python_version(),
        "sha256": digest.hexdigest(),
        "url": "https://www.python.org/",
        "licence_text": _licence_text(),
    }


def _licence_text() -> str:
    """Python's licence, which asks to go with every copy; where it is not installed, its notice and its address."""
    for folder in (Path(sysconfig.get_path("stdlib")), Path(sys.base_prefix)):  # on Windows it is in the latter
        if (licence := folder / "LICENSE.txt").is_file():
            return licence.read_text(encoding="utf-8", errors="replace")
    version = ".".join(platform.python_version_tuple()[:2])
    return f"{sys.copyright}\n\nPSF License Agreement: https://docs.python.org/{version}/license.html"


def _rows(wheels: Sequence[Wheel], left_out: Counter[str]) -> Iterator[dict[str, Any]]:
    for place, data in _files():
        try:
            source = data.decode("utf-8")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # old escapes in strings of the library
                tree = ast.parse(source)
                if not (documented := sum(1 for _ in _documented(tree))):
                    continue
                table = symtable.symtable(source, place, "exec")
        except (SyntaxError, ValueError, RecursionError):
            left_out["not_python"] += 1  # templates with the ending .py
            continue
        if _own_licence(source):
            left_out["other_licence"] += documented
            continue
        module = place.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        yield from _functions(source, tree, table, module, left_out)


def _own_licence(source: str) -> bool:
    words = re.sub(r"[#*\s]+", " ", source[:_HEAD].lower())
    return bool(_OWN_LICENCE.search(words)) and _GIVEN_TO_PYTHON not in words


def _documented(tree: ast.Module) -> Iterator[ast.FunctionDef]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and ast.get_docstring(node) is not None:
            yield node


def _functions(
    source: str, tree: ast.Module, table: symtable.SymbolTable, module: str, left_out: Counter[str]
) -> Iterator[dict[str, Any]]:
    lines, available = source.split("\n"), _available(source, tree)
    names = Counter(node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef))
    scopes = {(scope.get_name(), scope.get_lineno()): scope for scope in table.get_children()}
    for node in _documented(tree):
        reason = _unfit(node, lines) or ("defined_twice" if names[node.name] > 1 else "")
        if not reason:
            first = min([node.lineno, *(one.lineno for one in node.decorator_list)])
            scope = scopes.get((node.name, node.lineno)) or scopes.get((node.name, first))
            used = (_globals(scope) if scope else set()) | _outside(node)
            needed = sorted(used - _BUILTINS - {node.name}, key=lambda name: available.get(name, (0, "")))
            reason = "" if scope and all(name in available for name in needed) else "not_alone"
        if reason:
            left_out[reason] += 1
            continue
        before = list(dict.fromkeys(available[name][1] for name in needed))
        documented = node.body[0].end_lineno or node.lineno
        head = lines[first - 1 : documented]
        yield {
            "prompt": "\n".join([*before, *([""] * 2 if before else []), *head]) + "\n",
            "response": "\n".join(lines[documented : node.end_lineno]).strip("\n"),
            "language": "python",
            "doc": module,
            "name": node.name,
        }


def _unfit(node: ast.FunctionDef, lines: list[str]) -> str:
    """Why a function makes no good row by itself; empty where it may."""
    docstring = ast.get_docstring(node) or ""
    if node.name.startswith("__") or node.name in ("_test", "main", "_main"):
        return "internal"
    words = docstring.partition(">>>")[0].strip()
    if len(words) < SHORTEST_DOCSTRING or len(docstring) > LONGEST_DOCSTRING:
        return "docstring_length"
    if "deprecated" in docstring.lower():
        return "deprecated"
    if len(node.body) < 2 or node.body[1].lineno <= (node.body[0].end_lineno or 0):
        return "no_body"
    body = lines[node.body[1].lineno - 1 : node.end_lineno]
    if not FEWEST_LINES <= len(body) <= MOST_LINES:
        return "length"
    if any("\t" in line for line in body):
        return "tabs"
    if any(word in line for line in body for word in ("XXX", "TODO", "FIXME")):
        return "unfinished"
    return ""


def _available(source: str, tree: ast.Module) -> dict[str, tuple[int, str]]:
    """Names that can be put before a signature → (line, code): absolute imports, and constants of plain literals.

    What a function of the module sets (``global``), and what starts out as nothing, is no constant but a state.
    """
    found: dict[str, tuple[int, str]] = {}
    state = {name.strip() for names in _GLOBAL.findall(source) for name in names.split(",")}
    for node in tree.body:
        if isinstance(node, ast.Import):
            for alias in node.names:
                found[(alias.asname or alias.name).partition(".")[0]] = (node.lineno, _import("", alias))
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module != "__future__":
            for alias in node.names:
                found[alias.asname or alias.name] = (node.lineno, _import(f"from {node.module} ", alias))
        elif isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            text = ast.unparse(node)
            name = node.targets[0].id
            if _constant(node.value) and len(text) <= LONGEST_CONSTANT and name not in found and name not in state:
                found[name] = (node.lineno, text)
            else:
                found.pop(name, None)
    return found


def _import(source: str, alias: ast.alias) -> str:
    return f"{source}import {alias.name}" + (f" as {alias.asname}" if alias.asname else "")


def _constant(value: ast.expr) -> bool:
    try:
        found = ast.literal_eval(value)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return False
    return not (found is None or (isinstance(found, list | dict | set) and not found))


def _globals(scope: symtable.SymbolTable) -> set[str]:
    """Names that a function, and those inside it, take from the module or the builtins."""
    found = {symbol.get_name() for symbol in scope.get_symbols() if symbol.is_global()}
    return found.union(*(_globals(inner) for inner in scope.get_children()))


def _outside(node: ast.FunctionDef) -> set[str]:
    """Names in decorators, defaults and annotations, which belong to the scope around the function."""
    arguments = node.args
    each = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
    parts = [*node.decorator_list, *arguments.defaults, *arguments.kw_defaults, node.returns]
    parts += [argument.annotation for argument in each if argument]
    return {name.id for part in parts if part for name in ast.walk(part) if isinstance(name, ast.Name)}


PYTHON_FUNCTIONS = PublicSet(
    name="python-functions",
    task="code_generation",
    licence="PSF-2.0",
    languages=("en",),
    rows=300,
    changes="Functions taken out of their modules, each with the imports and constants that it uses put before it; "
    "signature and docstring parted from the body.",
    read=_rows,
    origin=_origin,
)
