"""However many callers miss a key at once, it is loaded once, and each gets a value of its own."""

from __future__ import annotations

import asyncio
import threading
from functools import partial
from typing import Any

import pytest

from callers import Gate, InThread, Joins
from velro_cache import OptimizedCacheManager
from velro_cache._engine import ManualClock, PreparedEntry
from velro_cache.exceptions import InvalidKeyError, InvalidTagError, SerializationError


class Loader:
    """Counts its calls, waits at a gate, and returns a new list each time."""

    def __init__(self) -> None:
        self.gate = Gate()
        self.calls = 0
        self._lock = threading.Lock()

    def _count(self) -> list[Any]:
        with self._lock:
            self.calls += 1
            return ["value", self.calls]

    def __call__(self) -> list[Any]:
        value = self._count()
        self.gate.wait_inside()
        return value

    async def later(self) -> list[Any]:
        value = self._count()
        await self.gate.await_inside()
        return value


@pytest.fixture
def loader() -> Loader:
    return Loader()


@pytest.fixture
def joins(cache: OptimizedCacheManager) -> Joins:
    return Joins(cache)


def never_called() -> str:
    raise AssertionError("called")


def all_alike_and_apart(values: list[Any]) -> bool:
    return all(value == ["value", 1] for value in values) and len(set(map(id, values))) == len(
        values
    )


class TestHundredCallersOneLoad:
    def test_threads(self, cache: OptimizedCacheManager, joins: Joins, loader: Loader) -> None:
        threads = [InThread(lambda: cache.get_or_load("k", loader)) for _ in range(100)]
        joins.until(100)
        loader.gate.open()
        assert all_alike_and_apart([thread.outcome() for thread in threads])
        assert loader.calls == 1
        assert cache.get_stats()["cache_misses"] == 100
        assert cache.get("k") == (["value", 1], True)

    async def test_tasks(self, cache: OptimizedCacheManager, joins: Joins, loader: Loader) -> None:
        tasks = [asyncio.create_task(cache.aget_or_load("k", loader.later)) for _ in range(100)]
        await joins.auntil(100)
        loader.gate.open()
        assert all_alike_and_apart(await asyncio.gather(*tasks))
        assert loader.calls == 1
        assert cache.get_stats()["cache_misses"] == 100

    @pytest.mark.parametrize("first", ["thread", "task"])
    async def test_threads_and_tasks_mixed(
        self, cache: OptimizedCacheManager, joins: Joins, loader: Loader, first: str
    ) -> None:
        tasks: list[asyncio.Task[Any]] = []
        threads: list[InThread[Any]] = []

        def start_task() -> None:
            tasks.append(asyncio.create_task(cache.aget_or_load("k", loader.later)))

        def start_thread() -> None:
            threads.append(InThread(lambda: cache.get_or_load("k", loader)))

        (start_thread if first == "thread" else start_task)()
        await loader.gate.auntil_reached()
        for _ in range(50):
            start_task()
            start_thread()
        await joins.auntil(101)
        loader.gate.open()
        values = await asyncio.gather(*tasks)
        values += [await asyncio.to_thread(thread.outcome) for thread in threads]
        assert len(values) == 101
        assert all_alike_and_apart(values)
        assert loader.calls == 1

    def test_two_event_loops_in_two_threads(
        self, cache: OptimizedCacheManager, joins: Joins, loader: Loader
    ) -> None:
        async def fifty() -> list[Any]:
            return await asyncio.gather(*(cache.aget_or_load("k", loader.later) for _ in range(50)))

        loops = [InThread(lambda: asyncio.run(fifty())) for _ in range(2)]
        joins.until(100)
        loader.gate.open()
        assert all_alike_and_apart(loops[0].outcome() + loops[1].outcome())
        assert loader.calls == 1


def test_a_caller_that_missed_before_the_load_ended_does_not_load_again(
    clock: ManualClock,
) -> None:
    missed = Gate()

    class Slow(OptimizedCacheManager):
        """Holds one thread up between its miss and its load."""

        held_up: threading.Thread | None = None

        def _prepare(self, *args: Any, **kwargs: Any) -> PreparedEntry:
            if threading.current_thread() is not threading.main_thread():
                missed.wait_inside()
            return super()._prepare(*args, **kwargs)

    cache = Slow(clock=clock)
    slow = InThread(lambda: cache.get_or_load("k", lambda: "loaded again"))
    missed.until_reached()
    assert cache.get_or_load("k", lambda: "loaded once") == "loaded once"
    missed.open()
    assert slow.outcome() == "loaded once"


