"""A result made of cached values is invalidated with them, however they came to its loader."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from callers import Gate, InThread, Joins
from velro_cache import (
    LoaderRecursionError,
    OptimizedCacheConfig,
    OptimizedCacheManager,
    cached_authorization,
    generate_auth_key,
)
from velro_cache._engine import ManualClock

MakeCache = Callable[..., OptimizedCacheManager]

INNER = "auth:team:t1:user:u1:role"
OUTER = "result:of:others"

Way = Callable[[OptimizedCacheManager], Any]


def _set(cache: OptimizedCacheManager) -> None:
    cache.set(INNER, "editor", tags=["mine"])


def _by_decorated_function(cache: OptimizedCacheManager) -> Any:
    @cached_authorization(cache=cache, tags=["mine"], key=lambda **_: "always")
    def role(user_id: str, team_id: str) -> str:
        return "editor"

    # Once more, so that the loader under test is answered from memory.
    role(user_id="u1", team_id="t1")
    return role(user_id="u1", team_id="t1")


def _known(cache: OptimizedCacheManager, ask: Way) -> Any:
    _set(cache)
    found = ask(cache)
    assert found == "editor"
    return found


HITS: dict[str, Way] = {
    "get": lambda cache: cache.get(INNER)[0],
    "get, a text built for the call": lambda cache: cache.get("".join(INNER))[0],
    "get, with a default": lambda cache: cache.get(INNER, None)[0],
    "get_value": lambda cache: cache.get_value(INNER),
    "get_many": lambda cache: cache.get_many([INNER])[INNER],
    "typed": lambda cache: cache.get_team_role("t1", "u1")[0],
    "get_or_load": lambda cache: cache.get_or_load(INNER, lambda: "never"),
}
"""Lookups of a value that is there."""

LOADS: dict[str, Way] = {
    "own load": lambda cache: cache.get_or_load(INNER, lambda: "editor", tags=["mine"]),
    "refresh": lambda cache: cache.get_or_load(
        INNER, lambda: "editor", tags=["mine"], refresh=True
    ),
    "decorated function": _by_decorated_function,
}
"""Lookups that load."""

WAYS: dict[str, Way] = {
    **{name: lambda cache, ask=ask: _known(cache, ask) for name, ask in HITS.items()},
    **LOADS,
}

INVALIDATIONS: dict[str, Callable[[OptimizedCacheManager], Any]] = {
    "tag": lambda cache: cache.invalidate_by_tags(["mine"]),
    "user": lambda cache: cache.invalidate_user_data("u1"),
    "clear": lambda cache: cache.clear(),
}
OF_THE_KEY: dict[str, Callable[[OptimizedCacheManager], Any]] = {
    **INVALIDATIONS,
    "key": lambda cache: cache.delete(INNER),
    "prefix": lambda cache: cache.invalidate_by_pattern("auth:team:t1:*"),
    "wildcard": lambda cache: cache.invalidate_by_pattern("auth:*:user:u1:*"),
}
"""What reaches the inner entry, and so must reach the outer one."""


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("what", INVALIDATIONS)
class TestWhatIsInherited:
    def test_an_invalidation_of_the_inner_value_reaches_the_outer_one(
        self, cache: OptimizedCacheManager, way: str, what: str
    ) -> None:
        assert cache.get_or_load(OUTER, lambda: (WAYS[way](cache), "made")) == ("editor", "made")
        assert cache.get_value(OUTER) == ("editor", "made")
        INVALIDATIONS[what](cache)
        assert cache.get(OUTER) == (None, False)
        assert OUTER not in cache

    def test_also_one_that_came_while_the_outer_one_was_being_loaded(
        self, cache: OptimizedCacheManager, way: str, what: str
    ) -> None:
        def load() -> Any:
            found = WAYS[way](cache)
            INVALIDATIONS[what](cache)
            return found

        # The caller had asked before.
        assert cache.get_or_load(OUTER, load) == "editor"
        assert cache.get(OUTER) == (None, False)
        assert cache.get_stats()["stale_rejects"] == 1

    async def test_in_a_task(self, cache: OptimizedCacheManager, way: str, what: str) -> None:
        async def load() -> Any:
            await asyncio.sleep(0)
            return WAYS[way](cache)

        assert await cache.aget_or_load(OUTER, load) == "editor"
        assert OUTER in cache
        INVALIDATIONS[what](cache)
        assert OUTER not in cache

    def test_through_a_decorated_function(
        self, cache: OptimizedCacheManager, way: str, what: str
    ) -> None:
        calls = []

        @cached_authorization(cache=cache)
        def outer() -> Any:
            calls.append(1)
            return WAYS[way](cache)

        outer()
        outer()
        assert len(calls) == 1
        INVALIDATIONS[what](cache)
        outer()
        assert len(calls) == 2

    def test_through_several_levels(
        self, cache: OptimizedCacheManager, way: str, what: str
    ) -> None:
        def middle() -> Any:
            return cache.get_or_load("middle", lambda: WAYS[way](cache))

        cache.get_or_load(OUTER, lambda: cache.get_or_load("second", middle))
        assert OUTER in cache
        # Not by way of what lies between, which may be long gone.
        cache.delete("unrelated")
        INVALIDATIONS[what](cache)
        assert not [key for key in (OUTER, "second", "middle") if key in cache]


@pytest.mark.parametrize("what", OF_THE_KEY)
@pytest.mark.parametrize("way", HITS)
def test_whatever_reaches_the_key_of_the_inner_value(
    cache: OptimizedCacheManager, way: str, what: str
) -> None:
    _set(cache)
    for _ in range(3):
        # Where it lies is remembered by now.
        HITS[way](cache)
    cache.get_or_load(OUTER, lambda: HITS[way](cache))
    assert OUTER in cache
    OF_THE_KEY[what](cache)
    assert OUTER not in cache


async def test_decorated_functions_that_were_asked_before(cache: OptimizedCacheManager) -> None:
    @cached_authorization(cache=cache)
    def role(user_id: str) -> str:
        return "editor"

    @cached_authorization(cache=cache)
    async def arole(user_id: str) -> str:
        return "editor"

    for _ in range(3):
        role("u1")
        await arole("u2")
    cache.get_or_load("sync", lambda: role("u1"))
    cache.get_or_load("by name", lambda: role(user_id="u1"))
    await cache.aget_or_load("async", lambda: arole("u2"))
    assert cache.invalidate_user_data("u1") == 3
    assert "async" in cache
    assert cache.invalidate_user_data("u2") == 2


@pytest.mark.parametrize("what", OF_THE_KEY)
def test_the_inner_value_need_not_be_there_any_more(make_cache: MakeCache, what: str) -> None:
    cache = make_cache(max_entries=1)
    # Makes room for the outer one.
    cache.get_or_load(OUTER, lambda: cache.get_or_load(INNER, lambda: "editor", tags=["mine"]))
    assert (INNER in cache, OUTER in cache) == (False, True)
    OF_THE_KEY[what](cache)
    assert OUTER not in cache


def test_the_invalidation_counts_what_it_drops(cache: OptimizedCacheManager) -> None:
    _set(cache)
    cache.get_or_load(OUTER, lambda: cache.get_value(INNER))
    cache.set("another", 1)
    assert cache.invalidate_by_tags(["mine"]) == 2
    assert len(cache) == 1


class TestWhatIsNot:
    def test_what_was_looked_up_outside(self, cache: OptimizedCacheManager) -> None:
        _set(cache)
        cache.get(INNER)
        cache.get_or_load(OUTER, lambda: 1)
        cache.get(INNER)
        INVALIDATIONS["tag"](cache)
        assert OUTER in cache

    def test_an_invalidation_of_the_outer_value_leaves_the_inner_one(
        self, cache: OptimizedCacheManager
    ) -> None:
        _set(cache)
        cache.get_or_load(OUTER, lambda: cache.get_value(INNER), tags=["outer"])
        assert cache.invalidate_by_tags(["outer"]) == 1
        assert INNER in cache

    def test_after_an_invalidation_of_its_own_a_result_is_kept_again(
        self, cache: OptimizedCacheManager
    ) -> None:
        # What it is made of was loaded before that, and still holds.
        _set(cache)
        for invalidate in [
            lambda: cache.invalidate_by_tags(["outer"]),
            lambda: cache.delete(OUTER),
        ]:
            cache.get_or_load(OUTER, lambda: cache.get_value(INNER), tags=["outer"])
            invalidate()
            cache.get_or_load(OUTER, lambda: cache.get_value(INNER), tags=["outer"])
            assert OUTER in cache
        INVALIDATIONS["tag"](cache)
        assert OUTER not in cache

    def test_a_miss_of_a_plain_lookup(self, cache: OptimizedCacheManager) -> None:
        cache.get_or_load(OUTER, lambda: cache.get("nothing"))
        cache.set("nothing", 1)
        assert OUTER in cache

    def test_callers_beside_the_loader(self, cache: OptimizedCacheManager) -> None:
        _set(cache)
        gate = Gate()
        loading = InThread(lambda: cache.get_or_load(OUTER, gate.wait_inside))
        gate.until_reached()
        for ask in HITS.values():
            assert ask(cache) == "editor"
        gate.open()
        loading.outcome()
        INVALIDATIONS["tag"](cache)
        assert OUTER in cache


class TestLives:
    def test_the_outer_value_ends_with_the_inner_one(
        self, cache: OptimizedCacheManager, clock: ManualClock
    ) -> None:
        cache.set(INNER, "editor", 10)
        clock.advance(4)
        cache.get_or_load(OUTER, lambda: cache.get_value(INNER), ttl=100)
        clock.advance(5.9)
        assert OUTER in cache
        clock.advance(0.2)
        assert OUTER not in cache

    @pytest.mark.parametrize("seconds", [5, lambda _: 5])
    def test_of_a_value_loaded_within(
        self, cache: OptimizedCacheManager, clock: ManualClock, seconds: Any
    ) -> None:
        def inner() -> Any:
            return cache.get_or_load(INNER, lambda: 1, ttl=seconds)

        cache.get_or_load(OUTER, lambda: cache.get_or_load("middle", inner, ttl=50), ttl=100)
        clock.advance(4.9)
        assert OUTER in cache
        assert "middle" in cache
        clock.advance(0.2)
        assert OUTER not in cache
        assert "middle" not in cache

    def test_its_own_life_may_be_shorter(
        self, cache: OptimizedCacheManager, clock: ManualClock
    ) -> None:
        _set(cache)
        cache.get_or_load(OUTER, lambda: cache.get_value(INNER), ttl=1)
        clock.advance(1.1)
        assert OUTER not in cache
        assert INNER in cache

    def test_what_rests_on_a_value_that_is_not_kept_is_not_kept(
        self, cache: OptimizedCacheManager
    ) -> None:
        def inner() -> Any:
            return cache.get_or_load(INNER, lambda: 1, ttl=lambda _: 0)

        assert cache.get_or_load(OUTER, inner) == 1
        assert OUTER not in cache
        assert cache.get_stats()["nested_rejects"]["not_kept"] == 1

    def test_nor_what_ended_while_the_loader_ran(
        self, cache: OptimizedCacheManager, clock: ManualClock
    ) -> None:
        cache.set(INNER, 1, 10)

        def load() -> Any:
            found = cache.get_value(INNER)
            clock.advance(11)
            return found

        cache.get_or_load(OUTER, load)
        assert OUTER not in cache
        assert cache.get_stats()["nested_rejects"]["not_kept"] == 1

    def test_what_rests_on_a_value_overtaken_by_another_is_not_kept(
        self, cache: OptimizedCacheManager
    ) -> None:
        def inner() -> int:
            cache.set(INNER, "newer")
            return 1

        assert cache.get_or_load(OUTER, lambda: cache.get_or_load(INNER, inner)) == 1
        assert OUTER not in cache
        assert cache.get_value(INNER) == "newer"

    def test_a_value_that_cannot_be_kept_does_not_leave_an_older_one(
        self, cache: OptimizedCacheManager
    ) -> None:
        cache.set(OUTER, "older")
        cache.get_or_load(
            OUTER, lambda: cache.get_or_load(INNER, lambda: 1, ttl=lambda _: 0), refresh=True
        )
        assert OUTER not in cache


class TestFailures:
    def test_what_is_made_of_a_failure_rests_on_what_failed(
        self, cache: OptimizedCacheManager
    ) -> None:
        # "Not banned" is what the outer loader makes of the inner one's exception.
        cache.set("bans", (), tags=["bans"])

        def ban() -> None:
            if "u1" not in cache.get_value("bans"):
                raise KeyError("u1")

        def load() -> str:
            try:
                cache.get_or_load("ban:u1", ban, tags=["mine"])
            except KeyError:
                return "allow"
            return "deny"

        for invalidate in ["bans", "mine"]:
            assert cache.get_or_load(OUTER, load) == "allow"
            assert OUTER in cache
            cache.invalidate_by_tags([invalidate])
            assert OUTER not in cache
            cache.set("bans", (), tags=["bans"])

    def test_also_for_whoever_waited_for_it(self, cache: OptimizedCacheManager) -> None:
        joins, gate = Joins(cache), Gate()

        def fail() -> None:
            gate.wait_inside()
            raise KeyError

        def load() -> str:
            with pytest.raises(KeyError):
                cache.get_or_load(INNER, fail)
            return "made"

        first = InThread(lambda: cache.get_or_load(INNER, fail, tags=["mine"]))
        gate.until_reached()
        outer = InThread(lambda: cache.get_or_load(OUTER, load))
        joins.until(3)
        gate.open()
        with pytest.raises(KeyError):
            first.outcome()
        assert outer.outcome() == "made"
        INVALIDATIONS["tag"](cache)
        assert OUTER not in cache

    def test_a_failed_loader_leaves_no_trace_for_the_next_one(
        self, cache: OptimizedCacheManager
    ) -> None:
        _set(cache)

        def fail() -> None:
            cache.get(INNER)
            raise KeyError

        with pytest.raises(KeyError):
            cache.get_or_load(OUTER, fail)
        cache.get_or_load(OUTER, lambda: 1)
        INVALIDATIONS["tag"](cache)
        assert OUTER in cache

    def test_recursion_is_an_error_still(self, cache: OptimizedCacheManager) -> None:
        def load() -> Any:
            return cache.get_or_load(OUTER, load)

        with pytest.raises(LoaderRecursionError):
            cache.get_or_load(OUTER, load)
        assert cache.get_or_load(OUTER, lambda: 1) == 1
        assert OUTER in cache

    async def test_a_cancelled_loader_ends(self, cache: OptimizedCacheManager) -> None:
        _set(cache)
        forever = asyncio.Event()

        async def load() -> None:
            cache.get(INNER)
            await forever.wait()

        with pytest.raises(TimeoutError):
            await cache.aget_or_load(OUTER, load, load_timeout_seconds=0.01)
        cache.get_or_load(OUTER, lambda: 1)
        INVALIDATIONS["tag"](cache)
        assert OUTER in cache


class TestWaiting:
    def test_a_value_somebody_else_loads(self, cache: OptimizedCacheManager) -> None:
        joins, gate = Joins(cache), Gate()

        def load() -> str:
            gate.wait_inside()
            return "editor"

        first = InThread(lambda: cache.get_or_load(INNER, load, tags=["mine"]))
        gate.until_reached()
        outer = InThread(lambda: cache.get_or_load(OUTER, lambda: cache.get_or_load(INNER, load)))
        joins.until(3)
        gate.open()
        assert (first.outcome(), outer.outcome()) == ("editor", "editor")
        assert OUTER in cache
        INVALIDATIONS["tag"](cache)
        assert OUTER not in cache

    def test_whoever_asks_after_the_inner_value_was_invalidated_is_not_given_the_outer_one(
        self, cache: OptimizedCacheManager
    ) -> None:
        joins, gate, state = Joins(cache), Gate(), ["old"]

        def inner() -> str:
            return cache.get_or_load(INNER, lambda: state[0], tags=["mine"])

        def load() -> str:
            found = inner()
            gate.wait_inside()
            return found

        # Older than the load of the outer one.
        inner()
        before = InThread(lambda: cache.get_or_load(OUTER, load))
        gate.until_reached()
        state[0] = "new"
        INVALIDATIONS["tag"](cache)
        after = InThread(lambda: cache.get_or_load(OUTER, load))
        joins.until(3)
        gate.open()
        assert (before.outcome(), after.outcome()) == ("old", "new")
        assert cache.get_value(OUTER) == "new"


class TestTasksAndThreads:
    async def test_several_inner_calls_at_once(self, cache: OptimizedCacheManager) -> None:
        async def inner(number: int) -> int:
            await asyncio.sleep(0)
            return number

        async def load() -> int:
            calls = [
                cache.aget_or_load(f"part:{n}", lambda n=n: inner(n), tags=[f"part-{n}"])
                for n in range(5)
            ]
            return sum(await asyncio.gather(*calls))

        for n in range(5):
            assert await cache.aget_or_load(OUTER, load) == 10
            assert OUTER in cache
            cache.invalidate_by_tags([f"part-{n}"])
            assert OUTER not in cache

    async def test_in_a_thread_of_the_event_loop(self, cache: OptimizedCacheManager) -> None:
        _set(cache)
        await cache.aget_or_load(OUTER, lambda: asyncio.to_thread(cache.get_value, INNER))
        INVALIDATIONS["tag"](cache)
        assert OUTER not in cache

    def test_a_thread_that_was_given_the_context(self, cache: OptimizedCacheManager) -> None:
        _set(cache)
        with ThreadPoolExecutor(1) as pool:

            def load() -> Any:
                context = contextvars.copy_context()
                return pool.submit(context.run, cache.get_value, INNER).result()

            cache.get_or_load(OUTER, load)
        INVALIDATIONS["tag"](cache)
        assert OUTER not in cache

    async def test_what_a_loader_leaves_behind_is_harmless(
        self, cache: OptimizedCacheManager
    ) -> None:
        _set(cache)
        ended, found, left = asyncio.Event(), [], []

        async def later() -> None:
            await ended.wait()
            found.append(cache.get_value(INNER))
            found.append(await cache.aget_or_load("other", lambda: cache.get_value(INNER)))

        async def load() -> int:
            left.append(asyncio.create_task(later()))
            return 1

        await cache.aget_or_load(OUTER, load)
        ended.set()
        await left[0]
        assert found == ["editor", "editor"]
        INVALIDATIONS["tag"](cache)
        assert (OUTER in cache, "other" in cache) == (True, False)

    async def test_what_an_inner_loader_leaves_behind_counts_for_the_outer_one(
        self, cache: OptimizedCacheManager
    ) -> None:
        _set(cache)
        ended, left = asyncio.Event(), []

        async def later() -> Any:
            await ended.wait()
            return cache.get_value(INNER)

        async def inner() -> int:
            left.append(asyncio.create_task(later()))
            return 1

        async def load() -> Any:
            await cache.aget_or_load("inner", inner)
            ended.set()
            return await left[0]

        assert await cache.aget_or_load(OUTER, load) == "editor"
        INVALIDATIONS["tag"](cache)
        assert (OUTER in cache, "inner" in cache) == (False, True)

    def test_generators_run_in_the_context_of_whoever_asks_them(
        self, cache: OptimizedCacheManager
    ) -> None:
        _set(cache)

        def values() -> Iterator[Any]:
            yield cache.get_value(INNER)
            yield cache.get_value("auth:team:t2:user:u2:role")

        cache.set("auth:team:t2:user:u2:role", 1)
        generator = values()
        cache.get_or_load(OUTER, lambda: next(generator))
        next(generator)
        cache.invalidate_user_data("u2")
        assert OUTER in cache
        cache.invalidate_user_data("u1")
        assert OUTER not in cache

    def test_loaders_in_many_threads_keep_apart(self, cache: OptimizedCacheManager) -> None:
        count, barrier = 8, threading.Barrier(8)
        for n in range(count):
            cache.set(f"part:{n}", n, tags=[f"part-{n}"])

        def load(n: int) -> Any:
            barrier.wait(30)
            found = cache.get_value(f"part:{n}")
            barrier.wait(30)
            return found

        threads = [
            InThread(lambda n=n: cache.get_or_load(f"outer:{n}", lambda: load(n)))
            for n in range(count)
        ]
        assert [thread.outcome() for thread in threads] == list(range(count))
        for n in range(count):
            cache.invalidate_by_tags([f"part-{n}"])
            there = [f"outer:{m}" in cache for m in range(count)]
            assert there == [False] * (n + 1) + [True] * (count - n - 1)


class TestBounds:
    def test_many_inner_values(self, cache: OptimizedCacheManager) -> None:
        # Each has a slot of its own; prefixes are shared.
        for n in range(200):
            cache.set(f"part:{n}", n, tags=[f"last-{n}"] if n == 199 else None)
        cache.get_or_load(OUTER, lambda: [cache.get_value(f"part:{n}") for n in range(200)])
        assert cache.get_value(OUTER) == list(range(200))
        cache.delete("part:150")
        assert OUTER not in cache
        cache.set("part:150", 150)
        cache.get_or_load(OUTER, lambda: [cache.get_value(f"part:{n}") for n in range(200)])
        cache.invalidate_by_tags(["last-199"])
        assert OUTER not in cache

    def test_too_many(self, cache: OptimizedCacheManager) -> None:
        cache.set_many({f"part:{n}": n for n in range(300)})

        def load() -> int:
            return len(cache.get_many(f"part:{n}" for n in range(300)))

        assert cache.get_or_load(OUTER, load) == 300
        assert OUTER not in cache
        # Nor what rests on it.
        cache.get_or_load("outermost", lambda: cache.get_or_load(OUTER, load))
        assert "outermost" not in cache
        assert cache.get_stats()["nested_rejects"]["too_many_names"] == 3

    def test_what_is_inherited_is_weighed(self, cache: OptimizedCacheManager) -> None:
        cache.set_many({f"part:{n}": n for n in range(200)})

        def size(load: Callable[[], Any]) -> float:
            before = cache.get_stats()["total_size_mb"]
            cache.get_or_load(OUTER, load, refresh=True)
            return float(cache.get_stats()["total_size_mb"] - before) * 1024 * 1024

        plain = size(lambda: 200)
        assert plain > 0
        more = size(lambda: len(cache.get_many(f"part:{n}" for n in range(200))))
        # Sixteen bytes for each of 201 slots, and a key of six to eight for each entry.
        assert 200 * (16 + 6) <= more < 200 * (16 + 8 + 40)
        assert size(lambda: 200) == -more


class TestTwoCaches:
    def test_what_rests_on_another_cache_is_not_stored(self, make_cache: MakeCache) -> None:
        one, other = make_cache(name="one"), make_cache(name="other")
        _set(other)
        assert one.get_or_load(OUTER, lambda: other.get_value(INNER)) == "editor"
        assert OUTER not in one
        assert one.get_stats()["nested_rejects"] == {
            "other_cache": 1,
            "too_many_names": 0,
            "not_kept": 0,
        }
        assert other.get_stats()["nested_rejects"]["other_cache"] == 0

    def test_nor_what_rests_on_that(self, make_cache: MakeCache) -> None:
        one, other = make_cache(name="one"), make_cache(name="other")

        def middle() -> Any:
            return one.get_or_load(
                "middle", lambda: other.get_or_load(INNER, lambda: "editor", tags=["mine"])
            )

        one.get_or_load(OUTER, middle)
        assert INNER in other
        assert (OUTER in one, "middle" in one) == (False, False)

    def test_nobody_else_is_given_it(self, make_cache: MakeCache) -> None:
        # The other cache's clock does not tell this one whether it asked in time.
        one, other, gate = make_cache(name="one"), make_cache(name="other"), Gate()
        joins = Joins(one)
        _set(other)

        def load() -> Any:
            found = other.get_value(INNER)
            gate.wait_inside()
            return found

        before = InThread(lambda: one.get_or_load(OUTER, load))
        gate.until_reached()
        other.set(INNER, "viewer")
        other.invalidate_by_tags(["mine"])
        after = InThread(lambda: one.get_or_load(OUTER, load))
        joins.until(2)
        gate.open()
        assert (before.outcome(), after.outcome()) == ("editor", "viewer")

    def test_caches_that_share_their_invalidations_are_as_good_as_one(
        self, make_cache: MakeCache, clock: ManualClock
    ) -> None:
        one, other = make_cache(name="same"), make_cache(name="same")
        elsewhere = OptimizedCacheManager(OptimizedCacheConfig(name="same"), clock=ManualClock())
        for inner in (other, elsewhere):
            for invalidate in (one, other, elsewhere):
                inner.set(INNER, "editor", 10, tags=["mine"])
                one.get_or_load(OUTER, lambda: inner.get_value(INNER))  # noqa: B023
                assert OUTER in one
                invalidate.invalidate_by_tags(["mine"])
                assert OUTER not in one
            # Lives are counted on the clock of the cache that holds the entry.
            inner.set(INNER, "editor", 10)
            one.get_or_load(OUTER, lambda: inner.get_value(INNER))  # noqa: B023
            clock.advance(9.9)
            assert OUTER in one
            clock.advance(0.2)
            assert OUTER not in one

    def test_each_may_load_within_the_other(self, make_cache: MakeCache) -> None:
        one, other = make_cache(name="one"), make_cache(name="other")
        other.get_or_load("inner", lambda: one.get_or_load(OUTER, lambda: 1))
        assert (OUTER in one, "inner" in other) == (True, False)


def test_wildcards_leave_alone_what_they_do_not_cover(cache: OptimizedCacheManager) -> None:
    _set(cache)
    for n in range(200):
        cache.get_or_load(OUTER, lambda: cache.get_value(INNER))
        cache.invalidate_by_pattern(f"auth:*:user:other-{n}:*")
        assert OUTER in cache
        cache.delete(OUTER)
    cache.get_or_load(OUTER, lambda: cache.get_value(INNER))
    assert cache.invalidate_by_pattern("auth:*:u1:*") == 2


def test_checks_of_generations_rest_on_what_the_service_looks_up(
    cache: OptimizedCacheManager,
) -> None:
    key = generate_auth_key("team_role", team_id="t1", user_id="u2")
    cache.set(key, "editor")
    cache.get_or_load(
        generate_auth_key("generation_access", generation_id="g1", user_id="u1"),
        lambda: cache.get_team_role("t1", "u2")[0],
    )
    assert cache.invalidate_user_data("u2") == 2
