"""When keys were used last, written now and then instead of with every request.

A use is one write into a dict. A task of the event loop writes them down every so often, each key
once however often it was used, and keeps what it could not write.
"""

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol, Self

from velro_cache.exceptions import ConfigError

__all__ = ["LastUsedStatistics", "LastUsedWriter", "NotesUses"]

_logger: Final = logging.getLogger("velro_cache.api_keys")

_MOST_AT_ONCE: Final = 1000
_LONGEST_DELAY_SECONDS: Final = 900.0


class NotesUses(Protocol):
    """The part of an :class:`ApiKeyRepository` that is needed here."""

    async def touch(self, uses: dict[str, float]) -> None:
        """Take note of when keys were used last.

        Args:
            uses: By id of the key, seconds since 1970.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LastUsedStatistics:
    """What became of uses.

    Attributes:
        waiting: Keys whose use is not written yet.
        written: Uses that were written; of many of one key, one.
        dropped: Uses that found no room, or came after the end.
        failures: Writes that failed; what they held was kept.
    """

    waiting: int
    written: int
    dropped: int
    failures: int


class LastUsedWriter:
    """Remembers uses of keys, and writes them in batches.

    Args:
        repository: Where they are written.
        interval_seconds: Time between writes; 0.01 to 3600.
        max_keys: How many keys are remembered at the most. When there are so many, they are
            written early, and the use of one more key is dropped and counted.
        write_timeout_seconds: Longest a batch may take; 0.01 to 600.
        clock: Tells seconds since 1970.

    Raises:
        ConfigError: A number is out of range.

    Consistency: what a process had not written when it was killed is lost: ``interval_seconds`` of
    uses, more while the database is away. Each process has its own; the latest use wins.
    """

    def __init__(
        self,
        repository: NotesUses,
        *,
        interval_seconds: float = 60.0,
        max_keys: int = 100_000,
        write_timeout_seconds: float = 30.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        for name, seconds, most in (
            ("interval_seconds", interval_seconds, 3600),
            ("write_timeout_seconds", write_timeout_seconds, 600),
        ):
            if not isinstance(seconds, (int, float)) or not 0.01 <= seconds <= most:
                raise ConfigError(f"{name} must be a number from 0.01 to {most}")
        if type(max_keys) is not int or not 1 <= max_keys <= 10_000_000:
            raise ConfigError("max_keys must be an integer from 1 to 10,000,000")
        self._repository = repository
        self._interval = interval_seconds
        self._max_keys = max_keys
        self._timeout = write_timeout_seconds
        self._clock = clock
        self._uses: dict[str, float] = {}
        self._written = self._dropped = self._failures = 0
        self._failed_in_a_row = 0
        self._writing = asyncio.Lock()
        self._early = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._ended = False

    def note(self, key_id: str) -> None:
        """Remember that a key was used now.

        Never waits and never fails; may be called from any thread.

        Args:
            key_id: Names a key that was found good; not what a client sent.
        """
        uses = self._uses
        # In this order: most uses are of keys that are there.
        if key_id in uses or len(uses) < self._max_keys:
            uses[key_id] = self._clock()
        else:
            self._has_no_room()

    async def start(self) -> None:
        """Begin to write in the background.

        Raises:
            ConfigError: It was ended.
        """
        if self._ended:
            raise ConfigError("this writer was ended; make another one")
        if self._task is None:
            self._loop = asyncio.get_running_loop()
            self._task = asyncio.create_task(self._run(), name="velro-cache last uses")

    async def flush(self) -> int:
        """Write what is remembered, now.

        Returns:
            How many keys' uses are left, because the database did not take them or because they
            came meanwhile.
        """
        # Uses that come in while this writes are for the next time, or it might never end.
        async with self._writing:
            left = list(self._uses.copy().items())
            for start in range(0, len(left), _MOST_AT_ONCE):
                if not await self._wrote(dict(left[start : start + _MOST_AT_ONCE])):
                    break
        return len(self._uses)

    async def aclose(self) -> int:
        """Write what is remembered, and end. Takes ``write_timeout_seconds`` per batch at the most.

        Returns:
            How many keys' uses could not be written.
        """
        self._ended = True
        task, self._task = self._task, None
        if task is not None:
            self._early.set()
            await task
        left = await self.flush()
        # Nobody writes what comes from now on.
        self._max_keys = 0
        return left

    def statistics(self) -> LastUsedStatistics:
        """What became of uses so far."""
        return LastUsedStatistics(
            waiting=len(self._uses),
            written=self._written,
            dropped=self._dropped,
            failures=self._failures,
        )

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def _has_no_room(self) -> None:
        self._dropped += 1
        # While the database is away, being full is no reason to ask it more often.
        if self._loop is not None and not self._early.is_set() and not self._failed_in_a_row:
            try:
                self._loop.call_soon_threadsafe(self._early.set)
            except RuntimeError:
                # The loop is closed.
                self._loop = None

    async def _run(self) -> None:
        while not self._ended:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._early.wait(), self._delay())
            if not self._ended:
                self._early.clear()
                await self.flush()

    def _delay(self) -> float:
        """Seconds until the next write: longer after each failure, and not the same everywhere."""
        doubled = self._interval * 2.0 ** min(self._failed_in_a_row, 20)
        longest = max(self._interval, _LONGEST_DELAY_SECONDS)
        return min(doubled, longest) * random.uniform(0.9, 1.0)  # noqa: S311 - no secret

    async def _wrote(self, some: dict[str, float]) -> bool:
        try:
            async with asyncio.timeout(self._timeout):
                await self._repository.touch(some)
        except ValueError:
            # It would be refused the next time, too.
            self._forget(some)
            self._dropped += len(some)
            _logger.warning(
                "%d uses of API keys were refused: an id or a moment is none", len(some)
            )
            return True
        except Exception as error:
            self._failures += 1
            self._failed_in_a_row += 1
            if self._failed_in_a_row == 1:
                # By its kind alone: its text may hold anything.
                _logger.warning("uses of API keys were not written: %s", type(error).__name__)
            return False
        self._failed_in_a_row = 0
        self._written += len(some)
        self._forget(some)
        return True

    def _forget(self, some: dict[str, float]) -> None:
        for key_id, moment in some.items():
            # Used again meanwhile: that is for the next time.
            if self._uses.get(key_id) == moment:
                del self._uses[key_id]
