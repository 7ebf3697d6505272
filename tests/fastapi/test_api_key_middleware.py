"""Requests behind API keys: every status, and what an application is told."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from keyed import FORMAT, Kit, answer_of, behind_keys, client_of, scope_of
from serving import Serve
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from velro_cache.api_keys import KeyLimits
from velro_cache.fastapi.api_keys import ApiKeyMiddleware, gate
from velro_cache.sparing_log import SparingLog


@pytest.fixture
def kit() -> Iterator[Kit]:
    kit = Kit()
    with kit.manager:
        yield kit


@pytest.fixture
def plain() -> str:
    return FORMAT.generate()


class TestWhoIsLetIn:
    async def test_the_application_is_told_whose_request_it_is(self, kit: Kit, plain: str) -> None:
        limits = KeyLimits(requests_per_minute=5)
        kit.keys.add(plain, plan="pro", scopes={"read"}, organization_limits=limits)
        async with client_of(behind_keys(kit)) as client:
            for _ in range(2):
                answer = await client.get("/whose", headers={"X-API-Key": plain})
                assert answer.status_code == 200
                assert answer.json() == {
                    "id": "k1",
                    "organization_id": "o1",
                    "plan": "pro",
                    "scopes": ["read"],
                    "per_minute": 5,
                }
        assert kit.keys.questions == 1

    @pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", "BEARER ", "BeArEr      "])
    async def test_a_key_may_come_as_a_bearer_token(
        self, kit: Kit, plain: str, scheme: str
    ) -> None:
        kit.keys.add(plain)
        async with client_of(behind_keys(kit)) as client:
            headers = {"authorization": scheme + plain}
            assert (await client.get("/whose", headers=headers)).status_code == 200

    async def test_a_key_may_come_both_ways_if_it_is_the_same(self, kit: Kit, plain: str) -> None:
        kit.keys.add(plain)
        async with client_of(behind_keys(kit)) as client:
            headers = {"authorization": f"Bearer {plain}", "x-api-key": plain}
            assert (await client.get("/whose", headers=headers)).status_code == 200

    async def test_other_credentials_do_not_stand_in_the_way(self, kit: Kit, plain: str) -> None:
        kit.keys.add(plain)
        async with client_of(behind_keys(kit)) as client:
            headers = {"authorization": "Basic YTpi", "x-api-key": plain}
            assert (await client.get("/whose", headers=headers)).status_code == 200

    async def test_a_header_of_ones_own(self, kit: Kit, plain: str) -> None:
        kit.keys.add(plain)
        async with client_of(behind_keys(kit, headers=["X-Service-Key"])) as client:
            for headers, status in (
                ({"x-service-key": plain}, 200),
                ({"x-api-key": plain}, 401),
                ({"authorization": f"Bearer {plain}"}, 401),
            ):
                answer = await client.get("/whose", headers=headers)
                assert answer.status_code == status
            challenge = 'ApiKey realm="api", header="X-Service-Key"'
            assert answer.headers["www-authenticate"] == challenge

    async def test_the_query_is_read_only_where_that_was_asked_for(
        self, kit: Kit, plain: str
    ) -> None:
        kit.keys.add(plain)
        async with client_of(behind_keys(kit)) as client:
            assert (await client.get(f"/whose?api_key={plain}")).status_code == 401
        async with client_of(behind_keys(kit, query_parameter="api_key")) as client:
            assert (await client.get(f"/whose?api_key={plain}")).status_code == 200
            assert (await client.get(f"/whose?a=b&api_key={plain}&c=d")).status_code == 200
            assert (await client.get("/whose?api_key=")).status_code == 401
            other = FORMAT.generate()
            for query in (f"api_key={plain}&api_key={plain}", f"api_key={other}"):
                answer = await client.get(f"/whose?{query}", headers={"x-api-key": plain})
                assert answer.status_code == 401

    async def test_public_paths_need_no_key(self, kit: Kit) -> None:
        app = behind_keys(kit, public_paths=["/health"], public_prefixes=["/static/"])
        async with client_of(app) as client:
            assert (await client.get("/health")).status_code == 200
            assert (await client.get("/static/a.css")).status_code == 200
            for path in ("/health/", "/healthy", "/static", "//health", "/whose"):
                assert (await client.get(path)).status_code == 401

    @pytest.mark.parametrize(
        "path",
        [
            *("/static/../whose", "/static/a/../../whose", "/static/..", "/static/./../whose"),
            *("/static/..;/whose", "/static/..;a=b/whose", "/static/..\\whose"),
            *("/static/%2e%2e/whose", "/static/..%2fwhose", "/static/%252E%252e/whose"),
        ],
    )
    async def test_no_step_leads_from_what_is_public_to_what_is_not(
        self, kit: Kit, path: str
    ) -> None:
        """A proxy or files behind this may take the step."""

        async def unreachable(*_: Any) -> None:
            raise AssertionError("it was reached")

        app = ApiKeyMiddleware(unreachable, keys=kit.cache, public_prefixes=["/static/"])
        assert (await answer_of(app, scope_of(path=path)))[0] == 401
        mounted = scope_of(path="/api" + path, root_path="/api")
        assert (await answer_of(app, mounted))[0] == 401

    @pytest.mark.parametrize("path", ["/static/a..b/.c/..d/e.", "/static/...", "/static/100%"])
    async def test_dots_in_names_are_no_steps(self, kit: Kit, path: str) -> None:
        async def reached(_scope: Any, _receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 204, "headers": []})

        app = ApiKeyMiddleware(reached, keys=kit.cache, public_prefixes=["/static/"])
        assert (await answer_of(app, scope_of(path=path)))[0] == 204

    async def test_a_request_that_is_refused_does_not_reach_the_application(self, kit: Kit) -> None:
        async def unreachable(*_: Any) -> None:
            raise AssertionError("it was reached")

        app = ApiKeyMiddleware(unreachable, keys=kit.cache)
        assert (await answer_of(app, scope_of()))[0] == 401

    async def test_a_lifespan_goes_through_and_what_nobody_knows_does_not(self, kit: Kit) -> None:
        seen = []

        async def inner(scope: Any, _receive: Any, _send: Any) -> None:
            seen.append(scope["type"])

        app = ApiKeyMiddleware(inner, keys=kit.cache)
        await app({"type": "lifespan"}, None, None)  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            await app(scope_of(type="webtransport"), None, None)  # type: ignore[arg-type]
        assert seen == ["lifespan"]


class TestWhoIsNot:
    @pytest.mark.parametrize("headers", [{}, {"authorization": "Basic YTpi"}])
    async def test_without_a_key_401_without_an_error(
        self, kit: Kit, headers: dict[str, str]
    ) -> None:
        async with client_of(behind_keys(kit, realm="keys")) as client:
            answer = await client.get("/whose", headers=headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == 'Bearer realm="keys"'
        assert answer.headers["cache-control"] == "no-store"
        assert answer.json() == {"detail": "Not authenticated"}
        assert kit.keys.questions == 0

    async def test_unknown_403_or_401_as_asked(self, kit: Kit, plain: str) -> None:
        for status in (403, 401):
            async with client_of(behind_keys(kit, unknown_status=status)) as client:
                answer = await client.get("/whose", headers={"x-api-key": plain})
            assert answer.status_code == status
            assert 'error="invalid_token"' in answer.headers["www-authenticate"]
            assert answer.json() == {"detail": "Unknown API key"}

    @pytest.mark.parametrize("unknown_status", [401, 403])
    @pytest.mark.parametrize(
        ("fields", "detail"),
        [
            ({"revoked_at": 1.0}, "API key revoked"),
            ({"is_active": False}, "API key revoked"),
            ({"expires_at": 1.0}, "API key expired"),
        ],
    )
    async def test_revoked_and_expired_403(
        self, kit: Kit, plain: str, fields: dict[str, Any], detail: str, unknown_status: int
    ) -> None:
        kit.keys.add(plain, **fields)
        async with client_of(behind_keys(kit, unknown_status=unknown_status)) as client:
            for _ in range(2):
                answer = await client.get("/whose", headers={"x-api-key": plain})
                assert (answer.status_code, answer.json()) == (403, {"detail": detail})

    async def test_a_cached_key_is_refused_once_it_is_revoked(self, kit: Kit, plain: str) -> None:
        key = kit.keys.add(plain)
        async with client_of(behind_keys(kit)) as client:
            assert (await client.get("/whose", headers={"x-api-key": plain})).status_code == 200
            kit.keys.change(key, revoked_at=kit.clock())
            kit.cache.invalidate(key_id=key.id)
            assert (await client.get("/whose", headers={"x-api-key": plain})).status_code == 403

    async def test_a_cached_key_is_refused_from_the_moment_it_expires(
        self, kit: Kit, plain: str
    ) -> None:
        kit.keys.add(plain, expires_at=kit.clock() + 10)
        async with client_of(behind_keys(kit)) as client:
            assert (await client.get("/whose", headers={"x-api-key": plain})).status_code == 200
            kit.clock.seconds += 10
            assert (await client.get("/whose", headers={"x-api-key": plain})).status_code == 403

    async def test_a_missing_scope_403_with_what_is_needed(self, kit: Kit, plain: str) -> None:
        kit.keys.add(plain, scopes={"read"})
        app = behind_keys(kit, scopes=["write", "read"], problem_details=True)
        async with client_of(app) as client:
            answer = await client.get("/whose", headers={"x-api-key": plain})
        assert answer.status_code == 403
        challenge = 'Bearer realm="api", error="insufficient_scope", scope="read write"'
        assert answer.headers["www-authenticate"] == challenge
        assert answer.headers["content-type"] == "application/problem+json"
        problem = answer.json()
        assert (problem["error"], problem["scope"]) == ("insufficient_scope", "read write")

    async def test_all_scopes_are_enough_and_more_are_too(self, kit: Kit, plain: str) -> None:
        kit.keys.add(plain, scopes={"read", "write", "more"})
        async with client_of(behind_keys(kit, scopes=["write", "read"])) as client:
            assert (await client.get("/whose", headers={"x-api-key": plain})).status_code == 200

    async def test_while_the_database_is_away_503_and_a_cached_key_goes_on(
        self, kit: Kit, plain: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        kit.keys.add(plain)
        other = FORMAT.generate()
        async with client_of(behind_keys(kit)) as client:
            assert (await client.get("/whose", headers={"x-api-key": plain})).status_code == 200
            kit.keys.error = ConnectionError(f"db.internal refused {other}")
            answer = await client.get("/whose", headers={"x-api-key": other})
            assert answer.status_code == 503
            assert answer.headers["retry-after"] == "1"
            assert "internal" not in answer.text
            assert (await client.get("/whose", headers={"x-api-key": plain})).status_code == 200
        assert other not in caplog.text

    async def test_an_outage_is_a_line_in_ten_seconds_and_names_no_key(
        self, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        kit = Kit(misses_per_second=1e6, miss_burst=1_000_000)
        failures = SparingLog(logging.getLogger("velro_cache.api_keys"), clock=kit.clock)
        monkeypatch.setattr(gate, "FAILURES", failures)
        kit.keys.error = ConnectionError("db.internal")
        others = [FORMAT.generate() for _ in range(20)]
        # Two of them, as several routes have each their own: they share their lines.
        apps = [behind_keys(kit), behind_keys(kit)]
        with kit.manager:
            for _ in range(21):
                for number, other in enumerate(others):
                    header = (b"x-api-key", other.encode())
                    status, _, _ = await answer_of(apps[number % 2], scope_of(header))
                    assert status == 503
                kit.clock.seconds += 1
        line = "API keys cannot be checked: AuthorizationUnavailable"
        assert [record.getMessage() for record in caplog.records] == [
            line,
            f"{line}; 199 more since the last such line",
            f"{line}; 199 more since the last such line",
        ]
        assert not any(other[8:] in caplog.text for other in others)

    async def test_too_many_keys_nobody_knows_503_with_a_time(self) -> None:
        kit = Kit(misses_per_second=1.0, miss_burst=1)
        with kit.manager:
            async with client_of(behind_keys(kit)) as client:
                statuses = []
                for _ in range(3):
                    answer = await client.get("/whose", headers={"x-api-key": FORMAT.generate()})
                    statuses.append(answer.status_code)
        assert statuses == [403, 503, 503]
        assert int(answer.headers["retry-after"]) >= 1
        assert kit.keys.questions == 1

    async def test_an_error_nobody_expects_is_no_grant(self, kit: Kit, plain: str) -> None:
        kit.keys.add(plain)
        kit.keys.error = RuntimeError("a bug")
        async with client_of(behind_keys(kit)) as client:
            assert (await client.get("/whose", headers={"x-api-key": plain})).status_code == 503

    async def test_a_crowd_with_one_key_asks_once(self, kit: Kit, plain: str) -> None:
        kit.keys.add(plain)
        kit.keys.gate = asyncio.Event()
        async with client_of(behind_keys(kit)) as client:
            tasks = [
                asyncio.create_task(client.get("/whose", headers={"x-api-key": plain}))
                for _ in range(20)
            ]
            await asyncio.sleep(0.01)
            kit.keys.gate.set()
            answers = await asyncio.gather(*tasks)
        assert {answer.status_code for answer in answers} == {200}
        assert kit.keys.questions == 1


class TestWebSockets:
    def test_a_good_key_is_let_in_and_others_are_not(
        self, kit: Kit, plain: str, serve: Serve
    ) -> None:
        kit.keys.add(plain)
        client = serve(behind_keys(kit))
        url = str(client.base_url).replace("http", "ws") + "/listen"
        with connect(url, additional_headers={"X-API-Key": plain}) as socket:
            assert json.loads(socket.recv())["id"] == "k1"
        for headers, status in (({}, 401), ({"X-API-Key": FORMAT.generate()}, 403)):
            with pytest.raises(InvalidStatus) as refused:
                connect(url, additional_headers=headers)
            assert refused.value.response.status_code == status


class TestOptions:
    @pytest.mark.parametrize(
        ("options", "error"),
        [
            ({"unknown_status": 404}, ValueError),
            ({"headers": []}, ValueError),
            ({"headers": "X-API-Key"}, TypeError),
            ({"headers": ["X API Key"]}, ValueError),
            ({"query_parameter": "a=b"}, ValueError),
            ({"scopes": "read"}, TypeError),
            ({"scopes": ['re"ad']}, ValueError),
            ({"public_paths": "/health"}, TypeError),
            ({"public_prefixes": ["/static"]}, ValueError),
            ({"trusted_proxies": "10.0.0.0/8"}, TypeError),
            ({"trusted_proxies": ["10.0.0.1/8"]}, ValueError),
            ({"realm": 'a"b'}, ValueError),
            ({"limiter": object()}, TypeError),
            ({"keys": object()}, TypeError),
        ],
    )
    def test_nonsense_is_refused(
        self, kit: Kit, options: dict[str, Any], error: type[Exception]
    ) -> None:
        options = {"keys": kit.cache} | options
        with pytest.raises(error):
            ApiKeyMiddleware(lambda *_: None, **options)  # type: ignore[arg-type,return-value]

    async def test_who_notes_uses_is_told_and_may_fail(
        self, kit: Kit, plain: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        kit.keys.add(plain)

        class Notes:
            noted: list[str] = []  # noqa: RUF012

            def note(self, key_id: str) -> None:
                self.noted.append(key_id)
                if len(self.noted) > 1:
                    raise RuntimeError(plain)

        notes = Notes()
        with caplog.at_level(logging.DEBUG):
            async with client_of(behind_keys(kit, last_used=notes)) as client:
                for _ in range(2):
                    answer = await client.get("/whose", headers={"x-api-key": plain})
                    assert answer.status_code == 200
                await client.get("/whose", headers={"x-api-key": FORMAT.generate()})
        assert notes.noted == ["k1", "k1"]
        assert "RuntimeError" in caplog.text
        assert plain not in caplog.text


def test_over_a_real_server(kit: Kit, plain: str, serve: Serve) -> None:
    kit.keys.add(plain)
    client: httpx.Client = serve(behind_keys(kit))
    assert client.get("/whose", headers={"X-API-Key": plain}).status_code == 200
    assert client.get("/whose", headers={"Authorization": f"Bearer {plain}"}).status_code == 200
    assert client.get("/whose").status_code == 401
    assert client.get("/whose", headers={"X-API-Key": FORMAT.generate()}).status_code == 403
