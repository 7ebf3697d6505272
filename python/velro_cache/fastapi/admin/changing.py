"""Routes that invalidate.

No ``from __future__ import annotations`` here: FastAPI reads these annotations.
"""

import asyncio
import math
from typing import Any

from fastapi import APIRouter, Depends, HTTPException, Request, Response
from fastapi.responses import JSONResponse

from velro_cache.exceptions import CacheStoppedError, InvalidKeyError, InvalidTagError
from velro_cache.fastapi.admin.answers import (
    ClearAnswer,
    InvalidationAnswer,
    Message,
    NotAcknowledged,
)
from velro_cache.fastapi.admin.context import AdminContext
from velro_cache.fastapi.admin.guarding import actor_of
from velro_cache.fastapi.admin.invalidating import Action, clear, dry_run, invalidate
from velro_cache.fastapi.admin.requests import (
    ClearRequest,
    InvalidateGeneration,
    InvalidateKey,
    InvalidatePattern,
    InvalidateTags,
    InvalidateUser,
    Invalidation,
)
from velro_cache.fastapi.admin.wide import is_wide
from velro_cache.manager import OptimizedCacheManager

__all__ = ["CHANGING_RESPONSES", "add_changing_routes"]

CHANGING_RESPONSES: dict[int | str, dict[str, Any]] = {
    409: {"model": Message, "description": "To be confirmed with the name of the cache"},
    413: {"model": Message, "description": "The body is too large"},
    415: {"model": Message, "description": "The body is not JSON"},
    429: {"model": Message, "description": "Too many invalidations; see Retry-After"},
    503: {
        "model": NotAcknowledged,
        "description": "It holds where the answer says; others may not know yet",
    },
}


def add_changing_routes(router: APIRouter, admin: AdminContext) -> None:
    """Add the routes that invalidate.

    Args:
        router: One with a guard, and with routes that refuse other sites.
        admin: What all routes have in common.
    """
    cache_of_request = Depends(admin.cache)

    async def do(
        request: Request, cache: OptimizedCacheManager, body: Invalidation, action: Action
    ) -> Any:
        actor = actor_of(request)
        _take_turn(admin)
        if isinstance(body, InvalidatePattern) and not body.dry_run and is_wide(body.pattern):
            _confirm(cache, body.confirm, "This pattern fits nearly everything")
        if body.dry_run:
            return await _answered(dry_run, cache, body)
        return await _answered(invalidate, cache, body, action, actor, admin.audit)

    @router.post(
        "/invalidate/user",
        response_model=InvalidationAnswer,
        summary="Invalidate everything about a user",
    )
    async def invalidate_user(
        request: Request, body: InvalidateUser, cache: OptimizedCacheManager = cache_of_request
    ) -> Any:
        return await do(request, cache, body, "user")

    @router.post(
        "/invalidate/generation",
        response_model=InvalidationAnswer,
        summary="Invalidate everything about a generation",
    )
    async def invalidate_generation(
        request: Request,
        body: InvalidateGeneration,
        cache: OptimizedCacheManager = cache_of_request,
    ) -> Any:
        return await do(request, cache, body, "generation")

    @router.post(
        "/invalidate/tags",
        response_model=InvalidationAnswer,
        summary="Invalidate what carries one of the tags",
    )
    async def invalidate_tags(
        request: Request, body: InvalidateTags, cache: OptimizedCacheManager = cache_of_request
    ) -> Any:
        return await do(request, cache, body, "tags")

    @router.post(
        "/invalidate/pattern",
        response_model=InvalidationAnswer,
        summary="Invalidate keys that fit a wildcard",
    )
    async def invalidate_pattern(
        request: Request,
        body: InvalidatePattern,
        cache: OptimizedCacheManager = cache_of_request,
    ) -> Any:
        return await do(request, cache, body, "pattern")

    @router.post(
        "/invalidate/key", response_model=InvalidationAnswer, summary="Invalidate one entry"
    )
    async def invalidate_key(
        request: Request, body: InvalidateKey, cache: OptimizedCacheManager = cache_of_request
    ) -> Any:
        return await do(request, cache, body, "key")

    @router.post("/clear", response_model=ClearAnswer, summary="Invalidate everything")
    async def clear_all(
        request: Request, body: ClearRequest, cache: OptimizedCacheManager = cache_of_request
    ) -> Any:
        actor = actor_of(request)
        _take_turn(admin)
        _confirm(cache, body.confirm, "This clears the whole cache")
        return await _answered(clear, cache, body, actor, admin.audit)


def _take_turn(admin: AdminContext) -> None:
    seconds = admin.invalidations.take()
    if seconds is not None:
        headers = {"Retry-After": str(max(1, math.ceil(seconds)))}
        raise HTTPException(429, "Too many invalidations", headers)


def _confirm(cache: OptimizedCacheManager, confirm: str | None, why: str) -> None:
    if confirm != cache.config.name:
        raise HTTPException(409, f"{why}: confirm it with the name of the cache, in `confirm`")


async def _answered(work: Any, *arguments: Any) -> Any:
    """Do it in a thread, since it may wait for the log.

    A caller that hangs up meanwhile does not stop it, and it is written down all the same.
    """
    try:
        answer = await asyncio.to_thread(work, *arguments)
    except (InvalidKeyError, InvalidTagError) as error:
        raise HTTPException(422, str(error)) from None
    except CacheStoppedError:
        raise HTTPException(503, "The cache is stopped; it is empty") from None
    if isinstance(answer, NotAcknowledged):
        response: Response = JSONResponse(answer.model_dump(mode="json"), 503)
        return response
    return answer
