"""What runs inside: gives up its rights, loads a program that nobody trusts, and answers calls with plain data.

It knows neither tests nor expected values. Standard library only; run as ``python -I -S guest.py READ WRITE``.
"""

import builtins
import operator
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH120, PTH100 - pathlib takes 5 ms to import

if TYPE_CHECKING:
    from eval.sandbox import kernel, wire
else:
    import kernel
    import wire

_NAME, _FILE = "__candidate__", "<program>"
_LARGEST_CONSTANT = 1 << 16


class _Kept:
    """A value that stays here: a table of millions is read by the program, not by its tests."""

    def __init__(self, value: object) -> None:
        self.value = value


def _small(value: object) -> bool:
    try:
        return len(wire.encode(value, lambda _: 0)) <= _LARGEST_CONSTANT
    except Exception:
        return False


def _run(code: str) -> None:
    """Run a program to its end, as if nothing stood around it: its own frames alone stand in a traceback."""
    import linecache
    import traceback

    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # in one order with standard error
    linecache.cache[_FILE] = (len(code), None, code.splitlines(keepends=True), _FILE)
    try:
        exec(compile(code, _FILE, "exec"), {"__name__": "__main__"})
    except Exception as error:
        trace = error.__traceback__
        while trace is not None and trace.tb_frame.f_code.co_filename != _FILE:
            trace = trace.tb_next
        traceback.print_exception(error.with_traceback(trace))
        sys.exit(1)
    sys.exit(0)


def _serve(read: int, write: int) -> None:
    objects: list[Any] = []

    def handle(value: Any) -> list[object]:
        if type(value) is _Kept:
            value = value.value
        objects.append(value)
        try:
            name = str(value.__name__)
        except Exception:
            name = type(value).__name__
        return [len(objects) - 1, type(value).__name__, name]

    def told(name: Any) -> Any:
        if isinstance(name, int):
            return objects[name]
        return getattr(builtins, name) if isinstance(name, str) else function_of_tests(*name)

    def function_of_tests(index: int, name: str) -> Callable[..., Any]:
        def stub(*arguments: Any, **keywords: Any) -> Any:
            answer(call_back=[index, arguments, keywords])
            return serve()

        stub.__name__ = name
        return stub

    def answer(**parts: object) -> None:
        try:
            data = wire.encode(parts, handle)
        except Exception as error:
            data = wire.encode({"error": [type(error).__name__, f"the value cannot be sent: {error}"]})
        wire.send_all(write, data)

    def failed(error: BaseException) -> None:
        name = type(error).__name__
        known = next((base.__name__ for base in type(error).__mro__ if base.__module__ == "builtins"), "Exception")
        try:
            text = str(error)[:300]
        except BaseException:
            text = ""
        answer(error=[known, f"{name}: {text}"])

    def receive() -> dict[str, Any]:
        head = wire.read_exactly(read, 4)
        if len(head) < 4:
            os._exit(0)
        return wire.decode(wire.read_exactly(read, wire.receive_size(head)), told)

    def load(code: str) -> None:
        space: dict[str, object] = {"__name__": _NAME}
        exec(compile(code, _FILE, "exec"), space)
        names = {name: value for name, value in space.items() if isinstance(name, str) and name[:2] != "__"}
        answer(ok={name: value if _small(value) else _Kept(value) for name, value in names.items()})

    def set_attribute(item: Any, name: str, value: Any) -> None:
        setattr(item, name, value)
        answer(ok=None)

    def apply(name: str, *arguments: Any) -> None:
        function = getattr(builtins, name, None) or getattr(operator, name)
        answer(ok=function(*arguments))

    start = receive()
    kernel.restrict(start["limits"], start["readable"], start["parent"])
    answer(ok="ready")
    operations: dict[str, Callable[..., None]] = {
        "load": load,
        "call": lambda item, arguments, keywords: answer(ok=item(*arguments, **keywords), arguments=arguments),
        "get": lambda item, name: answer(ok=getattr(item, name)),
        "set": set_attribute,
        "apply": apply,
        "run": _run,
    }

    def serve() -> Any:
        """Answer until a function of the tests returns."""
        while True:
            message = receive()
            if "return" in message:
                return message["return"]
            if "raise" in message:
                name, text = message["raise"]
                raise getattr(builtins, name, Exception)(text)
            try:
                operations[message["do"]](*message["with"])
            except BaseException as error:
                if message["do"] == "run":
                    raise
                failed(error)

    serve()


if __name__ == "__main__":
    _serve(int(sys.argv[1]), int(sys.argv[2]))
