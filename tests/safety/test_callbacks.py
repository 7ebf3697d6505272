"""Code of the caller's that runs inside a call of the cache may call the cache, or raise."""

from __future__ import annotations

import textwrap

import pytest
from programs import check

BUSY = """
def busy(cache):
    '''Whatever one may do to a cache, so also in the middle of another call.'''
    cache.set("k", [1], tags=["t"])
    cache.set("other", {"a": [2]})
    cache.get("k"), cache.get("other"), cache.get_user_profile("u")
    cache.get_or_load("loaded inside", lambda: [3])
    cache.invalidate_by_tags(["t"])
    cache.invalidate_by_pattern("*the*")
    cache.delete("k")
    cache.sweep()
    cache.get_stats()
    cache.clear()
    gc.collect()

class Refused(Exception):
    pass

def refuse(cache):
    raise Refused

def refused(call):
    try:
        call()
    except Refused:
        return True
    except SerializationError as error:
        return isinstance(error.__cause__, Refused)
    return False

"""

KEYS = """
class Key(str):
    '''A text with opinions.'''
    armed = False
    def _act(self):
        if Key.armed:
            ACT(cache)
    def __hash__(self):
        self._act()
        return str.__hash__(self)
    def __eq__(self, other):
        self._act()
        return str.__eq__(self, other)
    def __str__(self):
        self._act()
        return "another key"
    def __len__(self):
        self._act()
        return 0
    def encode(self, *args):
        self._act()
        return b"another key"

"""


@pytest.mark.parametrize("act", ["busy", "refuse"])
@pytest.mark.parametrize("text", ["plain", "\\xfcml\\xe4ut", "\\ud800 lone"])
def test_a_key_is_the_text_it_holds_whatever_its_class_says(text: str, act: str) -> None:
    check(
        BUSY
        + KEYS.replace("ACT", act)
        + f"""
cache = OptimizedCacheManager()
text = "{text}"
cache.set("another key", "wrong")
key = Key(text)
Key.armed = True
assert cache.get(key) == (None, False)
assert cache.set(key, [1]) is True
Key.armed = False
assert cache.get(text) == ([1], True)
Key.armed = True
assert cache.get_value(key) == [1]
assert key in cache
assert cache.set_many({{text: [2]}}) == 1 and cache.get(key) == ([2], True)
assert cache.delete(key) is True
assert cache.set_user_profile(key, [3]) is True
assert cache.get_user_profile(key) == ([3], True)
assert cache.invalidate_user_data(key) == 1
assert cache.set("tagged", 1, tags=[key]) is True
assert cache.invalidate_by_tags([key]) == 1
assert cache.invalidate_by_pattern(key) == 0
assert type(cache.keys(key)) is list
Key.armed = False
assert_sound(cache)
print("ok")
"""
    )


@pytest.mark.parametrize("act", ["busy", "refuse"])
def test_a_load_is_under_the_text_of_its_key(act: str) -> None:
    check(
        BUSY
        + KEYS.replace("ACT", act)
        + """
cache = OptimizedCacheManager()
key = Key("k")
Key.armed = True
assert cache.get_or_load(key, lambda: [1]) == [1]
assert cache.get_or_load(key, lambda: [2]) == [1]
assert cache.get_or_load(key, lambda: [2], refresh=True) == [2]
async def in_a_loop():
    return await cache.aget_or_load(key, lambda: [3], refresh=True)
assert asyncio.run(in_a_loop()) == [3]
Key.armed = False
assert cache.get("k") == ([3], True)
assert_sound(cache)
print("ok")
"""
    )


def test_nobody_waits_for_ever_for_a_load_whose_key_has_opinions() -> None:
    # Both callers ask for the same text; what one of them made of it is its own affair.
    check(
        BUSY
        + KEYS.replace("ACT", "refuse")
        + """
cache = OptimizedCacheManager()
loading, go = threading.Event(), threading.Event()

def slow():
    loading.set()
    go.wait(20)
    Key.armed = True
    return "first"

outcome = []
def lead():
    try:
        outcome.append(cache.get_or_load(Key("k"), slow))
    except Refused:
        outcome.append("refused")

leader = threading.Thread(target=lead)
leader.start()
loading.wait(20)
joined = threading.Event()
def join():
    joined.set()
    outcome.append(cache.get_or_load("k", lambda: "second", load_timeout_seconds=10))
waiter = threading.Thread(target=join)
waiter.start()
joined.wait(20)
go.set()
leader.join(20)
waiter.join(20)
Key.armed = False
assert len(outcome) == 2 and set(outcome) <= {"first", "second", "refused"}, outcome
assert_sound(cache)
print("ok")
"""
    )


