"""The program as its tests see it: objects that stand for those in the guest, and the talk with it.

Standard library only: ``referee.py`` imports this file from where it lies.
"""

import builtins
import os
import select
import time
import types
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eval.sandbox import wire
else:
    import wire

__all__ = ["LONGEST", "Gone", "Guest", "Late", "Proxy", "Unsupported", "short"]

LONGEST = 500
"""Characters of an error or a line that are told."""


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
            self.last += f" gave {short(message.get('ok'))}"
        return message.get("ok")

    def exchange(self, message: dict[str, Any]) -> dict[str, Any]:
        """Send a message and wait for the answer; in between, functions of the tests may be called from there."""
        self._send(message)
        while "call_back" in (answer := self._answer()):
            try:
                index, arguments, keywords = answer["call_back"]
                self._send({"return": self.functions[index](*arguments, **keywords)})
            except Exception as error:
                self._send({"raise": [type(error).__name__, str(error)[:LONGEST]]})
        return answer

    def _answer(self) -> dict[str, Any]:
        size = wire.receive_size(self._receive(4))
        if size > wire.LARGEST:
            raise Gone(f"a reply of {size} bytes")
        try:
            answer = wire.decode(self._receive(size), lambda parts: Proxy(self, *parts))
        except ValueError as error:
            raise Gone(str(error)) from None
        if not isinstance(answer, dict):
            raise Gone("a reply of no known form")
        return answer

    def _named(self, value: Any) -> int | str | list[Any]:
        """How the guest knows an object: its own, a builtin, or a function that lives here."""
        if isinstance(value, Proxy):
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
            data = wire.framed(wire.encode(message, self._named))
        except (TypeError, ValueError) as error:
            raise Unsupported(str(error)) from None
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


class Proxy:
    """An object of the guest. Against plain data it is never equal and never compared: it could claim anything."""

    def __init__(self, guest: Guest, index: int, kind: str, name: str) -> None:
        own = {"_guest": guest, "_index": int(index), "_kind": str(kind), "_name": str(name)[:80]}
        object.__getattribute__(self, "__dict__").update(own)

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        """Call it in the guest."""
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
        return isinstance(other, Proxy) and self._guest.ask("apply", "isinstance", other, self) is True

    def __hash__(self) -> int:
        return self._guest.ask("apply", "hash", self)

    def __bool__(self) -> bool:
        return self._guest.ask("apply", "bool", self) is True

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, Proxy) and self._guest.ask("apply", "eq", self, other) is True

    def __str__(self) -> str:
        return str(self._guest.ask("apply", "str", self))

    def __repr__(self) -> str:
        return str(self._guest.ask("apply", "repr", self))


def _forward(name: str, operation: str, *, both: bool = False) -> None:
    def method(self: Proxy, *others: Any) -> Any:
        if both and not all(isinstance(other, Proxy) for other in others):
            return NotImplemented
        return self._guest.ask("apply", operation, self, *others)

    setattr(Proxy, name, method)


for _name in ("len", "iter", "next", "reversed", "abs", "round", "int", "float", "complex", "index"):
    _forward(f"__{_name}__", _name)
for _name in ("getitem", "setitem", "delitem"):  # `in` goes through the elements: they are compared here
    _forward(f"__{_name}__", _name)
for _name in ("lt", "le", "gt", "ge", "add", "sub", "mul", "matmul", "truediv", "floordiv", "mod", "pow", "or", "and"):
    _forward(f"__{_name}__", f"{_name}_" if _name in ("or", "and") else _name, both=True)


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
    name, text = (str(part)[:LONGEST] for part in parts)
    kind = getattr(builtins, name, Exception)
    if not (isinstance(kind, type) and issubclass(kind, Exception)):
        kind = Exception
    try:
        return kind(text)
    except TypeError:  # some need more than a text
        return Exception(text)


def _arguments(arguments: list[Any], keywords: dict[str, Any]) -> str:
    return ", ".join([*map(short, arguments), *(f"{name}={short(value)}" for name, value in keywords.items())])


def short(value: Any) -> str:
    """A value or an error in at most 120 characters."""
    text = f"<{value._name}>" if isinstance(value, Proxy) else str(value) if isinstance(value, Exception) else ""
    if not text:
        try:
            text = repr(value)
        except Exception:  # an integer of more digits than Python prints
            text = f"<{type(value).__name__}>"
    return text if len(text) <= 120 else text[:117] + "…"
