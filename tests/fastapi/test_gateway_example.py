"""The example gateway: its own demonstration, its proxy, and its OpenAPI document."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.postgres import PostgresServer
from services.redis import RedisServer

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))


from gateway.app import create_app
from gateway.proxy import ReverseProxy
from gateway.settings import Settings
from velro_cache.api_keys import Peppers
from velro_cache.api_keys.sql import SqlApiKeys

EXAMPLES = Path(__file__).parents[2] / "examples"
schemathesis = pytest.importorskip("schemathesis")
PEPPER = b"a pepper of the tests, long enough"


@pytest.mark.timeout(180)
@pytest.mark.parametrize("services", ["SQLite", "PostgreSQL and Redis"])
def test_the_demonstration_finds_all_as_it_should_be(services: str) -> None:
    with ExitStack() as stack:
        names = {name: text for name, text in os.environ.items() if not name.endswith("_URL")}
        if services != "SQLite":
            names["DATABASE_URL"] = stack.enter_context(PostgresServer()).url
            names["REDIS_URL"] = stack.enter_context(RedisServer()).url
        done = subprocess.run(
            [sys.executable, str(EXAMPLES / "gateway" / "demo.py")],
            capture_output=True,
            text=True,
            timeout=150,
            env=names,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "429 x 20" in done.stdout or services != "SQLite"
    assert "vk_live_" not in done.stdout + done.stderr


def scope_of(*headers: tuple[bytes, bytes], **fields: Any) -> dict[str, Any]:
    return {
        "type": "http",
        "method": "GET",
        "path": "/a",
        "raw_path": b"/a",
        "query_string": b"",
        "headers": [(b"host", b"gateway.example"), *headers],
        "client": ("192.0.2.1", 1),
        "state": {"organization_id": "o1"},
    } | fields


def request_to(proxy: ReverseProxy, *headers: tuple[bytes, bytes], **fields: Any) -> Any:
    from fastapi import Request

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"body", "more_body": False}

    return proxy.forward(Request(scope_of(*headers, **fields), receive))


class Backend:
    """Remembers what it was sent, and answers in parts."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []
        self.error: Exception | None = None

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        await request.aread()
        self.requests.append(request)

        async def parts() -> AsyncIterator[bytes]:
            yield b"one "
            yield b"two"

        headers = [
            ("set-cookie", "a=1"),
            ("set-cookie", "b=2"),
            ("connection", "close, x-hop"),
            ("x-hop", "1"),
            ("keep-alive", "timeout=5"),
        ]
        return httpx.Response(207, headers=headers, content=parts())


@pytest.fixture
async def backend() -> Backend:
    return Backend()


@pytest.fixture
async def proxy(backend: Backend) -> AsyncIterator[ReverseProxy]:
    async with httpx.AsyncClient(transport=httpx.MockTransport(backend)) as client:
        yield ReverseProxy(["http://one.internal:9001", "http://two.internal:9002"], client)


async def test_what_is_about_the_client_alone_stays_here(
    proxy: ReverseProxy, backend: Backend
) -> None:
    answer = await request_to(
        proxy,
        (b"authorization", b"Bearer secret"),
        (b"x-api-key", b"secret"),
        (b"x-organization", b"somebody else"),
        (b"x-forwarded-for", b"1.1.1.1"),
        (b"connection", b"keep-alive, X-Mine"),
        (b"x-mine", b"1"),
        (b"te", b"trailers"),
        (b"upgrade", b"websocket"),
        (b"accept", b"text/plain"),
    )
    (sent,) = backend.requests
    assert sent.headers["x-organization"] == "o1"
    assert sent.headers["x-forwarded-for"] == "192.0.2.1"
    assert sent.headers["host"] == "one.internal:9001"
    assert sent.headers["accept"] == "text/plain"
    assert "secret" not in str(sent.headers.raw)
    assert not {"x-mine", "te", "upgrade"} & set(sent.headers)
    assert answer.status_code == 207
    names = [name for name, _ in answer.raw_headers]
    assert names.count(b"set-cookie") == 2
    assert not {b"connection", b"x-hop", b"keep-alive"} & set(names)
    assert b"".join([part async for part in answer.body_iterator]) == b"one two"


@pytest.mark.parametrize(
    "path",
    [b"//evil.example/", b"/\\evil.example", b"/@evil.example", b"/http://evil.example/"],
)
async def test_no_path_leads_elsewhere(proxy: ReverseProxy, backend: Backend, path: bytes) -> None:
    await request_to(proxy, raw_path=path, query_string=b"a=b%20c")
    (sent,) = backend.requests
    assert (sent.url.host, sent.url.port) == ("one.internal", 9001)
    assert sent.url.raw_path == path + b"?a=b%20c"


async def test_cookies_of_one_client_are_not_sent_for_the_next(
    proxy: ReverseProxy, backend: Backend
) -> None:
    for _ in range(4):
        await request_to(proxy)
    await request_to(proxy, (b"cookie", b"mine=1"))
    assert [sent.headers.get("cookie") for sent in backend.requests] == [None] * 4 + ["mine=1"]


