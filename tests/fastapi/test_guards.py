"""Guards of routes: who is let in, and what everybody else is told."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
import starlette.exceptions
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from guarded import Issuer, Service, ask, at, bearer, guarded_app, raw_messages, scope_of
from starlette.websockets import WebSocketDisconnect

from velro_cache.authorization.models import AccessType, AuthorizationResult, TeamRole
from velro_cache.config import OptimizedCacheConfig
from velro_cache.exceptions import AuthorizationUnavailable, ConfigError, LoaderTimeoutError
from velro_cache.fastapi import (
    AccessDenied,
    CacheManagerDep,
    GuardedRoute,
    OptimizedAuthMiddleware,
    ReadableGeneration,
    RequireGenerationAccess,
    RequireProjectAccess,
    RequireTeamRole,
    get_cache,
    get_optimized_auth_middleware,
    install_problem_handlers,
    velro_lifespan,
)
from velro_cache.manager import OptimizedCacheManager
from velro_cache.testing import AllowAll, DenyAll, FrozenClock

REQUIRED = 'Bearer realm="api"'
INVALID = 'Bearer realm="api", error="invalid_token"'


class Bench:
    """A guarded application with everything behind it."""

    def __init__(self, app: FastAPI | None = None, **options: Any) -> None:
        self.service, self.issuer, self.clock = Service(), Issuer(), FrozenClock()
        config = OptimizedCacheConfig(share_invalidations=False, load_timeout_seconds=5)
        self.cache = OptimizedCacheManager(config, clock=self.clock.engine)
        self.auth = OptimizedAuthMiddleware(
            authorization=self.service,
            cache_manager=self.cache,
            authenticate=self.issuer,
            now=self.clock.now,
            **options,
        )
        self.app = guarded_app() if app is None else app

    async def ask(self, path: str, headers: Any = None, **more: Any) -> httpx.Response:
        return await ask(self.app, path, headers, state={"auth_cache": self.auth}, **more)

    def grant(self, generation: Any, user: str, **fields: Any) -> None:
        self.service.grant(generation, user, f"token-of-{user}", **fields)


@pytest.fixture(params=[APIRoute, GuardedRoute], ids=["resolved by FastAPI", "guarded route"])
def route_class(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def bench(route_class: Any) -> Bench:
    return Bench(guarded_app(route_class))


# --- who is let in --------------------------------------------------------------------------


async def test_who_may_is_let_in_and_asked_about_once(bench: Bench) -> None:
    bench.grant("g", "ada")
    for _ in range(3):
        answer = await bench.ask("/generations/g", bearer("ada"))
        assert (answer.status_code, answer.json()) == (200, {"id": "g", "user": "ada"})
    assert (bench.service.calls, bench.issuer.calls) == (1, 1)


async def test_the_identity_alone(bench: Bench) -> None:
    answer = await bench.ask("/me", bearer("ada"))
    assert answer.json() == {"user": "ada"}


async def test_each_access_is_a_question_of_its_own(bench: Bench) -> None:
    bench.grant("g", "ada")
    assert (await bench.ask("/generations/g", bearer("ada"))).status_code == 200
    refused = await bench.ask("/generations/g", bearer("ada"), method="PUT")
    assert refused.status_code == 403
    assert refused.headers["www-authenticate"] == (
        'Bearer realm="api", error="insufficient_scope", scope="generation:write"'
    )


@pytest.mark.parametrize(("path", "place"), [("projects", "project"), ("teams", "team")])
async def test_roles_are_a_ladder(bench: Bench, path: str, place: str) -> None:
    needed = {"project": TeamRole.EDITOR, "team": TeamRole.ADMIN}[place]
    for role in TeamRole:
        bench.service.roles[f"{place}:p", role.value] = role
    for _ in range(2):
        for role in TeamRole:
            answer = await bench.ask(f"/{path}/p", bearer(role.value))
            assert answer.status_code == (200 if role >= needed else 403), role
            if answer.status_code == 403:
                assert f'scope="{place}:{needed}"' in answer.headers["www-authenticate"]
    assert bench.service.calls == len(TeamRole)


async def test_two_users_of_one_path_never_share(bench: Bench) -> None:
    users = [f"user{number}" for number in range(12)]
    for user in users[::2]:
        bench.grant("g", user)
        bench.service.roles["project:p", user] = TeamRole.OWNER
        bench.service.roles["team:t", user] = TeamRole.OWNER
    for path in ("/generations/g", "/projects/p", "/teams/t"):
        for _ in range(2):
            asked = [bench.ask(path, bearer(user)) for user in users]
            statuses = [answer.status_code for answer in await asyncio.gather(*asked)]
            assert statuses == [200, 403] * 6


async def test_two_tokens_of_one_user_never_share_a_decision(bench: Bench) -> None:
    from velro_cache.authorization.identity import Identity

    bench.grant("g", "ada")
    bench.issuer.answers["other"] = Identity("ada")
    assert (await bench.ask("/generations/g", bearer("ada"))).status_code == 200
    refused = await bench.ask("/generations/g", {"authorization": "Bearer other"})
    assert refused.status_code == 403


async def test_a_revocation_is_seen_by_the_next_request(bench: Bench) -> None:
    bench.grant("g", "ada")
    bench.service.roles["project:p", "ada"] = TeamRole.OWNER
    for path in ("/generations/g", "/projects/p"):
        assert (await bench.ask(path, bearer("ada"))).status_code == 200
    bench.service.grants.clear()
    bench.service.roles.clear()
    await bench.cache.invalidate_user_authorization_cache("ada")
    for path in ("/generations/g", "/projects/p"):
        assert (await bench.ask(path, bearer("ada"))).status_code == 403
    bench.issuer.revoked.add("token-of-ada")
    bench.cache.invalidate_user_data("ada")
    assert (await bench.ask("/me", bearer("ada"))).status_code == 401


async def test_a_grant_and_a_role_end_on_time(bench: Bench) -> None:
    end = at(2030, 1, 1, 12, 1)
    bench.grant("g", "ada", expires_at=end)
    bench.service.answer = None
    assert (await bench.ask("/generations/g", bearer("ada"))).status_code == 200
    bench.clock.advance(60)
    assert (await bench.ask("/generations/g", bearer("ada"))).status_code == 403
    bench.service.answer = [AuthorizationResult(True, expires_at=at(2030, 1, 1, 12, 2))]
    assert (await bench.ask("/teams/t", bearer("ada"))).status_code == 200
    bench.clock.advance(60)
    assert (await bench.ask("/teams/t", bearer("ada"))).status_code == 403


# --- credentials ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [None, {"authorization": "Basic YTpi"}, {"authorization": "Bearer"}, {"authorization": ""}],
    ids=str,
)
async def test_without_credentials_nothing_is_said_about_an_error(
    bench: Bench, headers: Any
) -> None:
    for path in ("/me", "/generations/g", "/projects/p", "/teams/t"):
        answer = await bench.ask(path, headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == REQUIRED
        assert answer.headers["cache-control"] == "no-store"
        assert answer.json() == {"detail": "Not authenticated"}
    assert (bench.issuer.calls, bench.service.calls) == (0, 0)


@pytest.mark.parametrize(
    "token",
    [
        b"",
        b" ",
        b"forged",
        b"a b",
        b"a\x00b",
        b"\xff\xfe\xfd",
        b"token-of-\xc3\xa4",
        b"a" * 8193,
        b"a" * 10_000_000,
        b"../../etc/passwd",
        b'"><script>',
    ],
    ids=lambda token: f"{token[:12]!r}x{len(token)}",
)
async def test_hostile_tokens_are_refused(bench: Bench, token: bytes) -> None:
    scope = scope_of("/generations/g", (b"authorization", b"Bearer " + token))
    scope["state"] = {"auth_cache": bench.auth}
    start, body = await raw_messages(bench.app, scope)
    assert start["status"] == 401
    assert dict(start["headers"])[b"www-authenticate"] == INVALID.encode()
    assert body["body"] == b'{"detail":"Invalid token"}'
    assert bench.service.calls == 0
    assert bench.cache.keys() == []


async def test_two_authorization_headers_are_refused(bench: Bench) -> None:
    header = (b"authorization", b"Bearer token-of-ada")
    scope = scope_of("/me", header, header)
    scope["state"] = {"auth_cache": bench.auth}
    start, _ = await raw_messages(bench.app, scope)
    assert start["status"] == 401
    assert bench.issuer.calls == 0


async def test_the_scheme_is_spelt_in_any_case(bench: Bench) -> None:
    answer = await bench.ask("/me", {"authorization": "bEARER token-of-ada"})
    assert answer.status_code == 200


async def test_a_token_past_its_end_is_invalid(bench: Bench) -> None:
    bench.issuer.fields["expires_at"] = at(2030, 1, 1, 12, 1)
    assert (await bench.ask("/me", bearer("ada"))).status_code == 200
    bench.clock.advance(60)
    answer = await bench.ask("/me", bearer("ada"))
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, INVALID)
    bench.issuer.fields = {"not_before": at(2031, 1, 1)}
    assert (await bench.ask("/me", bearer("bob"))).status_code == 401


async def test_realm_and_metadata_are_those_of_the_application() -> None:
    bench = Bench(realm="photos", resource_metadata="https://a.example/meta")
    answer = await bench.ask("/me")
    assert answer.headers["www-authenticate"] == (
        'Bearer realm="photos", resource_metadata="https://a.example/meta"'
    )
    answer = await bench.ask("/generations/g", bearer("ada"))
    assert answer.headers["www-authenticate"] == (
        'Bearer realm="photos", error="insufficient_scope", scope="generation:read",'
        ' resource_metadata="https://a.example/meta"'
    )


@pytest.mark.parametrize("realm", ['a"b', "a\\b", "a\nb", "ä"])
def test_a_realm_that_would_break_the_header_is_refused(realm: str) -> None:
    with pytest.raises(ValueError, match="realm"):
        OptimizedAuthMiddleware(realm=realm)


async def test_the_token_may_stand_elsewhere() -> None:
    bench = Bench(find_token=lambda scope: dict(scope["headers"]).get(b"x-token"))
    assert (await bench.ask("/me", {"x-token": "token-of-ada"})).json() == {"user": "ada"}
    assert (await bench.ask("/me", bearer("ada"))).status_code == 401


# --- ids ------------------------------------------------------------------------------------


async def test_all_spellings_of_a_uuid_are_one_id(bench: Bench) -> None:
    generation = uuid4()
    bench.grant(generation, "ada")
    for spelling in (str(generation), str(generation).upper(), f"{{{generation}}}"):
        answer = await bench.ask(f"/generations/{spelling}", bearer("ada"))
        assert answer.status_code == 200, spelling
    assert bench.service.calls == 1


async def test_ids_may_be_of_a_type(bench: Bench) -> None:
    generation = uuid4()
    bench.grant(generation, "ada")
    answer = await bench.ask(f"/by-uuid/{generation}", bearer("ada"))
    assert answer.json() == {"id": str(generation), "asked": "UUID"}
    calls = bench.service.calls
    answer = await bench.ask("/by-uuid/no-uuid", bearer("ada"))
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["path", "id"]
    assert bench.service.calls == calls


@pytest.mark.parametrize(
    "hostile",
    ["a\0b", "a\nb", "\x7f", "\udcff", "\u202egp", "a" * 257, "a" * 10_000_000],
    ids=lambda text: f"{text[:4]!r}x{len(text)}",
)
@pytest.mark.parametrize("path", ["generations", "projects", "teams"])
async def test_hostile_ids_reach_nobody(bench: Bench, path: str, hostile: str) -> None:
    scope = scope_of("/", (b"authorization", b"Bearer token-of-ada"))
    scope |= {"path": f"/{path}/{hostile}", "raw_path": b"/"}
    scope["state"] = {"auth_cache": bench.auth}
    start, body = await raw_messages(bench.app, scope)
    assert start["status"] == 422
    assert len(body["body"]) < 300
    assert bench.service.calls == 0
    # Who is not known is not even told that.
    scope["headers"] = []
    start, _ = await raw_messages(bench.app, scope)
    assert start["status"] == 401


@pytest.mark.parametrize("wild", ["*", "a:b", "[g]", "%2e%2e", "..", "g ", "G"])
async def test_an_id_names_itself_only(bench: Bench, wild: str) -> None:
    bench.grant("g", "ada")
    assert (await bench.ask("/generations/g", bearer("ada"))).status_code == 200
    scope = scope_of("/", (b"authorization", b"Bearer token-of-ada"))
    scope |= {"path": f"/generations/{wild}", "raw_path": b"/"}
    scope["state"] = {"auth_cache": bench.auth}
    start, _ = await raw_messages(bench.app, scope)
    assert start["status"] == 403
    bench.grant(wild, "ada")
    bench.cache.clear()
    start, _ = await raw_messages(bench.app, scope)
    assert start["status"] == 200


async def test_a_guard_of_a_parameter_that_is_not_there_says_so(bench: Bench) -> None:
    app = FastAPI()

    @app.get("/{id}")
    async def read(id: str, permissions: ReadableGeneration) -> None:
        pytest.fail("must not be reached")

    scope = scope_of("/g", (b"authorization", b"Bearer token-of-ada"))
    scope["state"] = {"auth_cache": bench.auth}
    with pytest.raises(ConfigError, match="generation_id"):
        await raw_messages(app, scope)


@pytest.mark.parametrize("make", [RequireGenerationAccess, RequireProjectAccess, RequireTeamRole])
def test_guards_are_checked_when_they_are_made(make: Any) -> None:
    with pytest.raises(ValueError, match="king"):
        make("king")
    with pytest.raises(ValueError, match="path parameter"):
        make(parameter="no name")


# --- failures -------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/generations/g", "/projects/p", "/teams/t"])
@pytest.mark.parametrize(
    "answer",
    [None, True, "yes", {"granted": True}, 1, object()],
    ids=str,
)
async def test_what_is_no_answer_is_no_allow(bench: Bench, path: str, answer: Any) -> None:
    install_problem_handlers(bench.app)
    bench.service.answer = [answer]
    for _ in range(2):
        assert (await bench.ask(path, bearer("ada"))).status_code == 503
    assert bench.service.calls == 2
    assert not [key for key in bench.cache.keys("*") if "token" not in key]


@pytest.mark.parametrize("path", ["/generations/g", "/projects/p", "/teams/t"])
async def test_a_service_that_raises_is_no_answer(bench: Bench, path: str) -> None:
    bench.service.error = ConnectionError("the database is away")
    assert (await bench.ask(path, bearer("ada"))).status_code == 500
    scope = scope_of(path, (b"authorization", b"Bearer token-of-ada"))
    scope["state"] = {"auth_cache": bench.auth}
    with pytest.raises(AuthorizationUnavailable) as error:
        await raw_messages(bench.app, scope)
    assert isinstance(error.value.__cause__, ConnectionError)
    bench.app = guarded_app()
    install_problem_handlers(bench.app)
    answer = await bench.ask(path, bearer("ada"))
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    assert "database" not in answer.text
    assert not [key for key in bench.cache.keys("*") if "token" not in key]


@pytest.mark.parametrize("kind", [HTTPException, starlette.exceptions.HTTPException])
async def test_what_the_service_says_to_fastapi_reaches_it(bench: Bench, kind: Any) -> None:
    bench.service.error = kind(429, "slower", {"Retry-After": "9"})
    answer = await bench.ask("/generations/g", bearer("ada"))
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "9")


async def test_a_service_that_hangs_is_given_up(bench: Bench) -> None:
    bench.cache = OptimizedCacheManager(OptimizedCacheConfig(load_timeout_seconds=0.01))
    bench.auth = OptimizedAuthMiddleware(
        authorization=bench.service, cache_manager=bench.cache, authenticate=bench.issuer
    )
    bench.service.before_answer = asyncio.Event().wait
    scope = scope_of("/generations/g", (b"authorization", b"Bearer token-of-ada"))
    scope["state"] = {"auth_cache": bench.auth}
    with pytest.raises(LoaderTimeoutError):
        await raw_messages(bench.app, scope)
    with pytest.raises(RuntimeError, match="started"):
        install_problem_handlers(bench.app)
    bench.app = guarded_app()
    install_problem_handlers(bench.app)
    assert (await bench.ask("/generations/g", bearer("ada"))).status_code == 503


@pytest.mark.parametrize("answer", [ConnectionError("away"), {"sub": "ada"}, True], ids=str)
async def test_a_verifier_that_cannot_tell_is_no_answer(bench: Bench, answer: Any) -> None:
    install_problem_handlers(bench.app)
    bench.issuer.answers["token-of-ada"] = answer
    assert (await bench.ask("/me", bearer("ada"))).status_code == 503
    assert bench.cache.keys() == []


async def test_without_a_verifier_there_is_no_answer(bench: Bench) -> None:
    bench.auth = OptimizedAuthMiddleware(authorization=bench.service, cache_manager=bench.cache)
    install_problem_handlers(bench.app)
    for path in ("/me", "/generations/g"):
        assert (await bench.ask(path, bearer("ada"))).status_code == 503


async def test_a_service_without_roles_is_no_answer(table: Any) -> None:
    app = guarded_app()
    install_problem_handlers(app)
    auth = OptimizedAuthMiddleware(authorization=table, authenticate=Issuer())
    answer = await ask(app, "/teams/t", bearer("ada"), state={"auth_cache": auth})
    assert answer.status_code == 503


async def test_an_inner_answer_above_its_own_role_is_a_contradiction(bench: Bench) -> None:
    install_problem_handlers(bench.app)
    bench.service.answer = [AuthorizationResult(True, role=TeamRole.VIEWER)]
    assert (await bench.ask("/teams/t", bearer("ada"))).status_code == 503


# --- as exceptions, as problems ---------------------------------------------------------------


async def test_handlers_of_the_application_apply(bench: Bench) -> None:
    @bench.app.exception_handler(HTTPException)
    async def own(_request: Request, error: Any) -> JSONResponse:
        kind = isinstance(error, AccessDenied)
        return JSONResponse({"denied": kind, "needs": error.needed_scope}, error.status_code)

    answer = await bench.ask("/generations/g", bearer("ada"))
    assert (answer.status_code, answer.json()) == (
        403,
        {"denied": True, "needs": "generation:read"},
    )


async def test_problem_documents_on_request(bench: Bench) -> None:
    install_problem_handlers(bench.app)
    answers = [
        await bench.ask("/me"),
        await bench.ask("/me", {"authorization": "Bearer forged"}),
        await bench.ask("/generations/g", bearer("ada")),
    ]
    for answer in answers:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.json()["status"] == answer.status_code
    assert [answer.headers["www-authenticate"] for answer in answers[:2]] == [REQUIRED, INVALID]
    assert answers[2].json() == {
        "type": "about:blank",
        "title": "Forbidden",
        "status": 403,
        "detail": "Access denied",
        "error": "insufficient_scope",
        "scope": "generation:read",
    }


# --- one seam -------------------------------------------------------------------------------


def test_one_override_replaces_every_guard(route_class: Any) -> None:
    app = guarded_app(route_class)
    paths = ["/me", "/generations/g", f"/by-uuid/{UUID(int=1)}", "/projects/p", "/teams/t"]
    with TestClient(app) as client:
        app.dependency_overrides[get_optimized_auth_middleware] = AllowAll("eve")
        assert [client.get(path).status_code for path in paths] == [200] * 5
        assert client.get("/generations/g").json() == {"id": "g", "user": "eve"}
        assert client.put("/generations/g").status_code == 200
        with client.websocket_connect("/generations/g/live") as socket:
            assert socket.receive_json() == {"user": "eve"}
        app.dependency_overrides[get_optimized_auth_middleware] = DenyAll()
        assert [client.get(path).status_code for path in paths] == [200, 403, 403, 403, 403]


class Shaped(AllowAll):
    """Made without arguments."""

    def __init__(self) -> None:
        super().__init__("eve")


async def _async_override() -> AllowAll:
    return AllowAll("eve")


async def _for_the_connection(connection: Any) -> AllowAll:
    assert connection.scope["path"] == "/me"
    return AllowAll("eve")


@pytest.mark.parametrize(
    "override",
    [AllowAll("eve"), Shaped, lambda: AllowAll("eve"), _async_override, _for_the_connection],
)
def test_an_override_has_any_shape(override: Any, route_class: Any) -> None:
    app = guarded_app(route_class)
    app.dependency_overrides[get_optimized_auth_middleware] = override
    with TestClient(app) as client:
        assert client.get("/me").json() == {"user": "eve"}


def _yields() -> Any:
    yield AllowAll()


async def _yields_later() -> Any:
    yield AllowAll()


def _depends(cache: CacheManagerDep) -> AllowAll:
    return AllowAll()


def _depends_by_default(cache: Any = Depends(get_cache)) -> AllowAll:  # noqa: B008
    return AllowAll()


@pytest.mark.parametrize(
    "override",
    [
        _yields,
        _yields_later,
        _depends,
        _depends_by_default,
        lambda a, b: AllowAll(),
        lambda *, a: AllowAll(),
    ],
)
def test_an_override_that_cannot_be_called_lets_nobody_in(override: Any, route_class: Any) -> None:
    app = guarded_app(route_class)
    app.dependency_overrides[get_optimized_auth_middleware] = override
    with TestClient(app) as client, pytest.raises(ConfigError, match="override"):
        client.get("/me")


def test_overrides_are_those_of_the_application_that_serves() -> None:
    """As with ``Depends``: a mounted application has its own."""
    inner, outer = guarded_app(), FastAPI()
    outer.mount("/inner", inner)
    outer.dependency_overrides[get_optimized_auth_middleware] = AllowAll()
    with TestClient(outer) as client:
        with pytest.raises(AuthorizationUnavailable):
            client.get("/inner/me")
        inner.dependency_overrides[get_optimized_auth_middleware] = AllowAll("eve")
        assert client.get("/inner/me").json() == {"user": "eve"}


def test_the_lifespan_names_the_verifier(route_class: Any) -> None:
    service, issuer = Service(), Issuer()
    service.grant("g", "ada", "token-of-ada")
    lifespan = velro_lifespan(authorization=service, authenticate=issuer)
    app = guarded_app(route_class, lifespan=lifespan)
    with TestClient(app) as client:
        for _ in range(3):
            assert client.get("/generations/g", headers=bearer("ada")).status_code == 200
        assert client.get("/generations/g", headers=bearer("bob")).status_code == 403
        assert client.get("/generations/g").status_code == 401
    assert (issuer.calls, service.calls) == (2, 2)


async def test_lifespans_are_merged() -> None:
    """One names the service, the other the verifier; in either order, guards find both."""
    service, issuer = Service(), Issuer()
    service.grant("g", "ada", "token-of-ada")
    async with (
        velro_lifespan(authorization=service)(None) as one,
        velro_lifespan(authenticate=issuer)(None) as other,
    ):
        for state in (one | other, other | one):
            answer = await ask(guarded_app(), "/generations/g", bearer("ada"), state=state)
            assert answer.status_code == 200


# --- WebSockets -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "path"),
    [
        ({}, "/generations/g/live"),
        ({"authorization": "Bearer forged"}, "/generations/g/live"),
        (bearer("ada"), "/generations/h/live"),
        (bearer("ada"), f"/generations/{'a' * 300}/live"),
    ],
    ids=["no token", "forged", "denied", "no id"],
)
def test_a_websocket_that_may_not_is_closed_before_it_is_accepted(
    headers: dict[str, str], path: str
) -> None:
    service = Service()
    service.grant("g", "ada", "token-of-ada")
    app = guarded_app(lifespan=velro_lifespan(authorization=service, authenticate=Issuer()))
    with TestClient(app) as client:
        with client.websocket_connect("/generations/g/live", headers=bearer("ada")) as socket:
            assert socket.receive_json() == {"user": "ada"}
        with (
            pytest.raises(WebSocketDisconnect) as closed,
            client.websocket_connect(path, headers=headers) as socket,
        ):
            socket.receive_json()
        assert closed.value.code == 1008


async def test_a_websocket_is_told_that_nobody_can_tell(bench: Bench) -> None:
    install_problem_handlers(bench.app)
    bench.service.error = ConnectionError("away")
    header = (b"authorization", b"Bearer token-of-ada")
    scope = scope_of("/generations/g/live", header, kind="websocket")
    scope["state"] = {"auth_cache": bench.auth}
    sent = await raw_messages(bench.app, scope, {"type": "websocket.connect"})
    assert [(message["type"], message["code"]) for message in sent] == [("websocket.close", 1013)]


def test_every_kind_of_access_has_a_guard_of_its_own() -> None:
    assert {RequireGenerationAccess(access).needed_scope for access in AccessType} == {
        f"generation:{access}" for access in AccessType
    }
