"""Values between the judge and the guest, as JSON with tags: plain data only, so that reading one runs nothing.

Standard library only: both sides import this file from where it lies.
"""

import json
import math
import os
from collections.abc import Callable
from typing import Any

__all__ = ["LARGEST", "decode", "encode", "framed", "read_exactly", "receive_size", "send_all"]

LARGEST = 4 << 20
"""Bytes of a message; a larger reply is a failure of the program that gave it."""
_DEEPEST = 40


def encode(value: Any, handle: Callable[[Any], Any] | None = None) -> bytes:
    """A value as bytes.

    Args:
        value: None, booleans, numbers, text, bytes, and lists, tuples, sets and dictionaries of these. Exactly these
            types: an instance of a subclass could be equal to anything.
        handle: Gives the tag for a value of any other type.

    Raises:
        TypeError: A value of another type, without ``handle``.
        ValueError: Nested too deeply.
    """
    return json.dumps(_tagged(value, 0, handle)).encode()


def decode(data: bytes, handle: Callable[[Any], Any] | None = None) -> Any:
    """The value of ``encode``.

    Args:
        data: What was received.
        handle: Turns a tag of another type into a value.

    Raises:
        ValueError: It is no such message, whatever else is wrong with it.
    """
    try:
        return _value(json.loads(data), 0, handle)
    except (ValueError, TypeError, KeyError, RecursionError, OverflowError) as error:
        raise ValueError(f"not a message: {error}") from None


def framed(data: bytes) -> bytes:
    """A message as it is sent: its length in four bytes, then itself; see ``receive_size``."""
    return len(data).to_bytes(4, "big") + data


def send_all(descriptor: int, data: bytes) -> None:
    """Write a message, its length first; for a descriptor that blocks."""
    rest = framed(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def read_exactly(descriptor: int, count: int) -> bytes:
    """Read so many bytes; fewer at the end of the stream."""
    data = b""
    while len(data) < count and (more := os.read(descriptor, count - len(data))):
        data += more
    return data


def receive_size(head: bytes) -> int:
    """Length of the message behind its four first bytes."""
    return int.from_bytes(head, "big")


def _tagged(value: Any, depth: int, handle: Callable[[Any], Any] | None) -> Any:
    if depth > _DEEPEST:
        raise ValueError("nested too deeply")
    kind = type(value)
    if value is None or kind in (bool, str):
        return value
    if kind is int:
        return value if abs(value) < 2**53 else {"$": "int", "v": hex(value)}
    if kind is float:
        return {"$": "float", "v": value if math.isfinite(value) else repr(value)}
    if kind is complex:
        return {"$": "complex", "v": [repr(value.real), repr(value.imag)]}
    if kind is bytes:
        return {"$": "bytes", "v": value.hex()}
    if kind in (list, tuple, set, frozenset):
        items = [_tagged(each, depth + 1, handle) for each in value]
        return items if kind is list else {"$": kind.__name__, "v": items}
    if kind is dict:
        pairs = value.items()
        return {"$": "dict", "v": [[_tagged(each, depth + 1, handle) for each in pair] for pair in pairs]}
    if kind.__module__ in ("collections", "enum") or hasattr(kind, "_fields"):
        # Counter, defaultdict, OrderedDict, IntEnum and named tuples are sent as what they are equal to.
        plains: tuple[Callable[[Any], Any], ...] = (dict, tuple, int, str)
        for plain in plains:
            if isinstance(value, plain):  # type: ignore[arg-type]
                return _tagged(plain(value), depth + 1, handle)
    if handle is None:
        raise TypeError(f"a {kind.__name__} cannot be sent")
    return {"$": "object", "v": handle(value)}


def _value(data: Any, depth: int, handle: Callable[[Any], Any] | None) -> Any:
    if depth > 3 * _DEEPEST:
        raise ValueError("nested too deeply")
    if isinstance(data, list):
        return [_value(each, depth + 1, handle) for each in data]
    if not isinstance(data, dict):
        return data
    kind, inner = data["$"], data["v"]
    if kind == "int":
        return int(inner, 16)
    if kind == "float":
        return float(inner)
    if kind == "complex":
        return complex(*map(float, inner))
    if kind == "bytes":
        return bytes.fromhex(inner)
    if kind in ("tuple", "set", "frozenset"):
        return {"tuple": tuple, "set": set, "frozenset": frozenset}[kind](_value(x, depth + 1, handle) for x in inner)
    if kind == "dict":
        return {_value(name, depth + 1, handle): _value(each, depth + 1, handle) for name, each in inner}
    if kind == "object" and handle is not None:
        return handle(inner)
    raise ValueError(f"unknown tag {str(kind)[:20]}")
