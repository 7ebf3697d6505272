"""One refresh of the keys in memory: put what is there, then drop what is gone.

A key is put as a whole, so a reader sees what was read before or what was read now. What is gone is
dropped only once everything was read, so a refresh that fails midway has taken nothing away. All of
it stands under one stamp from before the first row was read: what was revoked meanwhile is neither
kept nor brought back.
"""

import asyncio
from collections.abc import Sequence
from time import perf_counter
from typing import Final

from velro_cache.api_keys.cache import ApiKeyCache
from velro_cache.api_keys.kept import PREFIX, Kept
from velro_cache.api_keys.models import ApiKey

__all__ = ["Generation"]

_LONGEST_STEP_SECONDS: Final = 0.001
"""After so long the event loop is let do something else."""

_KEYS_OF_A_LOOK: Final = 1000
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
        self._fresh_seconds = fresh_seconds
        cache.generation += 1
        self._number = cache.generation
        self.stamp = cache.snapshot() if stamp is None else stamp
        self.updated = 0
        self.total = 0
        self._paused_at = perf_counter()

    async def put(self, keys: Sequence[ApiKey]) -> None:
        """Keep what was read.

        Args:
            keys: One page.
        """
        for key in keys:
            before = self._cache.kept(key.digest)
            if before != key:
                self.updated += 1
            self._cache.set(
                # The old one where nothing has changed: the collector has seen it already.
                key if before is None or before != key else before,
                stamp=self.stamp,
                generation=self._number,
                fresh_seconds=self._fresh_seconds,
            )
            self.total += 1
            await self._let_others_in()

    async def drop_absent(self) -> int:
        """Drop what was read before this refresh and is not among what it read.

        Returns:
            How many keys are gone.
        """
        manager, after, gone = self._cache.manager, None, []
        removed = 0
        while True:
            page = manager.keys_by_prefix(PREFIX, _KEYS_OF_A_LOOK, after=after)
            for name in page["keys"]:
                kept = manager.get_value(name)
                if type(kept) is Kept and kept.generation < self._number:
                    if kept.digest == kept.key.digest:
                        gone.append(f"api_key:{kept.key.id}")
                        removed += 1
                    else:
                        # Another name of a key that is there under its own.
                        manager.delete(name)
                await self._let_others_in()
            while len(gone) >= _MOST_TAGS or (gone and page["after"] is None):
                manager.invalidate_by_tags(gone[:_MOST_TAGS], reason="gone from the database")
                del gone[:_MOST_TAGS]
                await self._let_others_in()
            after = page["after"]
            if after is None:
                return removed

    async def _let_others_in(self) -> None:
        if perf_counter() - self._paused_at > _LONGEST_STEP_SECONDS:
            await asyncio.sleep(0)
            self._paused_at = perf_counter()
