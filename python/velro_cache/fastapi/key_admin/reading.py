"""Routes that change nothing.

No ``from __future__ import annotations`` here: FastAPI reads these annotations.
"""

import logging
import math
import os
from typing import Annotated, Any, Final

from fastapi import APIRouter, HTTPException, Query

from velro_cache.fastapi.admin.answers import Message
from velro_cache.fastapi.key_admin.answers import (
    ApiKeyAnswer,
    ApiKeysAnswer,
    ChangesAnswer,
    KeyCacheFigures,
    KeyStatsAnswer,
    NotUnderstood,
    OrganizationAnswer,
    OrganizationsAnswer,
    RefreshFigures,
    UsageAnswer,
)
from velro_cache.fastapi.key_admin.context import KeyAdminContext
from velro_cache.fastapi.key_admin.making_changes import read

__all__ = ["READING_KEYS_RESPONSES", "add_listing_routes", "add_usage_route"]

READING_KEYS_RESPONSES: dict[int | str, dict[str, Any]] = {
    401: {"model": Message, "description": "The guard wants to know who it is"},
    403: {"model": Message, "description": "The guard refuses"},
    422: {"model": NotUnderstood, "description": "A parameter is not understood"},
    503: {"model": Message, "description": "The database does not answer"},
}

log = logging.getLogger("velro_cache")

_DAY_SECONDS: Final = 86_400
_MOST_POINTS: Final = 10_000

_After = Annotated[
    str | None,
    Query(min_length=1, max_length=256, description="`next_after` of the page before"),
]
_Limit = Annotated[int, Query(ge=1, le=1000)]
_Organization = Annotated[
    str | None, Query(min_length=1, max_length=256, description="Of this one; left out: of all")
]


def add_listing_routes(router: APIRouter, admin: KeyAdminContext) -> None:
    """Add the routes that list organizations and keys, and tell how both are doing.

    Args:
        router: One with a guard.
        admin: What all routes have in common.
    """

    @router.get("/organizations", response_model=OrganizationsAnswer, summary="List organizations")
    async def organizations(after: _After = None, limit: _Limit = 100) -> Any:
        page = await read(admin.store.list_organizations(after=after, limit=limit))
        found = [OrganizationAnswer.of(one) for one in page.organizations]
        return OrganizationsAnswer(organizations=found, next_after=page.after)

    @router.get("/keys", response_model=ApiKeysAnswer, summary="List keys, live or not")
    async def keys(
        organization_id: _Organization = None, after: _After = None, limit: _Limit = 100
    ) -> Any:
        page = await read(admin.store.list_keys(organization_id, after=after, limit=limit))
        at = admin.now().timestamp()
        return ApiKeysAnswer(
            keys=[ApiKeyAnswer.of(key, at) for key in page.keys], next_after=page.after
        )

    @router.get("/stats", response_model=KeyStatsAnswer, summary="Say how keys in memory are doing")
    async def stats() -> Any:
        cache, refresh = admin.administration.cache, admin.refresh
        return KeyStatsAnswer(
            cache=cache.manager.config.name,
            process_id=os.getpid(),
            keys=KeyCacheFigures.model_validate(cache.stats()),
            refresh=None
            if refresh is None
            else RefreshFigures.model_validate(refresh.stats(), from_attributes=True),
        )

    @router.get("/changes", response_model=ChangesAnswer, summary="List the last changes")
    async def changes(limit: Annotated[int, Query(ge=1, le=1000)] = 50) -> Any:
        return ChangesAnswer(process_id=os.getpid(), changes=admin.changes.latest(limit))


def add_usage_route(router: APIRouter, admin: KeyAdminContext) -> None:
    """Add the route that tells how many requests there were.

    Args:
        router: One with a guard.
        admin: What all routes have in common, with what tells.
    """
    usage = admin.usage
    assert usage is not None  # noqa: S101 - the router looks before

    @router.get("/usage", response_model=UsageAnswer, summary="Say how many requests there were")
    async def used(
        organization_id: _Organization = None,
        seconds: Annotated[int, Query(ge=60, le=366 * _DAY_SECONDS)] = _DAY_SECONDS,
    ) -> Any:
        try:
            points = sorted(
                (float(at), float(requests), float(errors))
                for at, requests, errors in await usage(organization_id, seconds)
            )[-_MOST_POINTS:]
            if not all(math.isfinite(value) for point in points for value in point):
                raise ValueError("a point is not finite")
        except HTTPException:
            raise
        except Exception as error:
            # Of the application; its text may hold anything.
            log.warning("api keys: usage is not known: %s", type(error).__name__)
            raise HTTPException(503, "The usage is not known now") from None
        columns = list(zip(*points, strict=True)) or [(), (), ()]
        return UsageAnswer(
            organization_id=organization_id,
            timestamps=list(columns[0]),
            requests=list(columns[1]),
            errors=list(columns[2]),
        )