def test_different_keys_are_loaded_side_by_side(
    cache: OptimizedCacheManager, loader: Loader
) -> None:
    threads = [InThread(partial(cache.get_or_load, f"k{n}", loader)) for n in range(5)]
    for _ in range(5):
        loader.gate.until_reached()
    loader.gate.open()
    assert sorted(thread.outcome()[1] for thread in threads) == [1, 2, 3, 4, 5]


def test_different_caches_are_loaded_side_by_side(make_cache: Any, loader: Loader) -> None:
    caches = [make_cache() for _ in range(2)]
    threads = [InThread(partial(c.get_or_load, "k", loader)) for c in caches]
    for _ in caches:
        loader.gate.until_reached()
    loader.gate.open()
    assert sorted(thread.outcome()[1] for thread in threads) == [1, 2]


async def test_different_keys_in_one_loop_are_loaded_side_by_side(
    cache: OptimizedCacheManager, loader: Loader
) -> None:
    tasks = [asyncio.create_task(cache.aget_or_load(f"k{n}", loader.later)) for n in range(5)]
    for _ in range(5):
        await loader.gate.auntil_reached()
    loader.gate.open()
    assert sorted(value[1] for value in await asyncio.gather(*tasks)) == [1, 2, 3, 4, 5]


class TestValues:
    def test_a_hit_calls_no_loader(self, cache: OptimizedCacheManager) -> None:
        cache.set("k", "there")
        assert cache.get_or_load("k", never_called) == "there"

    async def test_a_hit_awaits_no_loader(self, cache: OptimizedCacheManager) -> None:
        cache.set("k", "there")
        assert await cache.aget_or_load("k", never_called) == "there"

    @pytest.mark.parametrize("value", [None, False, 0, "", [], {}])
    async def test_a_falsy_value_is_a_value_like_any_other(
        self, cache: OptimizedCacheManager, value: Any
    ) -> None:
        calls = []

        def loader() -> Any:
            calls.append(1)
            return value

        async def later() -> Any:
            return loader()

        assert cache.get_or_load("a", loader) == cache.get_or_load("a", loader) == value
        assert await cache.aget_or_load("b", later) == value
        assert await cache.aget_or_load("b", later) == value
        assert len(calls) == 2
        assert cache.get("a") == cache.get("b") == (value, True)

    async def test_an_asynchronous_call_takes_a_synchronous_loader_too(
        self, cache: OptimizedCacheManager
    ) -> None:
        assert await cache.aget_or_load("k", lambda: [1]) == [1]
        assert cache.get("k") == ([1], True)

    async def test_a_loader_may_return_any_awaitable(self, cache: OptimizedCacheManager) -> None:
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(cache.aget_or_load("k", lambda: future))
        future.set_result("of the future")
        assert await task == "of the future"

        class Awaitable:
            def __await__(self) -> Any:
                yield from asyncio.sleep(0).__await__()
                return "of its own kind"

        assert await cache.aget_or_load("l", Awaitable) == "of its own kind"

    def test_what_the_loader_keeps_is_not_what_the_cache_keeps(
        self, cache: OptimizedCacheManager
    ) -> None:
        kept = {"roles": ["viewer"]}
        got = cache.get_or_load("k", lambda: kept)
        kept["roles"].append("admin")
        assert got == {"roles": ["viewer"]}
        got["roles"].append("admin")
        assert cache.get("k") == ({"roles": ["viewer"]}, True)

    def test_those_who_waited_cannot_change_each_others_value(
        self, cache: OptimizedCacheManager, joins: Joins
    ) -> None:
        gate = Gate()

        def loader() -> dict[str, Any]:
            gate.wait_inside()
            return {"roles": [{"viewer"}]}

        together = threading.Barrier(10)

        def caller() -> dict[str, Any]:
            mine = cache.get_or_load("k", loader)
            seen = repr(mine)
            together.wait()
            mine["roles"][0].add("admin")
            mine["granted"] = True
            together.wait()
            return {"seen": seen, "mine": mine}

        threads = [InThread(caller) for _ in range(10)]
        joins.until(10)
        gate.open()
        outcomes = [thread.outcome() for thread in threads]
        assert {outcome["seen"] for outcome in outcomes} == {"{'roles': [{'viewer'}]}"}
        assert len({id(outcome["mine"]["roles"][0]) for outcome in outcomes}) == 10
        assert cache.get("k") == ({"roles": [{"viewer"}]}, True)

    def test_in_shared_mode_all_get_the_very_object(self, make_cache: Any) -> None:
        cache = make_cache(isolation="shared")
        joins, gate, value = Joins(cache), Gate(), object()

        def loader() -> object:
            gate.wait_inside()
            return value

        threads = [InThread(lambda: cache.get_or_load("k", loader)) for _ in range(5)]
        joins.until(5)
        gate.open()
        assert all(thread.outcome() is value for thread in threads)

    def test_what_is_larger_than_the_cache_is_handed_over_and_not_kept(
        self, make_cache: Any
    ) -> None:
        cache = make_cache(max_size_mb=1, compression_enabled=False)
        joins, gate = Joins(cache), Gate()

        def loader() -> list[bytes]:
            gate.wait_inside()
            return [b"x" * 2_000_000]

        threads = [InThread(lambda: cache.get_or_load("k", loader)) for _ in range(3)]
        joins.until(3)
        gate.open()
        values = [thread.outcome() for thread in threads]
        assert all(len(value[0]) == 2_000_000 for value in values)
        assert len({id(value) for value in values}) == 3
        assert len(cache) == 0


