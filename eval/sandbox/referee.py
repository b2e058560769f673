"""What holds the tests: runs them against a program that lives in the guest, of which it sees plain data only.

Nothing that a program does in the guest reaches this process: it answers calls, so at best it gives a wrong value. The
tests have the same rights as the program, none; what they need of the program stands in for it (``_Proxy``).

Standard library only; run as ``python -I -S referee.py READ WRITE``, with a JSON object on its standard input and the
verdict as another one on its standard output.
"""

import ast
import builtins
import io
import json
import os
import select
import sys
import time
import traceback
import types
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH120, PTH100 - pathlib takes 5 ms to import

if TYPE_CHECKING:
    from eval.sandbox import kernel, wire
else:
    import kernel
    import wire

_TESTS = "<tests>"
_LONGEST = 500


class Gone(BaseException):
    """The guest ended, or talks nonsense; no ``except Exception`` of a test takes it for an error of the program."""


class Late(BaseException):
    """The time is over."""


class Unsupported(BaseException):
    """Tests ask for what does not pass between two processes, such as an object of their own as an argument."""


class Guest:
    """The other side: one request, one answer."""

    def __init__(self, read: int, write: int, deadline: float) -> None:
        self.read, self.write, self.deadline = read, write, deadline
        self.calls = 0
        self.last = ""
        self.functions: list[Callable[..., Any]] = []
        os.set_blocking(write, False)

    def ask(self, operation: str, *parts: Any) -> Any:
        """What an operation gives in the guest.

        Raises:
            Exception: What was raised there, as the nearest built-in kind.
        """
        message = self.exchange({"do": operation, "with": list(parts)})
        if operation == "call":
            self.calls += 1
            self.last = f"{parts[0]._name}({_arguments(parts[1], parts[2])})"
        if "error" in message:
            raise _error(message["error"])
        if operation == "call":
            _carry_back(parts[1], message.get("arguments"))
            self.last += f" gave {_short(message.get('ok'))}"
        return message.get("ok")

    def exchange(self, message: dict[str, Any]) -> dict[str, Any]:
        """Send a message and wait for the answer; in between, functions of the tests may be called from there."""
        self._send(message)
        while "call_back" in (answer := self._answer()):
            try:
                index, arguments, keywords = answer["call_back"]
                self._send({"return": self.functions[index](*arguments, **keywords)})
            except Exception as error:
                self._send({"raise": [type(error).__name__, str(error)[:_LONGEST]]})
        return answer

    def _answer(self) -> dict[str, Any]:
        size = wire.receive_size(self._receive(4))
        if size > wire.LARGEST:
            raise Gone(f"a reply of {size} bytes")
        try:
            answer = wire.decode(self._receive(size), lambda parts: _Proxy(self, *parts))
        except ValueError as error:
            raise Gone(str(error)) from None
        if not isinstance(answer, dict):
            raise Gone("a reply of no known form")
        return answer

    def _named(self, value: Any) -> int | str | list[Any]:
        """How the guest knows an object: its own, a builtin, or a function that lives here."""
        if isinstance(value, _Proxy):
            return int(value._index)
        name = getattr(value, "__name__", type(value).__name__)
        if getattr(builtins, name, None) is value:
            return str(name)
        if not isinstance(value, (types.FunctionType, types.MethodType, types.BuiltinFunctionType)):
            raise TypeError(f"a {type(value).__name__} cannot be handed to the program")
        self.functions.append(value)
        return [len(self.functions) - 1, name]

    def _send(self, message: dict[str, Any]) -> None:
        try:
            data = wire.encode(message, self._named)
        except (TypeError, ValueError) as error:
            raise Unsupported(str(error)) from None
        data = len(data).to_bytes(4, "big") + data
        while data:
            if not select.select([], [self.write], [], self._left())[1]:
                continue
            try:
                data = data[os.write(self.write, data) :]
            except OSError:
                raise Gone("it ended") from None

    def _receive(self, count: int) -> bytes:
        parts = bytearray()
        while len(parts) < count:
            if not select.select([self.read], [], [], self._left())[0]:
                continue
            more = os.read(self.read, min(count - len(parts), 1 << 16))
            if not more:
                raise Gone("it ended")
            parts += more
        return bytes(parts)

    def _left(self) -> float:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise Late
        return left


