"""Whatever a caller does to a value it set or got, the next caller gets the value that was set.

These are the cases with a name; `tests/property` tries what nobody thought of.
"""

from __future__ import annotations

import array
import collections
import contextvars
import dataclasses
import datetime as dt
import enum
import io
import sys
import threading
import types
import uuid
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

import pydantic
import pytest

from velro_cache import OptimizedCacheManager
from velro_cache.exceptions import SerializationError

T = TypeVar("T")


@dataclass
class Plain:
    roles: list[str]
    note: str = ""


@dataclass(frozen=True)
class Frozen:
    roles: list[str]


@dataclass(slots=True)
class Slots:
    roles: list[str]


@dataclass(frozen=True, slots=True)
class FrozenSlots:
    roles: list[str]


@dataclass
class Child(Plain):
    more: dict[str, list[int]] = field(default_factory=dict)


@dataclass(slots=True)
class SlotsChild(Slots):
    more: list[int] = field(default_factory=list)


@dataclass
class Of(Generic[T]):
    items: list[T]


@dataclass
class WithInit:
    """Made from something it does not keep; its `__post_init__` must not run again."""

    given: dataclasses.InitVar[int]
    kept: list[int] = field(init=False)
    made: int = field(default=0, compare=False)

    def __post_init__(self, given: int) -> None:
        self.kept = [given]
        self.made += 1


@dataclass
class Guarded:
    roles: list[str]

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.__dict__:
            raise AttributeError(f"{name} cannot be changed")
        object.__setattr__(self, name, value)


@dataclass
class OwnCopy:
    roles: list[str]
    copies: int = 0

    def __deepcopy__(self, memo: dict[int, Any]) -> OwnCopy:
        return OwnCopy(list(self.roles), self.copies + 1)


@dataclass
class IsList(list[int]):
    note: str = ""


@dataclass
class IsDict(dict[str, Any]):
    note: str = ""


@dataclass
class IsError(Exception):
    roles: list[str]


class Point(NamedTuple):
    x: int
    y: list[int]


PlainPoint = collections.namedtuple("PlainPoint", "x y")


class DictPoint(PlainPoint):
    """A named tuple that also has attributes."""


class Attributes:
    def __init__(self, roles: list[str]) -> None:
        self.roles = roles

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Attributes) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]


class OwnSlots:
    __slots__ = ("__private", "roles")

    def __init__(self, roles: list[str]) -> None:
        self.roles = roles
        self.__private = list(roles)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, OwnSlots) and (
            (self.roles, self.__private) == (other.roles, other.__private)
        )

    __hash__ = None  # type: ignore[assignment]


class Model(pydantic.BaseModel):
    roles: list[str]
    at: dt.datetime = dt.datetime(2030, 1, 1)
    _private: list[str] = pydantic.PrivateAttr(default_factory=list)


@pydantic.dataclasses.dataclass
class ModelData:
    roles: list[str]


class Colour(enum.Enum):
    RED = 1


class MyDict(dict[str, Any]):
    pass


class MyList(list[Any]):
    pass


class MyText(str):
    __slots__ = ("extra",)


class Zone(dt.tzinfo):
    def __init__(self, hours: int = 0) -> None:
        self.hours = hours

    def utcoffset(self, moment: dt.datetime | None) -> dt.timedelta:
        return dt.timedelta(hours=self.hours)

    def dst(self, moment: dt.datetime | None) -> None:
        return None

    def tzname(self, moment: dt.datetime | None) -> str:
        return str(self.hours)


