"""Events in batches: requests put them into a bounded queue, a task of the event loop writes them.

A sink that fails or is slow costs events, counted, once the queue is full; it never costs a request
anything. The batch under way is kept until the sink has taken it.
"""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from velro_cache.api_keys.batch_writer import BatchWriter
from velro_cache.api_keys.usage.events import UsageBatch, UsageEvent, UsageSink
from velro_cache.exceptions import ConfigError

__all__ = ["BatchedUsage", "UsageStatistics"]

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


class BatchedUsage(BatchWriter[UsageBatch]):
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
        super().__init__(
            "usage of API keys was",
            interval_seconds=interval_seconds,
            write_timeout_seconds=write_timeout_seconds,
            first_delay_seconds=_FIRST_DELAY_SECONDS,
            longest_delay_seconds=_LONGEST_DELAY_SECONDS,
        )
        self._sink = sink
        self._max_waiting = max_waiting
        self._max_batch = max_batch
        self._waiting: deque[UsageEvent] = deque()
        self._batch: UsageBatch | None = None

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
        if len(waiting) >= self._max_batch:
            self._write_early()

    async def aclose(self) -> int:
        """Write what waits, and end; the sink is closed, too.

        Takes ``write_timeout_seconds`` a batch at the most, and ends with the first that fails.

        Returns:
            How many events could not be written.
        """
        left = await super().aclose()
        self._dropped += left
        self._forget_all()
        await self._sink.aclose()
        return left

    def statistics(self) -> UsageStatistics:
        """What became of events so far, in this process."""
        return UsageStatistics(**self._figures())

    def _waiting_now(self) -> int:
        return len(self._waiting) + (0 if self._batch is None else len(self._batch.events))

    def _batches(self) -> Iterator[UsageBatch]:
        left = self._waiting_now()
        while left > 0 and (batch := self._next_batch()) is not None:
            yield batch
            left -= len(batch.events)

    def _next_batch(self) -> UsageBatch | None:
        # The one that failed comes again, as it was.
        if self._batch is None and self._waiting:
            waiting = self._waiting
            events = tuple(waiting.popleft() for _ in range(min(len(waiting), self._max_batch)))
            self._batch = UsageBatch(uuid.uuid4().hex, events)
        return self._batch

    def _size_of(self, batch: UsageBatch) -> int:
        return len(batch.events)

    async def _write(self, batch: UsageBatch) -> None:
        await self._sink.write(batch)

    def _forget(self, batch: UsageBatch) -> None:
        self._batch = None

    def _forget_all(self) -> None:
        self._waiting = deque()
        self._batch = None
