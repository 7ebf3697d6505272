"""Guards behind a real server: what a client on the network is told."""

from __future__ import annotations

import socket
from typing import Any

import httpx
import pytest
from fastapi import APIRouter, FastAPI
from guarded import Issuer, Service, bearer, guarded_app
from serving import Serve
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from velro_cache.fastapi import OptimizedAuthMiddleware, install_problem_handlers, velro_lifespan


@pytest.fixture
def service() -> Service:
    service = Service()
    service.grant("g", "ada", "token-of-ada")
    return service


def behind_routers(app: FastAPI) -> FastAPI:
    """The same routes, two routers deep."""
    outer = FastAPI(lifespan=app.router.lifespan_context)
    router = APIRouter(prefix="/v1")
    router.include_router(app.router)
    outer.include_router(router, prefix="/api")
    return outer


def test_guards_over_http(serve: Serve, service: Service) -> None:
    lifespan = velro_lifespan(authorization=service, authenticate=Issuer())
    client = serve(behind_routers(guarded_app(lifespan=lifespan)))
    place = "/api/v1/generations/g"
    statuses = [
        client.get(place, headers=headers).status_code
        for headers in (bearer("ada"), bearer("bob"), {"authorization": "Bearer x"}, {})
        for _ in range(2)
    ]
    assert statuses == [200, 200, 403, 403, 401, 401, 401, 401]
    assert service.calls == 2
    refused = client.get(place, headers=bearer("bob"))
    assert refused.headers["www-authenticate"].startswith("Bearer realm=")
    assert client.get("/api/v1/generations/%00", headers=bearer("ada")).status_code == 422
    assert client.get("/api/v1/generations/%ff", headers=bearer("ada")).status_code == 403
    assert client.get("/api/v1/generations/..%2fg", headers=bearer("ada")).status_code == 404


def test_the_middleware_over_http(serve: Serve, service: Service) -> None:
    app = guarded_app()
    install_problem_handlers(app)
    app.add_middleware(
        OptimizedAuthMiddleware,
        authenticate=Issuer(),
        authorization=service,
        problem_details=True,
        public_paths=("/openapi.json",),
    )
    client = serve(app)
    assert client.get("/openapi.json").status_code == 200
    assert client.get("/generations/g", headers=bearer("ada")).status_code == 200
    for path in ("/generations/g", "/nowhere"):
        refused = client.get(path)
        assert refused.status_code == 401
        assert refused.headers["content-type"] == "application/problem+json"
    assert client.head("/generations/g").status_code == 401
    assert client.get("/generations/g", headers=bearer("bob")).json()["status"] == 403
    # The connection stays usable after a refusal of a request with a body.
    assert client.put("/generations/g", content=b"x" * 100_000).status_code == 401
    assert client.get("/generations/g", headers=bearer("ada")).status_code == 200


def _url(client: httpx.Client, path: str) -> str:
    return str(client.base_url).replace("http://", "ws://") + path


@pytest.mark.parametrize("as_middleware", [False, True])
def test_websockets(serve: Serve, service: Service, as_middleware: bool) -> None:
    app = guarded_app(lifespan=velro_lifespan(authorization=service, authenticate=Issuer()))
    if as_middleware:
        app.add_middleware(OptimizedAuthMiddleware, authenticate=Issuer())
    client = serve(app)
    with connect(_url(client, "/generations/g/live"), additional_headers=bearer("ada")) as opened:
        assert "ada" in str(opened.recv(timeout=20))
    for path, headers in (("/generations/g/live", {}), ("/generations/h/live", bearer("ada"))):
        with (
            pytest.raises(InvalidStatus) as refused,
            connect(_url(client, path), additional_headers=headers),
        ):
            pytest.fail("must not be opened")
        response: Any = refused.value.response
        by_middleware = as_middleware and not headers
        assert response.status_code == (401 if by_middleware else 403)


def test_bytes_that_are_no_text_in_a_header(serve: Serve, service: Service) -> None:
    lifespan = velro_lifespan(authorization=service, authenticate=Issuer())
    port = serve(guarded_app(lifespan=lifespan)).base_url.port
    assert port is not None
    for token in (b"\xff\xfe", b"token-of-\xc3\xa4", b"a" * 20_000):
        with socket.create_connection(("127.0.0.1", port), timeout=20) as raw:
            raw.sendall(
                b"GET /me HTTP/1.1\r\nhost: a\r\nconnection: close\r\n"
                b"authorization: Bearer " + token + b"\r\n\r\n"
            )
            status = raw.makefile("rb").readline()
        assert status.split()[1] in (b"401", b"400", b"431"), status
