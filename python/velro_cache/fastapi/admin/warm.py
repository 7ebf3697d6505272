"""Routes about warming: how far it is, and having it done again.

No ``from __future__ import annotations`` here: FastAPI reads these annotations.
"""

import asyncio
import logging
import math
import os
from typing import Any

from fastapi import APIRouter, Depends, HTTPException, Request, Response

from velro_cache.fastapi.admin.answers import Message
from velro_cache.fastapi.admin.context import AdminContext
from velro_cache.fastapi.admin.guarding import actor_of
from velro_cache.fastapi.admin.warm_bodies import (
    WarmAnswer,
    WarmFigures,
    WarmingAnswer,
    WarmRequest,
)
from velro_cache.manager import OptimizedCacheManager
from velro_cache.warming import Warmers

__all__ = ["add_warm_route", "add_warming_route"]

log = logging.getLogger("velro_cache")


def add_warming_route(router: APIRouter, admin: AdminContext) -> None:
    """Add the route that says how warm it is.

    Args:
        router: One with a guard.
        admin: What all routes have in common.
    """
    cache_of_request = Depends(admin.cache)

    @router.get("/warming", summary="What this worker warms, and how far it is")
    async def warming(cache: OptimizedCacheManager = cache_of_request) -> WarmingAnswer:
        return WarmingAnswer.of(cache.config.name, os.getpid(), cache.warmers)


def add_warm_route(router: APIRouter, admin: AdminContext) -> None:
    """Add the route that begins a warm-up.

    Args:
        router: One with a guard, and with routes that refuse other sites.
        admin: What all routes have in common.
    """
    cache_of_request = Depends(admin.cache)

    @router.post(
        "/warm",
        response_model=WarmAnswer,
        summary="Load registered kinds again, or names of one kind",
        responses={
            202: {"model": WarmAnswer, "description": "It is under way; see /warming"},
            409: {"model": Message, "description": "One is under way, or it is switched off"},
            429: {"model": Message, "description": "Too many changes; see Retry-After"},
            503: {"model": Message, "description": "The cache is stopped"},
        },
    )
    async def warm(
        request: Request,
        response: Response,
        body: WarmRequest,
        cache: OptimizedCacheManager = cache_of_request,
    ) -> Any:
        actor = actor_of(request)
        _take_turn(admin)
        if cache.is_stopped:
            raise HTTPException(503, "The cache is stopped; it is empty")
        warmers = cache.warmers
        work = _begun(warmers, body)
        kinds = _kinds_of(warmers, body)
        log.info(
            "cache %r: warming of %r by %r",
            cache.config.name,
            kinds,
            actor,
            extra={"velro_cache_warming": {"actor": actor, "reason": body.reason, "kinds": kinds}},
        )
        # Not the work itself: who asked may go away, and it goes on.
        await asyncio.wait([work], timeout=body.wait_seconds)
        response.status_code = 200 if work.done() else 202
        return WarmAnswer(
            cache=cache.config.name,
            process_id=os.getpid(),
            is_running=not work.done(),
            kinds=[WarmFigures.of(warmers.reports[kind]) for kind in kinds],
        )


def _begun(warmers: Warmers, body: WarmRequest) -> "asyncio.Task[None]":
    try:
        if body.kind is not None and body.ids is not None:
            return warmers.on_demand.begin_names(body.kind, body.ids)
        return warmers.on_demand.begin(None if body.kinds == "all" else body.kinds)
    except ValueError as error:
        raise HTTPException(422, str(error)) from None
    except RuntimeError as error:
        raise HTTPException(409, str(error).capitalize()) from None


def _kinds_of(warmers: Warmers, body: WarmRequest) -> list[str]:
    if body.kind is not None:
        return [body.kind]
    if body.kinds is None or body.kinds == "all":
        return warmers.on_demand.kinds
    return sorted(set(body.kinds))


def _take_turn(admin: AdminContext) -> None:
    seconds = admin.invalidations.take()
    if seconds is not None:
        headers = {"Retry-After": str(max(1, math.ceil(seconds)))}
        raise HTTPException(429, "Too many changes", headers)
