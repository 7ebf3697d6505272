"""One refresh of the keys in memory: put what is there, then drop what is gone.

A key is put as a whole, so a reader sees what was read before or what was read now. What is gone is
dropped only once everything was read, so a refresh that fails midway has taken nothing away. All of
it stands under one stamp from before the first row was read: what was revoked meanwhile is neither
kept nor brought back.

Rows are kept as the bytes they came as; a key is made of them when it is first asked for. A few are
kept in one step, a twentieth of a millisecond, and then others have their turn: requests hardly
notice. (A thread would have to give Python's lock away as often, and who waits for that wakes up
too late to get it.)
"""

import asyncio
import logging
from typing import Final

from velro_cache._engine import ApiKeyGeneration
from velro_cache.api_keys.cache import ApiKeyCache
from velro_cache.api_keys.kept import PREFIX, name_of
from velro_cache.api_keys.key_rows import Rows, decode
from velro_cache.exceptions import AuthorizationUnavailable

__all__ = ["Generation"]

log = logging.getLogger("velro_cache.api_keys")

_MOST_TAGS: Final = 50


class Generation:
    """What one refresh reads. To be made before anything is read.

    Args:
        cache: The keys in memory.
        stamp: A stamp from before anything was read, if somebody else reads. None: now.
        fresh_seconds: How long what is read answers without asking. None: as what is read for one
            request alone.
    """

    def __init__(
        self, cache: ApiKeyCache, stamp: int | None = None, fresh_seconds: float | None = None
    ) -> None:
        self._cache = cache
        cache.generation += 1
        self.stamp = cache.snapshot() if stamp is None else stamp
        self._rows = ApiKeyGeneration(
            cache.manager,
            PREFIX,
            decode,
            self.stamp,
            cache.generation,
            *cache.lives(fresh_seconds),
            refused=cache.refused,
            is_refused_since=cache.is_refused_since,
        )

    @property
    def updated(self) -> int:
        """Keys that were new, or of which anything had changed."""
        return self._rows.updated

    @property
    def total(self) -> int:
        """Keys that were read."""
        return self._rows.total

    async def put(self, rows: Rows) -> None:
        """Keep what was read.

        Args:
            rows: Some of it.

        Raises:
            ValueError: These are no rows.
        """
        for part in rows:
            at = 0
            while at < len(part):
                at, not_keys = self._rows.put(part, at, self._cache.wall_clock())
                for name in not_keys:
                    log.warning("the row of the API key %.80r is not one; it lets nobody in", name)
                await asyncio.sleep(0)

    async def drop_absent(self) -> int:
        """Drop what was read before this refresh and is not among what it read.

        Returns:
            How many keys are gone.
        """
        manager, gone, removed = self._cache.manager, [], 0
        after: int | None = 0
        while after is not None:
            found, after = self._rows.absent(after)
            for kept in found:
                try:
                    key = kept.key
                except AuthorizationUnavailable:
                    key = None
                if key is not None and kept.digest == key.digest:
                    gone.append(f"api_key:{key.id}")
                    removed += 1
                else:
                    # No key, or another name of one that is there under its own.
                    manager.delete(name_of(kept.digest))
            while len(gone) >= _MOST_TAGS or (gone and after is None):
                manager.invalidate_by_tags(gone[:_MOST_TAGS], reason="gone from the database")
                del gone[:_MOST_TAGS]
                await asyncio.sleep(0)
            await asyncio.sleep(0)
        return removed
