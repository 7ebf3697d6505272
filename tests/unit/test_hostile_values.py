"""Values built to crash, to hang, to cheat the bound on memory, or to slip past isolation."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import sys
from collections import namedtuple
from fractions import Fraction
from typing import Any

import pytest

from velro_cache import OptimizedCacheManager, cached_authorization
from velro_cache.exceptions import SerializationError

One = namedtuple("One", "a")
Two = namedtuple("Two", "a b")


@pytest.mark.parametrize("depth", [101, 5_000, 100_000])
def test_named_tuples_nested_without_end_are_refused_and_no_crash(
    cache: OptimizedCacheManager, depth: int
) -> None:
    value: Any = One(0)
    for _ in range(depth):
        value = One(value)
    with pytest.raises(SerializationError):
        cache.set("k", value)
    assert len(cache) == 0
    while isinstance(value, One):
        value = value.a


def test_named_tuples_that_hold_each_other_twice_do_not_stop_the_world(
    cache: OptimizedCacheManager,
) -> None:
    value: Any = Two(0, 0)
    for _ in range(60):
        value = Two(value, value)
    try:
        assert cache.set("k", value) is False
    except SerializationError:
        assert len(cache) == 0


@pytest.mark.parametrize("isolation", ["copy", "shared"])
@pytest.mark.parametrize(
    "wrap", [One, lambda text: Two(1, [text]), lambda text: [One(text)]], ids=["one", "two", "in"]
)
def test_what_a_named_tuple_holds_is_weighed(make_cache: Any, isolation: str, wrap: Any) -> None:
    cache = make_cache(max_size_mb=1, compression_enabled=False, isolation=isolation)
    large = wrap("x" * 1_500_000)
    assert cache.set("k", large) is False


def test_the_numbers_of_a_fraction_are_weighed(make_cache: Any) -> None:
    cache = make_cache(max_size_mb=1, compression_enabled=False)
    large = Fraction(1 << 12_000_000, 3)
    stored = cache.set("k", large)
    assert stored is False


def test_a_bound_method_of_a_list_does_not_lead_to_the_setters_list(
    cache: OptimizedCacheManager,
) -> None:
    mine: list[int] = []
    try:
        cache.set("k", [mine.append])
    except SerializationError:
        return
    cache.get_value("k")[0](5)
    assert mine == []


@pytest.mark.skipif(
    not getattr(sys, "_is_gil_enabled", lambda: True)(),
    reason="without a GIL the collector does not run where an object is made",
)
def test_a_dict_changed_by_a_finalizer_while_it_is_stored_gives_nothing_away(
    cache: OptimizedCacheManager,
) -> None:
    # The collector may run at any moment while a value is copied, and with it a `__del__`.
    changed = 0

    class Finalizer:
        def __del__(self) -> None:
            nonlocal changed
            if armed:
                changed += 1
                value.clear()
                value.update({"x": 0, "padding": 1})

    thresholds, enabled = gc.get_threshold(), gc.isenabled()
    try:
        for count in range(1, 40):
            mine = [1]
            value: dict[str, Any] = {"x": mine, "padding": 1}
            armed = False
            gc.disable()
            gc.collect()
            trap: Any = Finalizer()
            trap.itself = trap
            del trap
            armed = True
            gc.set_threshold(count, 1000, 1000)
            gc.enable()
            cache.set("k", value)
            gc.disable()
            armed = False
            found = cache.get_value("k")
            assert found["x"] is not mine
            assert found in ({"x": [1], "padding": 1}, {"x": 0, "padding": 1})
    finally:
        gc.set_threshold(*thresholds)
        if enabled:
            gc.enable()
    assert changed > 0, "the collector never ran in between; the test shows nothing"


def blocks_kept_by(use: Any) -> int:
    for _ in range(1000):
        use()
    gc.collect()
    before = sys.getallocatedblocks()
    for _ in range(20_000):
        use()
    return sys.getallocatedblocks() - before


def test_looking_up_keys_with_lone_surrogates_piles_nothing_up(
    cache: OptimizedCacheManager,
) -> None:
    key = "\ud800x"
    assert blocks_kept_by(lambda: cache.get(key)) < 2000


def test_looking_up_what_is_no_key_piles_nothing_up(cache: OptimizedCacheManager) -> None:
    def wrong() -> None:
        with contextlib.suppress(TypeError):
            cache.get(5)  # type: ignore[arg-type]

    assert blocks_kept_by(wrong) < 2000


def test_calls_with_large_integers_pile_nothing_up(cache: OptimizedCacheManager) -> None:
    @cached_authorization(cache=cache)
    async def check(number: int) -> bool:
        return True

    def call() -> None:
        coroutine = check(1 << 100)
        try:
            coroutine.send(None)
        except StopIteration:
            return
        coroutine.close()

    asyncio.run(check(1 << 100))
    assert blocks_kept_by(call) < 2000


def test_a_decorated_function_leaves_nothing_behind_when_it_is_gone(
    cache: OptimizedCacheManager,
) -> None:
    def decorate() -> None:
        @cached_authorization(cache=cache)
        def itself(number: int) -> int:
            return 1 if number == 0 else itself(number - 1)

    def many() -> None:
        for _ in range(200):
            decorate()
        gc.collect()

    many()
    before = sys.getallocatedblocks()
    many()
    many()
    # A name and a number for each may stay; not the functions.
    assert sys.getallocatedblocks() - before < 400 * 8
    kept = [o for o in gc.get_objects() if type(o).__name__ == "CachedFunction"]
    assert len(kept) < 50
