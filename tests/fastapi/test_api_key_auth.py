"""API keys as a dependency of single routes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, Request, Security, WebSocket
from fastapi.testclient import TestClient
from keyed import FORMAT, Kit, client_of
from starlette.websockets import WebSocketDisconnect

from velro_cache.api_keys import KeyLimits
from velro_cache.fastapi.api_keys import API_KEY_RESPONSES, ApiKeyAuth, ApiKeyMiddleware
from velro_cache.fastapi.guarded_route import GuardedRoute
from velro_cache.rate_limit import RateLimiter


@pytest.fixture
def kit() -> Iterator[Kit]:
    kit = Kit()
    with kit.manager:
        yield kit


@pytest.fixture
def plain() -> str:
    return FORMAT.generate()


def guarded(auth: ApiKeyAuth, route_class: Any = None) -> FastAPI:
    app = FastAPI()
    if route_class is not None:
        app.router.route_class = route_class
    router = APIRouter(**({} if route_class is None else {"route_class": route_class}))

    @router.get("/whose", responses=API_KEY_RESPONSES)
    async def whose(request: Request, key: Any = Depends(auth)) -> dict[str, Any]:  # noqa: B008
        return {"id": key.id, "state": request.state.organization_id}

    @router.websocket("/listen")
    async def listen(socket: WebSocket, key: Any = Depends(auth)) -> None:  # noqa: B008
        await socket.accept()
        await socket.send_text(key.id)
        await socket.close()

    app.include_router(router)
    return app


@pytest.mark.parametrize("route_class", [None, GuardedRoute])
async def test_every_status(kit: Kit, plain: str, route_class: Any) -> None:
    kit.keys.add(plain, scopes={"read"})
    revoked, unscoped, unknown = (FORMAT.generate() for _ in range(3))
    kit.keys.add(revoked, number=2, revoked_at=1.0)
    kit.keys.add(unscoped, number=3)
    async with client_of(guarded(ApiKeyAuth(kit.cache, ["read"]), route_class)) as client:
        for key, status in (
            (plain, 200),
            (plain, 200),
            (revoked, 403),
            (unscoped, 403),
            (unknown, 403),
            ("nonsense", 401),
        ):
            answer = await client.get("/whose", headers={"X-API-Key": key})
            assert answer.status_code == status
            assert (await client.get("/whose", headers={"Authorization": f"Bearer {key}"})).json()
        assert (await client.get("/whose")).status_code == 401
        answer = await client.get("/whose", headers={"X-API-Key": plain})
        assert answer.json() == {"id": "k1", "state": "o1"}
        kit.keys.error = ConnectionError("away")
        other = {"X-API-Key": FORMAT.generate()}
        assert (await client.get("/whose", headers=other)).status_code == 503


@pytest.mark.parametrize("route_class", [None, GuardedRoute])
async def test_scopes_of_security_are_needed_too(kit: Kit, plain: str, route_class: Any) -> None:
    kit.keys.add(plain, scopes={"read"})
    may_write = FORMAT.generate()
    kit.keys.add(may_write, number=2, scopes={"read", "write"})
    auth = ApiKeyAuth(kit.cache, ["read"])
    app = FastAPI()
    router = APIRouter(**({} if route_class is None else {"route_class": route_class}))

    async def writer(key: Any = Depends(auth)) -> str:  # noqa: B008
        return str(key.id)

    @router.get("/at-once")
    async def at_once(key: Any = Security(auth, scopes=["write"])) -> str:  # noqa: B008
        return str(key.id)

    @router.get("/below")
    async def below(name: str = Security(writer, scopes=["write"])) -> str:
        return name

    @router.get("/unquotable")
    async def unquotable(key: Any = Security(auth, scopes=['"'])) -> str:  # noqa: B008
        return str(key.id)

    app.include_router(router)
    async with client_of(app) as client:
        for path in ("/at-once", "/below"):
            refused = await client.get(path, headers={"X-API-Key": plain})
            assert refused.status_code == 403
            assert 'scope="read write"' in refused.headers["www-authenticate"]
            answer = await client.get(path, headers={"X-API-Key": may_write})
            assert answer.json() == "k2"
        refused = await client.get("/unquotable", headers={"X-API-Key": may_write})
        assert refused.status_code == 403
        assert "scope=" not in refused.headers["www-authenticate"].partition("error=")[2]


async def test_a_request_is_charged_once_however_often_it_is_asked(kit: Kit, plain: str) -> None:
    limits = KeyLimits(requests_per_minute=1, burst_size=4, requests_per_day=None)
    kit.keys.add(plain, scopes={"read", "write"}, key_limits=limits)
    auth = ApiKeyAuth(kit.cache, limiter=RateLimiter())
    app = FastAPI(dependencies=[Depends(auth)])

    @app.get("/items", dependencies=[Security(auth, scopes=["read"])])
    async def items(_key: Any = Security(auth, scopes=["write"])) -> str:  # noqa: B008
        return "items"

    async with client_of(app) as client:
        left = []
        for _ in range(6):
            answer = await client.get("/items", headers={"X-API-Key": plain})
            left.append((answer.status_code, answer.headers.get_list("ratelimit")))
    assert left == [(200, [f'"minute";r={n};t=60']) for n in (4, 3, 2, 1, 0)] + [
        (429, ['"minute";r=0;t=60'])
    ]


async def test_behind_the_middleware_its_limits_are_told_still(kit: Kit, plain: str) -> None:
    limits = KeyLimits(requests_per_minute=1, burst_size=4, requests_per_day=None)
    kit.keys.add(plain, key_limits=limits)
    app = FastAPI()

    @app.get("/left", dependencies=[Depends(ApiKeyAuth(kit.cache))])
    async def left(request: Request) -> int:
        return int(request.state.rate_limit.remaining)

    guarded_app = ApiKeyMiddleware(app, keys=kit.cache, limiter=RateLimiter())
    async with client_of(guarded_app) as client:
        answer = await client.get("/left", headers={"X-API-Key": plain})
        assert (answer.status_code, answer.text) == (200, "4")
        assert len(answer.headers.get_list("ratelimit")) == 1


def test_the_document_tells_both_ways_to_send_a_key(kit: Kit) -> None:
    document = guarded(ApiKeyAuth(kit.cache)).openapi()
    schemes = document["components"]["securitySchemes"]
    assert schemes["ApiKey"] == {"type": "apiKey", "in": "header", "name": "X-API-Key"}
    assert (schemes["ApiKeyBearer"]["type"], schemes["ApiKeyBearer"]["scheme"]) == (
        "http",
        "bearer",
    )
    operation = document["paths"]["/whose"]["get"]
    assert operation["security"] == [{"ApiKey": []}, {"ApiKeyBearer": []}]
    assert operation.get("parameters") is None
    assert {"401", "403", "429", "503"} <= set(operation["responses"])


@pytest.mark.parametrize(
    ("header", "scheme"), [("X-Service-Key", "apiKey"), ("Authorization", "http")]
)
async def test_the_document_tells_of_one_way_where_there_is_one(
    kit: Kit, plain: str, header: str, scheme: str
) -> None:
    kit.keys.add(plain)
    app = guarded(ApiKeyAuth(kit.cache, headers=[header]))
    schemes = app.openapi()["components"]["securitySchemes"]
    assert [one["type"] for one in schemes.values()] == [scheme]
    value = f"Bearer {plain}" if scheme == "http" else plain
    async with client_of(app) as client:
        assert (await client.get("/whose", headers={header: value})).status_code == 200
        assert (await client.get("/whose", headers={"X-API-Key": plain})).status_code == 401


def test_a_websocket_is_closed_before_it_is_accepted(kit: Kit, plain: str) -> None:
    kit.keys.add(plain)
    client = TestClient(guarded(ApiKeyAuth(kit.cache)))
    with client.websocket_connect("/listen", headers={"X-API-Key": plain}) as socket:
        assert socket.receive_text() == "k1"
    for headers, code in (({}, 1008), ({"X-API-Key": FORMAT.generate()}, 1008)):
        with (
            pytest.raises(WebSocketDisconnect) as closed,
            client.websocket_connect("/listen", headers=headers),
        ):
            pass
        assert closed.value.code == code
    kit.keys.error = ConnectionError("away")
    with (
        pytest.raises(WebSocketDisconnect) as closed,
        client.websocket_connect("/listen", headers={"X-API-Key": FORMAT.generate()}),
    ):
        pass
    assert closed.value.code == 1013


@pytest.mark.parametrize("route_class", [None, GuardedRoute])
async def test_it_can_be_overridden_in_tests(kit: Kit, plain: str, route_class: Any) -> None:
    key = kit.keys.add(plain)
    auth = ApiKeyAuth(kit.cache)
    app = guarded(auth, route_class)

    def whose(request: Request) -> Any:
        request.state.organization_id = "made up"
        return key

    app.dependency_overrides[auth] = whose
    async with client_of(app) as client:
        assert (await client.get("/whose")).json() == {"id": "k1", "state": "made up"}
    app.dependency_overrides.clear()
    async with client_of(app) as client:
        assert (await client.get("/whose")).status_code == 401
