"""Loading a decision anew while it still holds, at the request that finds it near its end.

What rests on a token cannot be reloaded by anybody but a request that carries it: tokens are not
kept. So a hit that comes in the last part of a decision's life begins a load of its own beside its
answer, and the next request finds the new decision. Nothing is prolonged; if the load fails, the
old decision ends when it would have ended. What nobody asks for is not loaded.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import random
from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Any

from velro_cache.freshness.due_times import DueTimes
from velro_cache.warming.limits import cancel_all, check_concurrency

__all__ = ["EagerReloads"]

log = logging.getLogger("velro_cache")


class EagerReloads:
    """Remembers when decisions are to be loaded anew, and runs those loads.

    Args:
        now: The wall clock, with a time zone.
        concurrency: How many run at once; what is due beyond that waits for a later hit.
        fraction: After which part of its life a decision is due.
        jitter: By how much that part varies, as a part of the life.
        chance: Numbers from 0 to below 1.

    Raises:
        TypeError, ValueError: ``concurrency`` is no integer, or below 1.
    """

    __slots__ = (
        "_concurrency",
        "_due",
        "_fraction",
        "_jitter",
        "_tasks",
        "begun",
        "failed",
    )

    def __init__(
        self,
        now: Callable[[], datetime],
        concurrency: int = 4,
        fraction: float = 0.75,
        jitter: float = 0.15,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._concurrency = check_concurrency(concurrency)
        self._fraction = fraction
        self._jitter = jitter
        self._due = DueTimes(lambda: now().timestamp(), chance)
        self._tasks: set[asyncio.Task[None]] = set()
        self.begun = 0
        self.failed = 0

    def loaded(self, key: str, life_seconds: float | None) -> None:
        """Note that a decision was loaded.

        Args:
            key: Where it is.
            life_seconds: How long it is kept. None: it is none that is worth it.
        """
        self._due.loaded(key, life_seconds, self._fraction, self._jitter)

    def claims(self, key: str) -> bool:
        """Whether whoever has used a decision is to load it anew, by :meth:`begin`.

        Args:
            key: Where it is.

        Returns:
            True at the first use when it is due, if there is room for another load.
        """
        if len(self._tasks) >= self._concurrency or not self._due.is_due(key):
            return False
        # Once: whoever comes next has its answer, and the load notes when the next one is due.
        return self._due.claim(key)

    def begin(self, load: Callable[[], Coroutine[Any, Any, object]]) -> None:
        """Load a decision anew, beside whatever goes on.

        Args:
            load: Loads it.
        """
        self.begun += 1
        # A context of its own: it belongs to no request, and to no load that this one is part of.
        work = asyncio.get_running_loop().create_task(
            self._run(load), name="velro-cache-eager", context=contextvars.Context()
        )
        self._tasks.add(work)
        work.add_done_callback(self._tasks.discard)

    async def end(self) -> None:
        """Cancel what is under way, and begin no more."""
        self._due.clear()
        await cancel_all(self._tasks)

    async def _run(self, load: Callable[[], Coroutine[Any, Any, object]]) -> None:
        try:
            await load()
        except Exception as error:
            self.failed += 1
            log.warning("a decision was not loaded anew before its end: %s", type(error).__name__)
