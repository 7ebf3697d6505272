"""The route that Prometheus asks.

No ``from __future__ import annotations`` here: FastAPI reads these annotations.
"""

from collections.abc import Collection, Iterable
from typing import Any, Protocol

from fastapi import APIRouter, Depends, Request, Response

from velro_cache.fastapi.admin.context import AdminContext
from velro_cache.manager import OptimizedCacheManager

__all__ = ["Collects", "add_metrics_route"]


class Collects(Protocol):
    """A collector of prometheus-client, which need not be installed."""

    def collect(self) -> Iterable[Any]:
        """Yield metrics, with what they are now."""
        ...


def add_metrics_route(
    router: APIRouter, admin: AdminContext, collectors: Collection[Collects] = ()
) -> None:
    """Add the metrics of the cache.

    Args:
        router: One with a guard.
        admin: What all routes have in common.
        collectors: What else is shown.

    Raises:
        ImportError: prometheus-client is not installed.
        TypeError: What is to be shown is no collector.
        ValueError: Two collectors have a metric of the same name.
    """
    try:
        from velro_cache.prometheus.exposition import check_collectors, exposition
    except ImportError as error:
        raise ImportError(
            "the metrics route needs prometheus-client: pip install 'velro-cache[prometheus]', or"
            " leave the route out with create_admin_router(..., metrics=False)"
        ) from error

    shown: Any = tuple(collectors)
    check_collectors(shown)
    cache_of_request = Depends(admin.cache)

    @router.get(
        "/metrics",
        summary="Metrics for Prometheus",
        response_class=Response,
        responses={200: {"content": {"text/plain": {}}, "description": "Metrics"}},
    )
    async def metrics(
        request: Request, cache: OptimizedCacheManager = cache_of_request
    ) -> Response:
        accept = ",".join(request.headers.getlist("accept"))
        text, content_type = exposition(cache, accept, shown)
        return Response(text, headers={"Content-Type": content_type})
