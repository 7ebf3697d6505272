"""What the cache promises, asked over real HTTP."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI, HTTPException, Request
from serving import GrantTable, Serve

from velro_cache.authorization.models import AccessType
from velro_cache.config import OptimizedCacheConfig
from velro_cache.fastapi import (
    AuthDep,
    CacheManagerDep,
    OptimizedAuthMiddleware,
    get_optimized_auth_middleware,
    velro_lifespan,
)
from velro_cache.manager import OptimizedCacheManager

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)


def make_app(**options: Any) -> FastAPI:
    """A service as an application would have it: one guarded resource, one way to revoke."""
    app = FastAPI(**options)

    @app.get("/generations/{generation_id}/{access}")
    async def read(
        generation_id: str, access: AccessType, request: Request, auth: AuthDep
    ) -> dict[str, Any]:
        token = request.headers["authorization"].removeprefix("Bearer ")
        permissions = await auth.check_generation_access_cached(
            generation_id,
            request.headers["user"],
            token,
            required_access=access,
            client_ip=request.headers.get("address"),
            force_refresh="refresh" in request.headers,
        )
        if not permissions.granted:
            raise HTTPException(403, "Access denied")
        return {"urls": permissions.media_urls}

    @app.post("/users/{user_id}/revoke")
    async def revoke(user_id: str, request: Request, cache: CacheManagerDep) -> int:
        request.app.state.table.grants.clear()
        return await cache.invalidate_user_authorization_cache(user_id)

    @app.get("/stats")
    async def stats(auth: AuthDep) -> dict[str, Any]:
        return auth.get_performance_stats()

    return app


class Caller:
    """One user's requests for one generation."""

    def __init__(self, client: httpx.Client, generation: str = "g", user: str = "u") -> None:
        self.client, self.generation, self.user = client, generation, user

    def status(self, access: str = "read", credential: str = "good", **headers: str) -> int:
        headers = {"user": self.user, "authorization": f"Bearer {credential}"} | headers
        return self.client.get(
            f"/generations/{self.generation}/{access}", headers=headers
        ).status_code


@pytest.fixture
def caller(serve: Serve, table: GrantTable) -> Caller:
    """A user of an application that is wired by nothing but the lifespan."""
    app = make_app(lifespan=velro_lifespan(authorization=table))
    app.state.table = table
    return Caller(serve(app))


def test_granted_checked_revoked_denied(caller: Caller, table: GrantTable) -> None:
    table.grant("g", "u", "good")
    assert [caller.status() for _ in range(5)] == [200] * 5
    assert table.calls == 1
    assert caller.client.post("/users/u/revoke").json() == 1
    assert caller.status() == 403
    assert table.calls == 2


def test_a_grant_to_read_never_answers_a_request_to_delete(
    caller: Caller, table: GrantTable
) -> None:
    table.grant("g", "u", "good", can_edit=True)
    answers = {access: caller.status(access) for access in AccessType for _ in range(2)}
    assert answers == {"read": 200, "write": 200, "delete": 403, "share": 403, "admin": 403}
    assert caller.status("read") == 200
    assert table.calls == 1


def test_an_answer_belongs_to_its_token_and_address(caller: Caller, table: GrantTable) -> None:
    table.grant("g", "u", "good")
    assert caller.status() == 200
    assert caller.status(credential="forged") == 403
    assert caller.status(address="10.0.0.1") == 200
    assert caller.status() == 200
    assert table.calls == 3


def test_a_refresh_hears_of_a_change_nobody_announced(caller: Caller, table: GrantTable) -> None:
    table.grant("g", "u", "good")
    assert caller.status() == 200
    table.grants.clear()
    assert caller.status() == 200
    assert caller.status(refresh="yes") == 403
    assert caller.status() == 403


def test_a_hundred_requests_at_once_ask_the_service_once(serve: Serve, table: GrantTable) -> None:
    app = make_app(lifespan=velro_lifespan(authorization=table))
    arrived = 0

    @app.middleware("http")
    async def count(request: Request, call_next: Any) -> Any:
        nonlocal arrived
        arrived += 1
        return await call_next(request)

    async def all_are_here() -> None:
        while arrived < 100:  # noqa: ASYNC110 (counted by other requests of this loop)
            await asyncio.sleep(0)

    table.before_answer = all_are_here
    table.grant("g", "u", "good")
    client = serve(app)
    port = client.base_url.port

    def ask() -> int:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as own:
            return Caller(own).status()

    with ThreadPoolExecutor(100) as pool:
        statuses = [future.result() for future in [pool.submit(ask) for _ in range(100)]]
    assert statuses == [200] * 100
    assert table.calls == 1
    checks = client.get("/stats").json()["middleware_stats"]
    assert checks["total_requests"] == 100
    assert checks["service_calls"] == 1
    assert checks["shared_loads"] + checks["cache_hits"] == 99


