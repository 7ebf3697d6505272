"""When keys were used last, written now and then instead of with every request.

A use is one write into a dict. A task of the event loop writes them down every so often, each key
once however often it was used, and keeps what it could not write.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Protocol

from velro_cache.api_keys.batch_writer import BatchWriter
from velro_cache.exceptions import ConfigError

__all__ = ["LastUsedStatistics", "LastUsedWriter", "NotesUses"]

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


class LastUsedWriter(BatchWriter[dict[str, float]]):
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
    uses, more while the database is away. Each process has its own, a child of a
    fork an empty one; the latest use wins.
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
        super().__init__(
            "uses of API keys were",
            interval_seconds=interval_seconds,
            write_timeout_seconds=write_timeout_seconds,
            first_delay_seconds=interval_seconds,
            longest_delay_seconds=_LONGEST_DELAY_SECONDS,
        )
        if type(max_keys) is not int or not 1 <= max_keys <= 10_000_000:
            raise ConfigError("max_keys must be an integer from 1 to 10,000,000")
        self._repository = repository
        self._max_keys = max_keys
        self._clock = clock
        self._uses: dict[str, float] = {}

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
            self._dropped += 1
            self._write_early()

    async def aclose(self) -> int:
        """Write what is remembered, and end. Takes ``write_timeout_seconds`` per batch at the most.

        Returns:
            How many keys' uses could not be written.
        """
        left = await super().aclose()
        # Nobody writes what comes from now on.
        self._max_keys = 0
        return left

    def statistics(self) -> LastUsedStatistics:
        """What became of uses so far."""
        return LastUsedStatistics(**self._figures())

    def _waiting_now(self) -> int:
        return len(self._uses)

    def _batches(self) -> Iterator[dict[str, float]]:
        # Uses that come in while this writes are for the next time.
        left = list(self._uses.copy().items())
        for start in range(0, len(left), _MOST_AT_ONCE):
            yield dict(left[start : start + _MOST_AT_ONCE])

    def _size_of(self, batch: dict[str, float]) -> int:
        return len(batch)

    async def _write(self, batch: dict[str, float]) -> None:
        await self._repository.touch(batch)

    def _forget(self, batch: dict[str, float]) -> None:
        for key_id, moment in batch.items():
            # Used again meanwhile: that is for the next time.
            if self._uses.get(key_id) == moment:
                del self._uses[key_id]

    def _forget_all(self) -> None:
        self._uses = {}
