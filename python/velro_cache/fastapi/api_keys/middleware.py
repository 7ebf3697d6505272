"""The ASGI middleware that lets in whoever has a good API key."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Collection, MutableMapping, Sequence
from typing import Any, Final, TypeAlias

from starlette.exceptions import HTTPException

from velro_cache.api_keys.cache import ApiKeyCache
from velro_cache.api_keys.models import ApiKey
from velro_cache.api_keys.usage.events import UsageEvent, UsageRecorder
from velro_cache.fastapi.answering import answer, refuse
from velro_cache.fastapi.api_keys.gate import DEFAULT_HEADERS, FAILURES, KeyGate, NotesUse
from velro_cache.fastapi.api_keys.limiting import Limiter
from velro_cache.fastapi.api_keys.templates import path_template
from velro_cache.fastapi.public_paths import PublicPaths
from velro_cache.fastapi.refusals import AccessDenied, AuthenticationRequired
from velro_cache.rate_limit import OnErrors

__all__ = ["ApiKeyMiddleware"]

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
ASGIApp: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

_SERVED: Final = frozenset({"http", "websocket"})
_STARTS: Final = {"http.response.start", "websocket.accept", "websocket.http.response.start"}
_SWITCHING_PROTOCOLS: Final = 101
_CLOSED_UNACCEPTED: Final = 403
_FAILED: Final = 500


class ApiKeyMiddleware:
    """Lets requests and WebSockets with a good API key through to the application.

    The application finds whose request it is in its state: ``request.state.api_key`` (an
    :class:`ApiKey`), ``organization_id``, ``plan``, ``scopes``, ``limits`` and ``rate_limit`` (what
    the limiter said). Others are answered here: 401 without a key, with a malformed one, or with
    several; 403 for keys that are unknown, revoked or expired or lack a scope; 429 for too many
    requests; 503 where nobody can tell. What a key could be is in no answer, log or metric.

    Plain ASGI: it starts no task, copies no body, and asks nobody for a key that is in memory.

    Args:
        app: The application; filled in by ``add_middleware``.
        keys: Tells what a key is good for.
        limiter: A :class:`velro_cache.rate_limit.RateLimiter`, asked with the limits that come with
            the key; organization and key are charged together or not at all. None: no limits.
        organization_on_error: What holds for limits of organizations while Redis cannot be asked:
            ``local``, ``allow``, ``deny``, or an
            :class:`velro_cache.rate_limit.OnErrorByBucket`. None: as the limiter has it.
        key_on_error: Likewise for limits of keys.
        scopes: What a key needs, all of them; for all paths.
        headers: Where the key may stand: ``Authorization`` (``Bearer <key>``), or headers that hold
            the key alone. Where two are there, they must hold the same key.
        query_parameter: A parameter of the query that may hold the key. None: none. Addresses stand
            in logs: only for clients that cannot set headers.
        unknown_status: 403 or 401: the answer to keys nobody made.
        public_paths: Paths that need no key, as the routes of the wrapped application have them.
        public_prefixes: What paths that need no key begin with; each begins and ends with a slash.
        trusted_proxies: Networks of proxies whose ``X-Forwarded-For`` tells the source of requests,
            for the budget of keys that are not cached. None: the direct peer is the source.
        problem_details: Refusals are problem documents (RFC 9457).
        realm: Name of what is protected, in ``WWW-Authenticate``.
        last_used: Told which key was used, such as a
            :class:`velro_cache.api_keys.LastUsedWriter`. None: nobody is told.
        usage: Told of each request that was let through, once it is answered, such as a
            :class:`velro_cache.api_keys.usage.BatchedUsage`. None: nobody is told.
        clock: Seconds since 1970, for what ``usage`` is told.

    Raises:
        TypeError: An argument is of the wrong kind.
        ValueError: An argument is out of range.

    Consistency: as for :meth:`ApiKeyCache.verify`. A request that was let through is not stopped by
        what happens to the key afterwards.
    """

    __slots__ = ("_app", "_as_problem", "_clock", "_gate", "_public", "_record")

    def __init__(
        self,
        app: ASGIApp,
        *,
        keys: ApiKeyCache,
        limiter: Limiter | None = None,
        organization_on_error: OnErrors | None = None,
        key_on_error: OnErrors | None = None,
        scopes: Collection[str] = (),
        headers: Sequence[str] = DEFAULT_HEADERS,
        query_parameter: str | None = None,
        unknown_status: int = 403,
        public_paths: Collection[str] = (),
        public_prefixes: Collection[str] = (),
        trusted_proxies: Collection[str] = (),
        problem_details: bool = False,
        realm: str = "api",
        last_used: NotesUse | None = None,
        usage: UsageRecorder | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if not callable(app):
            raise TypeError("the first argument is the ASGI application")
        self._app = app
        self._gate = KeyGate(
            keys,
            limiter=limiter,
            organization_on_error=organization_on_error,
            key_on_error=key_on_error,
            scopes=scopes,
            headers=headers,
            query_parameter=query_parameter,
            unknown_status=unknown_status,
            trusted_proxies=trusted_proxies,
            realm=realm,
            last_used=last_used,
        )
        self._public = PublicPaths(public_paths, public_prefixes)
        self._as_problem = problem_details
        self._record = None if usage is None else usage.record
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, a WebSocket or a lifespan.

        Raises:
            TypeError: It is something else, which is not let through.
        """
        if scope["type"] not in _SERVED:
            if scope["type"] != "lifespan":
                # Whatever it is, nobody has looked for a key in it.
                raise TypeError("API keys are for requests and WebSockets, not for other scopes")
            return await self._app(scope, receive, send)
        if self._public.includes(scope):
            return await self._app(scope, receive, send)
        gate = self._gate
        try:
            key = gate.recall(scope)
            if key is None:
                if gate.lacks_key(scope):
                    return await self._refuse(scope, send, AuthenticationRequired, None)
                key = await gate.identify(scope)
            if not gate.may(key):
                return await self._refuse(scope, send, AccessDenied, gate.needed_scope)
            decision = await gate.charge(key)
        except HTTPException as refusal:
            return await answer(scope, send, refusal, as_problem=self._as_problem)
        gate.tell(scope.setdefault("state", {}), key, decision)
        headers = () if decision is None else decision.headers()
        if self._record is not None:
            return await self._recorded(scope, receive, send, key, headers)
        if headers:
            send = _with_headers(send, headers)
        return await self._app(scope, receive, send)

    async def _refuse(
        self,
        scope: Scope,
        send: Send,
        kind: type[AuthenticationRequired] | type[AccessDenied],
        needed_scope: str | None,
    ) -> None:
        await refuse(
            scope,
            send,
            kind,
            self._gate.challenge,
            needed_scope=needed_scope,
            as_problem=self._as_problem,
        )

    async def _recorded(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        key: ApiKey,
        headers: Sequence[tuple[bytes, bytes]],
    ) -> None:
        """Serve a request, and tell what became of it."""
        # What nothing was sent for ends as the server has it: as a failure.
        status = _FAILED
        is_request = scope["type"] == "http"
        method = scope["method"] if is_request else "WEBSOCKET"
        at, began = self._clock(), time.perf_counter()

        async def noting(message: Message) -> None:
            nonlocal status
            kind = message["type"]
            if kind in _STARTS:
                status = message.get("status", _SWITCHING_PROTOCOLS)
                if headers:
                    message["headers"] = [*(message.get("headers") or ()), *headers]
            elif kind == "websocket.close" and status == _FAILED:
                status = _CLOSED_UNACCEPTED
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            try:
                assert self._record is not None  # noqa: S101 (so it was called)
                self._record(
                    UsageEvent(
                        organization_id=key.organization_id,
                        key_id=key.id,
                        endpoint=path_template(scope),
                        method=method,
                        status=status,
                        duration_seconds=time.perf_counter() - began,
                        at=at,
                    )
                )
            except Exception as error:
                FAILURES.failed(logging.WARNING, "the use of a key could not be recorded", error)


def _with_headers(send: Send, headers: Sequence[tuple[bytes, bytes]]) -> Send:
    async def answering(message: Message) -> None:
        if message["type"] in _STARTS:
            message["headers"] = [*(message.get("headers") or ()), *headers]
        await send(message)

    return answering