def test_no_request_sent_after_a_revoke_is_allowed(caller: Caller, table: GrantTable) -> None:
    """Eight clients keep asking while a ninth revokes; see who is let in, and when they asked."""
    port = caller.client.base_url.port
    for _ in range(5):
        table.grant("g", "u", "good")
        assert caller.status(refresh="yes") == 200
        revoked = threading.Event()
        warm = threading.Barrier(9)

        def hammer(revoked: threading.Event, warm: threading.Barrier) -> tuple[int, list[int]]:
            before = 0
            after: list[int] = []
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as own:
                hammering = Caller(own)
                before += hammering.status() == 200
                warm.wait(timeout=20)
                while len(after) < 5:
                    sent_after = revoked.is_set()
                    status = hammering.status()
                    if sent_after:
                        after.append(status)
                    else:
                        before += status == 200
            return before, after

        with ThreadPoolExecutor(8) as pool:
            hammers = [pool.submit(hammer, revoked, warm) for _ in range(8)]
            warm.wait(timeout=20)
            assert caller.client.post("/users/u/revoke").status_code == 200
            revoked.set()
            seen = [future.result() for future in hammers]
        assert all(before >= 1 for before, _ in seen)
        assert [after for _, after in seen] == [[403] * 5] * 8


def test_a_grant_ends_on_time_over_http(serve: Serve, table: GrantTable) -> None:
    wall = [NOON]
    app = make_app(lifespan=velro_lifespan())
    app.add_middleware(OptimizedAuthMiddleware, authorization=table, now=lambda: wall[0])
    table.grant("g", "u", "good", expires_at=NOON + timedelta(seconds=60))
    caller = Caller(serve(app))
    assert caller.status() == 200
    wall[0] += timedelta(seconds=59)
    assert caller.status() == 200
    assert table.calls == 1
    wall[0] += timedelta(seconds=1)
    assert caller.status() == 403


def test_an_error_of_the_service_is_neither_an_answer_nor_kept(
    caller: Caller, table: GrantTable
) -> None:
    table.grant("g", "u", "good")
    table.error = HTTPException(503, "the database is away")
    assert [caller.status() for _ in range(2)] == [503, 503]
    table.error = ConnectionError("the database is away")
    # The server hangs up after an error nobody handled; the next request needs a new connection.
    assert caller.status(connection="close") == 500
    assert table.calls == 3
    table.error = None
    assert caller.status() == 200


def test_without_a_service_there_is_no_answer(serve: Serve, table: GrantTable) -> None:
    caller = Caller(serve(make_app(lifespan=velro_lifespan())))
    assert caller.status() == 500


def test_statistics_have_the_documented_keys_and_do_not_get_lost(
    caller: Caller, table: GrantTable
) -> None:
    table.grant("g", "u", "good")
    statuses = [caller.status(), caller.status(), caller.status("delete"), caller.status()]
    assert statuses == [200, 200, 403, 200]
    stats = caller.client.get("/stats").json()
    assert set(stats) == {
        "middleware_stats",
        "cache_stats",
        "combined_hit_rate_percent",
        "performance_targets",
        "timestamp",
    }
    checks = stats["middleware_stats"]
    assert (checks["total_requests"], checks["cache_hits"], checks["cache_misses"]) == (4, 3, 1)
    assert (checks["granted"], checks["refused"], checks["errors"]) == (3, 1, 0)
    assert checks["average_response_time_ms"] > 0
    assert stats["combined_hit_rate_percent"] == 75
    assert stats["cache_stats"]["cache_hits"] == 3
    assert stats["cache_stats"]["total_requests"] == 4
    assert stats["performance_targets"] == {
        "target_access_time_ms": 5.0,
        "target_hit_rate_percent": 95.0,
        "meeting_access_time_target": True,
        "meeting_hit_rate_target": False,
    }
    read_at = datetime.fromisoformat(stats["timestamp"])
    assert abs(datetime.now(UTC) - read_at) < timedelta(minutes=5)


def test_two_applications_keep_their_services_apart(serve: Serve) -> None:
    one, other = GrantTable(), GrantTable()
    one.grant("g", "u", "good")
    callers = [
        Caller(serve(make_app(lifespan=velro_lifespan(authorization=table))))
        for table in (one, other)
    ]
    assert [caller.status() for caller in callers] == [200, 403]
    assert [caller.status() for caller in callers] == [200, 403]
    assert (one.calls, other.calls) == (1, 1)


def test_an_application_may_have_a_cache_of_its_own(serve: Serve, table: GrantTable) -> None:
    own = OptimizedCacheManager(OptimizedCacheConfig(name="own"))
    app = make_app()
    app.add_middleware(OptimizedAuthMiddleware, authorization=table, cache_manager=own)
    table.grant("g", "u", "good")
    caller = Caller(serve(app))
    assert [caller.status(), caller.status()] == [200, 200]
    assert own.get_stats()["cache_hits"] == 1
    assert caller.client.get("/stats").json()["cache_stats"]["name"] == "own"


def test_one_override_replaces_every_check(serve: Serve) -> None:
    class AllowAll:
        async def check_generation_access_cached(self, *_asked: Any, **_more: Any) -> Any:
            from velro_cache.authorization.models import GenerationPermissions

            return GenerationPermissions("g", "u", granted=True, can_view=True)

    app = make_app()
    app.dependency_overrides[get_optimized_auth_middleware] = AllowAll
    assert Caller(serve(app)).status() == 200


@pytest.mark.parametrize("count", [1, 3])
def test_many_users_do_not_get_each_others_answers(
    caller: Caller, table: GrantTable, count: int
) -> None:
    pairs = [(str(uuid4()), str(uuid4())) for _ in range(20)]
    for number, (generation, user) in enumerate(pairs):
        if number % 2:
            table.grant(generation, user, "good")
    for _ in range(count):
        statuses = [Caller(caller.client, *pair).status() for pair in pairs]
        assert statuses == [403, 200] * 10
    assert table.calls == 20
