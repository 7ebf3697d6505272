"""Events in batches: requests put them into a bounded queue, a task of the event loop writes them.

A sink that fails or is slow costs events, counted, once the queue is full; it never costs a request
anything. The batch under way is kept until the sink has taken it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import threading
import uuid
from collections import deque
from dataclasses import dataclass
from typing import Final, Self

from velro_cache.api_keys.usage.events import UsageBatch, UsageEvent, UsageSink
from velro_cache.exceptions import ConfigError

__all__ = ["BatchedUsage", "UsageStatistics"]

_logger: Final = logging.getLogger("velro_cache.api_keys")

_FIRST_DELAY_SECONDS: Final = 0.1
_LONGEST_DELAY_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageStatistics:
    """What became of events.

    Attributes:
        waiting: Not written yet.
        written: Taken by the sink.
        dropped: Found no room, were refused by the sink, or came after the end.
        failures: Writes that failed; their batch comes again.
    """

    waiting: int
    written: int
    dropped: int
    failures: int


class BatchedUsage:
    """Collects events and writes them in batches.

    ::

        usage = BatchedUsage(LogUsage())
        app.add_middleware(ApiKeyMiddleware, keys=keys, usage=usage)
        # In the lifespan of the application:
        async with usage:
            yield

    Args:
        sink: Where they are written; closed at the end.
        max_waiting: How many events wait at the most; the ones after that are dropped and counted.
            1 to 10,000,000.
        max_batch: How many are written together; 1 to 10,000. So many write early, too.
        interval_seconds: Longest time between writes; 0.01 to 3600.
        write_timeout_seconds: Longest one may take; 0.01 to 600.

    Raises:
        TypeError: ``sink`` is none.
        ConfigError: A number is out of range.

    Consistency: each process has its own queue. What it had not written when it was killed is lost:
        the events of ``interval_seconds``, up to ``max_waiting`` while the sink is away. A child of
        a fork starts with an empty queue.
    """

    def __init__(
        self,
        sink: UsageSink,
        *,
        max_waiting: int = 10_000,
        max_batch: int = 500,
        interval_seconds: float = 1.0,
        write_timeout_seconds: float = 30.0,
    ) -> None:
        if not isinstance(sink, UsageSink):
            raise TypeError(f"{type(sink).__name__} is no sink: it has no write and aclose")
        for name, count, most in (
            ("max_waiting", max_waiting, 10_000_000),
            ("max_batch", max_batch, 10_000),
        ):
            if type(count) is not int or not 1 <= count <= most:
                raise ConfigError(f"{name} must be an integer from 1 to {most:,}")
        for name, seconds, longest in (
            ("interval_seconds", interval_seconds, 3600),
            ("write_timeout_seconds", write_timeout_seconds, 600),
        ):
            if not isinstance(seconds, (int, float)) or not 0.01 <= seconds <= longest:
                raise ConfigError(f"{name} must be a number from 0.01 to {longest}")
        self._sink = sink
        self._max_waiting = max_waiting
        self._max_batch = max_batch
        self._interval = interval_seconds
        self._timeout = write_timeout_seconds
        self._waiting: deque[UsageEvent] = deque()
        self._batch: UsageBatch | None = None
        self._written = self._dropped = self._failures = self._failed_in_a_row = 0
        self._writing = asyncio.Lock()
        self._early = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._thread = 0
        self._process = os.getpid()
        self._ended = False

    def record(self, event: UsageEvent) -> None:
        """Take an event. Never waits and never fails; may be called from any thread.

        Args:
            event: What happened.
        """
        waiting = self._waiting
        if self._ended or len(waiting) >= self._max_waiting:
            self._dropped += 1
            return
        waiting.append(event)
        # While the sink is away, being many is no reason to ask it more often.
        if (
            len(waiting) >= self._max_batch
            and not self._failed_in_a_row
            and threading.get_ident() == self._thread
        ):
            self._early.set()

    async def start(self) -> None:
        """Begin to write in the background.

        Raises:
            ConfigError: It was ended.
        """
        if self._ended:
            raise ConfigError("these events were ended; make another BatchedUsage")
        if self._process != os.getpid():
            # What waits belongs to the parent, which writes it.
            self._forget_parent()
        if self._task is None:
            self._thread = threading.get_ident()
            self._task = asyncio.create_task(self._run(), name="velro-cache usage of API keys")

    async def flush(self) -> int:
        """Write what waits, now.

        Returns:
            How many events are left, because the sink did not take them or they came meanwhile.
        """
        async with self._writing:
            left = len(self._waiting) + self._in_batch
            while left > 0:
                batch = self._next_batch()
                if batch is None or not await self._wrote(batch):
                    break
                left -= len(batch.events)
        return len(self._waiting) + self._in_batch

    async def aclose(self) -> int:
        """Write what waits, and end; the sink is closed, too.

        Takes ``write_timeout_seconds`` a batch at the most, and ends with the first that fails.

        Returns:
            How many events could not be written.
        """
        self._ended = True
        task, self._task = self._task, None
        if task is not None:
            self._early.set()
            await task
        left = await self.flush()
        self._dropped += left
        self._waiting.clear()
        self._batch = None
        await self._sink.aclose()
        return left

    def statistics(self) -> UsageStatistics:
        """What became of events so far, in this process."""
        return UsageStatistics(
            waiting=len(self._waiting) + self._in_batch,
            written=self._written,
            dropped=self._dropped,
            failures=self._failures,
        )

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    @property
    def _in_batch(self) -> int:
        return 0 if self._batch is None else len(self._batch.events)

    async def _run(self) -> None:
        while not self._ended:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._early.wait(), self._delay())
            if not self._ended:
                self._early.clear()
                await self.flush()

    def _delay(self) -> float:
        """Seconds until the next write: longer after each failure, and not the same everywhere."""
        if not self._failed_in_a_row:
            return self._interval
        doubled = _FIRST_DELAY_SECONDS * 2.0 ** min(self._failed_in_a_row, 20)
        longest = max(self._interval, _LONGEST_DELAY_SECONDS)
        return min(doubled, longest) * random.uniform(0.8, 1.0)  # noqa: S311 - no secret

    def _next_batch(self) -> UsageBatch | None:
        if self._batch is None and self._waiting:
            waiting = self._waiting
            events = tuple(waiting.popleft() for _ in range(min(len(waiting), self._max_batch)))
            self._batch = UsageBatch(uuid.uuid4().hex, events)
        return self._batch

    async def _wrote(self, batch: UsageBatch) -> bool:
        try:
            async with asyncio.timeout(self._timeout):
                await self._sink.write(batch)
        except ValueError as error:
            # It would be refused the next time, too.
            self._dropped += len(batch.events)
            _logger.warning("usage of API keys was refused: %s", type(error).__name__)
        except Exception as error:
            self._failures += 1
            self._failed_in_a_row += 1
            if self._failed_in_a_row == 1:
                # By its kind alone: its text may hold anything.
                _logger.warning("usage of API keys was not written: %s", type(error).__name__)
            return False
        else:
            self._written += len(batch.events)
        self._failed_in_a_row = 0
        self._batch = None
        return True

    def _forget_parent(self) -> None:
        self._process = os.getpid()
        self._waiting = deque()
        self._batch = None
        self._task = None
        self._writing, self._early = asyncio.Lock(), asyncio.Event()
        self._written = self._dropped = self._failures = self._failed_in_a_row = 0
