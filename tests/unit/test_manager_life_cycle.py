"""Start, stop, sweeping in between, and what a stopped cache still answers."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from callers import PATIENCE
from velro_cache import OptimizedCacheConfig, OptimizedCacheManager
from velro_cache._engine import ManualClock
from velro_cache.exceptions import CacheStoppedError, InvalidTagError

SWEEPING = OptimizedCacheConfig(cleanup_interval_seconds=0.01, name="swept")


class Watched(OptimizedCacheManager):
    """Tells when it has been swept."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.swept = threading.Semaphore(0)
        self.fails = False

    def sweep(self) -> None:
        if self.fails:
            self.fails = False
            raise RuntimeError("the sweep broke")
        super().sweep()
        self.swept.release()

    def until_swept(self) -> None:
        # The second one: a sweep that was under way may have looked already.
        for _ in range(2):
            assert self.swept.acquire(timeout=PATIENCE), "nobody swept"


def sweepers(name: str = "swept") -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name == f"velro-cache-sweeper-{name}"]


@pytest.fixture
def watched(clock: ManualClock) -> Iterator[Watched]:
    manager = Watched(SWEEPING, clock=clock)
    yield manager
    manager.stop()
    assert not sweepers()


class TestSweep:
    def test_gives_the_memory_of_expired_entries_back(
        self, cache: OptimizedCacheManager, clock: ManualClock
    ) -> None:
        cache.set("short", "x" * 1000, ttl=5)
        cache.set("long", "x", ttl=50)
        clock.advance(5)
        assert len(cache) == 2
        cache.sweep()
        assert len(cache) == 1
        assert cache.keys() == ["long"]
        stats = cache.get_stats()
        assert (stats["expirations"], stats["evictions"], stats["invalidations"]) == (1, 0, 0)

    def test_leaves_what_is_alive(self, cache: OptimizedCacheManager) -> None:
        for number in range(1000):
            cache.set(f"k{number}", number)
        cache.sweep()
        assert len(cache) == 1000

    @pytest.mark.parametrize("batch", [1, 7, 100_000])
    def test_goes_over_all_entries_whatever_the_batch(
        self, make_cache: Any, clock: ManualClock, batch: int
    ) -> None:
        cache = make_cache(eviction_batch_size=batch)
        for number in range(500):
            cache.set(f"k{number}", number, ttl=5 if number % 3 else 50)
        clock.advance(5)
        cache.sweep()
        assert len(cache) == 167


class TestSweeper:
    def test_sweeps_again_and_again_once_started(
        self, watched: Watched, clock: ManualClock
    ) -> None:
        watched.set("k", 1, ttl=5)
        watched.start()
        watched.until_swept()
        assert len(watched) == 1
        clock.advance(5)
        watched.until_swept()
        assert len(watched) == 0
        assert watched.get_stats()["expirations"] == 1

    def test_does_nothing_before_the_start(self, watched: Watched) -> None:
        assert not sweepers()
        assert not watched.is_stopped

    def test_is_one_thread_however_often_it_is_started(self, watched: Watched) -> None:
        for _ in range(3):
            watched.start()
        assert len(sweepers()) == 1
        assert sweepers()[0].daemon

    def test_ends_with_stop(self, watched: Watched) -> None:
        watched.start()
        (thread,) = sweepers()
        watched.stop()
        assert not thread.is_alive()
        watched.stop()

    def test_can_be_started_again(self, watched: Watched, clock: ManualClock) -> None:
        watched.start()
        watched.stop()
        watched.start()
        assert len(sweepers()) == 1
        watched.set("k", 1, ttl=5)
        clock.advance(5)
        watched.until_swept()
        assert len(watched) == 0

    def test_survives_a_sweep_that_fails_and_says_so(
        self, watched: Watched, caplog: pytest.LogCaptureFixture
    ) -> None:
        watched.fails = True
        with caplog.at_level(logging.ERROR, logger="velro_cache"):
            watched.start()
            watched.until_swept()
        assert "sweep failed" in caplog.text
        assert "the sweep broke" in caplog.text

    def test_does_not_keep_a_forgotten_manager_alive(self) -> None:
        manager = Watched(SWEEPING)
        manager.start()
        (thread,) = sweepers()
        gone = weakref.ref(manager)
        manager.until_swept()
        del manager
        for _ in range(100):
            gc.collect()
            thread.join(PATIENCE / 100)
            if not thread.is_alive():
                break
        assert gone() is None
        assert not thread.is_alive()

    def test_an_unused_manager_goes_without_being_stopped(self) -> None:
        gone = weakref.ref(OptimizedCacheManager())
        gc.collect()
        assert gone() is None

    def test_each_manager_has_its_own(self) -> None:
        with OptimizedCacheManager(SWEEPING), OptimizedCacheManager(SWEEPING):
            assert len(sweepers()) == 2
        assert not sweepers()


