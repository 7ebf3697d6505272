"""Requests that memory answers in one step: told no more, and no longer, than by the whole way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from guarded import Issuer, Service, ask, at, bearer, guarded_app, raw_messages, scope_of

from services.redis import RedisServer, until
from velro_cache import OptimizedCacheConfig, OptimizedCacheManager, cached_authorization
from velro_cache.authorization.identity import Identity
from velro_cache.authorization.models import AccessType
from velro_cache.fastapi import (
    AuthorizeGeneration,
    GuardedRoute,
    OptimizedAuthMiddleware,
    VerifiedTokens,
    get_optimized_auth_middleware,
)
from velro_cache.testing import DenyAll, FrozenClock


def generation_of(scope: Any) -> str | None:
    head, _, rest = scope["path"].partition("/generations/")
    return rest.partition("/")[0] if not head and rest else None


class Front:
    """An application that checks generations in one of the ways there are."""

    def __init__(self, way: str, cache: OptimizedCacheManager | None = None) -> None:
        self.way = way
        self.service, self.issuer, self.clock = Service(), Issuer(), FrozenClock()
        if cache is None:
            config = OptimizedCacheConfig(share_invalidations=False)
            cache = OptimizedCacheManager(config, clock=self.clock.engine)
        self.cache = cache
        options: dict[str, Any] = {
            "authorization": self.service,
            "cache_manager": cache,
            "authenticate": self.issuer,
            "now": self.clock.now,
        }
        self.auth = OptimizedAuthMiddleware(**options)
        self.app = guarded_app(GuardedRoute if way == "guarded route" else APIRoute)
        if way.startswith("door"):
            self.app = FastAPI()
            authorize: Any = AuthorizeGeneration(generation_of)
            if way == "door, own function":
                authorize = own_function
            self.app.add_middleware(OptimizedAuthMiddleware, authorize=authorize, **options)

            @self.app.get("/generations/{generation_id}")
            async def read(generation_id: str) -> dict[str, str]:
                return {"id": generation_id}

    async def ask(self, generation: str = "g", user: str = "ada") -> int:
        return (await self.answer(f"/generations/{generation}", bearer(user))).status_code

    async def answer(self, path: str, headers: Any = None, **more: Any) -> httpx.Response:
        state = {} if self.way.startswith("door") else {"auth_cache": self.auth}
        return await ask(self.app, path, headers, state=state, **more)

    def grant(self, generation: str = "g", user: str = "ada", **fields: Any) -> None:
        self.service.grant(generation, user, f"token-of-{user}", **fields)

    @property
    def asked(self) -> tuple[int, int]:
        """How often the verifier and the service were asked."""
        return self.issuer.calls, self.service.calls


async def own_function(auth: Any, scope: Any, identity: Identity, token: str) -> bool:
    generation = generation_of(scope)
    assert generation is not None
    decision = await auth.check_generation_access_cached(generation, identity.user_id, token)
    return bool(decision.granted)


WAYS = ["door", "door, own function", "guard", "guarded route"]


@pytest.fixture(params=WAYS)
def front(request: pytest.FixtureRequest) -> Front:
    return Front(request.param)


async def test_memory_answers_what_was_asked_before(front: Front) -> None:
    front.grant()
    for _ in range(5):
        assert await front.ask() == 200
        assert await front.ask(user="eve") == 403
    assert front.asked == (2, 2)
    counted = front.auth.get_performance_stats()["middleware_stats"]
    assert (counted["cache_hits"], counted["service_calls"]) == (8, 2)
    assert (counted["granted"], counted["refused"]) == (5, 5)
    stats = front.cache.get_stats()
    # Of each request, the identity and the decision; for each identity, the mark that ties it to
    # its user. What was not there is one miss each.
    assert (stats["cache_hits"], stats["cache_misses"]) == (16 + 2, 4)


INVALIDATIONS: dict[str, Callable[[Front], object]] = {
    "user": lambda front: front.cache.invalidate_user_data("ada"),
    "generation": lambda front: front.cache.invalidate_generation_data("g"),
    "tag of the decision": lambda front: front.cache.invalidate_by_tags(["generation_access"]),
    "tag of all": lambda front: front.cache.invalidate_by_tags(["auth"]),
    "team it came through": lambda front: front.cache.invalidate_by_tags(["team:crew"]),
    "pattern": lambda front: front.cache.invalidate_by_pattern("auth:gen:g:*"),
    "wildcard in the middle": lambda front: front.cache.invalidate_by_pattern("*:user:ada:*"),
    "everything": lambda front: front.cache.clear(),
}


@pytest.mark.parametrize("what", INVALIDATIONS)
async def test_nothing_is_answered_by_what_was_invalidated(front: Front, what: str) -> None:
    front.grant(team_context="crew")
    for _ in range(3):
        assert await front.ask() == 200
    front.service.grants.clear()
    assert await front.ask() == 200, "memory does not know yet"
    INVALIDATIONS[what](front)
    assert await front.ask() == 403
    front.grant(team_context="crew")
    assert await front.ask() == 403, "a denial is kept, too"
    INVALIDATIONS[what](front)
    # A denial came through no team.
    assert await front.ask() == (403 if what == "team it came through" else 200)


async def test_a_revoked_token_ends_at_once(front: Front) -> None:
    front.grant()
    front.issuer.fields = {"tags": ("session:1",)}
    for _ in range(2):
        assert await front.ask() == 200
    front.issuer.revoked.add("token-of-ada")
    front.cache.invalidate_by_tags(["session:1"])
    for _ in range(2):
        assert await front.ask() == 401


async def test_a_token_ends_on_time_and_does_not_begin_early(front: Front) -> None:
    front.grant()
    begin, end = at(2030, 1, 1, 12), at(2030, 1, 1, 12, 1)
    front.issuer.fields = {"expires_at": end, "not_before": begin}
    for _ in range(2):
        assert await front.ask() == 200
    front.clock.set_wall_clock(begin - timedelta(microseconds=1))
    assert await front.ask() == 401
    front.clock.set_wall_clock(begin)
    assert [await front.ask(), await front.ask()] == [200, 200]
    front.clock.set_wall_clock(end - timedelta(microseconds=1))
    assert await front.ask() == 200
    front.clock.set_wall_clock(end)
    for _ in range(2):
        assert await front.ask() == 401


async def test_a_grant_ends_on_time(front: Front) -> None:
    end = at(2030, 1, 1, 12, 1)
    front.grant(expires_at=end)
    for _ in range(2):
        assert await front.ask() == 200
    front.clock.set_wall_clock(end)
    assert await front.ask() == 403
    assert front.auth.get_performance_stats()["middleware_stats"]["expired_hits"] == 1


async def test_an_entry_ends_with_its_life(front: Front) -> None:
    front.grant()
    assert [await front.ask(), await front.ask()] == [200, 200]
    front.service.grants.clear()
    front.clock.advance(600)
    assert await front.ask() == 403


def test_without_news_from_the_log_nothing_is_allowed_from_memory(
    way: str, log_server: RedisServer
) -> None:
    config = OptimizedCacheConfig(
        invalidation_log=log_server.url,
        share_invalidations=False,
        max_staleness_seconds=0.5,
        log_timeout_seconds=0.2,
    )
    with OptimizedCacheManager(config) as cache:
        front = Front(way, cache)
        front.grant()

        def is_remembered() -> bool:
            before = front.asked
            return asyncio.run(front.ask()) == 200 and front.asked == before

        until(is_remembered, "it is remembered")
        log_server.kill()
        until(lambda: not cache.get_stats()["log"]["has_lease"], "the lease has run out")
        front.service.grants.clear()
        before = front.asked
        assert asyncio.run(front.ask()) == 403
        assert front.asked == (before[0] + 1, before[1] + 1)


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def log_server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"authorization", b"Basic token-of-ada")],
        [(b"authorization", b"Bearertoken-of-ada")],
        [(b"authorization", b"Bearer\ttoken-of-ada")],
        [(b"authorization", b"Bearer token-of-ada ")],
        [(b"authorization", b"Bearer token-of-ada\0")],
        [(b"authorization", b"Bearer token-of-ad\xc3\xa0")],
        [(b"authorization", b"Bearer " + b"x" * 10_000_000)],
        [(b"authorization", b"Bearer token-of-ada")] * 2,
        [(b"authorization", b"Bearer token-of-ada"), (b"authorization", b"")],
        [(b"x-authorization", b"Bearer token-of-ada")],
    ],
    ids=lambda headers: str(headers)[:60],
)
async def test_hostile_headers_are_not_taken_for_the_token_in_memory(
    front: Front, headers: Any
) -> None:
    front.grant()
    assert [await front.ask(), await front.ask()] == [200, 200]
    scope = scope_of("/generations/g", *headers)
    if not front.way.startswith("door"):
        scope["state"] = {"auth_cache": front.auth}
    sent = await raw_messages(front.app, scope, {"type": "http.request"})
    assert sent[0]["status"] == 401
    assert await front.ask() == 200


async def test_headers_may_be_of_any_shape_that_asgi_allows(front: Front) -> None:
    front.grant()
    header = [b"authorization", b"bEARER token-of-ada"]
    for headers in ([header], (header,), [tuple(header)], (tuple(header),)):
        for _ in range(2):
            scope = scope_of("/generations/g")
            scope["headers"] = headers
            if not front.way.startswith("door"):
                scope["state"] = {"auth_cache": front.auth}
            sent = await raw_messages(front.app, scope, {"type": "http.request"})
            assert sent[0]["status"] == 200
    assert front.asked == (1, 1)


@pytest.mark.parametrize("way", ["guard", "guarded route"])
async def test_an_override_comes_before_memory(way: str) -> None:
    front = Front(way)
    front.grant()
    assert [await front.ask(), await front.ask()] == [200, 200]
    front.app.dependency_overrides[get_optimized_auth_middleware] = DenyAll()
    assert await front.ask() == 403
    del front.app.dependency_overrides[get_optimized_auth_middleware]
    assert await front.ask() == 200
    assert front.asked == (1, 1)


@pytest.mark.parametrize("way", ["guard", "guarded route"])
async def test_a_subclass_that_answers_for_itself_is_asked(way: str) -> None:
    class Strict(OptimizedAuthMiddleware):
        async def check_generation_access_cached(self, *asked: Any, **more: Any) -> Any:
            decision = await super().check_generation_access_cached(*asked, **more)
            return decision.revoked()

    front = Front(way)
    front.grant()
    assert [await front.ask(), await front.ask()] == [200, 200]
    front.auth = Strict(
        authorization=front.service, cache_manager=front.cache, authenticate=front.issuer
    )
    assert [await front.ask(), await front.ask()] == [403, 403]


async def test_a_verifier_that_answers_for_itself_is_asked(front: Front) -> None:
    class Closed(VerifiedTokens):
        async def identify(self, token: Any) -> Identity:
            identity = await super().identify(token)
            return Identity("nobody") if identity.user_id == "ada" else identity

    front.grant()
    closed = Closed(front.issuer, now=front.clock.seconds)
    front.auth = OptimizedAuthMiddleware(
        authorization=front.service, cache_manager=front.cache, authenticate=closed
    )
    if front.way.startswith("door"):
        front.app.user_middleware[0].kwargs["authenticate"] = closed
    assert [await front.ask(), await front.ask()] == [403, 403]


async def test_all_spellings_of_an_id_are_one_and_no_id_is_another(front: Front) -> None:
    generation = uuid4()
    front.grant(str(generation))
    for spelling in (str(generation), str(generation).upper(), f"{{{generation}}}"):
        assert [await front.ask(spelling), await front.ask(spelling)] == [200, 200]
    assert front.asked == (1, 1)
    other = str(UUID(int=generation.int ^ 1))
    assert [await front.ask(other), await front.ask(other)] == [403, 403]


async def test_what_a_loader_is_told_from_memory_its_result_rests_on() -> None:
    front = Front("guard")
    front.grant()
    loads = 0

    @cached_authorization(cache=front.cache)
    async def report(user_id: str) -> bool:
        nonlocal loads
        loads += 1
        decision = await front.auth.check_generation_access_cached("g", user_id, "token-of-ada")
        return decision.granted

    assert [await front.ask(), await front.ask()] == [200, 200]
    assert [await report("ada"), await report("ada")] == [True, True]
    assert (loads, front.service.calls) == (1, 1)
    front.service.grants.clear()
    front.cache.invalidate_generation_data("g")
    assert not await report("ada")
    assert loads == 2


async def test_the_door_asks_for_the_access_it_was_given() -> None:
    front = Front("door")
    door = OptimizedAuthMiddleware(
        FastAPI(),
        authorization=front.service,
        cache_manager=front.cache,
        authenticate=front.issuer,
        authorize=AuthorizeGeneration(generation_of, "write"),
    )
    front.grant()
    front.grant("h", can_edit=True)
    for _ in range(3):
        assert (await ask(door, "/generations/g", bearer("ada"))).status_code == 403
        assert (await ask(door, "/generations/h", bearer("ada"))).status_code == 404
        # About no generation: the token is enough.
        assert (await ask(door, "/elsewhere", bearer("ada"))).status_code == 404
        assert (await ask(door, "/elsewhere")).status_code == 401
    admin = AuthorizeGeneration(generation_of, AccessType.ADMIN)
    door._authorize = admin
    for _ in range(2):
        assert (await ask(door, "/generations/h", bearer("ada"))).status_code == 403


@pytest.mark.parametrize("generation", [b"x", 1.5, True, "", "x" * 5000, object()])
async def test_what_is_no_id_is_refused_at_the_door(generation: Any) -> None:
    front = Front("door")
    front.grant()
    reached: list[Any] = []

    async def inner(scope: Any, _receive: Any, _send: Any) -> None:
        reached.append(scope)

    door = OptimizedAuthMiddleware(
        inner,
        authorization=front.service,
        cache_manager=front.cache,
        authenticate=front.issuer,
        authorize=AuthorizeGeneration(lambda _scope: generation),
    )
    for _ in range(2):
        answer = await ask(door, "/generations/g", bearer("ada"))
        assert answer.status_code == 403
    assert (reached, front.service.calls) == ([], 0)


def test_mistakes_are_found_when_it_is_made() -> None:
    with pytest.raises(TypeError, match="find"):
        AuthorizeGeneration("/generations/")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="peek"):
        AuthorizeGeneration(generation_of, "peek")
