"""Lifespan, middleware and dependencies: how the pieces find each other."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from fastapi import APIRouter, FastAPI, Request, WebSocket
from fastapi.requests import HTTPConnection
from serving import GrantTable, Serve
from websockets.sync.client import connect

from velro_cache.authorization.current import (
    current_authorization_service,
    register_authorization_service,
    unregister_authorization_service,
)
from velro_cache.config import OptimizedCacheConfig
from velro_cache.exceptions import AuthorizationUnavailable, CacheStoppedError, ConfigError
from velro_cache.fastapi import (
    AuthDep,
    CacheManagerDep,
    OptimizedAuthMiddleware,
    get_cache,
    get_optimized_auth_middleware,
    velro_lifespan,
)
from velro_cache.manager import OptimizedCacheManager
from velro_cache.registry import get_cache_manager


def connection(state: dict[str, Any] | None = None) -> HTTPConnection:
    scope: dict[str, Any] = {"type": "http"}
    return HTTPConnection(scope if state is None else scope | {"state": state})


# --- lifespan -------------------------------------------------------------------------------


async def test_the_lifespan_runs_the_manager_of_the_process(table: GrantTable) -> None:
    config = OptimizedCacheConfig(name="mine")
    async with velro_lifespan(config, authorization=table)(None) as state:
        manager = state["velro_cache"]
        assert manager is get_cache_manager()
        assert manager.config == config
        assert state["velro_authorization"] is table
        assert current_authorization_service() is table
        manager.set("key", "value")
    with pytest.raises(CacheStoppedError):
        manager.set("key", "value")
    with pytest.raises(AuthorizationUnavailable):
        current_authorization_service()
    assert get_cache_manager() is not manager


async def test_without_a_service_the_state_holds_the_manager_alone() -> None:
    async with velro_lifespan()(None) as state:
        assert state == {"velro_cache": get_cache_manager()}


async def test_the_lifespan_ends_when_the_application_fails(table: GrantTable) -> None:
    with pytest.raises(ZeroDivisionError):
        async with velro_lifespan(authorization=table)(None) as state:
            raise ZeroDivisionError
    assert state["velro_cache"].is_stopped
    with pytest.raises(AuthorizationUnavailable):
        current_authorization_service()


async def test_a_start_that_fails_leaves_nothing_running() -> None:
    async def broken() -> None:
        raise ConnectionError("the database is away")

    manager = get_cache_manager()
    manager.add_preloader(broken)
    with pytest.raises(ConnectionError):
        async with velro_lifespan()(None):
            pytest.fail("must not start")
    assert manager.is_stopped
    async with velro_lifespan()(None) as state:
        assert state["velro_cache"] is not manager


async def test_the_last_lifespan_to_end_stops_the_manager() -> None:
    lifespan = velro_lifespan()
    async with lifespan(None) as outer:
        async with lifespan(None) as inner:
            assert inner["velro_cache"] is outer["velro_cache"]
        assert not outer["velro_cache"].is_stopped
    assert outer["velro_cache"].is_stopped


async def test_other_settings_than_those_in_use_are_refused() -> None:
    get_cache_manager()
    with pytest.raises(ConfigError):
        async with velro_lifespan(OptimizedCacheConfig(name="other"))(None):
            pytest.fail("must not start")


def test_what_cannot_decide_is_refused_when_the_application_is_built() -> None:
    with pytest.raises(TypeError, match="validate_generation_media_access"):
        velro_lifespan(authorization=object())  # type: ignore[arg-type]


def test_it_merges_with_the_applications_own_lifespan_and_those_of_routers(
    serve: Serve, table: GrantTable
) -> None:
    stopped: list[bool] = []

    @asynccontextmanager
    async def own(app: FastAPI) -> AsyncGenerator[dict[str, Any]]:
        async with velro_lifespan(authorization=table)(app) as state:
            yield {**state, "database": "here"}
            # Routers end before the application does; the cache must still be there.
            stopped.append(state["velro_cache"].is_stopped)

    router = APIRouter(lifespan=velro_lifespan())

    @router.get("/")
    async def read(request: Request, cache: CacheManagerDep) -> list[Any]:
        return [request.state.database, cache is request.state.velro_cache]

    app = FastAPI(lifespan=own)
    app.include_router(router)
    assert serve(app).get("/").json() == ["here", True]
    asyncio.run(_run_lifespan(app))
    assert stopped[-1] is False


async def _run_lifespan(app: FastAPI) -> None:
    async with app.router.lifespan_context(app):
        pass


# --- middleware -----------------------------------------------------------------------------


def test_the_middleware_puts_itself_on_every_request(serve: Serve, table: GrantTable) -> None:
    app = FastAPI()
    app.add_middleware(OptimizedAuthMiddleware, authorization=table)

    @app.get("/")
    async def read(request: Request, auth: AuthDep) -> list[bool]:
        cache = request.state.auth_cache
        answer = await cache.check_generation_access_cached("g", "u", "good")
        return [cache is auth, answer.granted]

    table.grant("g", "u", "good")
    assert serve(app).get("/").json() == [True, True]


def test_websockets_are_served_like_requests(serve: Serve, table: GrantTable) -> None:
    app = FastAPI(lifespan=velro_lifespan(authorization=table))
    app.add_middleware(OptimizedAuthMiddleware)

    @app.websocket("/{generation_id}")
    async def talk(
        websocket: WebSocket, generation_id: str, auth: AuthDep, cache: CacheManagerDep
    ) -> None:
        await websocket.accept()
        answer = await websocket.state.auth_cache.check_generation_access_cached(
            generation_id, "u", "good"
        )
        await websocket.send_json([answer.granted, auth is websocket.state.auth_cache, len(cache)])
        await websocket.close()

    table.grant("g", "u", "good")
    url = str(serve(app).base_url).replace("http://", "ws://")
    for generation, expected in (("g", [True, True, 1]), ("h", [False, True, 2])):
        with connect(f"{url}/{generation}") as socket:
            assert json.loads(socket.recv(timeout=20)) == expected


async def test_other_scopes_pass_untouched() -> None:
    seen: list[Any] = []

    async def inner(*call: Any) -> None:
        seen.append(call)

    async def receive() -> dict[str, Any]:
        return {}

    async def send(_message: Any) -> None:
        return None

    scope: dict[str, Any] = {"type": "lifespan", "state": {}}
    await OptimizedAuthMiddleware(inner)(scope, receive, send)
    assert seen == [(scope, receive, send)]
    assert seen[0][0] is scope
    assert scope == {"type": "lifespan", "state": {}}


async def test_a_scope_without_state_gets_one() -> None:
    scopes: list[Any] = []

    async def inner(scope: Any, _receive: Any, _send: Any) -> None:
        scopes.append(scope)

    middleware = OptimizedAuthMiddleware(inner)
    await middleware({"type": "http"}, None, None)  # type: ignore[arg-type]
    assert isinstance(scopes[0]["state"]["auth_cache"], OptimizedAuthMiddleware)


async def test_requests_of_one_application_share_one_object(table: GrantTable) -> None:
    states: list[dict[str, Any]] = []

    async def inner(scope: Any, _receive: Any, _send: Any) -> None:
        states.append(scope["state"])

    middleware = OptimizedAuthMiddleware(inner)
    shared = {"velro_cache": get_cache_manager(), "velro_authorization": table}
    other = {**shared, "velro_authorization": GrantTable()}
    for state in (shared, shared, other):
        await middleware({"type": "http", "state": dict(state)}, None, None)  # type: ignore[arg-type]
    first, second, third = (state["auth_cache"] for state in states)
    assert first is second
    assert third is not first
    table.grant("g", "u", "good")
    assert (await first.check_generation_access_cached("g", "u", "good")).granted
    assert not (await third.check_generation_access_cached("g", "u", "good")).granted


async def test_each_request_uses_the_cache_it_carries(table: GrantTable) -> None:
    managers = [OptimizedCacheManager() for _ in range(2)]
    auth = OptimizedAuthMiddleware(authorization=table)
    for manager in (*managers, managers[0]):
        bound = auth.bound_to({"velro_cache": manager})
        await bound.check_generation_access_cached("g", "u", "good")
        assert bound.get_performance_stats()["cache_stats"]["total_entries"] == 1
    assert [len(manager) for manager in managers] == [1, 1]
    assert len(get_cache_manager()) == 0


async def test_services_made_for_each_request_share_decisions_under_one_name() -> None:
    tables = [GrantTable() for _ in range(3)]
    for table, namespace in zip(tables, ("tenant 1", "tenant 1", "tenant 2"), strict=True):
        auth = OptimizedAuthMiddleware(authorization=table, namespace=namespace)
        for bound in (auth, auth.bound_to({"velro_cache": get_cache_manager()})):
            await bound.check_generation_access_cached("g", "u", "good")
    assert [table.calls for table in tables] == [1, 0, 1]


async def test_denies_live_as_long_as_the_middleware_was_told(table: GrantTable) -> None:
    auth = OptimizedAuthMiddleware(authorization=table, deny_ttl_seconds=0)
    bound = auth.bound_to({"velro_cache": get_cache_manager()})
    assert bound is not auth
    for each in (bound, bound, auth, auth):
        await each.check_generation_access_cached("g", "u", "good")
    assert table.calls == 4


async def test_an_object_without_application_says_so() -> None:
    with pytest.raises(TypeError, match="add_middleware"):
        await OptimizedAuthMiddleware()({"type": "http"}, None, None)  # type: ignore[arg-type]


def test_a_service_in_the_place_of_the_application_is_refused(table: GrantTable) -> None:
    with pytest.raises(TypeError, match="authorization="):
        OptimizedAuthMiddleware(table)  # type: ignore[arg-type]


# --- without a lifespan ---------------------------------------------------------------------


async def test_everything_works_without_a_lifespan(table: GrantTable) -> None:
    app = FastAPI()

    @app.get("/")
    async def read(auth: AuthDep, cache: CacheManagerDep) -> list[Any]:
        answer = await auth.check_generation_access_cached("g", "u", "good")
        return [answer.granted, cache is get_cache_manager(), len(cache)]

    table.grant("g", "u", "good")
    register_authorization_service(table)
    try:
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://test"
        ) as client:
            answers = [(await client.get("/")).json() for _ in range(2)]
    finally:
        unregister_authorization_service(table)
    assert answers == [[True, True, 1]] * 2
    assert table.calls == 1


async def test_an_object_made_before_anything_else_finds_it_later(table: GrantTable) -> None:
    early = OptimizedAuthMiddleware()
    with pytest.raises(AuthorizationUnavailable):
        await early.check_generation_access_cached("g", "u", "good")
    table.grant("g", "u", "good")
    async with velro_lifespan(authorization=table)(None):
        assert (await early.check_generation_access_cached("g", "u", "good")).granted
    with pytest.raises(AuthorizationUnavailable):
        await early.check_generation_access_cached("g", "u", "good")
    async with velro_lifespan(authorization=GrantTable())(None):
        assert not (await early.check_generation_access_cached("g", "u", "good")).granted


async def test_dependencies_prefer_what_the_request_carries(table: GrantTable) -> None:
    assert await get_cache(connection()) is get_cache_manager()
    assert await get_cache(connection({"velro_cache": "something else"})) is get_cache_manager()
    mine = OptimizedAuthMiddleware(authorization=table)
    assert await get_optimized_auth_middleware(connection({"auth_cache": mine})) is mine
    table.grant("g", "u", "good")
    found = await get_optimized_auth_middleware(connection({"velro_authorization": table}))
    assert (await found.check_generation_access_cached("g", "u", "good")).granted


# --- packaging ------------------------------------------------------------------------------


def run_python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout.strip()


def test_without_fastapi_the_error_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['fastapi'] = None\n"
        "try: import velro_cache.fastapi\n"
        "except ImportError as error: print(error)"
    )
    assert "pip install velro-cache[fastapi]" in run_python(code)


def test_the_core_and_the_authorization_part_import_no_web_framework() -> None:
    code = (
        "import sys, velro_cache, velro_cache.authorization\n"
        "print(sorted({'fastapi', 'starlette', 'pydantic', 'uvicorn'} & set(sys.modules)))"
    )
    assert run_python(code) == "[]"