class TestLife:
    async def test_ttl_may_be_a_function_of_the_value(
        self, cache: OptimizedCacheManager, clock: ManualClock
    ) -> None:
        asked = []

        def life(value: dict[str, int]) -> float:
            asked.append(value)
            return value["expires_in"]

        cache.get_or_load("a", lambda: {"expires_in": 5}, ttl=life)
        await cache.aget_or_load("b", lambda: {"expires_in": 50}, ttl=life)
        cache.get_or_load("c", lambda: {"expires_in": 10**9}, ttl=life)
        assert asked == [{"expires_in": 5}, {"expires_in": 50}, {"expires_in": 10**9}]
        clock.advance(5)
        assert sorted(cache.keys()) == ["b", "c"]
        clock.advance(45)
        assert cache.keys() == ["c"]
        clock.advance(3550)
        assert cache.keys() == []

    def test_a_function_may_leave_the_life_to_the_default(
        self, cache: OptimizedCacheManager, clock: ManualClock
    ) -> None:
        cache.get_or_load("k", lambda: 1, ttl=lambda value: None)
        clock.advance(299)
        assert cache.get("k") == (1, True)
        clock.advance(1)
        assert cache.get("k") == (None, False)

    @pytest.mark.parametrize("life", [0, -1, -0.0, float("-inf")])
    async def test_a_function_may_say_not_to_keep_it(
        self, cache: OptimizedCacheManager, life: float
    ) -> None:
        assert cache.get_or_load("k", lambda: [1], ttl=lambda value: life) == [1]
        assert await cache.aget_or_load("k", lambda: [2], ttl=lambda value: life) == [2]
        assert len(cache) == 0
        assert cache.get_stats()["sets"] == 0

    @pytest.mark.parametrize("wrong", [float("nan"), "5", [5]])
    async def test_a_function_that_returns_no_life_is_an_error_and_nothing_is_kept(
        self, cache: OptimizedCacheManager, wrong: Any
    ) -> None:
        with pytest.raises((ValueError, TypeError)):
            cache.get_or_load("k", lambda: 1, ttl=lambda value: wrong)
        with pytest.raises((ValueError, TypeError)):
            await cache.aget_or_load("k", lambda: 1, ttl=lambda value: wrong)
        assert len(cache) == 0

    def test_a_function_that_fails_reaches_the_caller(self, cache: OptimizedCacheManager) -> None:
        with pytest.raises(ZeroDivisionError):
            cache.get_or_load("k", lambda: 1, ttl=lambda value: 1 / 0)
        assert len(cache) == 0
        assert cache.get_or_load("k", lambda: 2) == 2

    def test_tags_and_priority_reach_the_entry(self, make_cache: Any) -> None:
        cache = make_cache(max_entries=2, eviction_policy="lfu")
        cache.get_or_load("a", lambda: 1, tags=["t"], priority=10)
        cache.set("b", 1)
        cache.set("c", 1)
        assert sorted(cache.keys()) == ["a", "c"]
        assert cache.invalidate_by_tags(["t"]) == 1


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"key": ""}, InvalidKeyError),
        ({"key": 5}, TypeError),
        ({"ttl": 0}, ValueError),
        ({"ttl": float("nan")}, ValueError),
        ({"ttl": "5"}, TypeError),
        ({"tags": "user:1"}, InvalidTagError),
        ({"tags": [""]}, InvalidTagError),
        ({"priority": 0}, ValueError),
        ({"load_timeout_seconds": 0}, ValueError),
        ({"load_timeout_seconds": -1}, ValueError),
        ({"load_timeout_seconds": float("nan")}, ValueError),
        ({"load_timeout_seconds": "5"}, TypeError),
        ({"load_timeout_seconds": True}, TypeError),
    ],
)
async def test_wrong_arguments_are_found_before_anything_is_loaded(
    cache: OptimizedCacheManager, arguments: dict[str, Any], error: type[Exception]
) -> None:
    def loader() -> None:
        raise AssertionError("called")

    arguments = {"key": "k", **arguments}
    key = arguments.pop("key")
    with pytest.raises(error):
        cache.get_or_load(key, loader, **arguments)
    with pytest.raises(error):
        await cache.aget_or_load(key, loader, **arguments)
    assert len(cache) == 0