async def test_backends_are_sent_what_came_and_nothing_of_the_gateway_s_own(
    proxy: ReverseProxy, backend: Backend
) -> None:
    await request_to(proxy, (b"accept-encoding", b"br"))
    await request_to(proxy)
    first, second = backend.requests
    assert first.headers["accept-encoding"] == "br"
    assert set(second.headers) == {"host", "x-organization", "x-forwarded-for"}


@pytest.mark.parametrize(
    "name",
    [
        *(b"x_organization", b"x-organization", b"x_forwarded-for", b"x-forwarded-host"),
        *(b"x-forwarded-proto", b"forwarded", b"x-real-ip", b"x_api_key", b"x-original-url"),
    ],
)
async def test_no_client_speaks_for_the_gateway(
    proxy: ReverseProxy, backend: Backend, name: bytes
) -> None:
    await request_to(proxy, (name, b"made-up"))
    (sent,) = backend.requests
    assert "made-up" not in str(sent.headers.raw)


async def test_what_nobody_let_in_is_not_sent_on(proxy: ReverseProxy, backend: Backend) -> None:
    """A public path has a route for some methods alone; the others come here."""
    assert (await request_to(proxy, method="POST", state={})).status_code == 404
    assert backend.requests == []


@pytest.mark.parametrize("target", [b"*", b"http://evil.example/", b"evil.example:80", b"a"])
async def test_a_target_that_is_no_path_is_400(
    proxy: ReverseProxy, backend: Backend, target: bytes
) -> None:
    assert (await request_to(proxy, raw_path=target)).status_code == 400
    assert backend.requests == []


@pytest.mark.parametrize(
    ("method", "headers", "length", "body"),
    [
        ("GET", [(b"content-length", b"4")], "4", b"body"),
        ("GET", [(b"content-length", b"0")], None, b""),
        ("DELETE", [], None, b""),
        ("POST", [(b"transfer-encoding", b"chunked")], None, b"body"),
        # Both: a length that is believed by somebody behind would hide a request in the body.
        ("POST", [(b"content-length", b"1"), (b"transfer-encoding", b"chunked")], None, b"body"),
        ("POST", [(b"connection", b"content-length"), (b"content-length", b"4")], None, b"body"),
    ],
)
async def test_a_body_is_as_long_as_the_backend_is_told(
    proxy: ReverseProxy,
    backend: Backend,
    method: str,
    headers: list[tuple[bytes, bytes]],
    length: str | None,
    body: bytes,
) -> None:
    assert (await request_to(proxy, *headers, method=method)).status_code == 207
    (sent,) = backend.requests
    assert sent.content == body
    assert sent.headers.get("content-length") == length
    assert ("transfer-encoding" in sent.headers) == (length is None and bool(body))


async def test_backends_take_turns_and_one_that_is_away_is_left_out(
    proxy: ReverseProxy, backend: Backend
) -> None:
    for _ in range(2):
        await request_to(proxy)
    backend.error = httpx.ConnectError("refused")
    assert (await request_to(proxy)).status_code == 207
    assert [sent.url.host for sent in backend.requests] == [
        "one.internal",
        "two.internal",
        "two.internal",
    ]


@pytest.mark.parametrize(
    ("error", "status"),
    [(httpx.ReadTimeout("late"), 504), (httpx.RemoteProtocolError("nonsense"), 502)],
)
async def test_a_backend_that_fails_is_502_or_504(
    proxy: ReverseProxy, backend: Backend, error: Exception, status: int
) -> None:
    backend.error = error
    assert (await request_to(proxy)).status_code == status


async def test_a_client_that_hangs_up_is_no_failure(proxy: ReverseProxy) -> None:
    from fastapi import Request

    async def gone() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    scope = scope_of((b"content-length", b"4"), method="POST")
    assert (await proxy.forward(Request(scope, gone))).status_code == 400


async def test_what_is_sent_without_a_length_arrives(proxy: ReverseProxy, backend: Backend) -> None:
    await request_to(proxy, method="POST", http_version="2")
    await request_to(proxy, method="GET", http_version="2")
    assert [sent.content for sent in backend.requests] == [b"body", b""]


async def test_a_body_is_sent_once(proxy: ReverseProxy, backend: Backend) -> None:
    length = (b"content-length", b"4")
    assert (await request_to(proxy, length, method="POST")).status_code == 207
    assert backend.requests[0].content == b"body"
    backend.error = httpx.ConnectError("refused")
    assert (await request_to(proxy, length, method="POST")).status_code == 502


def test_settings_show_no_secrets() -> None:
    env = {
        "BACKEND_URLS": "http://a, http://b",
        "API_KEY_PEPPER": PEPPER.decode(),
        "DATABASE_URL": "postgresql://user:password@host/name",
        "REDIS_URL": "redis://:password@host",
    }
    settings = Settings.from_env(env)
    assert settings.backend_urls == ("http://a", "http://b")
    assert "password" not in repr(settings)
    assert "pepper" not in repr(settings)
    with pytest.raises(SystemExit, match="BACKEND_URLS"):
        Settings.from_env({})


