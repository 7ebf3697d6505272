"""What is remembered is written in batches, by a task of the event loop, and never by a request.

A batch is forgotten once it was taken, or refused for good; one that failed stays, and comes again
later, later each time. What is remembered, and how much of it, is the subclass's to say.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Final, Generic, Self, TypeVar

from velro_cache.exceptions import ConfigError

__all__ = ["BatchWriter"]

_logger: Final = logging.getLogger("velro_cache.api_keys")

_Batch = TypeVar("_Batch")


class BatchWriter(ABC, Generic[_Batch]):
    """The part of a writer that does not depend on what it writes. For one event loop.

    Args:
        what: What is written, with its verb, for the log; such as ``"uses of API keys were"``.
        interval_seconds: Longest time between writes; 0.01 to 3600.
        write_timeout_seconds: Longest one batch may take; 0.01 to 600.
        first_delay_seconds: Half of how long it waits after a first failure. Each further one in a
            row doubles that.
        longest_delay_seconds: It waits no longer than that, or than ``interval_seconds``.

    Raises:
        ConfigError: A number is out of range.
    """

    _process: int
    _written: int
    _dropped: int
    _failures: int
    _failed_in_a_row: int
    _writing: asyncio.Lock
    _early: asyncio.Event
    _loop: asyncio.AbstractEventLoop | None
    _thread: int
    _task: asyncio.Task[None] | None

    def __init__(
        self,
        what: str,
        *,
        interval_seconds: float,
        write_timeout_seconds: float,
        first_delay_seconds: float,
        longest_delay_seconds: float,
    ) -> None:
        for name, seconds, most in (
            ("interval_seconds", interval_seconds, 3600),
            ("write_timeout_seconds", write_timeout_seconds, 600),
        ):
            if not isinstance(seconds, (int, float)) or not 0.01 <= seconds <= most:
                raise ConfigError(f"{name} must be a number from 0.01 to {most}")
        self._what = what
        self._interval = interval_seconds
        self._timeout = write_timeout_seconds
        self._first_delay = first_delay_seconds
        self._longest_delay = max(interval_seconds, longest_delay_seconds)
        self._ended = False
        self._begin_anew()

    # What a subclass supplies

    @abstractmethod
    def _waiting_now(self) -> int:
        """How much is remembered and not written yet."""

    @abstractmethod
    def _batches(self) -> Iterator[_Batch]:
        """What is to be written now, and no more than that, or it might never end.

        Asked for the next one after the one before was taken or refused; not after a failure.
        """

    @abstractmethod
    def _size_of(self, batch: _Batch) -> int:
        """How much of what is counted is in a batch."""

    @abstractmethod
    async def _write(self, batch: _Batch) -> None:
        """Write a batch. A ValueError says that it can never be written."""

    @abstractmethod
    def _forget(self, batch: _Batch) -> None:
        """Give a batch up: it was taken, or refused."""

    @abstractmethod
    def _forget_all(self) -> None:
        """Give everything up, as in a child of a fork: it is the parent's, which writes it."""

    # What everybody may do

    async def start(self) -> None:
        """Begin to write in the background.

        Raises:
            ConfigError: It was ended.
        """
        if self._ended:
            raise ConfigError(f"this {type(self).__name__} was ended; make another one")
        if self._process != os.getpid():
            self._begin_anew()
            self._forget_all()
        if self._task is None:
            self._loop, self._thread = asyncio.get_running_loop(), threading.get_ident()
            self._task = asyncio.create_task(self._run(), name=f"velro-cache {type(self).__name__}")

    async def flush(self) -> int:
        """Write what is remembered, now. Ends with the first batch that fails.

        Returns:
            How much is left, because it was not taken or because it came meanwhile.
        """
        async with self._writing:
            for batch in self._batches():
                if not await self._wrote(batch):
                    break
        return self._waiting_now()

    async def aclose(self) -> int:
        """Write what is remembered, and end. Takes ``write_timeout_seconds`` a batch at the most.

        Returns:
            How much could not be written.
        """
        self._ended = True
        task, self._task = self._task, None
        if task is not None:
            self._early.set()
            await task
        return await self.flush()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    # For subclasses

    def _figures(self) -> dict[str, int]:
        """What became of it all: the fields of the statistics."""
        return {
            "waiting": self._waiting_now(),
            "written": self._written,
            "dropped": self._dropped,
            "failures": self._failures,
        }

    def _write_early(self) -> None:
        """Write before the interval is over: there is much. From any thread; never waits."""
        # While nobody takes it, being much is no reason to ask more often.
        if self._failed_in_a_row or self._early.is_set():
            return
        if self._thread == threading.get_ident():
            self._early.set()
        elif self._loop is not None:
            try:
                self._loop.call_soon_threadsafe(self._early.set)
            except RuntimeError:
                # The loop is closed.
                self._loop = None

    def _begin_anew(self) -> None:
        self._process = os.getpid()
        self._written = self._dropped = self._failures = self._failed_in_a_row = 0
        self._writing, self._early = asyncio.Lock(), asyncio.Event()
        self._loop, self._thread, self._task = None, 0, None

    async def _run(self) -> None:
        while not self._ended:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._early.wait(), self._delay())
            if not self._ended:
                self._early.clear()
                await self.flush()

    def _delay(self) -> float:
        """Seconds until the next write: longer after each failure, and not the same everywhere."""
        seconds = self._interval
        if self._failed_in_a_row:
            doubled = self._first_delay * 2.0 ** min(self._failed_in_a_row, 20)
            seconds = min(doubled, self._longest_delay)
        return seconds * random.uniform(0.9, 1.0)  # noqa: S311 - no secret

    async def _wrote(self, batch: _Batch) -> bool:
        """Whether the next batch may follow."""
        try:
            async with asyncio.timeout(self._timeout):
                await self._write(batch)
        except ValueError as error:
            # It would be refused the next time, too.
            size = self._size_of(batch)
            self._dropped += size
            _logger.warning("%s refused, %d at once: %s", self._what, size, type(error).__name__)
        except Exception as error:
            self._failures += 1
            self._failed_in_a_row += 1
            if self._failed_in_a_row == 1:
                # By its kind alone: its text may hold anything.
                _logger.warning("%s not written: %s", self._what, type(error).__name__)
            return False
        else:
            self._written += self._size_of(batch)
        self._failed_in_a_row = 0
        self._forget(batch)
        return True