REFUSED: dict[str, Callable[[OptimizedCacheManager], Any]] = {
    "get": lambda cache: cache.get("k"),
    "get_value": lambda cache: cache.get_value("k", 1),
    "get_many": lambda cache: cache.get_many(["k"]),
    "get_user_profile": lambda cache: cache.get_user_profile("u"),
    "get_generation_access": lambda cache: cache.get_generation_access("g", "u"),
    "set": lambda cache: cache.set("k", 1),
    "set_many": lambda cache: cache.set_many({"k": 1}),
    "set_user_profile": lambda cache: cache.set_user_profile("u", 1),
    "delete": lambda cache: cache.delete("k"),
    "clear": lambda cache: cache.clear(),
    "invalidate_by_tags": lambda cache: cache.invalidate_by_tags(["t"]),
    "invalidate_by_pattern": lambda cache: cache.invalidate_by_pattern("k*"),
    "invalidate_user_data": lambda cache: cache.invalidate_user_data("u"),
    "invalidate_generation_data": lambda cache: cache.invalidate_generation_data("g"),
    "get_or_load": lambda cache: cache.get_or_load("k", lambda: 1 / 0),
}


class TestStopped:
    @pytest.fixture
    def stopped(self, cache: OptimizedCacheManager) -> OptimizedCacheManager:
        cache.set("k", 1)
        cache.set_user_profile("u", 1)
        cache.stop()
        return cache

    @pytest.mark.parametrize("use", REFUSED)
    def test_refuses_every_use_with_one_error(
        self, stopped: OptimizedCacheManager, use: str
    ) -> None:
        with pytest.raises(CacheStoppedError, match="start"):
            REFUSED[use](stopped)
        assert len(stopped) == 0

    async def test_refuses_the_asynchronous_uses(self, stopped: OptimizedCacheManager) -> None:
        with pytest.raises(CacheStoppedError):
            await stopped.aget_or_load("k", lambda: 1 / 0)
        with pytest.raises(CacheStoppedError):
            await stopped.invalidate_user_authorization_cache("u")
        with pytest.raises(CacheStoppedError):
            await stopped.warm({"k": 1})

    def test_can_still_be_looked_at(self, stopped: OptimizedCacheManager) -> None:
        assert stopped.is_stopped
        assert len(stopped) == 0
        assert stopped.keys() == []
        assert "k" not in stopped
        assert stopped.get_stats()["total_entries"] == 0
        assert "stopped" in repr(stopped)
        stopped.sweep()

    def test_opens_again_empty(self, stopped: OptimizedCacheManager) -> None:
        stopped.start()
        assert not stopped.is_stopped
        assert stopped.get("k") == (None, False)
        assert stopped.set("k", 2)
        assert stopped.get("k") == (2, True)
        stopped.stop()

    def test_stop_lets_go_of_the_values(self, make_cache: Any) -> None:
        class Value:
            pass

        cache = make_cache(isolation="shared")
        value = Value()
        gone = weakref.ref(value)
        cache.set("k", value)
        del value
        assert gone() is not None
        cache.stop()
        assert gone() is None

    def test_a_wrong_argument_is_no_way_around(self, stopped: OptimizedCacheManager) -> None:
        with pytest.raises((CacheStoppedError, InvalidTagError)):
            stopped.set("k", 1, tags="t")
        assert len(stopped) == 0


class TestContextManagers:
    def test_with_starts_and_stops(self, watched: Watched) -> None:
        with watched as entered:
            assert entered is watched
            assert len(sweepers()) == 1
            assert watched.set("k", 1)
        assert watched.is_stopped
        assert not sweepers()

    async def test_async_with_starts_and_stops(self, watched: Watched) -> None:
        async with watched as entered:
            assert entered is watched
            assert len(sweepers()) == 1
            assert watched.set("k", 1)
        assert watched.is_stopped
        assert not sweepers()

    def test_an_error_passes_through_with(self, watched: Watched) -> None:
        with pytest.raises(ZeroDivisionError), watched:
            _ = 1 / 0
        assert watched.is_stopped

    async def test_an_error_passes_through_async_with(self, watched: Watched) -> None:
        with pytest.raises(ZeroDivisionError):
            async with watched:
                _ = 1 / 0
        assert watched.is_stopped

    async def test_start_and_stop_can_be_awaited(self, watched: Watched) -> None:
        await watched.start()
        assert len(sweepers()) == 1
        await watched.stop()
        assert watched.is_stopped

    def test_start_and_stop_do_their_work_without_being_awaited(self, watched: Watched) -> None:
        watched.start()
        assert len(sweepers()) == 1
        watched.stop()
        assert watched.is_stopped

    def test_with_can_be_entered_again(self, watched: Watched) -> None:
        for _ in range(3):
            with watched:
                assert watched.get("k") == (None, False)
                watched.set("k", 1)