@pytest.mark.parametrize("act", ["busy", "refuse"])
def test_tags_and_keys_from_an_iterable_with_a_life_of_its_own(act: str) -> None:
    check(
        BUSY
        + f"""
cache = OptimizedCacheManager()

def tags():
    yield "t"
    {act}(cache)
    yield "u"

class Mapping(dict):
    def items(self):
        {act}(cache)
        return [("k", 1), ("other", [1])]

calls = [
    lambda: cache.set("k", 1, tags=tags()),
    lambda: cache.set_many({{"k": 1}}, tags=tags()),
    lambda: cache.get_or_load("k", lambda: 1, tags=tags()),
    lambda: cache.invalidate_by_tags(tags()),
    lambda: cache.get_many(tags()),
    lambda: cache.set_many(Mapping()),
]
for number, call in enumerate(calls):
    assert refused(call) is {act == "refuse"}, number
assert_sound(cache)
print("ok")
"""
    )


VALUES = {
    "__deepcopy__": """
        class Odd(Value):
            def __deepcopy__(self, memo):
                act()
                return Odd()
    """,
    "__reduce_ex__": """
        class Odd(Value):
            __deepcopy__ = None
            def __reduce_ex__(self, protocol):
                act()
                return (Odd, ())
    """,
    "__reduce__": """
        class Odd:
            def __reduce__(self):
                act()
                return (Odd, ())
    """,
    "__getstate__ and __setstate__": """
        class Odd:
            def __getstate__(self):
                act()
                return {"a": 1}
            def __setstate__(self, state):
                act()
    """,
    "__iter__ of a list": """
        class Odd(list):
            def __iter__(self):
                act()
                return iter([1, 2])
            def __getitem__(self, at):
                act()
                return 1
            def __len__(self):
                act()
                return 5
    """,
    "items of a dict": """
        class Odd(dict):
            def items(self):
                act()
                return [("a", 1)]
            def keys(self):
                act()
                return ["a"]
            def __len__(self):
                act()
                return 3
    """,
    "a slot of a dataclass": """
        class Slot:
            def __get__(self, instance, owner=None):
                act()
                return 1
            def __set__(self, instance, value):
                act()
        @dataclasses.dataclass
        class Odd:
            a: int = dataclasses.field(default=1)
        Odd.a = Slot()
    """,
    "attributes of a dataclass": """
        @dataclasses.dataclass
        class Odd:
            a: list = dataclasses.field(default_factory=list)
            def __getattribute__(self, name):
                act()
                return super().__getattribute__(name)
            def __setattr__(self, name, value):
                act()
                super().__setattr__(name, value)
    """,
    "the class of its class": """
        class Meta(type):
            def __getattribute__(cls, name):
                act()
                return super().__getattribute__(name)
            def __instancecheck__(cls, other):
                act()
                return True
        class Odd(metaclass=Meta):
            pass
    """,
    "its size": """
        class Odd(Value):
            def __sizeof__(self):
                act()
                return 1 << 70
    """,
    "its hash, in a set": """
        class Element:
            def __hash__(self):
                act()
                return 1
            def __eq__(self, other):
                act()
                return self is other
        def Odd():
            return {Element(), Element()}
    """,
    "its hash, as a key": """
        class Element:
            def __hash__(self):
                act()
                return 1
            def __eq__(self, other):
                act()
                return self is other
        def Odd():
            return {Element(): [1], Element(): [2]}
    """,
}
"""Values whose own code runs while they are stored or looked up."""


