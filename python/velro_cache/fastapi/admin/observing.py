"""Routes about the last minutes, the hottest names and one key. They change nothing.

No ``from __future__ import annotations`` here: FastAPI reads these annotations.
"""

import os
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Query

from velro_cache.exceptions import InvalidKeyError
from velro_cache.fastapi.admin.context import AdminContext
from velro_cache.fastapi.admin.observations import (
    HistoryAnswer,
    HistoryPoints,
    HotKey,
    HotTag,
    KeyExplanation,
    TopAnswer,
)
from velro_cache.fastapi.admin.requests import HashIds, WholeKey
from velro_cache.manager import OptimizedCacheManager

__all__ = ["add_observing_routes"]


def add_observing_routes(router: APIRouter, admin: AdminContext) -> None:
    """Add the routes that tell what became of lookups.

    Args:
        router: One with a guard.
        admin: What all routes have in common.
    """
    cache_of_request = Depends(admin.cache)

    @router.get("/history", summary="The last 15 minutes of this worker, second by second")
    async def history(
        seconds: Annotated[int, Query(ge=1, le=900, description="How far back")] = 900,
        cache: OptimizedCacheManager = cache_of_request,
    ) -> HistoryAnswer:
        # The engine made these lists; to check each of their numbers again takes a millisecond.
        points = HistoryPoints.model_construct(None, **cache.get_history(seconds))
        return HistoryAnswer(cache=cache.config.name, process_id=os.getpid(), points=points)

    @router.get("/top", summary="Keys and tags asked for most in the last minutes")
    async def top(
        limit: Annotated[int, Query(ge=1, le=100, description="Most of each")] = 20,
        hash_ids: HashIds = False,
        cache: OptimizedCacheManager = cache_of_request,
    ) -> TopAnswer:
        keys = cache.get_top_keys(limit, hash_ids=hash_ids)
        tags = cache.get_top_tags(limit, hash_ids=hash_ids)
        return TopAnswer(
            cache=cache.config.name,
            process_id=os.getpid(),
            keys=[HotKey(**key) for key in keys],
            tags=[HotTag(**tag) for tag in tags],
        )

    @router.get("/keys/explain", summary="What is known of one key, without its value")
    async def explain(
        key: WholeKey, cache: OptimizedCacheManager = cache_of_request
    ) -> KeyExplanation:
        try:
            known = cache.explain(key)
        except InvalidKeyError as error:
            raise HTTPException(422, str(error)) from None
        return KeyExplanation(cache=cache.config.name, process_id=os.getpid(), **known)
