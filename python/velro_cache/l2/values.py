"""Which values may be shared, and how each is written down.

A value becomes a row of MessagePack objects in prefix order: a container is an extension object
that says how many parts follow. No MessagePack array or map is ever used, so a reader that allows
none cannot be made to set memory aside for what is not there; all it makes has been paid for with
bytes of the input.

Types are exact: what was a tuple comes back as a tuple. A subclass of ``int`` or ``dict`` is
another type than these, and shared only if somebody has made it known with :func:`register_type`.
Nothing is imported and no code of the value's runs, neither when writing nor when reading.
"""

import sys
from collections.abc import Callable, Container, Iterator
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from enum import Enum, EnumMeta
from types import ModuleType, NoneType
from typing import Any, Final, NamedTuple, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

from velro_cache.exceptions import ConfigError, VelroCacheError

__all__ = [
    "MAX_DEPTH",
    "MAX_PARTS",
    "Part",
    "ValueNotSharedError",
    "flatten",
    "rebuild",
    "register_type",
    "take_apart",
]

T = TypeVar("T")

MAX_DEPTH: Final = 32
"""Containers within containers. JSON of people's own seldom has more than ten."""

MAX_PARTS: Final = 100_000
"""Objects in one value. It takes a tenth of a second to write or read so many."""


