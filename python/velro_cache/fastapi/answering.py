"""Refusals answered by the middleware itself, in plain ASGI: no route, no handler, no task."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, TypeAlias

from starlette.exceptions import HTTPException

from velro_cache.fastapi.bearer import BearerChallenge
from velro_cache.fastapi.problems import problem
from velro_cache.fastapi.refusals import AccessDenied, AuthenticationRequired, Refusal

__all__ = ["RefusalKind", "answer", "refuse"]

RefusalKind: TypeAlias = type[AuthenticationRequired] | type[AccessDenied]
"""Refusals that say nothing but what they are."""

_POLICY_VIOLATION: Final = 1008


async def answer(
    scope: MutableMapping[str, Any],
    send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
    error: HTTPException,
    *,
    as_problem: bool,
) -> None:
    """Answer a request or WebSocket instead of the application.

    A WebSocket that was not accepted is answered like a request where the server can do that
    (``websocket.http.response``); elsewhere it is closed with 1008, which servers turn into 403.

    Args:
        scope: The ASGI scope.
        send: The ASGI channel to the client.
        error: What to say.
        as_problem: As a problem document (RFC 9457) rather than ``{"detail": ...}``.
    """
    prefix = "http.response"
    if scope["type"] == "websocket":
        if "websocket.http.response" not in (scope.get("extensions") or ()):
            # A close frame has room for 123 bytes of it.
            reason = error.detail if isinstance(error, Refusal) else "Refused"
            return await send(
                {"type": "websocket.close", "code": _POLICY_VIOLATION, "reason": reason}
            )
        prefix = "websocket.http.response"
    status, headers, body = _rendered(error, as_problem)
    await send({"type": f"{prefix}.start", "status": status, "headers": list(headers)})
    await send({"type": f"{prefix}.body", "body": body})
    return None


async def refuse(
    scope: MutableMapping[str, Any],
    send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
    kind: RefusalKind,
    challenge: BearerChallenge,
    *,
    needed_scope: str | None = None,
    as_problem: bool,
) -> None:
    """Do what :func:`answer` does for a refusal that nobody has to raise: no exception is made.

    Args:
        scope: The ASGI scope.
        send: The ASGI channel to the client.
        kind: Which refusal.
        challenge: Realm and the like.
        needed_scope: For a deny: what would have been needed, already known to be quotable. None:
            not said.
        as_problem: As for :func:`answer`.
    """
    known = _known.get((kind, challenge, needed_scope, as_problem))
    if known is None or scope["type"] != "http":
        error = kind(challenge) if needed_scope is None else AccessDenied(challenge, needed_scope)
        if len(_known) < _MOST_KNOWN:
            _known[kind, challenge, needed_scope, as_problem] = _rendered(error, as_problem)
        return await answer(scope, send, error, as_problem=as_problem)
    status, headers, body = known
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})
    await send({"type": "http.response.body", "body": body})
    return None


Rendered: TypeAlias = tuple[int, list[tuple[bytes, bytes]], bytes]
"""Status, headers and body."""

_known: dict[tuple[object, ...], Rendered] = {}
"""Answers of :func:`refuse`, and of nobody else: what somebody raised may say something about one
request alone."""

_MOST_KNOWN: Final = 64
"""Refusals of an application differ by realm and needed scope only; there are a few."""


def _rendered(error: HTTPException, as_problem: bool) -> Rendered:
    if as_problem:
        body, kind = problem(error), b"application/problem+json"
    else:
        body, kind = json.dumps({"detail": error.detail}).encode(), b"application/json"
    headers = [(b"content-type", kind), (b"content-length", b"%d" % len(body))]
    for name, value in (error.headers or {}).items():
        headers.append((name.lower().encode("latin-1"), value.encode("latin-1")))
    return error.status_code, headers, body
