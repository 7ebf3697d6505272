"""Checks of access for web applications, and the ASGI middleware that hands them to requests.

One class does both, as the Velro documentation has it: ``OptimizedAuthMiddleware()`` makes an
object to check with, ``app.add_middleware(OptimizedAuthMiddleware)`` puts one on
``request.state.auth_cache`` for every request, and with ``authenticate=`` lets only requests with
a valid token through. It is plain ASGI: it calls no ``BaseHTTPMiddleware``, starts no task and
copies no body.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, MutableMapping
from datetime import datetime
from typing import Any, Final, NamedTuple, Self, TypeAlias

from starlette.exceptions import HTTPException

from velro_cache._engine import DecisionMemory, TokenMemory
from velro_cache.authorization.cached_check import (
    DEFAULT_DENY_TTL_SECONDS,
    CachedGenerationAccess,
)
from velro_cache.authorization.cached_steps import PROJECT_ACCESS, STEPS, TEAM_ACCESS, CachedSteps
from velro_cache.authorization.check_statistics import statistics_of
from velro_cache.authorization.current import current_authorization_service
from velro_cache.authorization.identity import Identity
from velro_cache.authorization.kept_decisions import KeptDecisions, check_deny_limits
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
from velro_cache.fastapi.answering import RefusalKind, answer, refuse
from velro_cache.fastapi.authorize_generation import AuthorizeGeneration
from velro_cache.fastapi.bearer import BearerChallenge, TokenFinder, bearer_token
from velro_cache.fastapi.ids import is_readable
from velro_cache.fastapi.problems import UNAVAILABLE, unavailable
from velro_cache.fastapi.public_paths import PublicPaths
from velro_cache.fastapi.refusals import AccessDenied, AuthenticationRequired, InvalidBearerToken
from velro_cache.manager import Id, OptimizedCacheManager
from velro_cache.registry import get_cache_manager
from velro_cache.sparing_log import SparingLog

__all__ = ["Authorizer", "OptimizedAuthMiddleware", "as_tokens"]

_FAILURES: Final = SparingLog(logging.getLogger("velro_cache"))

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
            routes. None: it does if it has ``authenticate``.
        public_paths: Paths that need no token, as the routes of the wrapped application have them,
            without the path it is mounted or served under: ``/health`` is not ``/health/``.
        public_prefixes: What paths that need no token begin with, such as ``/admin/cache/``; each
            begins and ends with a slash.
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
        TypeError: ``app`` is no application, ``authenticate`` no function; or there is none, and
            ``authorize``, ``enforce`` or what is public would have no meaning.
        ValueError: A prefix lacks a slash, ``realm`` or ``resource_metadata`` cannot stand in a
            header, or ``deny_ttl_seconds`` is no time.
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
        "_is_complete",
        "_last_bound",
        "_memory",
        "_namespace",
        "_now",
        "_problem_details",
        "_public",
        "_steps",
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
        enforce: bool | None = None,
        public_paths: Collection[str] = (),
        public_prefixes: Collection[str] = (),
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
        public = PublicPaths(public_paths, public_prefixes)
        if authenticate is None and (enforce or not public.is_empty):
            raise TypeError("to refuse requests it has to know who is asking: give authenticate=")
        check_deny_limits(deny_ttl_seconds, None)
        self._app = app
        self._authorization = authorization
        self._cache_manager = cache_manager
        self._authenticate = as_tokens(authenticate, now)
        self._authorize = authorize
        self._enforce = enforce is not False and authenticate is not None
        self._public = public
        self._problem_details = problem_details
        self._find_token = find_token
        self._deny_ttl_seconds = deny_ttl_seconds
        self._namespace = namespace
        self._now = now
        self._is_complete = None not in (cache_manager, authorization, authenticate)
        self.challenge: Final = BearerChallenge(realm, resource_metadata)
        self._forget_what_was_found()

    def _forget_what_was_found(self) -> None:
        self._checks: CachedGenerationAccess | None = None
        self._steps: CachedSteps | None = None
        self._tokens: VerifiedTokens | None = None
        self._memory: _Memory | None = None
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
            auth = state["auth_cache"] = self if self._is_complete else self.bound_to(state)
            if self._enforce and not self._is_public(scope):
                try:
                    identity = auth._recall_admitted(scope)
                    if identity is None:
                        identity = await auth._admit(scope)
                    elif isinstance(identity, type):
                        needed = None if identity is AuthenticationRequired else self._needed
                        return await refuse(
                            scope,
                            send,
                            identity,
                            self.challenge,
                            needed_scope=needed,
                            as_problem=self._problem_details,
                        )
                except HTTPException as refusal:
                    return await answer(scope, send, refusal, as_problem=self._problem_details)
                except UNAVAILABLE as error:
                    _FAILURES.failed(logging.ERROR, "authorization is not available", error)
                    return await answer(
                        scope, send, unavailable(), as_problem=self._problem_details
                    )
                state["identity"] = identity
        return await self._app(scope, receive, send)

    def _recall_admitted(self, scope: Scope) -> Identity | RefusalKind | None:
        """Who sent a request that may go on, or why it may not, if memory alone can tell."""
        memory = self._memory
        if memory is None and (memory := self._find_memory()) is None:
            return None
        authorize = self._authorize
        source = scope["headers"] if self._find_token is bearer_token else self._source(scope)
        if authorize is None:
            identity = memory.tokens.identity(source)
            if identity is not None:
                return identity  # type: ignore[no-any-return]
        elif type(authorize) is AuthorizeGeneration and authorize.flag is not None:
            try:
                generation_id = authorize.find(scope)
            except Exception:
                # It is called again once it is known who is asking.
                generation_id = None
            is_id = type(generation_id) is not str or is_readable(generation_id)
            if generation_id is not None and is_id and memory.decisions is not None:
                found = memory.decisions.of_request(
                    memory.tokens, source, generation_id, authorize.flag
                )
                if found is not None:
                    return found[0] if found[2] is True else AccessDenied
        return AuthenticationRequired if memory.tokens.lacks_credentials(source) else None

    async def _admit(self, scope: Scope) -> Identity:
        """Find out who sent a request, and whether it may go on.

        Raises:
            HTTPException: It may not.
            Exception: As for :meth:`authenticate`; what ``authorize`` raised.
        """
        identity, token = await self.authenticate(scope)
        if self._authorize is not None:
            scope.setdefault("state", {})["identity"] = identity
            may = await self._authorize(self, scope, identity, token)
            # Not a truth value: a coroutine somebody forgot to await is one.
            if may is not True:
                raise AccessDenied(self.challenge, self._needed)
        return identity

    @property
    def _needed(self) -> str | None:
        """What a deny says would have been needed."""
        authorize = self._authorize
        return authorize.needed_scope if isinstance(authorize, AuthorizeGeneration) else None

    def _is_public(self, scope: Scope) -> bool:
        """Whether a path needs no token."""
        return self._public.includes(scope)

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
        memory = self._memory
        if memory is not None or (memory := self._find_memory()) is not None:
            sender = memory.tokens.sender(self._source(scope))
            if sender is not None:
                return sender
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

    def recall_decision(
        self, scope: Scope, generation_id: Id, flag: str
    ) -> tuple[Identity, GenerationPermissions, bool] | None:
        """Say who sent a request and what was decided about them, if memory alone can tell.

        Args:
            scope: The ASGI scope of a request or WebSocket.
            generation_id: The generation it is about.
            flag: What :func:`flag_for` says of the access.

        Returns:
            Who is asking, the decision, and whether it grants the access right now. None: whoever
            asks has to go the whole way, :meth:`authenticate` and
            :meth:`check_generation_access_cached`, which tells what memory cannot.

        Consistency: as for :meth:`check_generation_access_cached`.
        """
        memory = self._memory
        if memory is None and (memory := self._find_memory()) is None:
            return None
        tokens, decisions = memory
        if decisions is None:
            return None
        source = scope["headers"] if self._find_token is bearer_token else self._source(scope)
        return decisions.of_request(tokens, source, generation_id, flag)

    def _source(self, scope: Scope) -> object:
        """Where memory finds the token, in the headers unless it is to be elsewhere."""
        if self._find_token is bearer_token:
            return scope["headers"]
        try:
            return self._find_token(scope)
        except InvalidTokenError:
            return None

    def _find_memory(self) -> _Memory | None:
        """What answers at once. None: it is not settled yet whom to ask, or a subclass answers."""
        if self._cache_manager is None or self._authenticate is None or not _is_usual(type(self)):
            return None
        tokens = self._tokens or self._find_tokens()
        if type(tokens).identify is not _IDENTIFY:
            return None
        decisions = None
        if self._authorization is not None:
            checks = self._checks
            if checks is None:
                checks = self._checks = self._find_checks()
            decisions = checks.memory
        self._memory = _Memory(tokens.memory(), decisions)
        return self._memory

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
            bound = copy.copy(self)
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
        steps = self._find_steps()
        return await steps.answer(PROJECT_ACCESS, project_id, user_id, required_role, force_refresh)

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
        steps = self._find_steps()
        return await steps.answer(TEAM_ACCESS, team_id, user_id, required_role, force_refresh)

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
        cache_manager = self._manager()
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
        return CachedGenerationAccess(
            self._service(),
            self._manager(),
            deny_ttl_seconds=self._deny_ttl_seconds,
            namespace=self._namespace,
            now=self._now,
        )

    def _find_steps(self) -> CachedSteps:
        steps = self._steps
        if steps is None or self._authorization is None or self._cache_manager is None:
            cache_manager = self._manager()
            kept = KeptDecisions(cache_manager, self._deny_ttl_seconds, now=self._now)
            account = statistics_of(cache_manager)
            steps = self._steps = CachedSteps(
                self._service(), kept, self._namespace, {step.name: account for step in STEPS}
            )
        return steps

    def _service(self) -> GenerationAccessService:
        authorization = self._authorization
        return current_authorization_service() if authorization is None else authorization

    def _manager(self) -> OptimizedCacheManager:
        cache_manager = self._cache_manager
        return get_cache_manager() if cache_manager is None else cache_manager

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


class _Memory(NamedTuple):
    """What answers for an application without asking anybody."""

    tokens: TokenMemory
    decisions: DecisionMemory | None


_IDENTIFY: Final = VerifiedTokens.identify
_STEPS: Final = (
    "authenticate",
    "check_generation_access_cached",
    "recall_decision",
    "_admit",
    "_recall_admitted",
    "_find_checks",
    "_find_tokens",
)
"""What a hit leaves out."""


def _is_usual(kind: type[OptimizedAuthMiddleware]) -> bool:
    """Whether a class leaves the answers to memory, rather than give them itself."""
    base = OptimizedAuthMiddleware
    return all(getattr(kind, name) is getattr(base, name) for name in _STEPS)


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