class _Proxy:
    """An object of the guest. Against plain data it is never equal and never compared: it could claim anything."""

    def __init__(self, guest: Guest, index: int, kind: str, name: str) -> None:
        own = {"_guest": guest, "_index": int(index), "_kind": str(kind), "_name": str(name)[:80]}
        object.__getattribute__(self, "__dict__").update(own)

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        return self._guest.ask("call", self, list(arguments), keywords)

    def __getattr__(self, name: str) -> Any:
        if name[:2] == "__" and name != "__name__":
            raise AttributeError(name)
        return self._guest.ask("get", self, name)

    def __enter__(self) -> Any:
        raise Unsupported("a context manager would have to share variables with the tests")

    def __exit__(self, *_: object) -> None: ...

    def __setattr__(self, name: str, value: Any) -> None:
        self._guest.ask("set", self, name, value)

    def __instancecheck__(self, other: Any) -> bool:
        return isinstance(other, _Proxy) and self._guest.ask("apply", "isinstance", other, self) is True

    def __hash__(self) -> int:
        return self._guest.ask("apply", "hash", self)

    def __bool__(self) -> bool:
        return self._guest.ask("apply", "bool", self) is True

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, _Proxy) and self._guest.ask("apply", "eq", self, other) is True

    def __str__(self) -> str:
        return str(self._guest.ask("apply", "str", self))

    def __repr__(self) -> str:
        return str(self._guest.ask("apply", "repr", self))


def _forward(name: str, operation: str, *, both: bool = False) -> None:
    def method(self: _Proxy, *others: Any) -> Any:
        if both and not all(isinstance(other, _Proxy) for other in others):
            return NotImplemented
        return self._guest.ask("apply", operation, self, *others)

    setattr(_Proxy, name, method)


for _name in ("len", "iter", "next", "reversed", "abs", "round", "int", "float", "complex", "index"):
    _forward(f"__{_name}__", _name)
for _name in ("getitem", "setitem", "delitem"):  # `in` goes through the elements: they are compared here
    _forward(f"__{_name}__", _name)
for _name in ("lt", "le", "gt", "ge", "add", "sub", "mul", "matmul", "truediv", "floordiv", "mod", "pow", "or", "and"):
    _forward(f"__{_name}__", f"{_name}_" if _name in ("or", "and") else _name, both=True)


def run(request: dict[str, Any], guest: Guest) -> dict[str, Any]:
    """Load the program, run the tests: what came of it."""
    try:
        names = guest.ask("load", request["code"])
    except SyntaxError as error:
        return {"status": "syntax", "detail": _short(error)}
    except Exception as error:
        return {"status": "error", "detail": _short(error)}
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
    if not guest.calls and not any(name in read and not isinstance(value, _Proxy) for name, value in names.items()):
        return {"status": "untested", "detail": "the tests never called the program"}
    return {"status": "passed", "detail": ""}


def _run_functions(space: dict[str, Any], names: dict[str, Any], entry_point: str | None) -> None:
    """Call ``check(candidate)``, ``test_…`` functions and unittest's cases."""
    own = {name: value for name, value in space.items() if not isinstance(value, _Proxy)}
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
    return isinstance(value, _Proxy) and value._kind == "function"


def _carry_back(arguments: list[Any], changed: Any) -> None:
    """Lists, dictionaries and sets that the program changed in place change here too."""
    if not isinstance(changed, list) or len(changed) != len(arguments):
        return
    for mine, theirs in zip(arguments, changed, strict=True):
        if type(mine) is not type(theirs) or mine == theirs:
            continue
        if isinstance(mine, list):
            mine[:] = theirs
        elif isinstance(mine, (dict, set)):
            mine.clear()
            mine.update(theirs)


def _error(parts: Any) -> Exception:
    name, text = (str(part)[:_LONGEST] for part in parts)
    kind = getattr(builtins, name, Exception)
    if not (isinstance(kind, type) and issubclass(kind, Exception)):
        kind = Exception
    try:
        return kind(text)
    except TypeError:  # some need more than a text
        return Exception(text)


def _place(error: BaseException, tests: str, guest: Guest) -> str:
    """The line of the tests that failed, and what the program's last call gave."""
    lines = tests.splitlines()
    places = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == _TESTS]
    line = lines[places[-1] - 1].strip() if places and places[-1] and places[-1] <= len(lines) else ""
    said = "" if isinstance(error, AssertionError) and not str(error) else f"{type(error).__name__}: {error}"
    return "; ".join(part[:_LONGEST] for part in (line, said, guest.last) if part)


def _arguments(arguments: list[Any], keywords: dict[str, Any]) -> str:
    return ", ".join([*map(_short, arguments), *(f"{name}={_short(value)}" for name, value in keywords.items())])


def _short(value: Any) -> str:
    text = f"<{value._name}>" if isinstance(value, _Proxy) else str(value) if isinstance(value, Exception) else ""
    if not text:
        try:
            text = repr(value)
        except Exception:  # an integer of more digits than Python prints
            text = f"<{type(value).__name__}>"
    return text if len(text) <= 120 else text[:117] + "…"


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
