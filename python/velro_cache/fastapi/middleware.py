"""Checks of access for web applications, and the ASGI middleware that hands them to requests.

One class does both, as the Velro documentation has it: ``OptimizedAuthMiddleware()`` makes an
object to check with, ``app.add_middleware(OptimizedAuthMiddleware)`` puts one on
``request.state.auth_cache`` for every request, and with ``authenticate=`` lets only requests with
a valid token through. It is plain ASGI: it calls no ``BaseHTTPMiddleware``, starts no task and
copies no body.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, MutableMapping
from datetime import datetime
from typing import Any, Final, Self, TypeAlias

from starlette.exceptions import HTTPException

from velro_cache.authorization.cached_check import (
    DEFAULT_DENY_TTL_SECONDS,
    CachedGenerationAccess,
)
from velro_cache.authorization.cached_role_check import CachedRoleAccess
from velro_cache.authorization.check_statistics import statistics_of
from velro_cache.authorization.current import current_authorization_service
from velro_cache.authorization.identity import Identity
from velro_cache.authorization.models import (
    AccessType,
    AuthorizationResult,
    GenerationPermissions,
    TeamRole,
    utc_now,
)
from velro_cache.authorization.service import GenerationAccessService
from velro_cache.authorization.verified_tokens import VerifiedTokens, Verifier
from velro_cache.exceptions import AuthorizationUnavailable, InvalidTokenError
from velro_cache.fastapi.answering import answer
from velro_cache.fastapi.bearer import BearerChallenge, TokenFinder, bearer_token
from velro_cache.fastapi.problems import UNAVAILABLE, unavailable
from velro_cache.fastapi.refusals import AccessDenied, AuthenticationRequired, InvalidBearerToken
from velro_cache.manager import Id, OptimizedCacheManager
from velro_cache.registry import get_cache_manager

__all__ = ["Authorizer", "OptimizedAuthMiddleware", "as_tokens"]

log = logging.getLogger("velro_cache")

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
ASGIApp: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

Authorizer: TypeAlias = Callable[["OptimizedAuthMiddleware", Scope, Identity, str], Awaitable[bool]]
"""Says whether a request may go on: given what to check with, the ASGI scope, who is asking and
the token. Only ``True`` is a yes."""


class OptimizedAuthMiddleware:
    """Checks access to generations, projects and teams through the cache.

    Without arguments it uses the cache manager of this process and the authorization service
    that ``velro_lifespan`` or ``register_authorization_service`` named; both are looked up at the
    first check, so an object made early does no harm. Objects are cheap and keep no state:
    statistics are counted per cache manager.

    Args:
        app: The application to wrap; filled in by ``add_middleware``. None: no middleware, only
            an object to check with.
        authorization: Who decides what is not cached. None: see above.
        cache_manager: Where decisions are kept. None: see above.
        authenticate: Tells the user from a token: a function from the token to an
            :class:`Identity`, or :class:`VerifiedTokens`. As middleware, it then refuses requests
            without a valid token (see ``enforce``). None: that of ``velro_lifespan``, for the
            guards of routes only.
        authorize: Asked as well before a request is let through; see :data:`Authorizer`. Needs
            ``authenticate``.
        enforce: Whether the middleware refuses requests. False: it leaves that to the guards of
            routes.
        public_paths: Paths that need no token, compared as they are: ``/health`` is not
            ``/health/``.
        realm: Name of what is protected, in ``WWW-Authenticate``.
        resource_metadata: Where clients find out how to get a token (RFC 9728). None: not said.
        problem_details: Refusals of the middleware are problem documents (RFC 9457).
        find_token: Says where the token of a request or WebSocket stands.
        deny_ttl_seconds: How long a deny is kept, in seconds, at most ``auth_ttl_seconds``.
            0: not at all.
        namespace: Name shared by all services that would give the same answers; needed only if
            you make a new service object for each request. None: decisions belong to the service
            object that made them.
        now: The wall clock, with a time zone; for tests of what expires.

    Raises:
        TypeError: ``app`` is no application, ``authenticate`` no function, or ``authorize`` has
            nobody to ask about.
        ValueError: ``realm`` or ``resource_metadata`` cannot stand in a header.
    """

    __slots__ = (
        "_app",
        "_authenticate",
        "_authorization",
        "_authorize",
        "_cache_manager",
        "_checks",
        "_deny_ttl_seconds",
        "_enforce",
        "_find_token",
        "_last_bound",
        "_namespace",
        "_now",
        "_problem_details",
        "_public_paths",
        "_roles",
        "_tokens",
        "challenge",
    )

    def __init__(
        self,
        app: ASGIApp | None = None,
        *,
        authorization: GenerationAccessService | None = None,
        cache_manager: OptimizedCacheManager | None = None,
        authenticate: Verifier | VerifiedTokens | None = None,
        authorize: Authorizer | None = None,
        enforce: bool = True,
        public_paths: Collection[str] = (),
        realm: str = "api",
        resource_metadata: str | None = None,
        problem_details: bool = False,
        find_token: TokenFinder = bearer_token,
        deny_ttl_seconds: float = DEFAULT_DENY_TTL_SECONDS,
        namespace: str | None = None,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        if app is not None and not callable(app):
            raise TypeError(
                "the first argument is the ASGI application; pass a service as"
                " authorization=... and a cache as cache_manager=..."
            )
        if authorize is not None and authenticate is None:
            raise TypeError("authorize= needs to know who is asking: give authenticate=, too")
        if isinstance(public_paths, str):
            raise TypeError("public_paths must be several paths, not one text")
        self._app = app
        self._authorization = authorization
        self._cache_manager = cache_manager
        self._authenticate = as_tokens(authenticate, now)
        self._authorize = authorize
        self._enforce = enforce and authenticate is not None
        self._public_paths = frozenset(public_paths)
        self._problem_details = problem_details
        self._find_token = find_token
        self._deny_ttl_seconds = deny_ttl_seconds
        self._namespace = namespace
        self._now = now
        self.challenge: Final = BearerChallenge(realm, resource_metadata)
        self._forget_what_was_found()

    def _forget_what_was_found(self) -> None:
        self._checks: CachedGenerationAccess | None = None
        self._roles: CachedRoleAccess | None = None
        self._tokens: VerifiedTokens | None = None
        self._last_bound: Self | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve as ASGI middleware: set ``auth_cache``, then let the application go on.

        With ``authenticate=`` the application only sees requests with a valid token, and finds
        whose it is in ``request.state.identity``. Others are answered with 401 or 403, or 503 if
        nobody can tell; an exception that says nothing about that goes on to the server.

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
            auth = state["auth_cache"] = self.bound_to(state)
            if self._enforce and scope["path"] not in self._public_paths:
                try:
                    identity, token = await auth.authenticate(scope)
                    if self._authorize is not None:
                        may = await self._authorize(auth, scope, identity, token)
                        # Not a truth value: a coroutine somebody forgot to await is one.
                        if may is not True:
                            raise AccessDenied(self.challenge)
                except HTTPException as refusal:
                    return await answer(scope, send, refusal, as_problem=self._problem_details)
                except UNAVAILABLE as error:
                    log.error("authorization is not available: %s", type(error).__name__)
                    return await answer(
                        scope, send, unavailable(), as_problem=self._problem_details
                    )
                state["identity"] = identity
        return await self._app(scope, receive, send)

    async def authenticate(self, scope: Scope) -> tuple[Identity, str]:
        """Say who sent a request, by its token.

        Args:
            scope: The ASGI scope of a request or WebSocket.

        Returns:
            The user and what else is known of them, and the token.

        Raises:
            AuthenticationRequired: There are no bearer credentials.
            InvalidBearerToken: There is no valid token in them.
            AuthorizationUnavailable: Nobody was named who could tell.
            LoaderTimeoutError: The verifier did not answer within ``load_timeout_seconds``.
            Exception: Whatever the verifier raised; nothing was cached.

        Consistency: as for :meth:`VerifiedTokens.identify`.
        """
        tokens = self._tokens
        if tokens is None:
            tokens = self._find_tokens()
        try:
            token = self._find_token(scope)
            if token is None:
                raise AuthenticationRequired(self.challenge)
            identity = await tokens.identify(token)
        except InvalidTokenError:
            raise InvalidBearerToken(self.challenge) from None
        return identity, token if isinstance(token, str) else str(token, "ascii")

    def bound_to(self, state: Mapping[str, Any]) -> Self:
        """The object to check with for one application.

        Args:
            state: State of a request, as ``velro_lifespan`` filled it.

        Returns:
            Itself, or a copy that uses the cache manager, the authorization service and the
            verifier found in ``state`` where none was named when this was made.
        """
        cache_manager = self._cache_manager
        if cache_manager is None:
            cache_manager = state.get("velro_cache")
        authorization = self._authorization
        if authorization is None:
            authorization = state.get("velro_authorization")
        authenticate = self._authenticate
        if authenticate is None:
            authenticate = state.get("velro_tokens")
        if (
            cache_manager is self._cache_manager
            and authorization is self._authorization
            and authenticate is self._authenticate
        ):
            return self
        bound = self._last_bound
        # All requests of an application carry the same objects: one copy does for all.
        if (
            bound is None
            or bound._cache_manager is not cache_manager
            or bound._authorization is not authorization
            or bound._authenticate is not authenticate
        ):
            bound = object.__new__(type(self))
            for name in OptimizedAuthMiddleware.__slots__:
                setattr(bound, name, getattr(self, name))
            bound._app = None
            bound._cache_manager = cache_manager
            bound._authorization = authorization
            bound._authenticate = authenticate
            bound._forget_what_was_found()
            self._last_bound = bound
        return bound

    def is_bound_to(self, state: Mapping[str, Any]) -> bool:
        """Whether it uses the cache manager, the service and the verifier found in a state.

        Args:
            state: State of a request, as ``velro_lifespan`` filled it.
        """
        return (
            self._cache_manager is state.get("velro_cache")
            and self._authorization is state.get("velro_authorization")
            and self._authenticate is state.get("velro_tokens")
        )

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

    async def check_project_access_cached(
        self,
        project_id: Id,
        user_id: Id,
        required_role: TeamRole = TeamRole.VIEWER,
        force_refresh: bool = False,
    ) -> AuthorizationResult:
        """Say whether a user takes part in a project with at least a role.

        Args:
            project_id: The project.
            user_id: The user.
            required_role: Lowest role that will do.
            force_refresh: Ask the service, whatever is cached.

        Returns:
            The answer, with ``granted`` saying whether it holds right now.

        Raises:
            AuthorizationUnavailable: No service is configured, or it cannot decide about projects.
            TypeError: The service returned something else.
            ValueError: There is no such role, or the answer contradicts itself.
            LoaderTimeoutError: The service did not answer within ``load_timeout_seconds``.
            Exception: Whatever the service raised, to all who waited for it; nothing was cached.

        Consistency: as for :meth:`check_generation_access_cached`.
        """
        roles = self._find_roles()
        return await roles.check_project(project_id, user_id, required_role, force_refresh)

    async def check_team_role_cached(
        self,
        team_id: Id,
        user_id: Id,
        required_role: TeamRole = TeamRole.VIEWER,
        force_refresh: bool = False,
    ) -> AuthorizationResult:
        """Say whether a user holds at least a role in a team.

        Args:
            team_id: The team.
            user_id: The user.
            required_role: Lowest role that will do.
            force_refresh: Ask the service, whatever is cached.

        Returns:
            The answer, with ``granted`` saying whether it holds right now.

        Raises:
            AuthorizationUnavailable: No service is configured, or it cannot decide about teams.
            TypeError: The service returned something else.
            ValueError: There is no such role, or the answer contradicts itself.
            LoaderTimeoutError: The service did not answer within ``load_timeout_seconds``.
            Exception: Whatever the service raised, to all who waited for it; nothing was cached.

        Consistency: as for :meth:`check_generation_access_cached`.
        """
        return await self._find_roles().check_team(team_id, user_id, required_role, force_refresh)

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

    def _find_roles(self) -> CachedRoleAccess:
        roles = self._roles
        if roles is None or self._authorization is None or self._cache_manager is None:
            authorization = self._authorization
            if authorization is None:
                authorization = current_authorization_service()
            cache_manager = self._cache_manager
            if cache_manager is None:
                cache_manager = get_cache_manager()
            roles = self._roles = CachedRoleAccess(
                authorization,
                cache_manager,
                deny_ttl_seconds=self._deny_ttl_seconds,
                namespace=self._namespace,
                now=self._now,
            )
        return roles

    def _find_tokens(self) -> VerifiedTokens:
        tokens = self._authenticate
        if tokens is None:
            raise AuthorizationUnavailable(
                "nobody can tell whose a token is: name the function with"
                " velro_lifespan(authenticate=...) or OptimizedAuthMiddleware(authenticate=...)"
            )
        if self._cache_manager is not None:
            tokens = tokens.bound_to(self._cache_manager)
        self._tokens = tokens
        return tokens


def as_tokens(
    authenticate: Verifier | VerifiedTokens | None, now: Callable[[], datetime] = utc_now
) -> VerifiedTokens | None:
    """Have a verifier remembered, if it is not yet.

    Args:
        authenticate: What an application named.
        now: The wall clock, with a time zone.

    Returns:
        Verified tokens; None where nobody was named.

    Raises:
        TypeError: It cannot be called.
    """
    if authenticate is None or isinstance(authenticate, VerifiedTokens):
        return authenticate
    if now is utc_now:
        return VerifiedTokens(authenticate)
    return VerifiedTokens(authenticate, now=lambda: now().timestamp())