# What a caller might do: a name, how to make the value, and how to change it.
CASES: dict[str, tuple[Callable[[], Any], Callable[[Any], Any]]] = {
    "dict": (lambda: {"a": 1}, lambda v: v.update(b=2)),
    "dict in dict": (lambda: {"a": {"b": {}}}, lambda v: v["a"]["b"].update(c=1)),
    "list": (lambda: [1], lambda v: v.append(2)),
    "list in list": (lambda: [[[1]]], lambda v: v[0][0].clear()),
    "list in tuple": (lambda: (1, ([2],)), lambda v: v[1][0].append(3)),
    "set": (lambda: {1}, lambda v: v.add(2)),
    "set of tuples": (lambda: {(1, 2), (3,)}, lambda v: v.clear()),
    "frozenset of tuples": (lambda: [frozenset({(1, (2,))})], lambda v: v.clear()),
    "bytearray": (lambda: [bytearray(b"a")], lambda v: v[0].extend(b"b")),
    "dict with tuple keys": (lambda: {(1, "a"): [1]}, lambda v: v[1, "a"].append(2)),
    "dict with enum keys": (lambda: {Colour.RED: [1]}, lambda v: v[Colour.RED].append(2)),
    "dataclass": (lambda: Plain(["a"]), lambda v: v.roles.append("b")),
    "dataclass field": (lambda: Plain(["a"]), lambda v: setattr(v, "note", "x")),
    "dataclass new attribute": (
        lambda: Plain(["a"]),
        lambda v: _with(v, roles=["b"], other=1),
    ),
    "frozen dataclass": (lambda: Frozen(["a"]), lambda v: v.roles.append("b")),
    "frozen by force": (
        lambda: [Frozen(["a"])],
        lambda v: object.__setattr__(v[0], "roles", ["b"]),
    ),
    "dataclass with slots": (lambda: Slots(["a"]), lambda v: v.roles.append("b")),
    "slots field": (lambda: Slots(["a"]), lambda v: setattr(v, "roles", [])),
    "frozen slots": (lambda: FrozenSlots(["a"]), lambda v: v.roles.append("b")),
    "frozen slots by force": (
        lambda: {"k": FrozenSlots(["a"])},
        lambda v: object.__setattr__(v["k"], "roles", ["b"]),
    ),
    "child dataclass": (lambda: Child(["a"], "", {"x": [1]}), lambda v: v.more["x"].append(2)),
    "child with slots": (lambda: SlotsChild(["a"], [1]), lambda v: v.more.append(2)),
    "generic dataclass": (lambda: Of[int]([1]), lambda v: v.items.append(2)),
    "dataclass with InitVar": (lambda: WithInit(5), lambda v: v.kept.append(6)),
    "guarded dataclass": (lambda: Guarded(["a"]), lambda v: v.roles.append("b")),
    "dataclass that is a list": (lambda: _filled(IsList(), 1), lambda v: v.append(2)),
    "dataclass that is a dict": (
        lambda: _set(IsDict(), "a", [1]),
        lambda v: v["a"].append(2),
    ),
    "named tuple": (lambda: Point(1, [2]), lambda v: v.y.append(3)),
    "named tuple with attributes": (
        lambda: _with(DictPoint(1, 2), extra=[1]),
        lambda v: v.extra.append(2),
    ),
    "own class": (lambda: Attributes(["a"]), lambda v: v.roles.append("b")),
    "own class attribute": (lambda: [Attributes(["a"])], lambda v: setattr(v[0], "roles", 1)),
    "own slots": (lambda: OwnSlots(["a"]), lambda v: v.roles.append("b")),
    "private slots": (
        lambda: [OwnSlots(["a"])],
        lambda v: v[0]._OwnSlots__private.append("b"),
    ),
    "pydantic model": (lambda: Model(roles=["a"]), lambda v: v.roles.append("b")),
    "pydantic field": (lambda: {"m": Model(roles=["a"])}, lambda v: setattr(v["m"], "roles", [])),
    "pydantic private": (lambda: Model(roles=["a"]), lambda v: v._private.append("b")),
    "pydantic dataclass": (lambda: ModelData(["a"]), lambda v: v.roles.append("b")),
    "OrderedDict": (
        lambda: collections.OrderedDict(a=[1], b=2),
        lambda v: v.move_to_end("a") or v["a"].append(2),
    ),
    "defaultdict": (
        lambda: collections.defaultdict(list, {"a": [1]}),
        lambda v: v["b"].append(1),
    ),
    "Counter": (lambda: collections.Counter("aab"), lambda v: v.update("a")),
    "deque": (lambda: collections.deque([[1]], maxlen=5), lambda v: v[0].append(2)),
    "ChainMap": (lambda: collections.ChainMap({"a": [1]}), lambda v: v["a"].append(2)),
    "SimpleNamespace": (lambda: types.SimpleNamespace(a=[1]), lambda v: v.a.append(2)),
    "array": (lambda: array.array("i", [1]), lambda v: v.append(2)),
    "subclass of dict": (lambda: MyDict(a=[1]), lambda v: v["a"].append(2)),
    "subclass of dict inside": (lambda: {"a": MyDict(b=1)}, lambda v: v["a"].update(b=2)),
    "subclass of list": (lambda: MyList([[1]]), lambda v: v[0].append(2)),
    "attribute of a text": (
        lambda: _with(MyText("a"), extra=[1]),
        lambda v: v.extra.append(2),
    ),
    "error": (lambda: ValueError(["a"]), lambda v: v.args[0].append("b")),
    "datetime with a zone of its own": (
        lambda: dt.datetime(2030, 1, 1, tzinfo=Zone(1)),
        lambda v: setattr(v.tzinfo, "hours", 5),
    ),
    "time with a zone of its own": (
        lambda: [dt.time(1, tzinfo=Zone(1))],
        lambda v: setattr(v[0].tzinfo, "hours", 5),
    ),
}