class ValueNotSharedError(VelroCacheError):
    """A value cannot be shared: its type, its size or its depth. Says which; counted by that."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"this value is not shared between hosts: {reason}")
        self.reason = reason


class Part(NamedTuple):
    """A part of a value that MessagePack has no type of its own for: an extension object."""

    code: int
    data: bytes


_BIG_INT, _LIST, _TUPLE, _SET, _FROZENSET, _DICT, _RECORD = range(1, 8)

_CONTAINERS: Final[dict[type, int]] = {
    list: _LIST,
    tuple: _TUPLE,
    set: _SET,
    frozenset: _FROZENSET,
}
_MAKERS: Final[dict[int, Callable[[list[Any]], Any]]] = {
    _LIST: list,
    _TUPLE: tuple,
    _SET: set,
    _FROZENSET: frozenset,
}
_AS_THEY_ARE: Final = frozenset({NoneType, bool, float, str, bytes})
_SMALLEST_INT: Final = -(1 << 63)
_LARGEST_INT: Final = (1 << 64) - 1


class _Record(NamedTuple):
    """How values of one type are taken apart into parts that can be written, and made again."""

    kind: type
    take_apart: Callable[[Any], tuple[Any, ...]]
    make: Callable[..., Any]


_records: dict[str, _Record] = {}
_names: dict[type, str] = {}


def register_type(
    name: str, kind: type[T], take_apart: Callable[[T], tuple[Any, ...]], make: Callable[..., T]
) -> None:
    """Let values of one more type be shared between hosts.

    Args:
        name: What it is called in shared values, on all hosts. Put a version into it, such as
            ``"myapp.Grant/1"``, and change that when the parts change their meaning.
        kind: The class; its subclasses are other types.
        take_apart: Given a value, returns its parts: values that can be shared themselves.
        make: Given the parts, returns an equal value. Raises if they are not such parts: they
            come from outside.

    Raises:
        ConfigError: The name, or the class, is known already.
    """
    if not isinstance(name, str) or not name or name in _records:
        raise ConfigError(f"this name is empty or taken already: {name!r:.80}")
    if kind in _names or kind in _CONTAINERS or kind in _AS_THEY_ARE or kind in (int, dict):
        raise ConfigError(f"{kind.__name__} can be shared already")
    _records[name] = _Record(kind, take_apart, make)
    _names[kind] = name


def flatten(value: Any, max_bytes: int) -> list[Any]:
    """Write a value down as objects that MessagePack knows.

    Args:
        value: What to write.
        max_bytes: Roughly how many bytes it may take.

    Returns:
        Nones, bools, ints of 64 bits, floats, texts, bytes and :class:`Part` objects.

    Raises:
        ValueNotSharedError: It is of a type that is not shared, or too large or too deep. A value
            that holds itself is too deep.
    """
    writer = _Writer(max_bytes)
    writer.write(value, 0)
    return writer.parts


class _Writer:
    __slots__ = ("left", "parts")

    def __init__(self, max_bytes: int) -> None:
        self.parts: list[Any] = []
        self.left = max_bytes

    def write(self, value: Any, depth: int) -> None:
        kind = type(value)
        if kind in _AS_THEY_ARE:
            self.add(value, len(value) if kind is str or kind is bytes else 0)
        elif kind is int:
            self.write_int(value)
        elif depth >= MAX_DEPTH:
            raise ValueNotSharedError("depth")
        elif kind in _CONTAINERS:
            self.begin(_CONTAINERS[kind], len(value))
            for item in value:
                self.write(item, depth + 1)
        elif kind is dict:
            self.begin(_DICT, len(value))
            for key, item in value.items():
                self.write(key, depth + 1)
                self.write(item, depth + 1)
        else:
            self.write_record(value, depth)

    def write_int(self, value: int) -> None:
        if _SMALLEST_INT <= value <= _LARGEST_INT:
            self.add(value, 0)
            return
        size = value.bit_length() // 8 + 1
        if size > self.left:
            raise ValueNotSharedError("size")
        self.add(Part(_BIG_INT, value.to_bytes(size, "big", signed=True)), size)

    def write_record(self, value: Any, depth: int) -> None:
        name, parts = take_apart(value)
        self.begin(_RECORD, len(parts))
        self.add(name, len(name))
        for item in parts:
            self.write(item, depth + 1)

    def begin(self, code: int, count: int) -> None:
        if count > MAX_PARTS:
            raise ValueNotSharedError("size")
        self.add(Part(code, count.to_bytes(4, "big")), 4)

    def add(self, part: Any, size: int) -> None:
        self.left -= size + 1
        if self.left < 0 or len(self.parts) >= MAX_PARTS:
            raise ValueNotSharedError("size")
        self.parts.append(part)


def take_apart(value: Any, only: Container[str] | None = None) -> tuple[str, tuple[Any, ...]]:
    """Take a value that is no container into its parts.

    Args:
        value: The value.
        only: Names of the types to be taken; None: all that are known.

    Returns:
        The name of its type in shared values, and the parts.

    Raises:
        ValueNotSharedError: It is of another type, or of one that other hosts would not know.
    """
    kind = type(value)
    name = _names.get(kind)
    if name is None and isinstance(kind, EnumMeta):
        name = "enum"
    if name is None or (only is not None and name not in only):
        raise ValueNotSharedError("type")
    return name, _records[name].take_apart(value)


def rebuild(parts: Iterator[Any]) -> Any:
    """Read a value from what :func:`flatten` made of it.

    Args:
        parts: The objects. What comes after the value is left there.

    Returns:
        An equal value of the same types.

    Raises:
        ValueError: They do not stand for a value. Other exceptions mean the same: what is read
            here comes from outside, and may be anything.
    """
    return _read(parts, 0)


def _read(parts: Iterator[Any], depth: int) -> Any:
    part: Any = next(parts, _END)
    kind = type(part)
    if kind in _AS_THEY_ARE or kind is int:
        return part
    if kind is not Part:
        raise ValueError("not a part of a value, or none left")
    code, data = part
    if code == _BIG_INT:
        value = int.from_bytes(data, "big", signed=True)
        if _SMALLEST_INT <= value <= _LARGEST_INT:
            raise ValueError("this number is written in another way")
        return value
    if depth >= MAX_DEPTH or len(data) != 4:
        raise ValueError("too deep, or no count")
    count = int.from_bytes(data, "big")
    if code in _MAKERS:
        items = [_read(parts, depth + 1) for _ in range(count)]
        made = _MAKERS[code](items)
        if len(made) != count:
            raise ValueError("a member stands twice in a set")
        return made
    if code == _DICT:
        pairs = {}
        for _ in range(count):
            key = _read(parts, depth + 1)
            pairs[key] = _read(parts, depth + 1)
        if len(pairs) != count:
            raise ValueError("a key stands twice in a dict")
        return pairs
    if code == _RECORD:
        return _read_record(parts, count, depth)
    raise ValueError("an unknown kind of part")


_END: Final = object()


def _read_record(parts: Iterator[Any], count: int, depth: int) -> Any:
    name = next(parts, None)
    if type(name) is not str:
        raise ValueError("a record without a name")
    # A KeyError says as much: made on a host that knows more types than this one.
    record = _records[name]
    value = record.make(*[_read(parts, depth + 1) for _ in range(count)])
    if record is not _ENUM and type(value) is not record.kind:
        raise ValueError("a record that makes something else")
    return value


# The types of the standard library.


def _known_zone(zone: tzinfo | None) -> tzinfo | None:
    # Before anything is asked of it: one of a class of somebody's own would run code of its own.
    if type(zone) not in (NoneType, timezone, ZoneInfo):
        raise ValueNotSharedError("type")
    return zone


def _datetime_parts(value: datetime) -> tuple[Any, ...]:
    zone = _known_zone(value.tzinfo)
    # The offset as well: hosts may know different rules for a zone, and then mean other moments.
    clock = (value.hour, value.minute, value.second, value.microsecond, value.fold)
    return value.year, value.month, value.day, *clock, zone, value.utcoffset()


def _make_datetime(*parts: Any) -> datetime:
    year, month, day, hour, minute, second, microsecond, fold, zone, offset = parts
    value = datetime(year, month, day, hour, minute, second, microsecond, zone, fold=fold)
    if value.utcoffset() != offset:
        raise ValueError("this zone has other rules here")
    return value


def _time_parts(value: time) -> tuple[Any, ...]:
    clock = (value.hour, value.minute, value.second, value.microsecond, value.fold)
    return *clock, _known_zone(value.tzinfo)


def _make_time(*parts: Any) -> time:
    hour, minute, second, microsecond, fold, zone = parts
    return time(hour, minute, second, microsecond, zone, fold=fold)


def _timezone_parts(value: timezone) -> tuple[Any, ...]:
    offset, name = value.utcoffset(None), value.tzname(None)
    return (offset,) if name == timezone(offset).tzname(None) else (offset, name)


def _zone_parts(value: ZoneInfo) -> tuple[Any, ...]:
    # One read from a file of somebody's own may bear any name.
    if type(value.key) is not str or ZoneInfo(value.key) is not value:
        raise ValueNotSharedError("type")
    return (value.key,)


def _make_zone(key: Any) -> ZoneInfo:
    # It names a file below a folder; `zoneinfo` itself refuses one that would leave it.
    if type(key) is not str or len(key) > 64 or ".." in key or "\0" in key:
        raise ValueError("not the name of a time zone")
    return ZoneInfo(key)


def _uuid_parts(value: UUID) -> tuple[Any, ...]:
    return (value.bytes,)


def _make_uuid(data: Any) -> UUID:
    return UUID(bytes=data)


def _decimal_parts(value: Decimal) -> tuple[Any, ...]:
    return (str(value),)


def _make_decimal(text: Any) -> Decimal:
    if type(text) is not str:
        raise ValueError("not a number")
    return Decimal(text)


def _enum_parts(value: Enum) -> tuple[Any, ...]:
    kind = type(value)
    module, name, member = kind.__module__, kind.__qualname__, value._name_
    # A class within a function, or a sum of flags, could not be found again.
    if type(member) is not str or _find_member(module, name, member) is not value:
        raise ValueNotSharedError("type")
    return module, name, member


def _make_enum(module: Any, name: Any, member: Any) -> Enum:
    value = _find_member(module, name, member)
    if value is None:
        raise ValueError("no such enum has been imported here")
    return value


def _find_member(module: str, name: str, member: str) -> Enum | None:
    """A member of an enum that is imported already. Looks into dicts alone; runs nothing."""
    place: Any = sys.modules.get(module)
    if not issubclass(type(place), ModuleType):
        return None
    # Past the hooks by which modules and classes can do something when asked.
    names: Any = object.__getattribute__(place, "__dict__")
    for step in name.split("."):
        place = names.get(step)
        if not issubclass(type(place), type):
            return None
        names = _NAMES_OF_CLASS(place)
    if not issubclass(type(place), EnumMeta):
        return None
    found: Enum | None = _MEMBERS_OF_ENUM(place).get(member)
    return found


_NAMES_OF_CLASS: Final[Any] = type.__dict__["__dict__"].__get__
_MEMBERS_OF_ENUM: Final[Any] = EnumMeta.__dict__["__members__"].__get__


register_type("datetime", datetime, _datetime_parts, _make_datetime)
register_type("date", date, lambda value: (value.year, value.month, value.day), date)
register_type("time", time, _time_parts, _make_time)
register_type(
    "timedelta",
    timedelta,
    lambda value: (value.days, value.seconds, value.microseconds),
    timedelta,
)
register_type("timezone", timezone, _timezone_parts, timezone)
register_type("ZoneInfo", ZoneInfo, _zone_parts, _make_zone)
register_type("UUID", UUID, _uuid_parts, _make_uuid)
register_type("Decimal", Decimal, _decimal_parts, _make_decimal)
register_type("enum", Enum, _enum_parts, _make_enum)

_ENUM: Final = _records["enum"]
