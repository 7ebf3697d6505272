"""So many at once: running jobs under a limit, without a task for each of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

__all__ = ["cancel_all", "check_concurrency", "run_limited"]


async def run_limited(jobs: Iterable[Callable[[], Awaitable[None]]], concurrency: int) -> None:
    """Run jobs, so many at once.

    Args:
        jobs: Functions to be called and awaited. Read as there is room, so that it may be long.
        concurrency: How many run at once; 1 or more.

    Raises:
        Exception: What a job raised; the others are cancelled.
    """
    waiting = iter(jobs)

    async def work() -> None:
        for job in waiting:
            await job()

    async with asyncio.TaskGroup() as group:
        for _ in range(concurrency):
            group.create_task(work())


async def cancel_all(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks, and wait for those of this event loop to end.

    Args:
        tasks: Tasks of any event loops.
    """
    here = asyncio.get_running_loop()
    mine = []
    for task in list(tasks):
        loop = task.get_loop()
        if loop is here:
            task.cancel()
            mine.append(task)
        elif not loop.is_closed():
            loop.call_soon_threadsafe(task.cancel)
    await asyncio.gather(*mine, return_exceptions=True)


def check_concurrency(concurrency: int) -> int:
    """Refuse a limit that makes no sense.

    Args:
        concurrency: How many may run at once.

    Returns:
        The same.

    Raises:
        TypeError: It is not an integer.
        ValueError: It is below 1.
    """
    if isinstance(concurrency, bool) or not isinstance(concurrency, int):
        raise TypeError(f"concurrency must be an integer, not {type(concurrency).__name__}")
    if concurrency < 1:
        raise ValueError(f"concurrency must be 1 or more, not {concurrency}")
    return concurrency