@pytest.mark.filterwarnings("ignore")
def test_answers_are_those_of_the_document(tmp_path: Path) -> None:
    """Every operation, asked all that its schema allows and some that it does not."""
    from fastapi.testclient import TestClient
    from hypothesis import HealthCheck, given, seed, settings, strategies
    from schemathesis.specs.openapi.checks import ignored_auth

    database = f"sqlite:///{tmp_path}/gateway.db"
    plain, revoked, admin, admin_id = asyncio.run(_filled(database))
    app = create_app(
        Settings(backend_urls=("http://127.0.0.1:1",), database_url=database, pepper=PEPPER)
    )
    seen: dict[str, set[int]] = {}
    keys = strategies.sampled_from([None, plain, revoked, admin, admin, "a b", "\x7f", "ключ"])
    with TestClient(app):
        schema = schemathesis.openapi.from_asgi("/openapi.json", app)
        for result in schema.get_all_operations():
            operation = result.ok()

            @seed(1)
            @settings(
                max_examples=25, deadline=None, database=None, suppress_health_check=HealthCheck
            )
            @given(case=operation.as_strategy(), key=keys, as_bearer=strategies.booleans())
            def every_answer(case: Any, key: str | None, as_bearer: bool) -> None:
                if (case.path_parameters or {}).get("key_id") == admin_id:
                    return
                for name in ("Authorization", "X-API-Key"):
                    case.headers.pop(name, None)
                if key is not None:
                    name = "Authorization" if as_bearer else "X-API-Key"
                    value = f"Bearer {key}" if as_bearer else key
                    case.headers[name] = value.encode().decode("latin-1")
                response = case.call(app=app)
                # It sends requests of its own, with no key: the test has that already.
                case.validate_response(response, excluded_checks=[ignored_auth])
                seen.setdefault(case.path, set()).add(response.status_code)

            every_answer()
    assert set(seen) == set(app.openapi()["paths"])
    assert seen["/health"] == {200}
    assert {200, 401, 403} <= seen["/admin/statistics"]
    assert {200, 401, 403} <= seen["/admin/metrics"]
    assert {401, 403, 404} <= seen["/admin/keys/{key_id}/revoke"]


def test_prometheus_reads_what_the_gateway_tells(tmp_path: Path) -> None:
    from fastapi.testclient import TestClient
    from prometheus_client.parser import text_string_to_metric_families as parse

    database = f"sqlite:///{tmp_path}/gateway.db"
    plain, revoked, admin, _ = asyncio.run(_filled(database))
    app = create_app(
        Settings(backend_urls=("http://127.0.0.1:1",), database_url=database, pepper=PEPPER)
    )
    with TestClient(app) as client:
        scraper = {"authorization": f"Bearer {admin}"}
        for key, status in ((plain, 200), (plain, 200), (revoked, 403)):
            assert client.get("/whoami", headers={"x-api-key": key}).status_code == status
        assert client.get("/admin/metrics").status_code == 401
        assert client.get("/admin/metrics", headers={"x-api-key": plain}).status_code == 403
        answer = client.get("/admin/metrics", headers=scraper)
        found = {
            (sample.name, *sorted(sample.labels.values())): sample.value
            for family in parse(answer.text)
            for sample in family.samples
        }
        metrics = {
            "refreshes_total": 1,
            # The revoked one is not among those that are good.
            "refresh_keys": 2,
            "loads_total": 1,
            "unknown": 1,
            "unavailable_total": 0,
            "refresh_failures_in_a_row": 0,
        }
        for name, value in metrics.items():
            assert found[f"velro_cache_api_keys_{name}", "gateway"] == value, name
        assert found["velro_cache_api_keys_hits_total", "gateway"] >= 3
        assert 0 <= found["velro_cache_api_keys_refresh_age_seconds", "gateway"] < 60
        assert ("velro_cache_api_keys_usage_waiting", "gateway") in found
        assert ("velro_cache_api_keys_last_used_waiting", "gateway") in found
        assert ("velro_cache_rate_limit_decisions_total", "allowed", "default") in found
        assert found["velro_cache_entries", "gateway"] == 2
        assert not any(key[8:] in answer.text for key in (plain, revoked, admin))


async def _filled(database: str) -> tuple[str, str, str, str]:
    async with SqlApiKeys(database, peppers=Peppers.one(PEPPER)) as store:
        await store.migrate()
        owner = await store.create_organization("Example Ltd")
        usual, gone = [await store.create_key(owner.id) for _ in range(2)]
        admin = await store.create_key(owner.id, scopes=["admin"])
        await store.revoke_key(gone.key.id)
        return usual.plain.reveal(), gone.plain.reveal(), admin.plain.reveal(), admin.key.id
