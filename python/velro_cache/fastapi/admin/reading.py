"""Routes that change nothing.

No ``from __future__ import annotations`` here: FastAPI reads these annotations.
"""

import asyncio
import os
from typing import Annotated

from fastapi import APIRouter, Depends, Query

from velro_cache.fastapi.admin.answers import (
    AuditAnswer,
    ConfigAnswer,
    KeysAnswer,
    PerformanceTargets,
    StatsAnswer,
)
from velro_cache.fastapi.admin.context import AdminContext
from velro_cache.fastapi.admin.figures import config_answer, performance_targets, stats_answer
from velro_cache.fastapi.admin.keys_page import keys_page
from velro_cache.fastapi.admin.recent import recent_invalidations
from velro_cache.fastapi.admin.requests import HashIds, KeyPrefix
from velro_cache.manager import OptimizedCacheManager

__all__ = ["add_reading_routes"]


def add_reading_routes(router: APIRouter, admin: AdminContext) -> None:
    """Add the routes that change nothing.

    Args:
        router: One with a guard.
        admin: What all routes have in common.
    """
    cache_of_request = Depends(admin.cache)

    @router.get("/stats", summary="What this worker has counted")
    async def stats(cache: OptimizedCacheManager = cache_of_request) -> StatsAnswer:
        return stats_answer(cache)

    @router.get("/targets", summary="Performance targets, and what was reached")
    async def targets(cache: OptimizedCacheManager = cache_of_request) -> PerformanceTargets:
        return performance_targets(cache)

    @router.get("/config", summary="Settings, without addresses and keys")
    async def config(cache: OptimizedCacheManager = cache_of_request) -> ConfigAnswer:
        return config_answer(cache.config)

    @router.get("/keys", summary="Keys by prefix, without values")
    async def keys(
        prefix: KeyPrefix = "",
        after: KeyPrefix = "",
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        cache: OptimizedCacheManager = cache_of_request,
    ) -> KeysAnswer:
        # A large cache takes a while to look through; requests go on meanwhile.
        return await asyncio.to_thread(keys_page, cache, prefix, after, limit)

    @router.get("/invalidations", summary="The last invalidations in this worker: who, what, why")
    async def invalidations(
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
        hash_ids: HashIds = False,
        cache: OptimizedCacheManager = cache_of_request,
    ) -> AuditAnswer:
        return AuditAnswer(
            cache=cache.config.name,
            process_id=os.getpid(),
            invalidations=recent_invalidations(cache, admin.audit, limit, hash_ids=hash_ids),
        )