def _filled(items: Any, *more: Any) -> Any:
    items.extend(more)
    return items


def _set(mapping: Any, key: str, value: Any) -> Any:
    mapping[key] = value
    return mapping


def _with(value: Any, **attributes: Any) -> Any:
    for name, attribute in attributes.items():
        setattr(value, name, attribute)
    return value


def show(value: Any) -> Any:
    """All there is to see of a value, as text: types, contents, attributes, in order."""
    inside: Any = ()
    if isinstance(value, dict):
        inside = [(show(k), show(v)) for k, v in value.items()]
    elif isinstance(value, (list, tuple, collections.deque, array.array)):
        inside = [show(item) for item in value]
    elif isinstance(value, (set, frozenset)):
        inside = sorted(map(repr, map(show, value)))
    elif isinstance(value, dt.datetime | dt.time):
        inside = [str(value), show(value.tzinfo)]
    elif isinstance(value, BaseException):
        inside = show(value.args)
    elif not hasattr(value, "__dict__") and not hasattr(type(value), "__slots__"):
        inside = repr(value)
    if isinstance(value, (enum.Enum, type, uuid.UUID)):
        return (type(value), repr(value))
    attributes = dict(getattr(value, "__dict__", {}))
    for base in type(value).__mro__:
        slots = base.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name.startswith("__") and not name.endswith("__"):
                name = f"_{base.__name__.lstrip('_')}{name}"
            if name not in ("__dict__", "__weakref__") and hasattr(value, name):
                attributes[name] = getattr(value, name)
    shown = [(name, show(attribute)) for name, attribute in attributes.items()]
    return (type(value), inside, shown, str(value) if isinstance(value, str) else None)


Ways = dict[str, Callable[[OptimizedCacheManager], Any]]
WAYS_TO_GET: Ways = {
    "get": lambda cache: cache.get("auth:user:u:profile")[0],
    "get_value": lambda cache: cache.get_value("auth:user:u:profile"),
    "get_many": lambda cache: cache.get_many(["auth:user:u:profile"])["auth:user:u:profile"],
    "typed": lambda cache: cache.get_user_profile("u")[0],
    "get_or_load": lambda cache: cache.get_or_load("auth:user:u:profile", lambda: None),
}
WAYS_TO_SET: dict[str, Callable[[OptimizedCacheManager, Any], Any]] = {
    "set": lambda cache, value: cache.set("auth:user:u:profile", value),
    "set_many": lambda cache, value: cache.set_many({"auth:user:u:profile": value}),
    "typed": lambda cache, value: cache.set_user_profile("u", value),
    "get_or_load": lambda cache, value: cache.get_or_load("auth:user:u:profile", lambda: value),
}


