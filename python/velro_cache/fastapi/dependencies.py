"""What endpoints ask for with ``Depends``.

All of it is async on purpose: FastAPI sends a plain ``def`` dependency through the thread pool,
which costs far more than the lookup it would return.

No ``from __future__ import annotations`` here: FastAPI reads these annotations.
"""

from typing import Annotated

from fastapi import Depends
from fastapi.requests import HTTPConnection

from velro_cache.fastapi.middleware import OptimizedAuthMiddleware
from velro_cache.manager import OptimizedCacheManager
from velro_cache.registry import get_cache_manager

__all__ = [
    "AuthDep",
    "CacheManagerDep",
    "auth_of",
    "get_cache",
    "get_optimized_auth_middleware",
]


async def get_cache(connection: HTTPConnection) -> OptimizedCacheManager:
    """The cache manager of this application.

    Args:
        connection: The request or WebSocket; FastAPI fills it in.

    Returns:
        The manager that ``velro_lifespan`` started; without it, the one of this process.
    """
    manager = connection.scope.get("state", {}).get("velro_cache")
    return manager if isinstance(manager, OptimizedCacheManager) else get_cache_manager()


async def get_optimized_auth_middleware(connection: HTTPConnection) -> OptimizedAuthMiddleware:
    """What checks access for this application.

    This is the one place to override in tests:
    ``app.dependency_overrides[get_optimized_auth_middleware] = ...``.

    Args:
        connection: The request or WebSocket; FastAPI fills it in.

    Returns:
        ``request.state.auth_cache`` if a middleware has set it; otherwise an object on the cache
        manager and the authorization service of ``velro_lifespan``; without that, of this process.
    """
    return auth_of(connection)


def auth_of(connection: HTTPConnection) -> OptimizedAuthMiddleware:
    """What :func:`get_optimized_auth_middleware` returns, for those who need not wait.

    Args:
        connection: The request or WebSocket.
    """
    state = connection.scope.get("state", {})
    auth = state.get("auth_cache")
    if isinstance(auth, OptimizedAuthMiddleware):
        return auth
    auth = state.get("velro_auth")
    # States of lifespans are merged: what the application's made may lack what a router's brought.
    if isinstance(auth, OptimizedAuthMiddleware) and auth.is_bound_to(state):
        return auth
    return OptimizedAuthMiddleware().bound_to(state)


CacheManagerDep = Annotated[OptimizedCacheManager, Depends(get_cache)]
"""``cache: CacheManagerDep`` in an endpoint."""

AuthDep = Annotated[OptimizedAuthMiddleware, Depends(get_optimized_auth_middleware)]
"""``auth: AuthDep`` in an endpoint."""