def test_a_value_that_cannot_be_copied_is_an_error_for_everybody(
    cache: OptimizedCacheManager, joins: Joins
) -> None:
    gate = Gate()

    def loader() -> Any:
        gate.wait_inside()
        return (x for x in "generator")

    threads = [InThread(lambda: cache.get_or_load("k", loader)) for _ in range(5)]
    joins.until(5)
    gate.open()
    for thread in threads:
        with pytest.raises(SerializationError):
            thread.outcome()
    assert len(cache) == 0


class TestRefresh:
    async def test_loads_though_there_is_a_value(self, cache: OptimizedCacheManager) -> None:
        cache.set("k", "old")
        assert cache.get_or_load("k", lambda: "new", refresh=True) == "new"
        assert cache.get("k") == ("new", True)
        assert await cache.aget_or_load("k", lambda: "newer", refresh=True) == "newer"
        assert cache.get("k") == ("newer", True)

    def test_does_not_join_a_load_that_began_before(
        self, cache: OptimizedCacheManager, loader: Loader
    ) -> None:
        older = InThread(lambda: cache.get_or_load("k", loader))
        loader.gate.until_reached()
        assert cache.get_or_load("k", lambda: "fresh", refresh=True) == "fresh"
        loader.gate.open()
        assert older.outcome() == ["value", 1]
        # The older load ended last, and must not have the last word.
        assert cache.get("k") == ("fresh", True)

    async def test_others_may_join_it(
        self, cache: OptimizedCacheManager, joins: Joins, loader: Loader
    ) -> None:
        cache.set("k", "old")
        first = asyncio.create_task(cache.aget_or_load("k", loader.later, refresh=True))
        await loader.gate.auntil_reached()
        cache.delete("k")
        thread = InThread(lambda: cache.get_or_load("k", lambda: ["value", 2]))
        await joins.auntil(2)
        loader.gate.open()
        assert await first == ["value", 1]
        # It asked after the delete, which came after the refresh had begun.
        assert await asyncio.to_thread(thread.outcome) == ["value", 2]

    async def test_an_error_leaves_the_value_that_was_there(
        self, cache: OptimizedCacheManager
    ) -> None:
        cache.set("k", "old")
        with pytest.raises(ZeroDivisionError):
            cache.get_or_load("k", lambda: 1 / 0, refresh=True)
        with pytest.raises(ZeroDivisionError):
            await cache.aget_or_load("k", lambda: 1 / 0, refresh=True)
        assert cache.get("k") == ("old", True)