@pytest.mark.parametrize("name", CASES)
class TestNobodyChangesWhatTheNextOneGets:
    @pytest.mark.parametrize("compressed", [False, True])
    def test_whichever_way_it_is_looked_up(
        self, make_cache: Any, name: str, compressed: bool
    ) -> None:
        make, change = CASES[name]
        cache = make_cache(compression_enabled=compressed, compression_threshold_bytes=64)
        expected = show(make())
        WAYS_TO_SET["set"](cache, make())
        for get in WAYS_TO_GET.values():
            mine = get(cache)
            assert show(mine) == expected
            change(mine)
            assert show(mine) != expected, "the test changed nothing"
            assert show(get(cache)) == expected

    def test_whichever_way_it_was_set(self, make_cache: Any, name: str) -> None:
        make, change = CASES[name]
        for way_to_set in WAYS_TO_SET.values():
            cache = make_cache()
            value, expected = make(), show(make())
            way_to_set(cache, value)
            change(value)
            assert show(cache.get_value("auth:user:u:profile")) == expected

    def test_two_callers_at_once_have_nothing_in_common(
        self, cache: OptimizedCacheManager, name: str
    ) -> None:
        make, change = CASES[name]
        cache.set("k", make())
        one, other = cache.get_value("k"), cache.get_value("k")
        change(one)
        assert show(other) == show(make())


IMMUTABLE: list[Any] = [
    None,
    True,
    5,
    10**50,
    1.5,
    float("nan"),
    1j,
    "text",
    "\ud800",
    b"bytes",
    (),
    (1, ("a", b"b", (None,))),
    frozenset({1, (2, 3)}),
    uuid.UUID(int=5),
    dt.datetime(2030, 1, 1),
    dt.datetime(2030, 1, 1, tzinfo=dt.UTC),
    dt.date(2030, 1, 1),
    dt.timedelta(1),
    Colour.RED,
    range(3),
    Colour,
    len,
    PlainPoint(1, 2),
    ...,
    NotImplemented,
]


@pytest.mark.parametrize("value", IMMUTABLE, ids=repr)
def test_what_cannot_be_changed_is_handed_out_as_it_is(make_cache: Any, value: Any) -> None:
    cache = make_cache(compression_enabled=False)
    cache.set("k", value)
    assert cache.get_value("k") is value


def test_a_value_that_copies_to_itself_is_handed_out_as_it_is(
    cache: OptimizedCacheManager,
) -> None:
    class Constant:
        def __deepcopy__(self, memo: object) -> Constant:
            return self

    value = Constant()
    cache.set("k", value)
    assert cache.get_value("k") is value


def test_a_class_with_a_copy_of_its_own_is_asked_for_it(cache: OptimizedCacheManager) -> None:
    cache.set("k", OwnCopy(["a"]))
    assert cache.get_value("k").copies == 2, "one copy in, one copy out"
    assert cache.get_value("k").copies == 2


def test_nothing_of_a_dataclass_is_run_to_copy_it(cache: OptimizedCacheManager) -> None:
    cache.set("k", [WithInit(5)])
    (found,) = cache.get_value("k")
    assert found.made == 1


def test_a_dataclass_with_a_field_not_set_stays_without_it(cache: OptimizedCacheManager) -> None:
    for kind in (Plain, Slots):
        value = kind(["a"])
        del value.roles
        cache.set("k", [value])
        (found,) = cache.get_value("k")
        assert not hasattr(found, "roles")


def test_defaults_and_limits_of_containers_are_kept(cache: OptimizedCacheManager) -> None:
    cache.set("k", {"d": collections.defaultdict(list), "q": collections.deque([1], maxlen=1)})
    found = cache.get_value("k")
    assert found["d"]["new"] == []
    found["q"].append(2)
    assert list(found["q"]) == [2]


def test_the_order_of_a_dict_is_kept(cache: OptimizedCacheManager) -> None:
    value: dict[str, Any] = {key: [key] if key in "ace" else key for key in "fedcba"}
    cache.set("k", value)
    assert list(cache.get_value("k")) == list("fedcba")


