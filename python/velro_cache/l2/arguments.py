"""The arguments of a call as bytes that are the same in all processes of all hosts.

Each part is written with its type and its length, so that ``1``, ``1.0``, ``True`` and ``"1"``
differ, and no argument can run into the next. Only what means the same everywhere is taken: values
of types of the standard library, and members of enums that can be found by their name. Objects,
classes that exist in one process only and time zones read from a file of one's own are refused; a
call with such arguments is kept in its process.

What is kept in memory tells at least as much apart, and is asked first; see ``call_key.rs`` for
the arguments as bytes there.
"""

import struct
from collections.abc import Callable, Iterable
from decimal import Decimal
from fractions import Fraction
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import PosixPath, PurePosixPath, PureWindowsPath
from typing import Any, Final
from uuid import UUID

from velro_cache.l2.values import ValueNotSharedError, take_apart

__all__ = ["ArgumentNotSharedError", "encode_arguments"]

_MOST_LEVELS: Final = 32


class ArgumentNotSharedError(Exception):
    """An argument is not written alike in all processes."""


def encode_arguments(arguments: Iterable[tuple[str, Any]]) -> bytes:
    """Write the arguments of a call down.

    Args:
        arguments: Names and values, in any order. A name stands there once.

    Returns:
        Bytes that differ for calls that differ in a name, or in type or value of an argument.

    Raises:
        ArgumentNotSharedError: There is an argument for which no other process would write the
            same.
    """
    # By name: a version of the function that takes them in another order does not mix them up.
    ordered = sorted(arguments, key=lambda argument: argument[0])
    out = bytearray()
    for name, value in ordered:
        _push_text(b"=", name, out)
        _push(value, out, 0)
    return bytes(out)


def _push(value: Any, out: bytearray, level: int) -> None:
    kind = type(value)
    if level > _MOST_LEVELS:
        raise ArgumentNotSharedError
    if value is None:
        out += b"N"
    elif kind is bool:
        out += b"T" if value else b"F"
    elif kind is str:
        _push_text(b"s", value, out)
    elif kind is int:
        _push_sized(b"i", format(value, "x").encode(), out)
    elif kind is float:
        out += b"f" + struct.pack(">d", value)
    elif kind is bytes:
        _push_sized(b"b", value, out)
    elif kind is UUID:
        out += b"u" + value.bytes
    elif kind is tuple:
        out += b"t" + len(value).to_bytes(8, "big")
        for item in value:
            _push(item, out, level + 1)
    elif kind is frozenset:
        _push_set(value, out, level)
    else:
        _push_record(value, kind, out, level)


def _push_set(value: frozenset[Any], out: bytearray, level: int) -> None:
    items = []
    for item in value:
        encoded = bytearray()
        _push(item, encoded, level + 1)
        items.append(bytes(encoded))
    # A set has no order; its encoding must have one.
    out += b"z" + len(items).to_bytes(8, "big") + b"".join(sorted(items))


def _push_record(value: Any, kind: type, out: bytearray, level: int) -> None:
    parts = _PARTS.get(kind)
    try:
        # What is shared as a value is taken apart in the same way, with the same doubts.
        name, taken = (kind.__name__, parts(value)) if parts else take_apart(value, _KNOWN)
    except ValueNotSharedError:
        raise ArgumentNotSharedError from None
    _push_text(b"r", name, out)
    _push(taken, out, level + 1)


def _push_text(kind: bytes, text: str, out: bytearray) -> None:
    _push_sized(kind, text.encode("utf-8", "surrogatepass"), out)


def _push_sized(kind: bytes, data: bytes, out: bytearray) -> None:
    out += kind + len(data).to_bytes(8, "big") + data


_KNOWN: Final = ("datetime", "date", "time", "timedelta", "timezone", "ZoneInfo", "enum")
"""Records of :mod:`velro_cache.l2.values`. None that somebody has registered: such a class may
compare by rules of its own."""

_PARTS: Final[dict[type, Callable[[Any], tuple[Any, ...]]]] = {
    Decimal: lambda value: (str(value),),
    Fraction: lambda value: (value.numerator, value.denominator),
    IPv4Address: lambda value: (str(value),),
    IPv6Address: lambda value: (str(value),),
    IPv4Network: lambda value: (str(value),),
    IPv6Network: lambda value: (str(value),),
    PosixPath: lambda value: (str(value),),
    PurePosixPath: lambda value: (str(value),),
    PureWindowsPath: lambda value: (str(value),),
    range: lambda value: (value.start, value.stop, value.step),
}
"""The names of these classes differ from each other and from those in :data:`_KNOWN`."""
