"""The application of ``test_api_key_workers.py``: keys in SQLite, several workers."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI

from velro_cache.api_keys import ApiKeyCache, Peppers
from velro_cache.api_keys.sql import SqlApiKeys
from velro_cache.config import OptimizedCacheConfig
from velro_cache.fastapi import velro_lifespan
from velro_cache.fastapi.api_keys import ApiKeyMiddleware
from velro_cache.rate_limit import RateLimiter

PEPPERS = Peppers.one(b"a pepper of the tests, long enough")
CONFIG = OptimizedCacheConfig(name=os.environ.get("KEYED_NAME", "keyed"), share_invalidations=True)

# Everything is asked for again only after an hour: what is seen earlier was invalidated.
store = SqlApiKeys(os.environ.get("KEYED_DATABASE", "sqlite:///unused.db"), peppers=PEPPERS)
keys = ApiKeyCache(store, peppers=PEPPERS, ttl_seconds=3600.0, misses_per_second=10_000.0)


@asynccontextmanager
async def lifespan(app: Any) -> AsyncIterator[dict[str, Any]]:
    async with velro_lifespan(CONFIG)(app) as state:
        yield state
        await store.close()


api = FastAPI(lifespan=lifespan)


@api.get("/whose")
async def whose() -> dict[str, int]:
    return {"process_id": os.getpid()}


@api.get("/statistics")
async def statistics() -> dict[str, Any]:
    return {"process_id": os.getpid(), **keys.stats()}


@api.post("/manage/{key_id}/revoke")
async def revoke(key_id: str) -> dict[str, int]:
    await store.revoke_key(key_id)
    keys.invalidate(key_id=key_id)
    return {"process_id": os.getpid()}


@api.post("/manage/organizations/{organization_id}/{is_active}")
async def switch(organization_id: str, is_active: bool) -> dict[str, int]:
    await store.set_active(is_active, organization_id=organization_id)
    keys.invalidate(organization_id=organization_id)
    return {"process_id": os.getpid()}


app = ApiKeyMiddleware(
    api,
    keys=keys,
    limiter=RateLimiter(),
    public_paths=["/statistics"],
    public_prefixes=["/manage/"],
)