class TestAliasesAndCycles:
    def test_one_part_in_two_places_is_equal_in_both(self, cache: OptimizedCacheManager) -> None:
        shared = [1]
        cache.set("k", {"x": shared, "y": (shared, {"z": shared})})
        shared.append(2)
        found = cache.get_value("k")
        assert found == {"x": [1], "y": ([1], {"z": [1]})}
        found["x"].append(3)
        assert cache.get_value("k") == {"x": [1], "y": ([1], {"z": [1]})}

    def test_in_an_object_of_ones_own_it_stays_one_part(self, cache: OptimizedCacheManager) -> None:
        shared = ["a"]
        value = types.SimpleNamespace(x=shared, y=shared)
        cache.set("k", value)
        found = cache.get_value("k")
        assert found.x is found.y is not shared

    @pytest.mark.parametrize("depth", [40, 90])
    def test_a_few_lists_that_hold_each_other_twice_do_not_stop_the_world(
        self, cache: OptimizedCacheManager, depth: int
    ) -> None:
        laughs: Any = ["ha"]
        for _ in range(depth):
            laughs = [laughs, laughs]
        try:
            stored = cache.set("k", laughs)
        except SerializationError:
            stored = False
        # Either it is kept as the few lists it is, or it is refused; it is not spelt out.
        assert stored in (True, False)
        assert cache.get_stats()["total_size_mb"] <= 128

    @pytest.mark.parametrize("kind", ["list", "dict", "dataclass", "mixed"])
    def test_what_contains_itself_is_refused(self, cache: OptimizedCacheManager, kind: str) -> None:
        value: Any = {"list": [], "dict": {}, "dataclass": Plain([]), "mixed": [({},)]}[kind]
        if kind == "list":
            value.append(value)
        elif kind == "dict":
            value["self"] = value
        elif kind == "dataclass":
            value.roles.append(value)
        else:
            value[0][0]["self"] = value
        cache.set("k", "before")
        with pytest.raises(SerializationError, match="contains itself"):
            cache.set("k", value)
        assert cache.get("k") == ("before", True)

    def test_objects_of_ones_own_may_know_each_other(self, cache: OptimizedCacheManager) -> None:
        parent: Any = types.SimpleNamespace(name="p")
        parent.child = types.SimpleNamespace(parent=parent, roles=["a"])
        cache.set("k", parent)
        found = cache.get_value("k")
        assert found is not parent
        assert found.child.parent is found
        found.child.roles.append("b")
        assert cache.get_value("k").child.roles == ["a"]

    @pytest.mark.parametrize("depth", [1, 50, 99])
    def test_nesting_up_to_a_limit_is_fine(self, cache: OptimizedCacheManager, depth: int) -> None:
        value: Any = "core"
        for number in range(depth):
            value = [[value], {"x": value}, (value,)][number % 3]
        assert cache.set("k", value)
        assert cache.get("k") == (value, True)

    @pytest.mark.parametrize("depth", [101, 1000, 100_000])
    @pytest.mark.parametrize("wrap", [lambda v: [v], lambda v: (v,), lambda v: {"k": v}])
    def test_nesting_without_end_is_refused_and_no_crash(
        self, cache: OptimizedCacheManager, depth: int, wrap: Callable[[Any], Any]
    ) -> None:
        value: Any = []
        for _ in range(depth):
            value = wrap(value)
        with pytest.raises(SerializationError, match="levels"):
            cache.set("k", value)
        assert len(cache) == 0

    def test_objects_nested_without_end_are_refused_and_no_crash(
        self, cache: OptimizedCacheManager
    ) -> None:
        value: Any = None
        for _ in range(20_000):
            value = types.SimpleNamespace(inner=value)
        with pytest.raises(SerializationError):
            cache.set("k", value)
        assert len(cache) == 0
        while value is not None:
            value = value.inner


def _generator() -> Iterator[int]:
    yield 1


class Refuses:
    def __deepcopy__(self, memo: object) -> None:
        raise RuntimeError("not me")


UNCOPYABLE: dict[str, Callable[[], Any]] = {
    "generator": _generator,
    "lock": threading.Lock,
    "file": io.StringIO,
    "memoryview": lambda: memoryview(b"x"),
    "module": lambda: types,
    "context": contextvars.copy_context,
    "mapping proxy": lambda: types.MappingProxyType({}),
    "frame-like": lambda: _generator().gi_frame,  # type: ignore[attr-defined]
    "own": Refuses,
    "weak value": lambda: weakref.WeakValueDictionary({"k": Colour}),
}