class TestPreloaders:
    async def test_run_when_the_start_is_awaited(self, cache: OptimizedCacheManager) -> None:
        ran = []

        async def first() -> None:
            ran.append("first")
            await cache.warm({"k": 1})

        async def second() -> None:
            ran.append("second")

        cache.add_preloader(first)
        cache.add_preloader(second)
        async with cache:
            assert ran == ["first", "second"]
            assert cache.get("k") == (1, True)
        async with cache:
            assert ran == ["first", "second"] * 2

    def test_do_not_run_when_nobody_awaits(self, cache: OptimizedCacheManager) -> None:
        async def preloader() -> None:
            raise AssertionError("there is no event loop")

        cache.add_preloader(preloader)
        with cache:
            pass

    @pytest.mark.parametrize("off", ["warming_enabled", "preload_auth_data"])
    async def test_do_not_run_when_switched_off(self, make_cache: Any, off: str) -> None:
        async def preloader() -> None:
            raise AssertionError("switched off")

        cache = make_cache(**{off: False})
        cache.add_preloader(preloader)
        async with cache:
            pass

    async def test_an_error_reaches_whoever_starts(self, cache: OptimizedCacheManager) -> None:
        async def preloader() -> None:
            raise ConnectionError("no database")

        cache.add_preloader(preloader)
        with pytest.raises(ConnectionError, match="no database"):
            await cache.start()
        cache.stop()


class TestWarm:
    async def rows(self) -> AsyncIterator[tuple[str, int]]:
        for number in range(5):
            yield f"k{number}", number

    async def test_takes_mappings_pairs_and_streams(self, cache: OptimizedCacheManager) -> None:
        assert await cache.warm({"a": 1, "b": 2}) == 2
        assert await cache.warm([("c", 3)]) == 1
        assert await cache.warm((key, 4) for key in "de") == 2
        assert await cache.warm(self.rows()) == 5
        assert await cache.warm({}) == 0
        assert cache.get_many("abcde"[n] for n in range(5)) == {
            "a": 1,
            "b": 2,
            "c": 3,
            "d": 4,
            "e": 4,
        }
        assert cache.get("k4") == (4, True)

    async def test_gives_life_tags_and_priority_to_all(
        self, cache: OptimizedCacheManager, clock: ManualClock
    ) -> None:
        await cache.warm({"a": 1}, ttl=5, tags=(tag for tag in ["t"]), priority=3)
        await cache.warm({str(n): n for n in range(120)}, tags=(tag for tag in ["u"]))
        assert cache.invalidate_by_tags(["u"]) == 120
        clock.advance(5)
        assert "a" not in cache

    async def test_a_bare_text_as_tags_is_refused(self, cache: OptimizedCacheManager) -> None:
        with pytest.raises(InvalidTagError):
            await cache.warm({"a": 1}, tags="t")

    async def test_lets_other_tasks_run_between_batches(self, make_cache: Any) -> None:
        cache = make_cache(warming_batch_size=10)
        seen: list[int] = []

        async def other() -> None:
            while len(cache) < 100:
                seen.append(len(cache))
                await asyncio.sleep(0)

        task = asyncio.create_task(other())
        assert await cache.warm({str(number): number for number in range(100)}) == 100
        await task
        assert seen == list(range(0, 100, 10)) or seen == list(range(10, 100, 10))

    async def test_reads_nothing_when_switched_off(self, make_cache: Any) -> None:
        def rows() -> Iterator[tuple[str, int]]:
            raise AssertionError("switched off")
            yield

        cache = make_cache(warming_enabled=False)
        assert await cache.warm(rows()) == 0

    async def test_what_is_invalidated_meanwhile_is_not_brought_back(self, make_cache: Any) -> None:
        cache = make_cache(warming_batch_size=2)

        async def rows() -> AsyncIterator[tuple[str, str]]:
            yield "auth:user:u1:profile", "old"
            yield "auth:user:u2:profile", "kept"
            yield "auth:user:u3:profile", "old"
            cache.invalidate_user_data("u1")
            cache.invalidate_user_data("u3")
            yield "auth:user:u1:permissions", "old"

        assert await cache.warm(rows()) == 2
        assert cache.keys() == ["auth:user:u2:profile"]


def test_repr_tells_name_and_size_and_no_content(cache: OptimizedCacheManager) -> None:
    cache.set("auth:user:secret:profile", "secret")
    assert "default" in repr(cache)
    assert "1 entries" in repr(cache)
    assert "secret" not in repr(cache)
