"""Routes for those who decide where requests are sent.

No ``from __future__ import annotations`` here: FastAPI reads these annotations.
"""

from fastapi import APIRouter, Depends, Response

from velro_cache.fastapi.admin.answers import Alive, Readiness
from velro_cache.fastapi.admin.context import AdminContext
from velro_cache.manager import OptimizedCacheManager

__all__ = ["add_health_routes", "readiness"]


def add_health_routes(router: APIRouter, admin: AdminContext) -> None:
    """Add liveness and readiness.

    Args:
        router: One with a guard.
        admin: What all routes have in common.
    """
    cache_of_request = Depends(admin.cache)

    @router.get("/health/live", summary="Whether the process answers")
    async def live() -> Alive:
        return Alive()

    @router.get(
        "/health/ready",
        summary="Whether requests should be sent here",
        responses={503: {"model": Readiness, "description": "Not now"}},
    )
    async def ready(
        response: Response, cache: OptimizedCacheManager = cache_of_request
    ) -> Readiness:
        answer = readiness(cache, admin)
        if not answer.ready:
            response.status_code = 503
        return answer


def readiness(cache: OptimizedCacheManager, admin: AdminContext) -> Readiness:
    """Ask whether the cache can do its work.

    Args:
        cache: Which.
        admin: What is asked of it.

    Returns:
        ``started``: it was not stopped; ``table``: invalidations of this host are seen; ``lease``,
        with a log and unless told otherwise: there is news from other hosts; ``warm``, if there is
        something to be loaded at the start: it is loaded.
    """
    sharing = cache._sharing()
    checks = {"started": not cache.is_stopped, "table": sharing["state"] != "lost"}
    log = sharing.get("log")
    if admin.needs_lease and cache.config.log_address is not None:
        # A log that is configured and not connected is no news either.
        checks["lease"] = bool(log and log["has_lease"])
    if admin.is_warm is not None:
        checks["warm"] = admin.is_warm() is True
    return Readiness(ready=all(checks.values()), checks=checks)
