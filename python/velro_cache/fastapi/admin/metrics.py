"""The route that Prometheus asks.

No ``from __future__ import annotations`` here: FastAPI reads these annotations.
"""

from fastapi import APIRouter, Depends, Request, Response

from velro_cache.fastapi.admin.context import AdminContext
from velro_cache.manager import OptimizedCacheManager

__all__ = ["add_metrics_route"]


def add_metrics_route(router: APIRouter, admin: AdminContext) -> None:
    """Add the metrics of the cache.

    Args:
        router: One with a guard.
        admin: What all routes have in common.

    Raises:
        ImportError: prometheus-client is not installed.
    """
    try:
        from velro_cache.prometheus.exposition import exposition
    except ImportError as error:
        raise ImportError(
            "the metrics route needs prometheus-client: pip install 'velro-cache[prometheus]', or"
            " leave the route out with create_admin_router(..., metrics=False)"
        ) from error

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
        text, content_type = exposition(cache, accept)
        return Response(text, headers={"Content-Type": content_type})
