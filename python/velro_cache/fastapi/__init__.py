"""velro-cache for FastAPI: lifespan, middleware and dependencies.

::

    app = FastAPI(lifespan=velro_lifespan(authorization=my_service))
    app.add_middleware(OptimizedAuthMiddleware)

    @app.get("/generations/{generation_id}/media")
    async def media(generation_id: UUID, auth: AuthDep): ...

Needs the extra ``fastapi``; the rest of the package does not.
"""

try:
    import fastapi as _fastapi  # noqa: F401  (only to see whether it is there)
except ImportError as error:
    raise ImportError(
        "velro_cache.fastapi needs FastAPI: pip install velro-cache[fastapi]"
    ) from error

from velro_cache.fastapi.dependencies import (
    AuthDep,
    CacheManagerDep,
    get_cache,
    get_optimized_auth_middleware,
)
from velro_cache.fastapi.lifespan import velro_lifespan
from velro_cache.fastapi.middleware import OptimizedAuthMiddleware

__all__ = [
    "AuthDep",
    "CacheManagerDep",
    "OptimizedAuthMiddleware",
    "get_cache",
    "get_optimized_auth_middleware",
    "velro_lifespan",
]
