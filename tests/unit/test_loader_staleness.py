"""Nobody who asks after an invalidation is given what was loaded before it.

Every test drives the order of events by hand: a load begins, something is invalidated, somebody
asks, the load ends.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from typing import Any

import pytest

from callers import Gate, InThread, Joins, _ObservedFlights
from velro_cache import OptimizedCacheManager
from velro_cache._engine import LoadedValue, PreparedEntry

KEY = "auth:gen:g1:user:u1:access"
INVALIDATIONS: dict[str, Callable[[OptimizedCacheManager], Any]] = {
    "tag": lambda cache: cache.invalidate_by_tags(["mine"]),
    "user": lambda cache: cache.invalidate_user_data("u1"),
    "generation": lambda cache: cache.invalidate_generation_data("g1"),
    "key": lambda cache: cache.delete(KEY),
    "prefix": lambda cache: cache.invalidate_by_pattern("auth:gen:g1:*"),
    "scattered pattern": lambda cache: cache.invalidate_by_pattern("auth:*:u1:*"),
    "clear": lambda cache: cache.clear(),
}
UNRELATED: Callable[[OptimizedCacheManager], Any] = lambda cache: cache.invalidate_user_data("u2")  # noqa: E731


class Source:
    """What is loaded, and a gate in the middle of loading it."""

    def __init__(self) -> None:
        self.state = "granted"
        self.calls = 0
        self.gate = Gate()

    def load(self) -> str:
        self.calls += 1
        seen = self.state
        if self.calls == 1:
            self.gate.wait_inside()
        return seen

    async def aload(self) -> str:
        self.calls += 1
        seen = self.state
        if self.calls == 1:
            await self.gate.await_inside()
        return seen


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def joins(cache: OptimizedCacheManager) -> Joins:
    return Joins(cache)


@pytest.mark.parametrize("what", INVALIDATIONS)
class TestInvalidatedDuringTheLoad:
    def test_in_threads(
        self, cache: OptimizedCacheManager, joins: Joins, source: Source, what: str
    ) -> None:
        def ask() -> str:
            return cache.get_or_load(KEY, source.load, tags=["mine"])

        before = InThread(ask)
        source.gate.until_reached()
        with_it = InThread(ask)
        joins.until(2)
        source.state = "revoked"
        INVALIDATIONS[what](cache)
        after = [InThread(ask) for _ in range(5)]
        joins.until(5)
        source.gate.open()
        # Those who had asked before may be told either; those who asked after may not.
        assert before.outcome() == "granted"
        assert with_it.outcome() in ("granted", "revoked")
        assert [caller.outcome() for caller in after] == ["revoked"] * 5
        assert cache.get_value(KEY, "revoked") == "revoked"
        assert ask() == "revoked"

    async def test_in_tasks(
        self, cache: OptimizedCacheManager, joins: Joins, source: Source, what: str
    ) -> None:
        def ask() -> asyncio.Task[str]:
            return asyncio.create_task(cache.aget_or_load(KEY, source.aload, tags=["mine"]))

        before = ask()
        await source.gate.auntil_reached()
        source.state = "revoked"
        INVALIDATIONS[what](cache)
        after = [ask() for _ in range(5)]
        await joins.auntil(6)
        source.gate.open()
        assert await before == "granted"
        assert await asyncio.gather(*after) == ["revoked"] * 5
        assert cache.get_value(KEY, "revoked") == "revoked"
        assert await ask() == "revoked"

    async def test_between_a_task_and_a_thread(
        self, cache: OptimizedCacheManager, joins: Joins, source: Source, what: str
    ) -> None:
        before = asyncio.create_task(cache.aget_or_load(KEY, source.aload, tags=["mine"]))
        await source.gate.auntil_reached()
        source.state = "revoked"
        INVALIDATIONS[what](cache)
        after = InThread(lambda: cache.get_or_load(KEY, source.load, tags=["mine"]))
        await joins.auntil(2)
        source.gate.open()
        assert await before == "granted"
        assert await asyncio.to_thread(after.outcome) == "revoked"

    def test_nobody_waits_and_nothing_is_stored(
        self, cache: OptimizedCacheManager, source: Source, what: str
    ) -> None:
        before = InThread(lambda: cache.get_or_load(KEY, source.load, tags=["mine"]))
        source.gate.until_reached()
        INVALIDATIONS[what](cache)
        source.gate.open()
        assert before.outcome() == "granted"
        assert cache.get(KEY) == (None, False)
        assert cache.get_stats()["stale_rejects"] == 1

    def test_again_and_again(self, cache: OptimizedCacheManager, what: str) -> None:
        # Each load is overtaken by an invalidation, and each caller after it loads for itself.
        for version in range(20):

            def overtaken(version: int = version) -> int:
                INVALIDATIONS[what](cache)
                return version

            assert cache.get_or_load(KEY, overtaken, tags=["mine"]) == version
            assert cache.get(KEY) == (None, False)

    def test_after_a_refresh_has_begun(
        self, cache: OptimizedCacheManager, joins: Joins, source: Source, what: str
    ) -> None:
        cache.set(KEY, "granted", tags=["mine"])
        before = InThread(lambda: cache.get_or_load(KEY, source.load, tags=["mine"], refresh=True))
        source.gate.until_reached()
        source.state = "revoked"
        INVALIDATIONS[what](cache)
        after = InThread(lambda: cache.get_or_load(KEY, source.load, tags=["mine"]))
        joins.until(2)
        source.gate.open()
        assert before.outcome() == "granted"
        assert after.outcome() == "revoked"


def test_an_unrelated_invalidation_costs_nobody_a_second_load(
    cache: OptimizedCacheManager, joins: Joins, source: Source
) -> None:
    before = InThread(lambda: cache.get_or_load(KEY, source.load))
    source.gate.until_reached()
    UNRELATED(cache)
    cache.invalidate_by_pattern("x*y")
    after = InThread(lambda: cache.get_or_load(KEY, source.load))
    joins.until(2)
    source.gate.open()
    assert before.outcome() == after.outcome() == "granted"
    assert source.calls == 1
    assert cache.get(KEY) == ("granted", True)


class Interrupted:
    """An entry to load into; something happens just after the value was stored."""

    def __init__(self, entry: PreparedEntry, happens: Callable[[], None]) -> None:
        self._entry = entry
        self._happens = happens

    def begin_loading(self) -> Any:
        return self._entry.begin_loading()

    def end_loading(self, token: Any) -> None:
        self._entry.end_loading(token)

    def store(self, value: Any, *about: Any) -> LoadedValue:
        loaded = self._entry.store(value, *about)
        self._happens()
        return loaded

    def pass_on(self, value: Any, stamp: int) -> LoadedValue:
        loaded = self._entry.pass_on(value, stamp)
        self._happens()
        return loaded

    def discard(self, everywhere: bool) -> None:
        self._entry.discard(everywhere)


@pytest.mark.parametrize("life", [None, lambda value: 0], ids=["stored", "passed on"])
@pytest.mark.parametrize("what", INVALIDATIONS)
def test_invalidated_after_it_was_stored_and_before_the_load_was_over(
    cache: OptimizedCacheManager, what: str, life: Any
) -> None:
    flights = _ObservedFlights(cache)
    entry = cache._prepare(KEY, tags=["mine"])
    late: list[InThread[str]] = []

    def revoke_and_ask() -> None:
        INVALIDATIONS[what](cache)
        fresh = contextvars.Context()
        ask = lambda: flights.load(KEY, entry, lambda: "revoked", None, None)  # noqa: E731
        late.append(InThread(lambda: fresh.run(ask)))
        for _ in range(2):
            assert flights.entered.acquire(timeout=30)

    interrupted: Any = Interrupted(entry, revoke_and_ask)
    assert flights.load(KEY, interrupted, lambda: "granted", life, None) == "granted"
    assert late[0].outcome() == "revoked"
    assert cache.get_value(KEY, "revoked") == "revoked"


async def test_a_hit_in_the_moment_after_an_invalidation_is_not_possible(
    cache: OptimizedCacheManager,
) -> None:
    for what, invalidate in INVALIDATIONS.items():
        version = 0

        async def load() -> int:
            return version  # noqa: B023 - the version of the moment is what is meant

        for version in range(50):
            assert await cache.aget_or_load(KEY, load, tags=["mine"]) == version, what
            invalidate(cache)
