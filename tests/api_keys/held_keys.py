"""A repository in memory, whose answers can be held back, and a clock that tests move."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import Any

from velro_cache.api_keys import ApiKey, ApiKeyCache, KeyFormat, Peppers
from velro_cache.config import OptimizedCacheConfig
from velro_cache.manager import OptimizedCacheManager

PEPPERS = Peppers.one(b"a pepper of the tests, long enough")
FORMAT = KeyFormat("vk", "test")


class Clock:
    """Seconds since 1970, as the tests have it."""

    def __init__(self) -> None:
        self.seconds = 1_800_000_000.0

    def __call__(self) -> float:
        return self.seconds


class HeldKeys:
    """Rows by digest. Counts questions; raises or waits where it is told to."""

    def __init__(self) -> None:
        self.rows: dict[bytes, ApiKey] = {}
        self.questions = 0
        self.error: Exception | None = None
        self.gate: asyncio.Event | None = None
        self.during: Callable[[], Any] | None = None
        self.touched: dict[str, float] = {}

    def add(self, plain: str, number: int = 1, peppers: Peppers = PEPPERS, **fields: Any) -> ApiKey:
        pepper_id, digest = peppers.digest(plain)
        fields = {
            "id": f"k{number}",
            "organization_id": "o1",
            "shown": FORMAT.shown(plain),
        } | fields
        key = ApiKey(digest=digest, pepper_id=pepper_id, **fields)
        self.rows[digest] = key
        return key

    def change(self, key: ApiKey, **fields: Any) -> ApiKey:
        self.rows[key.digest] = changed = replace(key, **fields)
        return changed

    async def get(self, digest: bytes) -> ApiKey | None:
        self.questions += 1
        if self.error is not None:
            raise self.error
        row = self.rows.get(digest)
        if self.gate is not None:
            await self.gate.wait()
        return row

    async def fetch_live(
        self, *, changed_since: float | None = None, page_size: int = 1000
    ) -> AsyncIterator[Sequence[ApiKey]]:
        if self.error is not None:
            raise self.error
        rows = [row for row in self.rows.values() if row.is_active and row.revoked_at is None]
        for start in range(0, len(rows), page_size):
            yield rows[start : start + page_size]
            if self.during is not None:
                during, self.during = self.during, None
                during()
            await asyncio.sleep(0)

    async def touch(self, uses: dict[str, float]) -> None:
        self.touched.update(uses)


class Kit:
    """A cache of keys with all that belongs to it."""

    def __init__(self, directory: Any = None, **options: Any) -> None:
        shared = {} if directory is None else {"shared_memory_directory": str(directory)}
        config = OptimizedCacheConfig(share_invalidations=directory is not None, **shared)
        self.clock = Clock()
        self.keys = HeldKeys()
        self.manager = OptimizedCacheManager(config)
        options = {"peppers": PEPPERS, "key_format": FORMAT, "ttl_jitter": 0.0} | options
        self.cache = ApiKeyCache(
            options.pop("repository", self.keys),
            cache_manager=self.manager,
            now=self.clock,
            monotonic=self.clock,
            **options,
        )
