"""What is told of requests behind API keys: templates, statuses, and nothing a client wrote."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from keyed import FORMAT, Clock, Kit, application, behind_keys, client_of
from serving import Serve
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from websockets.sync.client import connect

from velro_cache.api_keys import KeyLimits
from velro_cache.api_keys.usage import UsageEvent
from velro_cache.fastapi.api_keys import ApiKeyMiddleware
from velro_cache.fastapi.api_keys.templates import UNMATCHED
from velro_cache.rate_limit import RateLimiter


class Recorder:
    """Keeps events; fails where it is told to."""

    def __init__(self) -> None:
        self.events: list[UsageEvent] = []
        self.error: Exception | None = None

    def record(self, event: UsageEvent) -> None:
        if self.error is not None:
            raise self.error
        self.events.append(event)

    @property
    def told(self) -> list[tuple[str, str, int]]:
        return [(event.method, event.endpoint, event.status) for event in self.events]


@pytest.fixture
def kit() -> Iterator[Kit]:
    kit = Kit()
    with kit.manager:
        yield kit


@pytest.fixture
def plain() -> str:
    return FORMAT.generate()


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


async def test_an_event_holds_the_template_and_not_the_path(
    kit: Kit, plain: str, recorder: Recorder
) -> None:
    kit.keys.add(plain)
    clock = Clock()
    app = behind_keys(kit, usage=recorder, clock=clock, public_paths=["/health"])
    async with client_of(app) as client:
        headers = {"x-api-key": plain}
        for path in ("/v1/acme/items/secret-7?a=b", "/whose", "/nowhere/at/all", "/fails"):
            await client.get(path, headers=headers)
        await client.post("/whose", headers=headers)
        await client.request("INVENTED", "/whose", headers=headers)
        # None of these is let through by a key.
        await client.get("/health", headers=headers)
        await client.get("/whose")
        await client.get("/whose", headers={"x-api-key": FORMAT.generate()})
    assert recorder.told == [
        ("GET", "/v1/{tenant}/items/{item_id}", 200),
        ("GET", "/whose", 200),
        ("GET", "(unmatched)", 404),
        ("GET", "/fails", 500),
        ("POST", "/whose", 405),
        ("OTHER", "/whose", 405),
    ]
    event = recorder.events[0]
    assert (event.organization_id, event.key_id, event.at) == ("o1", "k1", clock.seconds)
    assert 0 < event.duration_seconds < 60
    assert "secret-7" not in repr(recorder.events)
    assert plain not in repr(recorder.events)


async def test_requests_over_the_limit_are_no_events(
    kit: Kit, plain: str, recorder: Recorder
) -> None:
    limits = KeyLimits(requests_per_minute=1, requests_per_day=None, burst_size=0)
    kit.keys.add(plain, key_limits=limits)
    app = behind_keys(kit, usage=recorder, limiter=RateLimiter())
    async with client_of(app) as client:
        answers = [await client.get("/whose", headers={"x-api-key": plain}) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 429, 429]
    assert "ratelimit" in answers[0].headers
    assert len(recorder.events) == 1


async def test_a_mounted_application_tells_its_own_template(
    kit: Kit, plain: str, recorder: Recorder
) -> None:
    kit.keys.add(plain)

    says_route = []

    async def page(request: Request) -> PlainTextResponse:
        # Older versions of Starlette do not; FastAPI's own routes always did.
        says_route.append("route" in request.scope)
        return PlainTextResponse("")

    inner = FastAPI()
    inner.get("/x/{y}")(lambda y: y)
    routes = [Route("/pages/{name}", page), Mount("/inner/{z}", inner)]
    async with client_of(behind_keys(kit, Starlette(routes=routes), usage=recorder)) as client:
        for path in ("/pages/a", "/inner/q/x/5"):
            assert (await client.get(path, headers={"x-api-key": plain})).status_code == 200
    of_page = "/pages/{name}" if says_route == [True] else UNMATCHED
    assert [event.endpoint for event in recorder.events] == [of_page, "/x/{y}"]


async def test_an_application_without_routes_says_so(
    kit: Kit, plain: str, recorder: Recorder
) -> None:
    kit.keys.add(plain)

    async def bare(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 204})
        await send({"type": "http.response.body", "body": b""})

    app = ApiKeyMiddleware(bare, keys=kit.cache, usage=recorder)
    async with client_of(app) as client:
        assert (await client.get("/a/b", headers={"x-api-key": plain})).status_code == 204
    assert recorder.told == [("GET", "(unmatched)", 204)]


async def test_a_recorder_that_fails_costs_no_answer(
    kit: Kit, plain: str, recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    kit.keys.add(plain)
    recorder.error = RuntimeError(plain)
    with caplog.at_level(logging.DEBUG):
        async with client_of(behind_keys(kit, usage=recorder)) as client:
            assert (await client.get("/whose", headers={"x-api-key": plain})).status_code == 200
    assert "RuntimeError" in caplog.text
    assert plain not in caplog.text


def test_a_websocket_is_one_event(kit: Kit, plain: str, recorder: Recorder, serve: Serve) -> None:
    kit.keys.add(plain)
    client = serve(behind_keys(kit, application(), usage=recorder))
    url = str(client.base_url).replace("http", "ws") + "/listen"
    with connect(url, additional_headers={"X-API-Key": plain}) as socket:
        socket.recv()
    # Served after it, by the same loop.
    client.get("/whose", headers={"X-API-Key": plain})
    assert ("WEBSOCKET", "/listen", 101) in recorder.told
