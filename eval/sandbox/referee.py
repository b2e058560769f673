"""What holds the tests: runs them against a program that lives in the guest, of which it sees plain data only.

Nothing that a program does in the guest reaches this process: it answers calls, so at best it gives a wrong value. The
tests have the same rights as the program, none; what they need of the program stands in for it (``Proxy``).

Standard library only; run as ``python -I -S referee.py READ WRITE``, with a JSON object on its standard input and the
verdict as another one on its standard output.
"""

import ast
import builtins
import io
import json
import os
import sys
import time
import traceback
import types
from typing import TYPE_CHECKING, Any

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH120, PTH100 - pathlib takes 5 ms to import

if TYPE_CHECKING:
    from eval.sandbox import kernel
    from eval.sandbox.remote import LONGEST, Gone, Guest, Late, Proxy, Unsupported, short
else:
    import kernel
    from remote import LONGEST, Gone, Guest, Late, Proxy, Unsupported, short

_TESTS = "<tests>"


def run(request: dict[str, Any], guest: Guest) -> dict[str, Any]:
    """Load the program, run the tests: what came of it."""
    try:
        names = guest.ask("load", request["code"])
    except SyntaxError as error:
        return {"status": "syntax", "detail": short(error)}
    except Exception as error:
        return {"status": "error", "detail": short(error)}
    if not isinstance(names, dict):
        raise Gone("a reply of no known form")
    names = {name: value for name, value in names.items() if str(name).isidentifier() and name[:2] != "__"}
    try:
        tree = ast.parse(request["tests"], _TESTS)
        read = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        bound = _bound(names, tree, request["entry_point"])
        space: dict[str, Any] = {"__name__": "__tests__", **bound}
        exec(compile(request["prelude"], "<prelude>", "exec"), space)
        for name in ("solution", "candidate", *_modules_of(tree, bound)):
            sys.modules.setdefault(name, _module(name, bound))
        exec(compile(tree, _TESTS, "exec"), space)
        _run_functions(space, names, request["entry_point"])
    except ModuleNotFoundError as error:
        if error.name is None:  # it came from the program
            return {"status": "failed", "detail": _place(error, request["tests"], guest)}
        raise Unsupported(f"the tests import {error.name}, which is not there") from None
    except Exception as error:
        return {"status": "failed", "detail": _place(error, request["tests"], guest)}
    if not guest.calls and not any(name in read and not isinstance(value, Proxy) for name, value in names.items()):
        return {"status": "untested", "detail": "the tests never called the program"}
    return {"status": "passed", "detail": ""}


def _run_functions(space: dict[str, Any], names: dict[str, Any], entry_point: str | None) -> None:
    """Call ``check(candidate)``, ``test_…`` functions and unittest's cases."""
    own = {name: value for name, value in space.items() if not isinstance(value, Proxy)}
    if isinstance(own.get("check"), types.FunctionType):
        candidates = [entry_point] if entry_point else [name for name, value in names.items() if _is_function(value)]
        if not candidates or candidates[-1] not in names:
            raise NameError(f"name {entry_point or 'of a function'!r} is not defined")
        own["check"](names[candidates[-1]])
    for name, function in own.items():
        if name.startswith("test") and isinstance(function, types.FunctionType):
            function()
    if "unittest" in sys.modules:
        _run_cases([value for value in own.values() if isinstance(value, type)])


def _run_cases(kinds: list[type]) -> None:
    import unittest

    for kind in kinds:
        if issubclass(kind, unittest.TestCase):
            result = unittest.TestResult()
            unittest.defaultTestLoader.loadTestsFromTestCase(kind).run(result)
            for case, trace in (*result.failures, *result.errors):
                raise AssertionError(f"{case}: {trace.strip().splitlines()[-1]}")


def _bound(names: dict[str, Any], tree: ast.Module, entry_point: str | None) -> dict[str, Any]:
    """Names of the program as tests see them: none that would stand for a builtin or a module that tests trust."""
    called = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    bound = {}
    for name, value in names.items():
        if name in sys.stdlib_module_names and name != entry_point and name not in called:
            bound[name] = __import__(name)
        elif name == entry_point or not hasattr(builtins, name):
            bound[name] = value
    if entry_point in names:
        bound["candidate"] = names[entry_point]
    return bound


def _modules_of(tree: ast.Module, names: dict[str, Any]) -> list[str]:
    """Modules from which tests import nothing but names of the program: ``from my_file import add``."""
    return [
        node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        and node.module
        and node.module.partition(".")[0] not in sys.stdlib_module_names
        and all(alias.name in names or alias.name == "*" for alias in node.names)
    ]


def _module(name: str, names: dict[str, Any]) -> types.ModuleType:
    module = types.ModuleType(name)
    vars(module).update(names)
    return module


def _is_function(value: Any) -> bool:
    return isinstance(value, Proxy) and value._kind == "function"


def _place(error: BaseException, tests: str, guest: Guest) -> str:
    """The line of the tests that failed, and what the program's last call gave."""
    lines = tests.splitlines()
    places = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == _TESTS]
    line = lines[places[-1] - 1].strip() if places and places[-1] and places[-1] <= len(lines) else ""
    said = "" if isinstance(error, AssertionError) and not str(error) else f"{type(error).__name__}: {error}"
    return "; ".join(part[:LONGEST] for part in (line, said, guest.last) if part)


def main(read: int, write: int) -> None:
    """Read the request, run the tests, write the verdict."""
    request = json.loads(sys.stdin.buffer.read())
    guest = Guest(read, write, time.monotonic() + request["wall_seconds"])
    kernel.restrict(request["limits"], request["referee_readable"], request["parent"])
    verdict_file, sys.stdout = sys.stdout, io.StringIO()
    try:
        started = guest.exchange(request["guest"])
        if started.get("ok") != "ready":
            raise Gone("it did not start")
    except (Gone, Late) as error:
        verdict = {"status": "not_started", "detail": str(error)}
    else:
        try:
            verdict = run(request, guest)
        except Gone as error:
            verdict = {"status": "died", "detail": f"{error}; {guest.last}".strip("; ")}
        except Late:
            verdict = {"status": "timeout", "detail": guest.last}
        except Unsupported as error:
            verdict = {"status": "unsupported", "detail": str(error)}
        except BaseException as error:
            verdict = {"status": "failed", "detail": f"{type(error).__name__} in the tests"}
    verdict_file.write(json.dumps(verdict))
    verdict_file.flush()
    os._exit(0)  # threads and exit handlers of tests have nothing left to do


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
