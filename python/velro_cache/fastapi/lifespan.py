"""Start the cache with the application and stop it with the application."""

from __future__ import annotations

import weakref
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any

from velro_cache.authorization.current import (
    register_authorization_service,
    unregister_authorization_service,
)
from velro_cache.authorization.service import GenerationAccessService
from velro_cache.authorization.verified_tokens import VerifiedTokens, Verifier
from velro_cache.config import OptimizedCacheConfig
from velro_cache.fastapi.middleware import OptimizedAuthMiddleware, as_tokens
from velro_cache.fork_safety import ForkSafeLock
from velro_cache.manager import OptimizedCacheManager
from velro_cache.registry import get_cache_manager, stop_cache_manager

__all__ = ["velro_lifespan"]


def velro_lifespan(
    config: OptimizedCacheConfig | None = None,
    *,
    authorization: GenerationAccessService | None = None,
    authenticate: Verifier | VerifiedTokens | None = None,
    alongside: Sequence[AbstractAsyncContextManager[Any]] = (),
) -> Callable[[Any], AbstractAsyncContextManager[dict[str, Any]]]:
    """Make a lifespan that runs the cache manager of this process.

    Use it as it is, ``FastAPI(lifespan=velro_lifespan(...))``, on a router, or from within a
    lifespan of your own::

        @asynccontextmanager
        async def lifespan(app):
            async with velro_lifespan(config, authorization=service)(app) as state:
                yield {**state, "database": database}

    Args:
        config: Settings of the cache. None: the defaults, or those the manager has already.
        authorization: Who decides what is not cached, for all checks that name nobody else.
            None: nobody; each check must say.
        authenticate: Tells guards of routes the user from a token: a function from the token to
            an :class:`Identity`, or :class:`VerifiedTokens`. None: nobody; guards fail.
        alongside: What runs while the application does, such as a
            :class:`~velro_cache.api_keys.RefreshManager`: begun in this order once the cache runs,
            ended in the opposite one before it stops.

    Returns:
        A lifespan. Its state holds the manager as ``velro_cache`` and, if there are such, the
        service as ``velro_authorization``, verified tokens as ``velro_tokens`` and what checks
        with both as ``velro_auth``. When it ends, the manager is stopped, unless another
        lifespan of this process still runs.

    Raises:
        TypeError: ``authorization`` cannot decide, or ``authenticate`` cannot be called.
        ConfigError: When the application starts: there is a manager with other settings already.
    """
    if authorization is not None and not isinstance(authorization, GenerationAccessService):
        raise TypeError(
            f"{type(authorization).__name__} has no validate_generation_media_access method"
        )

    tokens = as_tokens(authenticate)

    @asynccontextmanager
    async def lifespan(_app: Any) -> AsyncGenerator[dict[str, Any]]:
        async with _running(config) as manager, AsyncExitStack() as others:
            for other in alongside:
                await others.enter_async_context(other)
            state: dict[str, Any] = {"velro_cache": manager}
            if authorization is not None:
                state["velro_authorization"] = authorization
            if tokens is not None:
                state["velro_tokens"] = tokens
            if len(state) > 1:
                # Made once, so that no request has to.
                state["velro_auth"] = OptimizedAuthMiddleware().bound_to(state)
            if authorization is None:
                yield state
                return
            register_authorization_service(authorization)
            try:
                yield state
            finally:
                unregister_authorization_service(authorization)

    return lifespan


# How many lifespans run on each manager: an application and its routers may each have one.
_users: weakref.WeakKeyDictionary[OptimizedCacheManager, int] = weakref.WeakKeyDictionary()
_users_lock = ForkSafeLock()


@asynccontextmanager
async def _running(config: OptimizedCacheConfig | None) -> AsyncGenerator[OptimizedCacheManager]:
    with _users_lock:
        manager = get_cache_manager(config)
        _users[manager] = _users.get(manager, 0) + 1
    try:
        await manager.start()
        yield manager
    finally:
        with _users_lock:
            _users[manager] -= 1
            last = _users[manager] == 0
        if last and not manager.is_stopped:
            await stop_cache_manager()
