"""Loaders that fail, never return, call themselves, and callers that go away."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable
from typing import Any

import pytest

from callers import PATIENCE, Gate, InThread, Joins
from velro_cache import OptimizedCacheManager, cached_authorization
from velro_cache import loader as loader_module
from velro_cache.exceptions import (
    CacheStoppedError,
    LoaderCancelledError,
    LoaderRecursionError,
    LoaderTimeoutError,
)
from velro_cache.loader import Flights

SOON = 0.05
# Runs from the start of a load: whoever is to wait for it must come before its end.
JOINED_BY_THEN = 1.0
"""A time limit for loads that will not end; the only time that has to pass in these tests."""


@pytest.fixture
def joins(cache: OptimizedCacheManager) -> Joins:
    return Joins(cache)


@pytest.fixture
def gate() -> Gate:
    return Gate()


class NoDatabase(Exception):
    pass


class Stop(BaseException):
    """Like KeyboardInterrupt: no ordinary error, and meant for one thread."""


class TestErrors:
    def test_reach_every_thread_and_nothing_is_kept(
        self, cache: OptimizedCacheManager, joins: Joins, gate: Gate
    ) -> None:
        calls = []

        def fails() -> None:
            calls.append(1)
            gate.wait_inside()
            raise NoDatabase("connection refused")

        threads = [InThread(lambda: cache.get_or_load("k", fails)) for _ in range(20)]
        joins.until(20)
        gate.open()
        for thread in threads:
            with pytest.raises(NoDatabase, match="connection refused"):
                thread.outcome()
        assert len(calls) == 1
        assert len(cache) == 0
        assert cache.get_or_load("k", lambda: "better now") == "better now"

    async def test_reach_every_task_and_thread_and_nothing_is_kept(
        self, cache: OptimizedCacheManager, joins: Joins, gate: Gate
    ) -> None:
        async def fails() -> None:
            await gate.await_inside()
            raise NoDatabase("connection refused")

        tasks = [asyncio.create_task(cache.aget_or_load("k", fails)) for _ in range(20)]
        await gate.auntil_reached()
        thread = InThread(lambda: cache.get_or_load("k", lambda: "not called"))
        await joins.auntil(21)
        gate.open()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [NoDatabase] * 20
        with pytest.raises(NoDatabase):
            await asyncio.to_thread(thread.outcome)
        assert len(cache) == 0
        assert await cache.aget_or_load("k", lambda: "better now") == "better now"

    async def test_are_the_loaders_own_and_not_wrapped(self, cache: OptimizedCacheManager) -> None:
        error = NoDatabase("this one")

        def fails() -> None:
            raise error

        with pytest.raises(NoDatabase) as caught:
            cache.get_or_load("k", fails)
        assert caught.value is error
        with pytest.raises(NoDatabase) as caught:
            await cache.aget_or_load("k", fails)
        assert caught.value is error

    @pytest.mark.parametrize(
        "error",
        [
            TimeoutError("its own"),
            concurrent.futures.CancelledError(),
            concurrent.futures.TimeoutError("its own"),
            concurrent.futures.InvalidStateError("its own"),
            ExceptionGroup("several", [ValueError(), TypeError()]),
            RecursionError("too deep"),
            MemoryError(),
            StopAsyncIteration(),
        ],
        ids=repr,
    )
    async def test_of_any_kind_pass_unchanged(
        self, cache: OptimizedCacheManager, error: BaseException
    ) -> None:
        def fails() -> None:
            raise error

        async def fails_later() -> None:
            raise error

        with pytest.raises(type(error)) as caught:
            cache.get_or_load("k", fails)
        assert caught.value is error
        if isinstance(error, Exception):
            with pytest.raises(type(error)) as caught:
                await cache.aget_or_load("k", fails_later)
            assert caught.value is error
        assert len(cache) == 0

    def test_do_not_keep_the_next_caller_waiting(self, cache: OptimizedCacheManager) -> None:
        for attempt in range(50):
            with pytest.raises(ZeroDivisionError):
                cache.get_or_load("k", lambda: 1 / 0)
            assert cache.get_stats()["cache_misses"] == attempt + 1

    async def test_a_loader_that_cannot_be_called_is_a_type_error(
        self, cache: OptimizedCacheManager
    ) -> None:
        for wrong in (None, "loader", 5):
            with pytest.raises(TypeError):
                cache.get_or_load("k", wrong)  # type: ignore[arg-type]
            with pytest.raises(TypeError):
                await cache.aget_or_load("k", wrong)  # type: ignore[call-overload]
        assert len(cache) == 0


class TestStopIteration:
    """A future cannot carry one; nobody may hang because of that."""

    def test_reaches_a_thread(self, cache: OptimizedCacheManager) -> None:
        def fails() -> None:
            raise StopIteration("rows ended early")

        with pytest.raises((StopIteration, RuntimeError)):
            cache.get_or_load("k", fails)

    async def test_reaches_a_task(self, cache: OptimizedCacheManager) -> None:
        def fails() -> None:
            raise StopIteration("rows ended early")

        async def fails_later() -> None:
            fails()

        for loader in (fails, fails_later):
            with pytest.raises(RuntimeError, match="StopIteration"):
                await cache.aget_or_load("k", loader)

    async def test_of_a_thread_reaches_a_task_that_waits_for_it(
        self, cache: OptimizedCacheManager, joins: Joins, gate: Gate
    ) -> None:
        def fails() -> None:
            gate.wait_inside()
            raise StopIteration("rows ended early")

        thread = InThread(lambda: cache.get_or_load("k", fails))
        await gate.auntil_reached()
        call = cache.aget_or_load("k", lambda: "not called", load_timeout_seconds=None)
        task = asyncio.create_task(call)
        await joins.auntil(2)
        gate.open()
        with pytest.raises(RuntimeError, match="StopIteration"):
            await asyncio.wait_for(task, PATIENCE)
        with pytest.raises((StopIteration, RuntimeError)):
            await asyncio.to_thread(thread.outcome)


class TestNoOrdinaryError:
    @pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, Stop, GeneratorExit])
    def test_is_for_the_loading_thread_alone_and_the_others_begin_anew(
        self,
        cache: OptimizedCacheManager,
        joins: Joins,
        gate: Gate,
        kind: type[BaseException],
    ) -> None:
        calls = []

        def interrupted() -> str:
            calls.append(1)
            if len(calls) == 1:
                gate.wait_inside()
                raise kind
            return "loaded anew"

        first = InThread(lambda: cache.get_or_load("k", interrupted))
        gate.until_reached()
        others = [InThread(lambda: cache.get_or_load("k", interrupted)) for _ in range(5)]
        joins.until(6)
        gate.open()
        with pytest.raises(kind):
            first.outcome()
        assert [other.outcome() for other in others] == ["loaded anew"] * 5
        assert len(calls) == 2
        assert cache.get("k") == ("loaded anew", True)

    def test_in_an_event_loop_ends_that_loop_and_the_others_begin_anew(
        self, cache: OptimizedCacheManager, joins: Joins, gate: Gate
    ) -> None:
        async def interrupted() -> None:
            await gate.await_inside()
            raise KeyboardInterrupt

        loop = InThread(lambda: asyncio.run(cache.aget_or_load("k", interrupted)))
        gate.until_reached()
        other = InThread(lambda: cache.get_or_load("k", lambda: "loaded anew"))
        joins.until(2)
        gate.open()
        with pytest.raises(KeyboardInterrupt):
            loop.outcome()
        assert other.outcome() == "loaded anew"

    async def test_in_a_loop_that_goes_on_nobody_hangs(
        self, cache: OptimizedCacheManager, joins: Joins, gate: Gate
    ) -> None:
        async def stops() -> None:
            await gate.await_inside()
            raise Stop

        first = asyncio.create_task(cache.aget_or_load("k", stops))
        await gate.auntil_reached()
        thread = InThread(lambda: cache.get_or_load("k", lambda: "loaded anew"))
        await joins.auntil(2)
        gate.open()
        with pytest.raises((Stop, LoaderCancelledError)):
            await asyncio.wait_for(first, PATIENCE)
        assert await asyncio.to_thread(thread.outcome) == "loaded anew"
        loads = [task for task in asyncio.all_tasks() if task.get_name() == "velro-cache-load"]
        await asyncio.gather(*loads, return_exceptions=True)


class TestCancelled:
    async def test_a_waiter_that_is_cancelled_harms_nobody(
        self, cache: OptimizedCacheManager, joins: Joins, gate: Gate
    ) -> None:
        async def later() -> str:
            await gate.await_inside()
            return "value"

        tasks = [asyncio.create_task(cache.aget_or_load("k", later)) for _ in range(5)]
        await joins.auntil(5)
        for cancelled in tasks[1:4]:
            cancelled.cancel()
        outcomes = await asyncio.gather(*tasks[1:4], return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [asyncio.CancelledError] * 3
        gate.open()
        assert await tasks[0] == await tasks[4] == "value"
        assert cache.get("k") == ("value", True)

    async def test_the_first_caller_cancelled_does_not_take_the_load_with_it(
        self, cache: OptimizedCacheManager, joins: Joins, gate: Gate
    ) -> None:
        calls = []

        async def later() -> str:
            calls.append(1)
            await gate.await_inside()
            return "value"

        first = asyncio.create_task(cache.aget_or_load("k", later))
        await gate.auntil_reached()
        others = [asyncio.create_task(cache.aget_or_load("k", later)) for _ in range(3)]
        thread = InThread(lambda: cache.get_or_load("k", lambda: "not called"))
        await joins.auntil(5)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        gate.open()
        assert await asyncio.gather(*others) == ["value"] * 3
        assert await asyncio.to_thread(thread.outcome) == "value"
        assert len(calls) == 1

    async def test_a_load_nobody_waits_for_any_more_is_still_kept(
        self, cache: OptimizedCacheManager, joins: Joins, gate: Gate
    ) -> None:
        async def later() -> str:
            await gate.await_inside()
            return "value"

        only = asyncio.create_task(cache.aget_or_load("k", later))
        await gate.auntil_reached()
        only.cancel()
        with pytest.raises(asyncio.CancelledError):
            await only
        follower = asyncio.create_task(cache.aget_or_load("k", lambda: "not called"))
        await joins.auntil(2)
        gate.open()
        assert await follower == "value"
        assert cache.get("k") == ("value", True)

    async def test_wait_for_around_a_call_gives_up_alone(
        self, cache: OptimizedCacheManager, joins: Joins, gate: Gate
    ) -> None:
        async def later() -> str:
            await gate.await_inside()
            return "value"

        patient = asyncio.create_task(cache.aget_or_load("k", later))
        await gate.auntil_reached()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(cache.aget_or_load("k", later), SOON)
        gate.open()
        assert await patient == "value"

    async def test_a_loader_that_raises_cancelled_error_is_no_cancelled_caller(
        self, cache: OptimizedCacheManager, joins: Joins, gate: Gate
    ) -> None:
        async def raises() -> None:
            await gate.await_inside()
            raise asyncio.CancelledError

        tasks = [asyncio.create_task(cache.aget_or_load("k", raises)) for _ in range(5)]
        await gate.auntil_reached()
        await joins.auntil(5)
        gate.open()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [LoaderCancelledError] * 5
        assert not any(task.cancelled() for task in tasks)
        assert len(cache) == 0

    async def test_a_loader_that_awaits_something_cancelled_is_no_cancelled_caller(
        self, cache: OptimizedCacheManager
    ) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        future.cancel()
        with pytest.raises(LoaderCancelledError):
            await cache.aget_or_load("k", lambda: future)

    async def test_a_loader_that_cancels_its_own_task_is_called_once(
        self, cache: OptimizedCacheManager
    ) -> None:
        calls = []

        async def cancels() -> str:
            calls.append(1)
            if len(calls) > 5:
                return "called again and again"
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await asyncio.sleep(0)
            raise AssertionError("not reached")

        with pytest.raises(LoaderCancelledError):
            await cache.aget_or_load("k", cancels)
        assert len(calls) == 1

    def test_a_synchronous_loader_that_raises_cancelled_error_tells_its_own_caller(
        self, cache: OptimizedCacheManager
    ) -> None:
        def raises() -> None:
            raise asyncio.CancelledError

        with pytest.raises((asyncio.CancelledError, LoaderCancelledError)):
            cache.get_or_load("k", raises)
        assert cache.get_or_load("k", lambda: 1) == 1


class TestEventLoopsThatEnd:
    @pytest.fixture(autouse=True)
    def _look_often(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(loader_module, "_LOOK_EVERY_SECONDS", 0.01)

    def test_a_loop_that_ends_in_order_leaves_its_load_to_those_who_wait(
        self, cache: OptimizedCacheManager, joins: Joins, gate: Gate
    ) -> None:
        ended = threading.Event()

        async def main() -> None:
            async def never() -> None:
                await asyncio.get_running_loop().create_future()

            task = asyncio.create_task(cache.aget_or_load("k", never))
            gate._reached.release()
            await asyncio.to_thread(ended.wait, PATIENCE)
            del task

        loop = InThread(lambda: asyncio.run(main()))
        gate.until_reached()
        joins.until(1)
        call = lambda: cache.get_or_load("k", lambda: "anew", load_timeout_seconds=None)  # noqa: E731
        thread = InThread(call)
        joins.until(1)
        ended.set()
        loop.outcome()
        assert thread.outcome() == "anew"

    @pytest.fixture
    def lost(self, cache: OptimizedCacheManager, joins: Joins) -> asyncio.AbstractEventLoop:
        """A loop that was stopped in the middle of a load of `k`, and not closed yet."""
        loop = asyncio.new_event_loop()
        loop.set_exception_handler(lambda *_: None)

        async def never() -> None:
            await loop.create_future()

        async def begin() -> asyncio.Task[None]:
            task = loop.create_task(cache.aget_or_load("k", never))
            await asyncio.to_thread(joins.until, 1)
            return task

        loop.caller = loop.run_until_complete(begin())  # type: ignore[attr-defined]
        return loop

    def test_a_closed_loop_is_no_obstacle_for_those_who_come_later(
        self, cache: OptimizedCacheManager, lost: asyncio.AbstractEventLoop
    ) -> None:
        lost.close()
        call = lambda: cache.get_or_load("k", lambda: "anew", load_timeout_seconds=None)  # noqa: E731
        assert InThread(call).outcome() == "anew"
        assert cache.get("k") == ("anew", True)

    def test_nor_for_a_later_loop(
        self, cache: OptimizedCacheManager, lost: asyncio.AbstractEventLoop
    ) -> None:
        lost.close()

        async def later() -> str:
            return "anew"

        call = cache.aget_or_load("k", later, load_timeout_seconds=None)
        assert asyncio.run(asyncio.wait_for(call, PATIENCE)) == "anew"

    def test_nor_for_those_who_wait_already(
        self, cache: OptimizedCacheManager, joins: Joins, lost: asyncio.AbstractEventLoop
    ) -> None:
        call = lambda: cache.get_or_load("k", lambda: "anew", load_timeout_seconds=None)  # noqa: E731
        threads = [InThread(call) for _ in range(3)]
        later = InThread(
            lambda: asyncio.run(cache.aget_or_load("k", lambda: "anew", load_timeout_seconds=None))
        )
        joins.until(4)
        lost.close()
        assert [thread.outcome() for thread in threads] == ["anew"] * 3
        assert later.outcome() == "anew"


class TestNeverReturns:
    def test_a_thread_that_waits_gives_up_and_the_next_gets_through(
        self, make_cache: Any, gate: Gate
    ) -> None:
        cache = make_cache(load_timeout_seconds=JOINED_BY_THEN)

        def stuck() -> str:
            gate.wait_inside()
            return "late"

        first = InThread(lambda: cache.get_or_load("k", stuck))
        gate.until_reached()
        with pytest.raises(LoaderTimeoutError, match=r"1\.0 s"):
            cache.get_or_load("k", lambda: "not called")
        assert cache.get_or_load("k", lambda: "through") == "through"
        gate.open()
        assert first.outcome() == "late"
        assert cache.get("k") == ("through", True)

    async def test_a_task_that_waits_for_a_thread_gives_up_and_the_next_gets_through(
        self, make_cache: Any, gate: Gate
    ) -> None:
        cache = make_cache(load_timeout_seconds=JOINED_BY_THEN)

        def stuck() -> str:
            gate.wait_inside()
            return "late"

        first = InThread(lambda: cache.get_or_load("k", stuck))
        await gate.auntil_reached()
        with pytest.raises(LoaderTimeoutError):
            await cache.aget_or_load("k", lambda: "not called")
        assert await cache.aget_or_load("k", lambda: "through") == "through"
        gate.open()
        assert await asyncio.to_thread(first.outcome) == "late"
        assert cache.get("k") == ("through", True)

    async def test_an_asynchronous_load_is_cancelled_and_the_next_gets_through(
        self, cache: OptimizedCacheManager
    ) -> None:
        told = asyncio.Event()

        async def stuck() -> None:
            try:
                await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError:
                told.set()
                raise

        calls = [
            cache.aget_or_load("k", stuck, load_timeout_seconds=SOON),
            cache.aget_or_load("k", stuck, load_timeout_seconds=SOON),
        ]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [LoaderTimeoutError] * 2
        await asyncio.wait_for(told.wait(), PATIENCE)
        assert await cache.aget_or_load("k", lambda: "through") == "through"

    async def test_a_load_that_will_not_be_cancelled_holds_up_nobody(
        self, cache: OptimizedCacheManager
    ) -> None:
        let_go = asyncio.Event()

        async def stubborn() -> str:
            while not let_go.is_set():
                try:
                    await let_go.wait()
                except asyncio.CancelledError:
                    continue
            return "late"

        call = cache.aget_or_load("k", stubborn, load_timeout_seconds=SOON)
        with pytest.raises(LoaderTimeoutError):
            await asyncio.wait_for(call, PATIENCE)
        assert await cache.aget_or_load("k", lambda: "through") == "through"
        loads = [task for task in asyncio.all_tasks() if task.get_name() == "velro-cache-load"]
        let_go.set()
        await asyncio.gather(*loads, return_exceptions=True)
        assert cache.get("k") == ("through", True)

    async def test_the_configured_limit_holds_where_the_call_names_none(
        self, make_cache: Any
    ) -> None:
        cache = make_cache(load_timeout_seconds=SOON)

        async def stuck() -> None:
            await asyncio.get_running_loop().create_future()

        with pytest.raises(LoaderTimeoutError, match=r"0\.05 s"):
            await cache.aget_or_load("k", stuck)
        assert issubclass(LoaderTimeoutError, TimeoutError)

    async def test_other_keys_are_not_held_up(
        self, cache: OptimizedCacheManager, gate: Gate
    ) -> None:
        stuck = InThread(lambda: cache.get_or_load("k", gate.wait_inside))
        await gate.auntil_reached()
        assert cache.get_or_load("other", lambda: 1) == 1
        assert await cache.aget_or_load("another", lambda: 1) == 1
        assert cache.set("k", "by hand")
        assert cache.get_or_load("k", lambda: "not called") == "by hand"
        gate.open()
        await asyncio.to_thread(stuck.outcome)

    def test_one_that_gives_up_early_harms_nobody(
        self, cache: OptimizedCacheManager, joins: Joins, gate: Gate
    ) -> None:
        calls = []

        def slow() -> str:
            calls.append(1)
            gate.wait_inside()
            return "value"

        first = InThread(lambda: cache.get_or_load("k", slow))
        gate.until_reached()
        with pytest.raises(LoaderTimeoutError):
            cache.get_or_load("k", slow, load_timeout_seconds=SOON)
        patient = InThread(lambda: cache.get_or_load("k", slow))
        joins.until(3)
        gate.open()
        assert first.outcome() == patient.outcome() == "value"
        assert len(calls) == 1
        assert cache.get("k") == ("value", True)

    def test_loads_that_wait_for_each_other_are_told_at_once(
        self, cache: OptimizedCacheManager
    ) -> None:
        both = threading.Barrier(2)

        def load(own: str, others: str) -> str:
            def wants_the_other() -> str:
                both.wait()
                return cache.get_or_load(others, lambda: "?")

            return cache.get_or_load(own, wants_the_other)

        threads = [InThread(lambda: load("a", "b")), InThread(lambda: load("b", "a"))]
        errors = 0
        for thread in threads:
            try:
                thread.outcome()
            except LoaderRecursionError:
                errors += 1
        assert errors >= 1


class TestRecursion:
    def test_a_loader_that_asks_for_its_own_key_is_told(self, cache: OptimizedCacheManager) -> None:
        def itself() -> Any:
            return cache.get_or_load("k", itself)

        with pytest.raises(LoaderRecursionError):
            cache.get_or_load("k", itself)
        assert cache.get_or_load("k", lambda: "fine") == "fine"

    async def test_an_asynchronous_loader_that_asks_for_its_own_key_is_told(
        self, cache: OptimizedCacheManager
    ) -> None:
        async def itself() -> Any:
            return await cache.aget_or_load("k", itself)

        with pytest.raises(LoaderRecursionError):
            await asyncio.wait_for(cache.aget_or_load("k", itself), PATIENCE)
        assert await cache.aget_or_load("k", lambda: "fine") == "fine"

    @pytest.mark.parametrize("refresh", [False, True])
    async def test_however_it_asks(self, cache: OptimizedCacheManager, refresh: bool) -> None:
        calls = []

        def counted() -> None:
            calls.append(1)
            if len(calls) > 20:
                raise AssertionError("again and again")

        def sync() -> Any:
            counted()
            return cache.get_or_load("k", sync, refresh=refresh)

        async def later() -> Any:
            counted()
            return await cache.aget_or_load("k", later, refresh=refresh)

        async def sync_in_later() -> Any:
            counted()
            return cache.get_or_load("k", sync, refresh=refresh)

        async def in_another_task() -> Any:
            counted()
            call = cache.aget_or_load("k", in_another_task, refresh=refresh)
            return await asyncio.create_task(call)

        async def in_a_thread() -> Any:
            counted()
            return await asyncio.to_thread(cache.get_or_load, "k", sync, refresh=refresh)

        ways: list[Callable[[], Any]] = [later, sync_in_later, in_another_task, in_a_thread, sync]
        for way in ways:
            calls.clear()
            with pytest.raises(LoaderRecursionError):
                await asyncio.wait_for(cache.aget_or_load("k", way), PATIENCE)
            assert len(calls) == 1, way
        calls.clear()
        with pytest.raises(LoaderRecursionError):
            cache.get_or_load("k", sync)

    def test_a_circle_of_keys_is_found(self, cache: OptimizedCacheManager) -> None:
        def load(number: int) -> Any:
            after = (number + 1) % 5
            return cache.get_or_load(f"k{after}", lambda: load(after))

        with pytest.raises(LoaderRecursionError):
            cache.get_or_load("k0", lambda: load(0))
        assert len(cache) == 0

    async def test_a_chain_of_keys_is_fine(self, cache: OptimizedCacheManager) -> None:
        async def load(number: int) -> int:
            if number == 0:
                return 0
            return 1 + await cache.aget_or_load(f"k{number - 1}", lambda: load(number - 1))

        assert await cache.aget_or_load("k20", lambda: load(20)) == 20
        assert len(cache) == 21

    def test_the_same_key_of_another_cache_is_fine(self, make_cache: Any) -> None:
        one, other = make_cache(), make_cache()
        assert one.get_or_load("k", lambda: other.get_or_load("k", lambda: 1) + 1) == 2

    async def test_a_task_that_a_loader_left_behind_may_ask_later(
        self, cache: OptimizedCacheManager
    ) -> None:
        go = asyncio.Event()
        left: list[asyncio.Task[Any]] = []

        async def behind() -> Any:
            await go.wait()
            return await cache.aget_or_load("k", lambda: "second")

        async def loader() -> str:
            left.append(asyncio.create_task(behind()))
            return "first"

        assert await cache.aget_or_load("k", loader) == "first"
        cache.delete("k")
        go.set()
        assert await left[0] == "second"

    async def test_a_deep_chain_of_python_calls_is_a_recursion_error_and_no_crash(
        self, cache: OptimizedCacheManager
    ) -> None:
        def deeper(number: int) -> Any:
            return cache.get_or_load(f"k{number}", lambda: deeper(number + 1))

        with pytest.raises(RecursionError):
            deeper(0)
        assert cache.get_or_load("k0", lambda: "fine") == "fine"

    async def test_a_coroutine_function_without_end_is_told_before_memory_ends(
        self, cache: OptimizedCacheManager
    ) -> None:
        calls = 0

        @cached_authorization(cache=cache)
        async def down(level: int) -> int:
            nonlocal calls
            calls += 1
            return await down(level + 1)

        with pytest.raises(LoaderRecursionError, match="1000 loaders"):
            await down(0)
        assert calls == 1000
        assert cache.get_stats()["total_entries"] == 0

    async def test_loads_that_start_one_another_for_ever_are_no_recursion(
        self, cache: OptimizedCacheManager
    ) -> None:
        ended = asyncio.Event()
        tasks = set()

        async def load(level: int) -> int:
            if level < 1100:
                tasks.add(asyncio.create_task(ask(level + 1)))
            else:
                ended.set()
            return level

        async def ask(level: int) -> None:
            await cache.aget_or_load(f"k{level}", lambda: load(level))

        await ask(0)
        await ended.wait()
        await asyncio.gather(*tasks)
        assert cache.get("k1100") == (1100, True)


class TestInterruptedTwice:
    def test_a_load_that_was_ended_unnoticed_is_begun_anew(
        self, cache: OptimizedCacheManager, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def interrupted(*_: object) -> None:
            raise KeyboardInterrupt

        def fails() -> None:
            raise NoDatabase

        with monkeypatch.context() as patch:
            # One signal comes while the first one's exception is cleared up after.
            patch.setattr(Flights, "_settle", interrupted)
            with pytest.raises(KeyboardInterrupt):
                cache.get_or_load("k", fails)
        assert cache.get_or_load("k", lambda: 1, load_timeout_seconds=PATIENCE) == 1


class TestInsideAnEventLoop:
    async def test_a_call_that_would_wait_for_its_own_loop_loads_beside_it(
        self, cache: OptimizedCacheManager, gate: Gate
    ) -> None:
        async def later() -> str:
            await gate.await_inside()
            return "by the task"

        task = asyncio.create_task(cache.aget_or_load("k", later))
        await gate.auntil_reached()
        assert cache.get_or_load("k", lambda: "beside it") == "beside it"
        gate.open()
        assert await task == "by the task"
        assert cache.get("k") == ("by the task", True)

    async def test_its_error_is_its_own(self, cache: OptimizedCacheManager, gate: Gate) -> None:
        async def later() -> str:
            await gate.await_inside()
            return "by the task"

        task = asyncio.create_task(cache.aget_or_load("k", later))
        await gate.auntil_reached()
        with pytest.raises(ZeroDivisionError):
            cache.get_or_load("k", lambda: 1 / 0)
        gate.open()
        assert await task == "by the task"

    async def test_a_synchronous_call_with_nobody_loading_is_an_ordinary_one(
        self, cache: OptimizedCacheManager
    ) -> None:
        assert cache.get_or_load("k", lambda: 1) == 1
        assert cache.get("k") == (1, True)


class TestStoppedMeanwhile:
    def test_a_load_under_way_is_not_stored_and_nobody_hangs(
        self, cache: OptimizedCacheManager, joins: Joins, gate: Gate
    ) -> None:
        def slow() -> str:
            gate.wait_inside()
            return "value"

        def call() -> str:
            try:
                return cache.get_or_load("k", slow)
            except CacheStoppedError:
                return "stopped"

        threads = [InThread(call) for _ in range(3)]
        joins.until(3)
        cache.stop()
        gate.open()
        assert {thread.outcome() for thread in threads} <= {"value", "stopped"}
        cache.start()
        assert cache.get("k") == (None, False)
        cache.stop()
