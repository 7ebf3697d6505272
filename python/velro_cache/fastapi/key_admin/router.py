"""Puts the routes together by which API keys are administered."""

import time
from collections.abc import Callable, Collection
from datetime import datetime
from typing import Any

from fastapi import APIRouter

from velro_cache.api_keys.administration import KeyAdministration
from velro_cache.api_keys.refresh import RefreshManager
from velro_cache.fastapi.admin.audit import utc_now
from velro_cache.fastapi.admin.cross_site import checked_origins
from velro_cache.fastapi.admin.dashboard.pages import add_page
from velro_cache.fastapi.admin.guarding import checked_guard, guarded_by
from velro_cache.fastapi.admin.rate_limit import TokenBucket
from velro_cache.fastapi.admin.route import ReadingRoute, changing_route, checked_prefix
from velro_cache.fastapi.key_admin.change_log import ChangeLog
from velro_cache.fastapi.key_admin.changing import (
    CHANGING_KEYS_RESPONSES,
    add_key_routes,
    add_organization_routes,
    add_refresh,
)
from velro_cache.fastapi.key_admin.context import KeyAdminContext, KeyDirectory, Usage
from velro_cache.fastapi.key_admin.page import read_key_page
from velro_cache.fastapi.key_admin.reading import (
    READING_KEYS_RESPONSES,
    add_listing_routes,
    add_usage_route,
)

__all__ = ["create_key_admin_router"]


def create_key_admin_router(
    guard: Callable[..., Any],
    *,
    administration: KeyAdministration[Any],
    store: KeyDirectory,
    prefix: str = "/admin/keys",
    refresh: RefreshManager | None = None,
    usage: Usage | None = None,
    changing_guard: Callable[..., Any] | None = None,
    page: bool = True,
    page_guard: Callable[..., Any] | None = None,
    trusted_origins: Collection[str] = (),
    changes_per_minute: float = 60,
    change_burst: int = 20,
    changes_kept: int = 200,
    read_only: bool = False,
    clock: Callable[[], float] = time.monotonic,
    now: Callable[[], datetime] = utc_now,
) -> APIRouter:
    """Make the routes by which organizations and API keys are looked at and changed.

    Every route has a guard: a FastAPI dependency that raises ``HTTPException`` for whoever may
    not, and returns who it is; see ``create_admin_router``. Whoever gets through sees the keys of
    all organizations, by all but themselves: this is for the operators of a service, not for its
    customers.

    Args:
        guard: Of all routes that have no guard of their own.
        administration: Changes keys in the database and in memory.
        store: The keys in the database, such as :class:`velro_cache.api_keys.sql.SqlApiKeys`.
        prefix: Where the routes lie.
        refresh: What reads all live keys again and again. None: there are no routes about it.
        usage: An async function of an organization's id (None: all) and a time in seconds, which
            returns points ``(timestamp, requests, errors)`` of that time, the timestamp in seconds
            since 1970. None: the page has no chart.
        changing_guard: Of the routes that change something, in addition to ``guard``.
        page: Whether there is a page for operators, at ``prefix`` and a slash.
        page_guard: Of that page, in place of ``guard``: browsers cannot send a bearer token when a
            page is opened. The page holds no data.
        trusted_origins: Origins (``https://ops.example``) besides that of the service itself whose
            pages may send requests that change something.
        changes_per_minute: How many in the long run, in each worker.
        change_burst: How many of them at once.
        changes_kept: How many of the last changes each worker remembers.
        read_only: Whether the routes that change something are left out.
        clock: Seconds that never go back, for the limit; for tests.
        now: The wall clock, with a time zone; for tests.

    Returns:
        A router for ``app.include_router(...)``.

    Raises:
        ValueError: ``guard`` is None; ``prefix``, an origin or a number cannot be used.
        TypeError: A guard is not a dependency.

    Consistency:
        Lists are as committed when they were read. A change holds when it is answered, as those of
        :class:`KeyAdministration` do. Statistics and the list of changes are those of the worker
        that answers.
    """
    guard = checked_guard("guard", guard)
    checked_prefix(prefix, "/admin/keys")
    admin = KeyAdminContext(
        administration=administration,
        store=store,
        refresh=refresh,
        usage=usage,
        changes=ChangeLog(changes_kept, now),
        turns=TokenBucket(
            changes_per_minute, change_burst, clock, names=("changes_per_minute", "change_burst")
        ),
        now=now,
    )
    changing = changing_route(checked_origins(trusted_origins))
    router = APIRouter(prefix=prefix, tags=["API key administration"])
    reading = APIRouter(
        dependencies=[guarded_by(guard)],
        route_class=ReadingRoute,
        responses=READING_KEYS_RESPONSES,
    )
    add_listing_routes(reading, admin)
    if usage is not None:
        add_usage_route(reading, admin)
    router.include_router(reading)
    if not read_only:
        guards = [guard]
        if changing_guard is not None:
            guards.append(checked_guard("changing_guard", changing_guard))
        writing = APIRouter(
            dependencies=[guarded_by(one) for one in guards],
            route_class=changing,
            responses=CHANGING_KEYS_RESPONSES,
        )
        add_organization_routes(writing, admin)
        add_key_routes(writing, admin)
        if refresh is not None:
            add_refresh(writing, admin)
        router.include_router(writing)
    if page:
        looking = guard if page_guard is None else checked_guard("page_guard", page_guard)
        files = read_key_page(
            read_only=read_only, has_usage=usage is not None, has_refresh=refresh is not None
        )
        add_page(router, guarded_by(looking), files)
    return router
