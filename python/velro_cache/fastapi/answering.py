"""Refusals answered by the middleware itself, in plain ASGI: no route, no handler, no task."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, TypeAlias

from starlette.exceptions import HTTPException

from velro_cache.fastapi.problems import problem
from velro_cache.fastapi.refusals import Refusal

__all__ = ["answer"]

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
    headers, body = _rendered(error, as_problem)
    await send({"type": f"{prefix}.start", "status": error.status_code, "headers": list(headers)})
    await send({"type": f"{prefix}.body", "body": body})
    return None


Rendered: TypeAlias = tuple[list[tuple[bytes, bytes]], bytes]

_known: dict[tuple[object, ...], Rendered] = {}

_MOST_KNOWN: Final = 64
"""Refusals of an application differ by realm and needed scope only; there are a few."""


def _rendered(error: HTTPException, as_problem: bool) -> Rendered:
    """Headers and body of an answer. Those of refusals are kept: they come by the thousand."""
    if not isinstance(error, Refusal):
        return _render(error, as_problem)
    kind = (type(error), error.headers["WWW-Authenticate"], as_problem)  # type: ignore[index]
    known = _known.get(kind)
    if known is None:
        known = _render(error, as_problem)
        if len(_known) < _MOST_KNOWN:
            _known[kind] = known
    return known


def _render(error: HTTPException, as_problem: bool) -> Rendered:
    if as_problem:
        body, kind = problem(error), b"application/problem+json"
    else:
        body, kind = json.dumps({"detail": error.detail}).encode(), b"application/json"
    headers = [(b"content-type", kind), (b"content-length", b"%d" % len(body))]
    for name, value in (error.headers or {}).items():
        headers.append((name.lower().encode("latin-1"), value.encode("latin-1")))
    return headers, body