@pytest.mark.parametrize("name", sorted(set(UNCOPYABLE) - {"file", "weak value"}))
class TestWhatCannotBeCopied:
    @pytest.mark.parametrize(
        "wrap",
        [
            lambda value: value,
            lambda value: [value],
            lambda value: {"a": ({"b": value},)},
            lambda value: Plain([value]),
            lambda value: types.SimpleNamespace(a=value),
        ],
    )
    def test_is_refused_and_nothing_changes(
        self, cache: OptimizedCacheManager, name: str, wrap: Callable[[Any], Any]
    ) -> None:
        cache.set("k", "before", tags=["t"])
        before = cache.get_stats()
        with pytest.raises(SerializationError, match=r"cannot be copied.*isolation="):
            cache.set("k", wrap(UNCOPYABLE[name]()))
        after = cache.get_stats()
        assert (after["sets"], after["total_size_mb"]) == (before["sets"], before["total_size_mb"])
        assert cache.get("k") == ("before", True)
        assert cache.invalidate_by_tags(["t"]) == 1

    def test_is_welcome_in_shared_mode(self, make_cache: Any, name: str) -> None:
        cache = make_cache(isolation="shared")
        value = [UNCOPYABLE[name]()]
        assert cache.set("k", value)
        assert cache.get_value("k") is value


class TestErrorsOfTheValueItself:
    def test_the_message_names_the_type_and_not_the_value(
        self, cache: OptimizedCacheManager
    ) -> None:
        class Token(Refuses):
            def __repr__(self) -> str:
                return "s3cret"

        with pytest.raises(SerializationError, match="Token") as caught:
            cache.set("k", Token())
        assert "s3cret" not in str(caught.value)
        assert isinstance(caught.value.__cause__, RuntimeError)

    def test_what_is_no_ordinary_error_passes_unchanged(self, cache: OptimizedCacheManager) -> None:
        class Interrupted:
            def __deepcopy__(self, memo: object) -> None:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            cache.set("k", Interrupted())
        assert len(cache) == 0

    def test_a_copy_that_fails_later_fails_for_that_caller_alone(
        self, cache: OptimizedCacheManager
    ) -> None:
        fail = False

        class Sometimes:
            def __deepcopy__(self, memo: object) -> Sometimes:
                if fail:
                    raise RuntimeError("not now")
                return Sometimes()

        cache.set("k", Sometimes())
        fail = True
        with pytest.raises(SerializationError):
            cache.get("k")
        fail = False
        assert cache.get("k")[1]

    def test_a_copy_that_uses_the_cache_finds_it_open(self, cache: OptimizedCacheManager) -> None:
        class Curious:
            def __deepcopy__(self, memo: object) -> Curious:
                cache.set("other", 1)
                cache.get_many(["other", "nothing"])
                cache.invalidate_by_pattern("*x*")
                cache.delete("other")
                return Curious()

        assert cache.set("k", Curious())
        assert cache.set("k", Curious())
        assert isinstance(cache.get_value("k"), Curious)
        assert cache.keys() == ["k"]

    def test_a_copy_that_takes_its_own_key_away_is_not_stored(
        self, cache: OptimizedCacheManager
    ) -> None:
        class Revoking:
            def __deepcopy__(self, memo: object) -> Revoking:
                cache.delete("k")
                return Revoking()

        assert cache.set("k", Revoking()) is False
        assert "k" not in cache

    @pytest.mark.parametrize("size", [-1, 2**62, 2**70, "much", None])
    def test_a_size_that_is_a_lie_breaks_nothing(
        self, cache: OptimizedCacheManager, size: Any
    ) -> None:
        class Liar:
            def __sizeof__(self) -> int:
                return size  # type: ignore[no-any-return]

        for number in range(8):
            cache.set(f"k{number}", [Liar() for _ in range(8)])
        cache.set("honest", 1)
        assert cache.get("honest") == (1, True)
        assert 0 <= cache.get_stats()["total_size_mb"] <= 128
        cache.clear()
        assert cache.get_stats()["total_size_mb"] == 0

    def test_attributes_that_lie_break_nothing(self, cache: OptimizedCacheManager) -> None:
        class Meta(type):
            def __getattr__(cls, name: str) -> Any:
                raise AttributeError(name)

            def __eq__(cls, other: object) -> bool:
                return True

            def __hash__(cls) -> int:
                return 1

        class Sly(metaclass=Meta):
            def __getattribute__(self, name: str) -> Any:
                if name == "__class__":
                    return dict
                return object.__getattribute__(self, name)

        cache.set("k", [Sly()])
        (found,) = cache.get_value("k")
        assert type(found) is Sly


