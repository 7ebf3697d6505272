"""Checks of access for web applications, and the ASGI middleware that hands them to requests.

One class does both, as the Velro documentation has it: ``OptimizedAuthMiddleware()`` makes an
object to check with, ``app.add_middleware(OptimizedAuthMiddleware)`` puts one on
``request.state.auth_cache`` for every request. It is plain ASGI: it calls no
``BaseHTTPMiddleware``, starts no task and copies no body.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from datetime import datetime
from typing import Any, Self, TypeAlias

from velro_cache.authorization.cached_check import (
    DEFAULT_DENY_TTL_SECONDS,
    CachedGenerationAccess,
)
from velro_cache.authorization.check_statistics import statistics_of
from velro_cache.authorization.current import current_authorization_service
from velro_cache.authorization.models import AccessType, GenerationPermissions, utc_now
from velro_cache.authorization.service import GenerationAccessService
from velro_cache.manager import Id, OptimizedCacheManager
from velro_cache.registry import get_cache_manager

__all__ = ["OptimizedAuthMiddleware"]

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
ASGIApp: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]


class OptimizedAuthMiddleware:
    """Checks access to generations through the cache.

    Without arguments it uses the cache manager of this process and the authorization service
    that ``velro_lifespan`` or ``register_authorization_service`` named; both are looked up at the
    first check, so an object made early does no harm. Objects are cheap and keep no state:
    statistics are counted per cache manager.

    Args:
        app: The application to wrap; filled in by ``add_middleware``. None: no middleware, only
            an object to check with.
        authorization: Who decides what is not cached. None: see above.
        cache_manager: Where decisions are kept. None: see above.
        deny_ttl_seconds: How long a deny is kept, in seconds, at most ``auth_ttl_seconds``.
            0: not at all.
        namespace: Name shared by all services that would give the same answers; needed only if
            you make a new service object for each request. None: decisions belong to the service
            object that made them.
        now: The wall clock, with a time zone; for tests of what expires.
    """

    __slots__ = (
        "_app",
        "_authorization",
        "_cache_manager",
        "_checks",
        "_deny_ttl_seconds",
        "_last_bound",
        "_namespace",
        "_now",
    )

    def __init__(
        self,
        app: ASGIApp | None = None,
        *,
        authorization: GenerationAccessService | None = None,
        cache_manager: OptimizedCacheManager | None = None,
        deny_ttl_seconds: float = DEFAULT_DENY_TTL_SECONDS,
        namespace: str | None = None,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        if app is not None and not callable(app):
            raise TypeError(
                "the first argument is the ASGI application; pass a service as"
                " authorization=... and a cache as cache_manager=..."
            )
        self._app = app
        self._authorization = authorization
        self._cache_manager = cache_manager
        self._deny_ttl_seconds = deny_ttl_seconds
        self._namespace = namespace
        self._now = now
        self._checks: CachedGenerationAccess | None = None
        self._last_bound: Self | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve as ASGI middleware: set ``auth_cache``, then let the application go on.

        Raises:
            TypeError: It wraps no application.
        """
        if self._app is None:
            raise TypeError(
                "this OptimizedAuthMiddleware wraps no application;"
                " use app.add_middleware(OptimizedAuthMiddleware)"
            )
        if scope["type"] in ("http", "websocket"):
            state = scope.setdefault("state", {})
            state["auth_cache"] = self.bound_to(state)
        await self._app(scope, receive, send)

    def bound_to(self, state: Mapping[str, Any]) -> Self:
        """The object to check with for one application.

        Args:
            state: State of a request, as ``velro_lifespan`` filled it.

        Returns:
            Itself, or a copy that uses the cache manager and the authorization service found in
            ``state`` where none was named when this was made.
        """
        cache_manager = self._cache_manager
        if cache_manager is None:
            cache_manager = state.get("velro_cache")
        authorization = self._authorization
        if authorization is None:
            authorization = state.get("velro_authorization")
        if cache_manager is self._cache_manager and authorization is self._authorization:
            return self
        bound = self._last_bound
        # All requests of an application carry the same two objects: one copy does for all.
        if (
            bound is None
            or bound._cache_manager is not cache_manager
            or bound._authorization is not authorization
        ):
            bound = self._last_bound = type(self)(
                authorization=authorization,
                cache_manager=cache_manager,
                deny_ttl_seconds=self._deny_ttl_seconds,
                namespace=self._namespace,
                now=self._now,
            )
        return bound

    async def check_generation_access_cached(
        self,
        generation_id: Id,
        user_id: Id,
        auth_token: str,
        required_access: AccessType = AccessType.READ,
        client_ip: str | None = None,
        force_refresh: bool = False,
    ) -> GenerationPermissions:
        """Say whether a user may access a generation.

        Args:
            generation_id: The generation.
            user_id: The user.
            auth_token: Credential of the request. A decision made for one token never answers
                for another; the token itself is not kept.
            required_access: What the user wants to do.
            client_ip: Address of the client, if the service is to know it; binds the decision
                like the token.
            force_refresh: Ask the service, whatever is cached.

        Returns:
            The decision, with ``granted`` saying whether *this* access is allowed right now.
            Nobody can change it, so it may be shared freely.

        Raises:
            AuthorizationUnavailable: No authorization service is configured.
            TypeError: The token is not a text, or the service returned no decision.
            ValueError: There is no such access, or the service decided about somebody else.
            LoaderTimeoutError: The service did not answer within ``load_timeout_seconds``.
            Exception: Whatever the service raised, to all who waited for it; nothing was cached.

        Consistency:
            A check that begins after an invalidation has returned is never answered by a
            decision from before it.
        """
        checks = self._checks
        if checks is None or self._authorization is None or self._cache_manager is None:
            checks = self._checks = self._find_checks()
        return await checks.check(
            generation_id, user_id, auth_token, required_access, client_ip, force_refresh
        )

    def get_performance_stats(self) -> dict[str, Any]:
        """How the checks of this process are doing.

        Returns:
            ``middleware_stats``: counts and times of all checks through this cache manager,
            whichever object made them. ``cache_stats``: the manager's own statistics.
            ``combined_hit_rate_percent``: share of the checks for which the authorization
            service was not called, because a decision was cached or already on its way.
            ``performance_targets``: the configured targets and whether they are met.
            ``timestamp``: when this was read (ISO 8601, UTC).
        """
        cache_manager = self._cache_manager
        if cache_manager is None:
            cache_manager = get_cache_manager()
        checks = statistics_of(cache_manager).as_dict()
        cache = cache_manager.get_stats()
        total = checks["total_requests"]
        spared = checks["cache_hits"] + checks["shared_loads"]
        return {
            "middleware_stats": checks,
            "cache_stats": cache,
            "combined_hit_rate_percent": 100.0 * spared / total if total else 0.0,
            "performance_targets": {
                name: cache[name]
                for name in (
                    "target_access_time_ms",
                    "target_hit_rate_percent",
                    "meeting_access_time_target",
                    "meeting_hit_rate_target",
                )
            },
            "timestamp": self._now().isoformat(),
        }

    def _find_checks(self) -> CachedGenerationAccess:
        authorization = self._authorization
        if authorization is None:
            authorization = current_authorization_service()
        cache_manager = self._cache_manager
        if cache_manager is None:
            cache_manager = get_cache_manager()
        return CachedGenerationAccess(
            authorization,
            cache_manager,
            deny_ttl_seconds=self._deny_ttl_seconds,
            namespace=self._namespace,
            now=self._now,
        )
