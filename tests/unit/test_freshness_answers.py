"""Values near their end and past it: who gets the old one, who waits, who is told of an error."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest

from callers import PATIENCE, Gate, InThread
from velro_cache import ConfigError, LoaderTimeoutError, OptimizedCacheManager, cached_authorization
from velro_cache._engine import ManualClock
from velro_cache.exceptions import CacheStoppedError, LoaderRecursionError
from velro_cache.freshness import Freshness

MakeCache = Callable[..., OptimizedCacheManager]

REVALIDATE = Freshness(stale_while_revalidate_seconds=60)
IF_ERROR = Freshness(stale_if_error_seconds=60, fail_mode="stale")
SOFT = Freshness(stale_if_error_seconds=60, soft_timeout_seconds=0.02)
HARD = Freshness(hard_timeout_seconds=0.05)
HARD_STALE = Freshness(stale_if_error_seconds=60, fail_mode="stale", hard_timeout_seconds=0.05)


class NoDatabase(Exception):
    pass


def fails() -> Any:
    raise NoDatabase("connection refused to user=secret")


def must_not_run() -> Any:
    pytest.fail("the loader ran")


@pytest.fixture
def gate() -> Gate:
    return Gate()


def figures(cache: OptimizedCacheManager) -> dict[str, Any]:
    told: dict[str, Any] = cache.get_stats()["freshness"]
    return told


def keep(
    cache: OptimizedCacheManager, freshness: Freshness, value: Any = "old", ttl: float = 10
) -> None:
    cache.get_or_load("k", lambda: value, ttl=ttl, permissive=False, freshness=freshness)


def ask(cache: OptimizedCacheManager, loader: Any, freshness: Freshness | None, **more: Any) -> Any:
    asked: dict[str, Any] = {"ttl": 10, "permissive": False, "freshness": freshness, **more}
    return cache.get_or_load("k", loader, **asked)


async def aask(
    cache: OptimizedCacheManager, loader: Any, freshness: Freshness | None, **more: Any
) -> Any:
    asked: dict[str, Any] = {"ttl": 10, "permissive": False, "freshness": freshness, **more}
    return await cache.aget_or_load("k", loader, **asked)


async def reloads_end() -> None:
    tasks = [task for task in asyncio.all_tasks() if task.get_name() == "velro-cache-reload"]
    await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), PATIENCE)


class TestStaleWhileRevalidate:
    async def test_answers_with_the_old_value_and_loads_once_beside(
        self, cache: OptimizedCacheManager, clock: ManualClock
    ) -> None:
        calls = []

        async def load() -> str:
            calls.append(1)
            return "new"

        keep(cache, REVALIDATE)
        clock.advance(15)
        answers = [await aask(cache, load, REVALIDATE) for _ in range(5)]
        assert answers == ["old"] * 5
        await reloads_end()
        assert calls == [1]
        assert await aask(cache, must_not_run, REVALIDATE) == "new"
        assert figures(cache)["stale_answers"]["revalidating"] == 5
        assert figures(cache)["reloads"] == {"begun": 1, "failed": 0, "skipped": 0}

    def test_does_so_in_threads(
        self, cache: OptimizedCacheManager, clock: ManualClock, gate: Gate
    ) -> None:
        ended = threading.Event()

        def load() -> str:
            gate.wait_inside()
            ended.set()
            return "new"

        keep(cache, REVALIDATE)
        clock.advance(15)
        assert ask(cache, load, REVALIDATE) == "old"
        gate.until_reached()
        assert ask(cache, must_not_run, REVALIDATE) == "old"
        gate.open()
        assert ended.wait(PATIENCE)
        # Whoever needs the new one waits for the load that runs.
        assert ask(cache, must_not_run, None) == "new"

    async def test_ends(self, cache: OptimizedCacheManager, clock: ManualClock) -> None:
        keep(cache, REVALIDATE)
        clock.advance(10 + 60)
        assert await aask(cache, lambda: "new", REVALIDATE) == "new"
        assert figures(cache)["stale_answers"]["revalidating"] == 0

    @pytest.mark.parametrize("value", [None, 0, "", [1, {"a": [2]}], {"deny": True}])
    async def test_gives_whatever_was_there_as_a_copy(
        self, cache: OptimizedCacheManager, clock: ManualClock, value: Any
    ) -> None:
        keep(cache, REVALIDATE, value)
        clock.advance(11)
        first = await aask(cache, lambda: value, REVALIDATE)
        assert first == value
        if isinstance(first, (list, dict)):
            first.clear()
            clock.advance(11)
        assert await aask(cache, lambda: value, REVALIDATE) == value
        await reloads_end()

    async def test_survives_loads_that_fail(
        self,
        cache: OptimizedCacheManager,
        clock: ManualClock,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        keep(cache, REVALIDATE)
        clock.advance(15)
        with caplog.at_level(logging.WARNING, "velro_cache"):
            assert await aask(cache, fails, REVALIDATE) == "old"
            await reloads_end()
        assert figures(cache)["reloads"]["failed"] == 1
        assert "NoDatabase" in caplog.text
        assert "secret" not in caplog.text
        assert await aask(cache, fails, REVALIDATE) == "old"
        await reloads_end()
        assert figures(cache)["reloads"]["begun"] == 2

    async def test_takes_no_more_room_than_it_was_given(
        self, make_cache: MakeCache, clock: ManualClock, gate: Gate
    ) -> None:
        cache = make_cache(reload_concurrency=1)
        for key in ("a", "b"):
            cache.get_or_load(key, lambda: "old", ttl=1, permissive=False, freshness=REVALIDATE)
        clock.advance(2)
        for key in ("a", "b"):
            answer = await cache.aget_or_load(
                key, gate.await_inside, permissive=False, freshness=REVALIDATE
            )
            assert answer == "old"
        assert figures(cache)["reloads"] == {"begun": 1, "failed": 0, "skipped": 1}
        assert figures(cache)["reloads_running"] == 1
        gate.open()
        await reloads_end()
        assert figures(cache)["reloads_running"] == 0

    async def test_load_belongs_to_no_request(
        self, cache: OptimizedCacheManager, clock: ManualClock
    ) -> None:
        request: contextvars.ContextVar[str] = contextvars.ContextVar("request", default="none")
        seen = []
        keep(cache, REVALIDATE)
        clock.advance(11)
        request.set("somebody's")
        assert await aask(cache, lambda: seen.append(request.get()), REVALIDATE) == "old"
        await reloads_end()
        assert seen == ["none"]


class TestNeverStale:
    """What was taken away is gone, and what allows something ends when it ends."""

    @pytest.mark.parametrize("freshness", [REVALIDATE, IF_ERROR, SOFT, HARD_STALE])
    @pytest.mark.parametrize(
        "invalidate",
        [
            lambda cache: cache.delete("k"),
            lambda cache: cache.invalidate_by_tags(["t"]),
            lambda cache: cache.invalidate_by_pattern("k*"),
            lambda cache: cache.clear(),
        ],
    )
    @pytest.mark.parametrize("ended_before", [True, False])
    def test_after_an_invalidation(
        self,
        cache: OptimizedCacheManager,
        clock: ManualClock,
        freshness: Freshness,
        invalidate: Callable[[OptimizedCacheManager], object],
        ended_before: bool,
    ) -> None:
        ask(cache, lambda: "old", freshness, tags=["t"])
        if ended_before:
            clock.advance(15)
        invalidate(cache)
        if not ended_before:
            clock.advance(15)
        with pytest.raises(NoDatabase):
            ask(cache, fails, freshness, tags=["t"])
        assert sum(figures(cache)["stale_answers"].values()) == 0

    async def test_after_an_invalidation_that_came_during_the_wait(
        self, cache: OptimizedCacheManager, clock: ManualClock, gate: Gate
    ) -> None:
        async def fails_later() -> None:
            await gate.await_inside()
            raise NoDatabase

        keep(cache, IF_ERROR)
        clock.advance(15)
        asking = asyncio.ensure_future(aask(cache, fails_later, IF_ERROR))
        await gate.auntil_reached()
        cache.delete("k")
        gate.open()
        with pytest.raises(NoDatabase):
            await asking

    @pytest.mark.parametrize("freshness", [REVALIDATE, IF_ERROR, HARD_STALE])
    def test_what_allows_something(
        self, cache: OptimizedCacheManager, clock: ManualClock, freshness: Freshness
    ) -> None:
        allows: Callable[[Any], bool] = lambda value: value == "allow"  # noqa: E731
        ask(cache, lambda: "allow", freshness, permissive=allows)
        clock.advance(11)
        with pytest.raises(NoDatabase):
            ask(cache, fails, freshness, permissive=allows)
        ask(cache, lambda: "deny", freshness, permissive=allows)
        clock.advance(11)
        if freshness is not REVALIDATE:
            assert ask(cache, fails, freshness, permissive=allows) == "deny"

    @pytest.mark.parametrize("freshness", [REVALIDATE, IF_ERROR, SOFT])
    def test_permissive_by_declaration_is_refused(
        self, cache: OptimizedCacheManager, freshness: Freshness
    ) -> None:
        with pytest.raises(ConfigError, match="permissive=False"):
            cache.get_or_load("k", must_not_run, freshness=freshness)
        with pytest.raises(ConfigError, match="permissive=False"):
            cached_authorization(freshness=freshness)
        assert "k" not in cache

    def test_by_any_other_lookup(self, cache: OptimizedCacheManager, clock: ManualClock) -> None:
        keep(cache, IF_ERROR)
        clock.advance(15)
        assert cache.get("k") == (None, False)
        assert cache.get_value("k") is None
        assert cache.get_many(["k"]) == {}
        assert "k" not in cache
        assert cache.keys("*", 10) == []
        assert cache.explain("k")["valid"] is False
        assert cache.explain("k")["why_not"] == "expired"
        cache.sweep()
        assert len(cache) == 1
        assert ask(cache, fails, IF_ERROR) == "old"
        assert cache.delete("k") is False
        with pytest.raises(NoDatabase):
            ask(cache, fails, IF_ERROR)

    def test_by_who_did_not_ask_for_it(
        self, cache: OptimizedCacheManager, clock: ManualClock
    ) -> None:
        keep(cache, IF_ERROR)
        clock.advance(15)
        with pytest.raises(NoDatabase):
            ask(cache, fails, None)
        with pytest.raises(NoDatabase):
            ask(cache, fails, Freshness(stale_if_error_seconds=4, fail_mode="stale"))
        assert ask(cache, fails, IF_ERROR) == "old"

    def test_what_was_set_by_hand(self, cache: OptimizedCacheManager, clock: ManualClock) -> None:
        keep(cache, IF_ERROR)
        cache.set("k", "by hand", 10, permissive=False)
        clock.advance(11)
        with pytest.raises(NoDatabase):
            ask(cache, fails, IF_ERROR)

    def test_what_is_made_of_others(self, cache: OptimizedCacheManager, clock: ManualClock) -> None:
        cache.set("part", "allow", 10)
        ask(cache, lambda: cache.get_value("part"), IF_ERROR)
        clock.advance(11)
        with pytest.raises(NoDatabase):
            ask(cache, fails, IF_ERROR)

    def test_what_is_made_of_it_is_not_kept(
        self, cache: OptimizedCacheManager, clock: ManualClock
    ) -> None:
        keep(cache, IF_ERROR)
        clock.advance(11)
        assert cache.get_or_load("outer", lambda: ask(cache, fails, IF_ERROR)) == "old"
        assert "outer" not in cache

    async def test_who_must_see_the_state_of_now(
        self, cache: OptimizedCacheManager, clock: ManualClock
    ) -> None:
        both = Freshness(
            stale_while_revalidate_seconds=60, stale_if_error_seconds=60, fail_mode="stale"
        )
        keep(cache, both)
        clock.advance(11)
        with pytest.raises(NoDatabase):
            await aask(cache, fails, both, refresh=True)
        with pytest.raises(NoDatabase):
            ask(cache, fails, both, refresh=True)

    def test_after_stop(self, cache: OptimizedCacheManager, clock: ManualClock) -> None:
        keep(cache, IF_ERROR)
        clock.advance(11)
        cache.stop()
        with pytest.raises(CacheStoppedError):
            ask(cache, fails, IF_ERROR)


class TestFailModes:
    def test_stale_and_raise_are_counted(
        self, cache: OptimizedCacheManager, clock: ManualClock
    ) -> None:
        keep(cache, IF_ERROR)
        clock.advance(15)
        assert ask(cache, fails, IF_ERROR) == "old"
        with pytest.raises(NoDatabase):
            ask(cache, fails, Freshness())
        with pytest.raises(NoDatabase):
            ask(cache, fails, None)
        assert figures(cache)["failures"] == {"raise": 2, "stale": 1}
        assert figures(cache)["stale_answers"]["error"] == 1

    async def test_the_same_awaited(self, cache: OptimizedCacheManager, clock: ManualClock) -> None:
        async def afails() -> None:
            fails()

        keep(cache, IF_ERROR)
        clock.advance(15)
        assert await aask(cache, afails, IF_ERROR) == "old"
        clock.advance(60)
        with pytest.raises(NoDatabase):
            await aask(cache, afails, IF_ERROR)
        assert figures(cache)["failures"] == {"raise": 1, "stale": 1}

    def test_nothing_of_a_failure_is_kept(
        self, cache: OptimizedCacheManager, clock: ManualClock
    ) -> None:
        with pytest.raises(NoDatabase):
            ask(cache, fails, IF_ERROR)
        assert "k" not in cache
        keep(cache, IF_ERROR)
        clock.advance(15)
        ask(cache, fails, IF_ERROR)
        # Served, and not alive again.
        assert "k" not in cache
        assert ask(cache, lambda: "new", IF_ERROR) == "new"

    def test_mistakes_are_not_hidden(
        self, cache: OptimizedCacheManager, clock: ManualClock
    ) -> None:
        keep(cache, IF_ERROR)
        clock.advance(15)
        with pytest.raises(LoaderRecursionError):
            ask(cache, lambda: ask(cache, must_not_run, IF_ERROR), Freshness())

    def test_interrupts_are_not_hidden(
        self, cache: OptimizedCacheManager, clock: ManualClock
    ) -> None:
        def interrupted() -> None:
            raise KeyboardInterrupt

        keep(cache, IF_ERROR)
        clock.advance(15)
        with pytest.raises(KeyboardInterrupt):
            ask(cache, interrupted, IF_ERROR)


class TestTimeLimits:
    async def test_soft_gives_the_old_value_and_the_load_is_kept(
        self, cache: OptimizedCacheManager, clock: ManualClock, gate: Gate
    ) -> None:
        async def slow() -> str:
            await gate.await_inside()
            return "new"

        keep(cache, SOFT)
        clock.advance(15)
        assert await aask(cache, slow, SOFT) == "old"
        gate.open()
        assert await aask(cache, must_not_run, None) == "new"
        assert figures(cache)["timeouts"] == {"soft": 1, "hard": 0}
        assert figures(cache)["stale_answers"]["soft_timeout"] == 1
        assert figures(cache)["failures"] == {"raise": 0, "stale": 0}

    def test_soft_in_threads(
        self, cache: OptimizedCacheManager, clock: ManualClock, gate: Gate
    ) -> None:
        def slow() -> str:
            gate.wait_inside()
            return "new"

        keep(cache, SOFT)
        clock.advance(15)
        assert ask(cache, slow, SOFT) == "old"
        gate.open()
        assert ask(cache, must_not_run, None) == "new"

    async def test_soft_goes_on_waiting_where_there_is_nothing_old(
        self, cache: OptimizedCacheManager, gate: Gate
    ) -> None:
        async def slow() -> str:
            await gate.await_inside()
            return "new"

        def slow_too() -> str:
            gate.wait_inside()
            return "new"

        asking = asyncio.ensure_future(aask(cache, slow, SOFT))
        while not figures(cache)["timeouts"]["soft"]:  # noqa: ASYNC110 - nobody is told
            await asyncio.sleep(0)
        thread = InThread(
            lambda: cache.get_or_load("other", slow_too, permissive=False, freshness=SOFT)
        )
        while figures(cache)["timeouts"]["soft"] < 2:  # noqa: ASYNC110 - nobody is told
            await asyncio.sleep(0)
        gate.open()
        assert await asking == "new"
        assert await asyncio.to_thread(thread.outcome) == "new"

    async def test_hard_ends_the_wait_and_not_the_load(
        self, cache: OptimizedCacheManager, gate: Gate
    ) -> None:
        async def slow() -> str:
            await gate.await_inside()
            return "new"

        with pytest.raises(LoaderTimeoutError) as told:
            await aask(cache, slow, HARD)
        assert type(told.value) is LoaderTimeoutError
        assert "k" not in cache
        gate.open()
        assert await aask(cache, must_not_run, None) == "new"
        assert figures(cache)["timeouts"] == {"soft": 0, "hard": 1}
        assert figures(cache)["failures"] == {"raise": 1, "stale": 0}

    def test_hard_in_threads(self, cache: OptimizedCacheManager, gate: Gate) -> None:
        def slow() -> str:
            gate.wait_inside()
            return "new"

        with pytest.raises(LoaderTimeoutError):
            ask(cache, slow, HARD)
        # Whoever comes meanwhile waits for the same load, for as long as it may.
        with pytest.raises(LoaderTimeoutError):
            ask(cache, must_not_run, HARD)
        gate.open()
        assert ask(cache, must_not_run, None) == "new"

    async def test_hard_with_an_old_value(
        self, cache: OptimizedCacheManager, clock: ManualClock, gate: Gate
    ) -> None:
        keep(cache, HARD_STALE)
        clock.advance(15)
        assert await aask(cache, gate.await_inside, HARD_STALE) == "old"
        assert ask(cache, must_not_run, HARD_STALE) == "old"
        gate.open()
        told = figures(cache)
        assert told["stale_answers"]["hard_timeout"] == 2
        assert told["failures"] == {"raise": 0, "stale": 2}

    def test_hard_holds_while_all_threads_hang(self, make_cache: MakeCache, gate: Gate) -> None:
        cache = make_cache(reload_concurrency=1)
        for key in ("a", "b"):
            with pytest.raises(LoaderTimeoutError):
                cache.get_or_load(key, gate.wait_inside, freshness=HARD)
        gate.open()
        assert cache.get_or_load("b", lambda: "new", freshness=Freshness()) == "new"

    def test_errors_reach_who_joined_in_a_thread(
        self, cache: OptimizedCacheManager, gate: Gate
    ) -> None:
        patient = Freshness(hard_timeout_seconds=PATIENCE)

        def fails_later() -> None:
            gate.wait_inside()
            raise NoDatabase

        first = InThread(lambda: ask(cache, fails_later, patient))
        gate.until_reached()
        second = InThread(lambda: ask(cache, fails_later, patient))
        gate.open()
        errors = []
        for thread in (first, second):
            with pytest.raises(NoDatabase) as told:
                thread.outcome()
            errors.append(told.value)
        assert errors[0] is not errors[1]

    async def test_a_timeout_of_the_loader_is_an_error_like_any_other(
        self, cache: OptimizedCacheManager
    ) -> None:
        async def times_out() -> None:
            raise TimeoutError("of the database")

        patient = Freshness(hard_timeout_seconds=PATIENCE)
        with pytest.raises(TimeoutError, match="of the database"):
            await aask(cache, times_out, patient)
        assert figures(cache)["timeouts"]["hard"] == 0

    async def test_cancelling_a_caller_is_no_timeout(
        self, cache: OptimizedCacheManager, gate: Gate
    ) -> None:
        patient = Freshness(hard_timeout_seconds=PATIENCE)
        asking = asyncio.ensure_future(aask(cache, gate.await_inside, patient))
        await gate.auntil_reached()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        gate.open()
        assert figures(cache)["failures"] == {"raise": 0, "stale": 0}


class TestRefreshAhead:
    AHEAD = Freshness(refresh_ahead=0.8)

    async def test_first_hit_near_the_end_loads_beside_its_answer(
        self, cache: OptimizedCacheManager, clock: ManualClock
    ) -> None:
        values = iter(["first", "second"])

        def ask_ahead() -> Any:
            return cache.aget_or_load("k", lambda: next(values), ttl=100, freshness=self.AHEAD)

        assert await ask_ahead() == "first"
        clock.advance(70)
        assert await ask_ahead() == "first"
        await reloads_end()
        assert figures(cache)["reloads"]["begun"] == 0
        clock.advance(20)
        assert [await ask_ahead() for _ in range(3)] == ["first"] * 3
        await reloads_end()
        assert await ask_ahead() == "second"
        assert figures(cache)["reloads"]["begun"] == 1
        assert cache.explain("k")["seconds_left"] > 90

    def test_in_threads(self, cache: OptimizedCacheManager, clock: ManualClock) -> None:
        loaded = threading.Event()

        def again() -> str:
            loaded.set()
            return "second"

        cache.get_or_load("k", lambda: "first", ttl=100, freshness=self.AHEAD)
        clock.advance(90)
        assert cache.get_or_load("k", again, ttl=100, freshness=self.AHEAD) == "first"
        assert loaded.wait(PATIENCE)

    async def test_failure_prolongs_nothing(
        self, cache: OptimizedCacheManager, clock: ManualClock
    ) -> None:
        await cache.aget_or_load("k", lambda: "first", ttl=100, freshness=self.AHEAD)
        clock.advance(90)
        assert await cache.aget_or_load("k", fails, ttl=100, freshness=self.AHEAD) == "first"
        await reloads_end()
        clock.advance(10)
        assert "k" not in cache
        assert figures(cache)["reloads"]["failed"] == 1

    async def test_an_invalidation_during_the_load_wins(
        self, cache: OptimizedCacheManager, clock: ManualClock, gate: Gate
    ) -> None:
        async def slow() -> str:
            await gate.await_inside()
            return "granted"

        await cache.aget_or_load("k", lambda: "granted", ttl=100, freshness=self.AHEAD)
        clock.advance(90)
        await cache.aget_or_load("k", slow, ttl=100, freshness=self.AHEAD)
        await gate.auntil_reached()
        cache.delete("k")
        gate.open()
        await reloads_end()
        assert "k" not in cache

    async def test_decorated_coroutine_functions(
        self, cache: OptimizedCacheManager, clock: ManualClock
    ) -> None:
        calls = []

        @cached_authorization(100, cache=cache, freshness=self.AHEAD)
        async def can_read(user_id: int) -> bool:
            calls.append(user_id)
            return True

        await can_read(7)
        clock.advance(90)
        assert await can_read(7)
        await reloads_end()
        assert calls == [7, 7]
        clock.advance(50)
        assert await can_read(7)
        assert calls == [7, 7]

    def test_is_refused_for_plain_functions(self, cache: OptimizedCacheManager) -> None:
        with pytest.raises(ConfigError, match="coroutine"):

            @cached_authorization(cache=cache, freshness=self.AHEAD)
            def can_read(user_id: int) -> bool:
                return True


class TestDecorated:
    def test_old_results_where_functions_fail(
        self, cache: OptimizedCacheManager, clock: ManualClock
    ) -> None:
        works = True

        @cached_authorization(10, cache=cache, permissive=False, freshness=IF_ERROR)
        def name_of(user_id: int) -> str:
            return "Ada" if works else fails()

        assert name_of(7) == "Ada"
        works = False
        clock.advance(15)
        assert name_of(7) == "Ada"
        name_of.invalidate(7)
        with pytest.raises(NoDatabase):
            name_of(7)

    async def test_old_results_while_coroutines_run(
        self, cache: OptimizedCacheManager, clock: ManualClock
    ) -> None:
        names = iter(["Ada", "Ada Lovelace"])

        @cached_authorization(10, cache=cache, permissive=False, freshness=REVALIDATE)
        async def name_of(user_id: int) -> str:
            return next(names)

        assert await name_of(7) == "Ada"
        clock.advance(15)
        assert await name_of(7) == "Ada"
        await reloads_end()
        assert await name_of(7) == "Ada Lovelace"


class TestShutDown:
    async def test_cancels_what_runs_beside(
        self, cache: OptimizedCacheManager, clock: ManualClock
    ) -> None:
        was_cancelled = asyncio.Event()
        began = asyncio.Event()

        async def hangs() -> None:
            began.set()
            try:
                await asyncio.Event().wait()
            finally:
                was_cancelled.set()

        keep(cache, REVALIDATE)
        clock.advance(15)
        assert await aask(cache, hangs, REVALIDATE) == "old"
        await asyncio.wait_for(began.wait(), PATIENCE)
        cache.stop()
        await asyncio.wait_for(was_cancelled.wait(), PATIENCE)
        await reloads_end()
        assert figures(cache)["reloads_running"] == 0
        assert figures(cache)["reloads"]["failed"] == 0

    def test_loops_may_end_with_loads_under_way(
        self, make_cache: MakeCache, clock: ManualClock
    ) -> None:
        cache = make_cache(reload_concurrency=1)

        async def leaves_it() -> None:
            async def hangs() -> None:
                await asyncio.Event().wait()

            keep(cache, REVALIDATE)
            clock.advance(15)
            assert await aask(cache, hangs, REVALIDATE) == "old"

        asyncio.run(leaves_it())
        assert figures(cache)["reloads_running"] == 0
        assert asyncio.run(aask(cache, lambda: "new", REVALIDATE)) == "old"


class TestBadInput:
    @pytest.mark.parametrize("bad", [-1, float("nan"), float("inf"), 1e12, "5", None, True, [1]])
    @pytest.mark.parametrize("name", ["stale_while_revalidate_seconds", "stale_if_error_seconds"])
    def test_windows(self, name: str, bad: Any) -> None:
        with pytest.raises(ConfigError, match=name):
            Freshness(**{name: bad})

    @pytest.mark.parametrize("bad", [0, -1, float("nan"), float("inf"), "5", True, [1]])
    @pytest.mark.parametrize("name", ["soft_timeout_seconds", "hard_timeout_seconds"])
    def test_limits(self, name: str, bad: Any) -> None:
        with pytest.raises(ConfigError, match=name):
            Freshness(**{name: bad})

    @pytest.mark.parametrize("bad", [0, 1, -1, 2, float("nan"), "0.5", True])
    def test_part_of_a_life(self, bad: Any) -> None:
        with pytest.raises(ConfigError, match="refresh_ahead"):
            Freshness(refresh_ahead=bad)

    @pytest.mark.parametrize(
        "fields",
        [
            {"fail_mode": "allow"},
            {"fail_mode": None},
            {"fail_mode": "stale"},
            {"stale_if_error_seconds": 5},
            {"soft_timeout_seconds": 1},
            {
                "soft_timeout_seconds": 1,
                "hard_timeout_seconds": 1,
                "stale_if_error_seconds": 1,
            },
            {"adaptive_ttl": 1},
        ],
    )
    def test_what_makes_no_sense(self, fields: dict[str, Any]) -> None:
        with pytest.raises(ConfigError):
            Freshness(**fields)

    def test_something_else(self, cache: OptimizedCacheManager) -> None:
        with pytest.raises(TypeError, match="Freshness"):
            cache.get_or_load("k", must_not_run, freshness={"hard_timeout_seconds": 1})  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match="Freshness"):
            cached_authorization(freshness=5)  # type: ignore[arg-type]
        assert figures(cache)["failures"]["raise"] == 0

    def test_a_clock_that_jumps(self, cache: OptimizedCacheManager, clock: ManualClock) -> None:
        keep(cache, IF_ERROR)
        clock.advance(1e9)
        with pytest.raises(NoDatabase):
            ask(cache, fails, IF_ERROR)
        assert len(cache) == 0


class TestLoadsThatHang:
    def test_keep_nobody_out_once_they_should_have_ended(
        self, make_cache: MakeCache, gate: Gate
    ) -> None:
        cache = make_cache(load_timeout_seconds=0.1, reload_concurrency=1)
        with pytest.raises(LoaderTimeoutError):
            cache.get_or_load("hangs", gate.wait_inside, freshness=HARD)
        patient = Freshness(hard_timeout_seconds=PATIENCE)
        try:
            assert cache.get_or_load("another", lambda: 1, freshness=patient) == 1
            # Who comes before the load should have ended may still wait for it, and be told so.
            with contextlib.suppress(LoaderTimeoutError):
                cache.get_or_load("hangs", lambda: 2, freshness=patient)
            assert cache.get_or_load("hangs", lambda: 2, freshness=patient) == 2
        finally:
            gate.open()

    def test_a_load_within_a_load_waits_for_no_room(self, make_cache: MakeCache) -> None:
        cache = make_cache(reload_concurrency=1)
        patient = Freshness(hard_timeout_seconds=PATIENCE)

        def outer() -> int:
            return cache.get_or_load("inner", lambda: 1, freshness=patient) + 1

        assert cache.get_or_load("outer", outer, freshness=patient) == 2

    def test_what_ends_one_caller_ends_no_other(self, make_cache: MakeCache, gate: Gate) -> None:
        cache = make_cache()
        patient = Freshness(hard_timeout_seconds=PATIENCE)

        def quits() -> None:
            gate.wait_inside()
            raise SystemExit

        def ends() -> str:
            with pytest.raises(SystemExit):
                cache.get_or_load("k", quits, freshness=patient)
            return "ended"

        first = InThread(ends)
        gate.until_reached()
        second = InThread(lambda: cache.get_or_load("k", lambda: "mine", freshness=patient))
        gate.open()
        assert (first.outcome(), second.outcome()) == ("ended", "mine")
