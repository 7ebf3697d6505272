"""A small reverse proxy: streams both ways, and never hands on an API key."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterable, Sequence

import httpx
from fastapi import Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

# RFC 9110, 7.6.1: these are about one connection, and so are those that `Connection` names.
HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
# The key stays here; `Host` is that of the backend; what backends are told of clients, they are
# told by the gateway alone.
KEPT_HERE = frozenset(
    {b"authorization", b"x-api-key", b"host", b"forwarded", b"x-forwarded-for", b"x-organization"}
)
WITHOUT_A_BODY = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})

Headers = list[tuple[bytes, bytes]]


class ReverseProxy:
    """Sends requests to backends in turn.

    Args:
        backends: Where they are, such as ``http://127.0.0.1:9001``.
        client: With which they are asked.
    """

    def __init__(self, backends: Sequence[str], client: httpx.AsyncClient) -> None:
        self._backends = [httpx.URL(url) for url in backends]
        self._turns = itertools.count()
        self._client = client

    async def forward(self, request: Request) -> Response:
        """Send a request on, and its answer back.

        Args:
            request: One that was let in; its state says whose it is.

        Returns:
            The answer of a backend. 502: none could be reached; 504: none answered in time.
        """
        first, status = next(self._turns), 502
        # What has a body is sent once: nobody can read it again.
        has_body = request.method not in WITHOUT_A_BODY
        attempts = 1 if has_body else len(self._backends)
        for attempt in range(attempts):
            backend = self._backends[(first + attempt) % len(self._backends)]
            try:
                answer = await self._client.send(self._to(backend, request, has_body), stream=True)
            except httpx.ConnectError:
                continue
            except httpx.TimeoutException:
                status = 504
                break
            except httpx.TransportError:
                break
            response = StreamingResponse(_body_of(answer), status_code=answer.status_code)
            # As they are, `Set-Cookie` twice and all.
            response.raw_headers = _end_to_end(answer.headers.raw)
            return response
        detail = "No backend can be reached" if status == 502 else "The backend took too long"
        return JSONResponse({"detail": detail}, status)

    def _to(self, backend: httpx.URL, request: Request, has_body: bool) -> httpx.Request:
        path = request.scope["raw_path"] or b"/"
        if request.scope["query_string"]:
            path += b"?" + request.scope["query_string"]
        headers = [one for one in _end_to_end(request.scope["headers"]) if one[0] not in KEPT_HERE]
        headers.append((b"x-organization", request.state.organization_id.encode()))
        if request.client is not None:
            headers.append((b"x-forwarded-for", request.client.host.encode()))
        return self._client.build_request(
            request.method,
            backend.copy_with(raw_path=path),
            headers=headers,
            content=request.stream() if has_body else None,
        )


def _end_to_end(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """What is not about one connection alone."""
    lowered = [(name.lower(), value) for name, value in headers]
    named = {
        part.strip().lower()
        for name, value in lowered
        if name == b"connection"
        for part in value.split(b",")
    }
    return [one for one in lowered if one[0] not in HOP_BY_HOP and one[0] not in named]


async def _body_of(answer: httpx.Response) -> AsyncIterator[bytes]:
    try:
        # As it came: what is compressed stays so.
        async for part in answer.aiter_raw():
            yield part
    finally:
        await answer.aclose()
