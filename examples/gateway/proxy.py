"""A small reverse proxy: streams both ways, and never hands on an API key.

Nothing of one client reaches another one: requests are made of what came and of nothing that the
HTTP client remembers or adds, and cookies are kept by nobody.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterable, Sequence
from http.cookiejar import DefaultCookiePolicy

import httpx
from fastapi import Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.requests import ClientDisconnect

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
    {
        b"authorization",
        b"x-api-key",
        b"host",
        b"forwarded",
        b"x-organization",
        b"x-real-ip",
        b"true-client-ip",
    }
)
KEPT_HERE_BEGINNINGS = (b"x-forwarded-", b"x-original-", b"x-rewrite-")
MOSTLY_WITHOUT_A_BODY = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})

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
        # What a backend sets for one client is no business of the next one.
        client.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=()))

    async def forward(self, request: Request) -> Response:
        """Send a request on, and its answer back.

        Args:
            request: One that was let in; its state says whose it is.

        Returns:
            The answer of a backend. 404: nobody let it in; 400: its address is no path; 502: no
            backend could be reached; 504: none answered in time.
        """
        if getattr(request.state, "organization_id", None) is None:
            # Nobody let it in: a public path, by a method that its own route does not have.
            return JSONResponse({"detail": "Not Found"}, 404)
        target = _target_of(request)
        if target is None:
            return JSONResponse({"detail": "This address cannot be sent on"}, 400)
        first, status = next(self._turns), 502
        # What has a body is sent once: nobody can read it again.
        has_body = _has_body(request)
        attempts = 1 if has_body else len(self._backends)
        for attempt in range(attempts):
            backend = self._backends[(first + attempt) % len(self._backends)]
            try:
                sent = self._to(backend, target, request, has_body)
                answer = await self._client.send(sent, stream=True)
            except httpx.ConnectError:
                continue
            except httpx.TimeoutException:
                status = 504
                break
            except httpx.TransportError:
                break
            except ClientDisconnect:
                # In the middle of its body; nobody hears this answer.
                return JSONResponse({"detail": "The client has gone"}, 400)
            response = StreamingResponse(_body_of(answer), status_code=answer.status_code)
            # As they are, `Set-Cookie` twice and all.
            response.raw_headers = _end_to_end(answer.headers.raw)
            return response
        detail = "No backend can be reached" if status == 502 else "The backend took too long"
        return JSONResponse({"detail": detail}, status)

    def _to(
        self, backend: httpx.URL, target: bytes, request: Request, has_body: bool
    ) -> httpx.Request:
        headers = _for_backends(request.scope["headers"], has_body)
        headers.append((b"x-organization", request.state.organization_id.encode()))
        if request.client is not None:
            headers.append((b"x-forwarded-for", request.client.host.encode()))
        # Not by the client, which would add headers and cookies of its own.
        return httpx.Request(
            request.method,
            backend.copy_with(raw_path=target),
            headers=headers,
            content=request.stream() if has_body else None,
            extensions={"timeout": self._client.timeout.as_dict()},
        )


def _target_of(request: Request) -> bytes | None:
    """Path and query as they came; None: a form that is for proxies of another kind."""
    path: bytes = request.scope.get("raw_path") or b"/"
    if not path.startswith(b"/"):
        return None
    query: bytes = request.scope["query_string"]
    return path + b"?" + query if query else path


def _has_body(request: Request) -> bool:
    """Whether a request says that it has one (RFC 9112, 6.3)."""
    if not request.scope.get("http_version", "1.1").startswith("1"):
        # Later versions need not say.
        return request.method not in MOSTLY_WITHOUT_A_BODY
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and value.strip() != b"0")
        for name, value in request.scope["headers"]
    )


def _for_backends(headers: Sequence[tuple[bytes, bytes]], has_body: bool) -> Headers:
    is_chunked = any(name == b"transfer-encoding" for name, _ in headers)
    return [
        (name, value)
        for name, value in _end_to_end(headers)
        if not _is_kept_here(name)
        # Of two lengths, one is wrong: a backend that believes it takes the rest of a body for
        # another request.
        and not (name == b"content-length" and (is_chunked or not has_body))
    ]


def _is_kept_here(name: bytes) -> bool:
    # Many backends make `X_ORGANIZATION` of either.
    name = name.replace(b"_", b"-")
    return name in KEPT_HERE or name.startswith(KEPT_HERE_BEGINNINGS)


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