@pytest.mark.parametrize("isolation", ["copy", "shared"])
@pytest.mark.parametrize("value", VALUES)
def test_a_value_with_code_of_its_own(value: str, isolation: str) -> None:
    # Twice: with code that uses the cache, then with code that raises. What is then raised is
    # that very error, or one about the value that names it.
    check(
        BUSY
        + textwrap.dedent(VALUES[value])
        + f"""
cache = OptimizedCacheManager(OptimizedCacheConfig(isolation="{isolation}"))
depth = 0
doing = None

def act():
    # Once in itself is enough.
    global depth
    if doing is not None and depth < 2:
        depth += 1
        try:
            doing(cache)
        finally:
            depth -= 1

def use():
    for wrap in (lambda odd: odd, lambda odd: [odd, 1], lambda odd: {{"a": (odd, [odd])}}):
        before = doing
        globals()["doing"] = None
        wrapped = wrap(Odd())
        globals()["doing"] = before
        for call in (
            lambda: cache.set("k", wrapped, tags=["t"]),
            lambda: cache.get("k"),
            lambda: cache.get_or_load("k", lambda: wrapped, refresh=True),
            lambda: cache.set_many({{"k": wrapped, "l": wrapped}}),
            lambda: cache.get_many(["k", "l"]),
        ):
            try:
                call()
            except (Refused, SerializationError) as error:
                assert doing is refuse or type(error) is SerializationError, error
        globals()["doing"] = None
        wrapped = None
        cache.clear()
        globals()["doing"] = before

use()
doing = busy
use()
doing = refuse
use()
doing = None
assert_sound(cache)
print("ok")
"""
    )


@pytest.mark.parametrize("act", ["busy", "refuse"])
def test_code_around_a_decorated_function(act: str) -> None:
    check(
        BUSY
        + f"""
cache = OptimizedCacheManager()
armed = True

class Argument(str):
    def __hash__(self):
        if armed:
            {act}(cache)
        return str.__hash__(self)
    __eq__ = str.__eq__

def key(user_id, more=None):
    {act}(cache)
    return user_id

@cached_authorization(cache=cache, key=key)
def keyed(user_id, more=None):
    return [user_id]

@cached_authorization(cache=cache, key=key)
async def akeyed(user_id, more=None):
    return [user_id]

@cached_authorization(cache=cache)
def inner(user_id):
    {act}(cache)
    return [user_id]

@cached_authorization(cache=cache)
def outer(user_id):
    return inner(user_id), keyed.invalidate(user_id)

def run(coroutine):
    return asyncio.run(coroutine)

for _ in range(3):
    for number, call in enumerate([
        lambda: keyed("u"), lambda: run(akeyed("u")), lambda: inner("u"), lambda: outer("u"),
        lambda: keyed.invalidate("u"),
    ]):
        assert refused(call) is {act == "refuse"} or number in (2, 3), number
assert inner.cache_info().misses >= 1
assert_sound(cache)
print("ok")
"""
    )


def test_the_collector_in_the_middle_of_everything() -> None:
    # It runs at nearly every object that is made, and with it code of values it collects.
    check(
        """
        cache = OptimizedCacheManager(OptimizedCacheConfig(max_entries=20))
        def trash():
            for number in range(50):
                value = Value(lambda: (cache.get("k1"), cache.set("trash", [1])))
                value.itself = value
        @cached_authorization(cache=cache)
        def check(user_id):
            return {"user": [user_id]}
        gc.set_threshold(1, 1, 1)
        for round in range(20):
            trash()
            for number in range(10):
                cache.set(f"k{number}", {"a": [number, {"b": (1, [2])}]}, tags=[f"t{number}"])
                found = cache.get(f"k{number}")
                assert found in (({"a": [number, {"b": (1, [2])}]}, True), (None, False))
                cache.get_or_load(f"l{number}", lambda: [1])
                check(f"u{number}")
            cache.get_many([f"k{number}" for number in range(10)])
            cache.invalidate_by_tags([f"t{number}" for number in range(10)])
            cache.keys(), cache.get_stats()
        gc.set_threshold(700, 10, 10)
        found = None
        gc.collect()
        assert_sound(cache)
        print("ok")
        """
    )


def test_with_every_allocation_traced() -> None:
    check(
        """
        tracemalloc.start(10)
        cache = OptimizedCacheManager(OptimizedCacheConfig(max_entries=50))
        for number in range(500):
            cache.set(f"k{number}", {"a": [number] * 20}, tags=["t"])
            cache.get(f"k{number}")
            cache.get_or_load(f"l{number}", lambda: [number])
            if number % 50 == 0:
                tracemalloc.take_snapshot()
                cache.invalidate_by_tags(["t"])
        def traced_after(rounds):
            for number in range(rounds):
                cache.set(f"k{number % 100}", {"a": [number] * 20})
            cache.clear()
            gc.collect()
            return tracemalloc.get_traced_memory()[0]
        first = traced_after(500)
        assert traced_after(5000) - first < 20_000
        tracemalloc.stop()
        assert_sound(cache)
        print("ok")
        """
    )
