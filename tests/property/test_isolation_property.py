"""Arbitrary values, arbitrarily changed: the next caller gets what was set, type for type."""

from __future__ import annotations

import collections
import copy
import dataclasses
import datetime as dt
import enum
import math
import types
import uuid
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NamedTuple

import pydantic
from hypothesis import given
from hypothesis import strategies as st

from velro_cache import OptimizedCacheConfig, OptimizedCacheManager


class Colour(enum.Enum):
    RED = 1
    BLUE = "b"


class Access(enum.IntFlag):
    READ = 1
    WRITE = 2


@dataclass
class Record:
    part: Any
    other: Any = None


@dataclass(frozen=True, slots=True)
class Fixed:
    part: Any
    other: Any = None


@dataclass(slots=True)
class Slotted(Record):
    third: Any = None


class Pair(NamedTuple):
    part: Any
    other: Any


class Own:
    def __init__(self, part: Any) -> None:
        self.part = part


class OwnSlots:
    __slots__ = ("part",)

    def __init__(self, part: Any) -> None:
        self.part = part


class OwnCopy:
    """Copies itself in a way of its own."""

    def __init__(self, part: Any) -> None:
        self.part = part

    def __deepcopy__(self, memo: dict[int, Any]) -> OwnCopy:
        return OwnCopy(copy.deepcopy(self.part, memo))


class Model(pydantic.BaseModel):
    part: Any


class MyList(list[Any]):
    pass


leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.complex_numbers(),
    st.text(max_size=8),
    st.text(st.characters(categories=["Cs", "Cc", "So"]), max_size=4),
    st.binary(max_size=8),
    st.uuids(),
    st.datetimes(timezones=st.sampled_from([None, dt.UTC, dt.timezone(dt.timedelta(hours=5))])),
    st.dates(),
    st.timedeltas(),
    st.decimals(),
    st.fractions(),
    st.sampled_from([Colour.RED, Colour.BLUE, Access.READ, Access(3), Access(8), ..., int]),
)
hashable = st.recursive(
    # A signalling NaN can be neither compared nor hashed.
    leaves.filter(lambda leaf: not isinstance(leaf, Decimal) or not leaf.is_snan()),
    lambda inner: st.one_of(
        st.tuples(inner), st.tuples(inner, inner), st.frozensets(inner, max_size=3)
    ),
    max_leaves=4,
)


def containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(hashable, inner, max_size=3),
        st.sets(hashable, max_size=3),
        st.frozensets(hashable, max_size=3),
        st.binary(max_size=5).map(bytearray),
        st.builds(Record, inner, inner),
        st.builds(Fixed, inner, inner),
        st.builds(Slotted, inner, inner, inner),
        st.builds(Pair, inner, inner),
        st.builds(Own, inner),
        st.builds(OwnSlots, inner),
        st.builds(OwnCopy, inner),
        st.builds(lambda part: Model(part=part), inner),
        st.builds(lambda part: types.SimpleNamespace(part=part), inner),
        st.lists(inner, max_size=3).map(MyList),
        st.lists(inner, max_size=3).map(collections.deque),
        st.dictionaries(hashable, inner, max_size=3).map(collections.OrderedDict),
        st.dictionaries(hashable, inner, max_size=3).map(
            lambda items: collections.defaultdict(list, items)
        ),
    )


values = st.recursive(leaves, containers, max_leaves=12)
plain = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(st.text(max_size=5), inner, max_size=4),
    ),
    max_leaves=20,
)


def show(value: Any) -> Any:
    """All there is to see of a value: types, contents, attributes, in order."""
    kind = type(value)
    if isinstance(value, float):
        return kind, math.copysign(1, value), repr(value)
    if isinstance(value, dict):
        factory = getattr(value, "default_factory", None)
        return kind, factory, [(show(key), show(item)) for key, item in value.items()]
    if isinstance(value, (set, frozenset)):
        return kind, sorted(repr(show(item)) for item in value)
    if isinstance(value, (list, tuple, collections.deque)):
        return kind, [show(item) for item in value]
    if isinstance(value, bytearray):
        return kind, bytes(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        return kind, [(field.name, show(getattr(value, field.name))) for field in fields]
    if isinstance(value, (Own, OwnSlots, OwnCopy, Model, types.SimpleNamespace)):
        return kind, show(value.part)
    return kind, repr(value)


def change(value: Any, choose: Any) -> None:
    """Change every part of a value that can be changed, somehow."""
    if isinstance(value, dict):
        for item in list(value.values()):
            change(item, choose)
        if value and choose(st.booleans()):
            value.popitem()
        else:
            value["changed"] = "changed"
    elif isinstance(value, (list, collections.deque)):
        for item in list(value):
            change(item, choose)
        value.append("changed")
    elif isinstance(value, tuple):
        for item in value:
            change(item, choose)
    elif isinstance(value, set):
        value.add("changed")
    elif isinstance(value, bytearray):
        value.extend(b"changed")
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            change(getattr(value, field.name), choose)
        if choose(st.booleans()):
            object.__setattr__(value, dataclasses.fields(value)[0].name, "changed")
    elif isinstance(value, (Own, OwnSlots, OwnCopy, Model, types.SimpleNamespace)):
        change(value.part, choose)
        value.part = "changed"


def make(**settings: Any) -> OptimizedCacheManager:
    return OptimizedCacheManager(OptimizedCacheConfig(**settings))


@given(values, st.data())
def test_whatever_callers_do_to_a_value_the_next_one_gets_what_was_set(
    value: Any, data: st.DataObject
) -> None:
    expected = show(value)
    cache = make(compression_threshold_bytes=64)
    assert cache.set("k", value)
    change(value, data.draw)
    for _ in range(3):
        got, hit = cache.get("k")
        assert hit
        assert show(got) == expected
        change(got, data.draw)


@given(values, st.data())
def test_so_do_those_who_load_it(value: Any, data: st.DataObject) -> None:
    expected = show(value)
    cache = make()
    first = cache.get_or_load("k", lambda: value)
    assert show(first) == expected
    change(value, data.draw)
    change(first, data.draw)
    assert show(cache.get_or_load("k", lambda: None)) == expected


@given(st.lists(plain, min_size=1, max_size=30))
def test_compressed_or_not_a_value_is_the_same(value: Any) -> None:
    expected = show(value)
    cache = make(compression_threshold_bytes=64)
    assert cache.set("k", value)
    got, _ = cache.get("k")
    assert show(got) == expected


@given(values)
def test_in_shared_mode_the_very_object_is_handed_out(value: Any) -> None:
    cache = make(isolation="shared")
    assert cache.set("k", value)
    assert cache.get_value("k") is value
    assert cache.get("k")[0] is value


@given(st.lists(st.tuples(st.sampled_from("abc"), values), min_size=1, max_size=8))
def test_values_of_different_keys_never_meet(pairs: list[tuple[str, Any]]) -> None:
    cache = make()
    last = {}
    for key, value in pairs:
        cache.set(key, value)
        last[key] = show(value)
    for key, expected in last.items():
        assert show(cache.get_value(key)) == expected


@given(st.uuids())
def test_a_uuid_is_handed_out_as_it_is(value: uuid.UUID) -> None:
    cache = make()
    cache.set("k", value)
    assert cache.get_value("k") is value
