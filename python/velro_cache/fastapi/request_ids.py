"""Gives each request an id, for log records and for the client."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, TypeAlias

from velro_cache.request_ids import new_request_id, serving_request

__all__ = ["RequestIdMiddleware"]

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_HEADER: Final = b"x-request-id"
_STARTS: Final = frozenset(
    {"http.response.start", "websocket.accept", "websocket.http.response.start"}
)
"""What carries the headers of an answer: the last one is that of a WebSocket that is refused."""


class RequestIdMiddleware:
    """Takes the id of a request from ``X-Request-ID``, or makes one, and answers with it.

    The id is in ``request.state.request_id``, in log records by :class:`RequestIdFilter`, and in
    the audit log of the admin routes. Plain ASGI, for requests and WebSockets::

        app.add_middleware(RequestIdMiddleware)

    Args:
        app: The application.
        trust_header: Whether an id that comes with a request is taken: one of 1 to 64 letters,
            digits, dots, underscores and dashes, that comes once. With False each request gets a
            new one; for services that anybody can reach without a proxy that sets it.
    """

    def __init__(
        self, app: Callable[[Scope, Receive, Send], Awaitable[None]], *, trust_header: bool = True
    ) -> None:
        self._app = app
        self._trust_header = trust_header

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, a WebSocket or a lifespan."""
        if scope["type"] not in ("http", "websocket"):
            return await self._app(scope, receive, send)
        request_id = new_request_id(self._asked(scope))
        scope.setdefault("state", {})["request_id"] = request_id
        header = (_HEADER, request_id.encode("ascii"))

        async def answer(message: MutableMapping[str, Any]) -> None:
            if message["type"] in _STARTS:
                others = [one for one in message.get("headers") or () if one[0].lower() != _HEADER]
                message["headers"] = [*others, header]
            await send(message)

        with serving_request(request_id):
            await self._app(scope, receive, answer)

    def _asked(self, scope: Scope) -> str | None:
        if not self._trust_header:
            return None
        found = [value for name, value in scope["headers"] if name == _HEADER]
        return found[0].decode("latin-1") if len(found) == 1 else None
