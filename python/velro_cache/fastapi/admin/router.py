"""Puts the admin routes together."""

import time
from collections.abc import Callable, Collection
from datetime import datetime
from importlib.util import find_spec
from typing import Any

from fastapi import APIRouter

from velro_cache.fastapi.admin.audit import AuditLog, utc_now
from velro_cache.fastapi.admin.changing import CHANGING_RESPONSES, add_changing_routes
from velro_cache.fastapi.admin.context import AdminContext
from velro_cache.fastapi.admin.cross_site import checked_origins
from velro_cache.fastapi.admin.dashboard.pages import add_dashboard
from velro_cache.fastapi.admin.guarding import checked_guard, guarded_by
from velro_cache.fastapi.admin.health import add_health_routes
from velro_cache.fastapi.admin.metrics import Collects, add_metrics_route
from velro_cache.fastapi.admin.observing import add_observing_routes
from velro_cache.fastapi.admin.rate_limit import TokenBucket
from velro_cache.fastapi.admin.reading import add_reading_routes
from velro_cache.fastapi.admin.recommending import add_recommendations_route
from velro_cache.fastapi.admin.route import ReadingRoute, changing_route, checked_prefix
from velro_cache.fastapi.admin.warm import add_warm_route, add_warming_route
from velro_cache.fastapi.dependencies import get_cache
from velro_cache.manager import OptimizedCacheManager

__all__ = ["create_admin_router"]


def create_admin_router(
    guard: Callable[..., Any],
    metrics_guard: Callable[..., Any] | None = None,
    prefix: str = "/admin/cache",
    read_only: bool = False,
    *,
    health_guard: Callable[..., Any] | None = None,
    changing_guard: Callable[..., Any] | None = None,
    cache: OptimizedCacheManager | None = None,
    metrics: bool | None = None,
    collectors: Collection[Collects] = (),
    dashboard: bool = True,
    dashboard_guard: Callable[..., Any] | None = None,
    trusted_origins: Collection[str] = (),
    invalidations_per_minute: float = 60,
    invalidation_burst: int = 20,
    audit_size: int = 200,
    ready_without_lease: bool = False,
    is_warm: Callable[[], bool] | None = None,
    clock: Callable[[], float] = time.monotonic,
    now: Callable[[], datetime] = utc_now,
) -> APIRouter:
    """Make the routes by which a cache is looked at and invalidated.

    Every route has a guard: a FastAPI dependency that raises ``HTTPException`` for whoever may
    not, and returns who it is (a text, an id, or an object or mapping with ``user_id``, ``sub``,
    ``username`` or ``id``; the audit log names it). One that returns False refuses, too.

    Args:
        guard: Of all routes that have no guard of their own.
        metrics_guard: Of the metrics, in place of ``guard``: a scraper is no operator.
        prefix: Where the routes lie.
        read_only: Whether the routes that change something are left out.
        health_guard: Of liveness and readiness, in place of ``guard``.
        changing_guard: Of the routes that change something, in addition to ``guard``; the audit
            log names whom it lets through.
        cache: Which cache. None: that of the application, as ``CacheManagerDep`` finds it.
        metrics: Whether there is a route for Prometheus; needs the extra ``prometheus``. None: if
            that is installed.
        collectors: What that route shows besides the cache, such as an ``ApiKeyCollector`` and a
            ``RateLimitCollector`` of ``velro_cache.prometheus``.
        dashboard: Whether there is a page for operators, at ``prefix`` and a slash.
        dashboard_guard: Of that page, in place of ``guard``: browsers cannot send a bearer token
            when a page is opened. The page holds no data; it asks the routes for them, with the
            token that is typed in there.
        trusted_origins: Origins (``https://ops.example``) besides that of the service itself whose
            pages may send requests that change something.
        invalidations_per_minute: How many in the long run, in each worker, dry runs included.
        invalidation_burst: How many of them at once.
        audit_size: How many of the last invalidations each worker remembers.
        ready_without_lease: Whether a host without news from the log is ready. With False, an
            outage of the log takes all hosts out of service.
        is_warm: Whether what is to be loaded at the start is loaded. None: nothing is waited for;
            what ``velro_lifespan`` preloads is loaded before the first request anyway.
        clock: Seconds that never go back, for the limit; for tests.
        now: The wall clock, with a time zone, for the audit log; for tests.

    Returns:
        A router for ``app.include_router(...)``.

    Raises:
        ValueError: ``guard`` is None; ``prefix``, an origin or a number cannot be used; two
            collectors have a metric of the same name, or there is no route to show them.
        TypeError: A guard is not a dependency, or a collector is none.
        ImportError: ``metrics`` without prometheus-client.

    Consistency:
        Statistics, keys and the audit log are those of the worker that answers. An invalidation
        holds as one made by a call does, in all workers, and on other hosts as ``wait`` says.
    """
    guard = checked_guard("guard", guard)
    checked_prefix(prefix, "/admin/cache")
    admin = AdminContext(
        cache=get_cache if cache is None else _always(cache),
        audit=AuditLog(audit_size, now),
        invalidations=TokenBucket(invalidations_per_minute, invalidation_burst, clock),
        needs_lease=not ready_without_lease,
        is_warm=is_warm,
    )
    changing = changing_route(checked_origins(trusted_origins))
    router = APIRouter(prefix=prefix, tags=["cache administration"])

    def part(guards: list[Callable[..., Any]], route: type[ReadingRoute], **options: Any) -> Any:
        return APIRouter(
            dependencies=[guarded_by(one) for one in guards], route_class=route, **options
        )

    reading = part([guard], ReadingRoute)
    add_reading_routes(reading, admin)
    add_observing_routes(reading, admin)
    add_warming_route(reading, admin)
    add_recommendations_route(reading, admin)
    parts = [reading]
    if not read_only:
        guards = [guard]
        if changing_guard is not None:
            guards.append(checked_guard("changing_guard", changing_guard))
        writing = part(guards, changing, responses=CHANGING_RESPONSES)
        add_changing_routes(writing, admin)
        add_warm_route(writing, admin)
        parts.append(writing)
    watching = part([_or(guard, "health_guard", health_guard)], ReadingRoute)
    add_health_routes(watching, admin)
    parts.append(watching)
    if metrics is None:
        metrics = find_spec("prometheus_client") is not None
    if metrics:
        measuring = part([_or(guard, "metrics_guard", metrics_guard)], ReadingRoute)
        add_metrics_route(measuring, admin, collectors)
        parts.append(measuring)
    elif collectors:
        raise ValueError("collectors are shown by the metrics route, which is left out")
    for one in parts:
        router.include_router(one)
    if dashboard:
        looking = guarded_by(_or(guard, "dashboard_guard", dashboard_guard))
        add_dashboard(router, looking, read_only=read_only)
    return router


def _or(guard: Callable[..., Any], name: str, own: object) -> Callable[..., Any]:
    return guard if own is None else checked_guard(name, own)


def _always(cache: OptimizedCacheManager) -> Callable[..., Any]:
    async def found() -> OptimizedCacheManager:
        return cache

    return found
