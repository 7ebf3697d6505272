"""One cache, several event loops: one after the other, side by side, and nested in threads."""

from __future__ import annotations

import asyncio
import threading
from functools import partial
from typing import Any

from callers import Gate, InThread, Joins
from velro_cache import (
    OptimizedCacheManager,
    cached_authorization,
    get_cache_manager,
    start_cache_manager,
    stop_cache_manager,
)


def test_loops_one_after_the_other_share_what_is_there(cache: OptimizedCacheManager) -> None:
    calls = []

    @cached_authorization(cache=cache)
    async def check(user_id: str) -> int:
        await asyncio.sleep(0)
        calls.append(user_id)
        return len(calls)

    assert [asyncio.run(check("u")) for _ in range(5)] == [1] * 5


def test_loops_side_by_side_load_each_key_once(cache: OptimizedCacheManager) -> None:
    joins, gate = Joins(cache), Gate()
    calls: list[str] = []

    async def load(key: str) -> list[str]:
        calls.append(key)
        await gate.await_inside()
        return [key]

    async def main(keys: list[str]) -> list[list[str]]:
        return await asyncio.gather(*(cache.aget_or_load(key, partial(load, key)) for key in keys))

    one = InThread(lambda: asyncio.run(main(["a", "b", "c"])))
    other = InThread(lambda: asyncio.run(main(["c", "b", "a", "d"])))
    joins.until(7)
    gate.open()
    assert one.outcome() == [["a"], ["b"], ["c"]]
    assert other.outcome() == [["c"], ["b"], ["a"], ["d"]]
    assert sorted(calls) == ["a", "b", "c", "d"]


def test_a_loop_that_waits_for_another_stays_responsive(cache: OptimizedCacheManager) -> None:
    joins, gate = Joins(cache), Gate()

    async def slow() -> str:
        await gate.await_inside()
        return "value"

    async def waiting() -> tuple[str, int]:
        turns = 0
        task = asyncio.create_task(cache.aget_or_load("k", slow))
        await asyncio.to_thread(joins.until, 1)
        for _ in range(100):
            await asyncio.sleep(0)
            turns += 1
        gate.open()
        return await task, turns

    leader = InThread(lambda: asyncio.run(cache.aget_or_load("k", slow)))
    gate.until_reached()
    joins.until(1)
    assert InThread(lambda: asyncio.run(waiting())).outcome() == ("value", 100)
    assert leader.outcome() == "value"


def test_an_error_crosses_from_one_loop_to_the_other(cache: OptimizedCacheManager) -> None:
    joins, gate = Joins(cache), Gate()

    async def fails() -> None:
        await gate.await_inside()
        raise PermissionError("no database")

    async def ask() -> str:
        try:
            await cache.aget_or_load("k", fails)
        except PermissionError as error:
            return str(error)
        return "nothing"

    loops = [InThread(lambda: asyncio.run(ask())) for _ in range(3)]
    joins.until(3)
    gate.open()
    assert [loop.outcome() for loop in loops] == ["no database"] * 3


def test_a_loop_that_is_cancelled_whole_leaves_the_others_their_load(
    cache: OptimizedCacheManager,
) -> None:
    joins, gate = Joins(cache), Gate()

    async def slow() -> str:
        await gate.await_inside()
        return "value"

    async def impatient() -> None:
        task = asyncio.create_task(cache.aget_or_load("k", slow))
        await asyncio.to_thread(joins.until, 1)
        task.cancel()

    leader = InThread(lambda: asyncio.run(cache.aget_or_load("k", slow)))
    gate.until_reached()
    joins.until(1)
    InThread(lambda: asyncio.run(impatient())).outcome()
    gate.open()
    assert leader.outcome() == "value"


def test_the_manager_of_the_process_may_be_started_in_one_loop_and_stopped_in_another() -> None:
    async def use() -> Any:
        return await get_cache_manager().aget_or_load("k", lambda: 1)

    manager = asyncio.run(start_cache_manager())
    assert asyncio.run(use()) == 1
    asyncio.run(stop_cache_manager())
    assert manager.is_stopped
    assert get_cache_manager() is not manager


def test_no_task_and_no_thread_is_left_behind(cache: OptimizedCacheManager) -> None:
    before = threading.active_count()

    async def main() -> int:
        async def load() -> int:
            await asyncio.sleep(0)
            return 1

        await asyncio.gather(*(cache.aget_or_load(f"k{n % 7}", load) for n in range(100)))
        await asyncio.sleep(0)
        return len(asyncio.all_tasks())

    assert asyncio.run(main()) == 1
    assert threading.active_count() == before