class TestSharedMode:
    @pytest.mark.parametrize("name", CASES)
    def test_everybody_gets_the_very_object(self, make_cache: Any, name: str) -> None:
        cache = make_cache(isolation="shared", compression_threshold_bytes=64)
        value = CASES[name][0]()
        assert cache.set("auth:user:u:profile", value)
        for get in WAYS_TO_GET.values():
            assert get(cache) is value

    def test_even_what_contains_itself(self, make_cache: Any) -> None:
        cache = make_cache(isolation="shared")
        value: list[Any] = []
        value.append(value)
        assert cache.set("k", value)
        assert cache.get_value("k") is value


class TestThePairHandedOut:
    """`get` hands out a tuple; one that somebody still holds must never change."""

    def test_one_that_is_kept_stays_as_it_was(self, cache: OptimizedCacheManager) -> None:
        for number in range(10):
            cache.set(f"k{number}", number)
        kept = [cache.get(f"k{number % 12}") for number in range(1000)]
        for at, pair in enumerate(kept):
            number = at % 12
            assert pair == ((number, True) if number < 10 else (None, False))

    def test_one_that_is_kept_somewhere_unusual_stays_as_it_was(
        self, cache: OptimizedCacheManager
    ) -> None:
        cache.set("a", "A")
        cache.set("b", "B")

        def keep(*pair: Any) -> Any:
            return pair

        kept: list[Any] = [
            keep(*cache.get("a")),
            iter(cache.get("a")),
            (lambda pair: lambda: pair)(cache.get("a")),
            {cache.get("a"): 1},
            (pair for pair in [cache.get("a")]),
            map(str, cache.get("a")),
        ]
        for _ in range(5):
            assert cache.get("b") == ("B", True)
            assert cache.get("x") == (None, False)
        assert kept[0] == ("A", True)
        assert list(kept[1]) == ["A", True]
        assert kept[2]() == ("A", True)
        assert kept[3] == {("A", True): 1}
        assert list(kept[4]) == [("A", True)]
        assert list(kept[5]) == ["A", "True"]

    def test_a_value_that_looks_something_up_as_it_goes_changes_no_pair(
        self, make_cache: Any
    ) -> None:
        cache = make_cache(isolation="shared")
        seen = []

        class Going:
            def __del__(self) -> None:
                seen.append(cache.get("other"))

        cache.set("other", "O")
        pairs = []
        for _ in range(100):
            cache.set("k", Going())
            value, hit = cache.get("k")
            assert hit
            del value
            cache.delete("k")
            pairs.append(cache.get("other"))
            assert cache.get("missing", "D") == ("D", False)
        assert pairs == [("O", True)] * 100
        assert len(seen) >= 99
        assert set(seen) == {("O", True)}

    def test_threads_do_not_get_each_others(self, cache: OptimizedCacheManager) -> None:
        for number in range(4):
            cache.set(f"k{number}", number)
        wrong: list[Any] = []

        def ask(number: int) -> None:
            for _ in range(20_000):
                pair = cache.get(f"k{number}")
                if pair != (number, True):
                    wrong.append(pair)

        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        try:
            threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:
            sys.setswitchinterval(interval)
        assert not wrong

    def test_it_does_not_keep_a_value_alive_that_was_taken_away(self, make_cache: Any) -> None:
        class Value:
            pass

        cache = make_cache(isolation="shared")
        value: Any = Value()
        gone = weakref.ref(value)
        cache.set("k", value)
        del value
        assert cache.get("k")[1]
        cache.clear()
        assert gone() is None
