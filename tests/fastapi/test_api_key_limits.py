"""Rate limits that come with a key: organization and key together, changed at once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fastapi import Depends, FastAPI
from keyed import FORMAT, Kit, application, behind_keys, client_of

from services.redis import RedisServer
from velro_cache._engine import ManualClock
from velro_cache.api_keys import ApiKey, KeyLimits
from velro_cache.exceptions import ConfigError
from velro_cache.fastapi.api_keys import ApiKeyAuth
from velro_cache.fastapi.guarded_route import GuardedRoute
from velro_cache.rate_limit import OnErrorByBucket, RateLimiter


@pytest.fixture
def kit() -> Iterator[Kit]:
    kit = Kit()
    with kit.manager:
        yield kit


@pytest.fixture
def limiter(clock: ManualClock) -> RateLimiter:
    return RateLimiter(clock=clock)


def limits(per_minute: int | None = 60, burst: int = 0, per_day: int | None = None) -> KeyLimits:
    return KeyLimits(requests_per_minute=per_minute, burst_size=burst, requests_per_day=per_day)


def add(kit: Kit, number: int = 1, **fields: Any) -> tuple[str, ApiKey]:
    plain = FORMAT.generate()
    return plain, kit.keys.add(plain, number, **fields)


async def statuses(client: httpx.AsyncClient, plain: str, count: int) -> list[int]:
    headers = {"x-api-key": plain}
    return [(await client.get("/whose", headers=headers)).status_code for _ in range(count)]


async def test_a_burst_is_let_through_and_then_429_with_a_time(
    kit: Kit, limiter: RateLimiter, clock: ManualClock
) -> None:
    plain, _ = add(kit, organization_limits=limits(60, burst=4))
    async with client_of(behind_keys(kit, limiter=limiter)) as client:
        assert await statuses(client, plain, 7) == [200] * 5 + [429] * 2
        answer = await client.get("/whose", headers={"x-api-key": plain})
        assert answer.json() == {"detail": "Too many requests"}
        assert answer.headers["retry-after"] == "1"
        assert answer.headers["cache-control"] == "no-store"
        assert {"ratelimit", "ratelimit-policy"} <= set(answer.headers)
        clock.advance(1.0)
        assert await statuses(client, plain, 2) == [200, 429]


async def test_an_answer_tells_what_is_left(kit: Kit, limiter: RateLimiter) -> None:
    plain, _ = add(kit, organization_limits=limits(60, burst=4))
    async with client_of(behind_keys(kit, limiter=limiter)) as client:
        answer = await client.get("/whose", headers={"x-api-key": plain})
        assert "r=4" in answer.headers["ratelimit"]
        assert "retry-after" not in answer.headers
        assert len(answer.headers.get_list("ratelimit")) == 1


async def test_without_limits_there_are_no_headers(kit: Kit, limiter: RateLimiter) -> None:
    for fields in ({}, {"organization_limits": limits(None)}):
        plain, _ = add(kit, **fields)
        async with client_of(behind_keys(kit, limiter=limiter)) as client:
            answer = await client.get("/whose", headers={"x-api-key": plain})
            assert answer.status_code == 200
            assert "ratelimit" not in answer.headers


async def test_a_limit_beyond_what_can_be_counted_stops_nobody(
    kit: Kit, limiter: RateLimiter
) -> None:
    """As the database and the admin routes take it."""
    most = 2**31 - 1
    plain, _ = add(kit, key_limits=limits(most, most, 2**62))
    async with client_of(behind_keys(kit, limiter=limiter)) as client:
        assert await statuses(client, plain, 3) == [200] * 3


async def test_keys_of_an_organization_share_its_limits(kit: Kit, limiter: RateLimiter) -> None:
    of_all = limits(60, burst=5)
    first, _ = add(kit, 1, organization_limits=of_all)
    second, _ = add(kit, 2, organization_limits=of_all)
    other, _ = add(kit, 3, organization_id="o2", organization_limits=of_all)
    async with client_of(behind_keys(kit, limiter=limiter)) as client:
        assert await statuses(client, first, 3) == [200] * 3
        assert await statuses(client, second, 4) == [200] * 3 + [429]
        assert await statuses(client, other, 1) == [200]


async def test_organization_and_key_are_charged_together_or_not_at_all(
    kit: Kit, limiter: RateLimiter
) -> None:
    of_all = limits(60, burst=9)
    small, _ = add(kit, 1, organization_limits=of_all, key_limits=limits(60, burst=1))
    large, _ = add(kit, 2, organization_limits=of_all)
    async with client_of(behind_keys(kit, limiter=limiter)) as client:
        # Refused because of the key: the organization is not charged for it.
        assert await statuses(client, small, 20) == [200] * 2 + [429] * 18
        assert await statuses(client, large, 9) == [200] * 8 + [429]


async def test_a_changed_limit_holds_from_the_next_request_on(
    kit: Kit, limiter: RateLimiter
) -> None:
    plain, key = add(kit, organization_limits=limits(60, burst=0))
    async with client_of(behind_keys(kit, limiter=limiter)) as client:
        assert await statuses(client, plain, 2) == [200, 429]
        key = kit.keys.change(key, organization_limits=limits(60, burst=3))
        assert await statuses(client, plain, 1) == [429]
        kit.cache.invalidate(organization_id="o1")
        # One of the four is taken.
        assert await statuses(client, plain, 4) == [200] * 3 + [429]
        kit.keys.change(key, organization_limits=None)
        kit.cache.invalidate(organization_id="o1")
        assert await statuses(client, plain, 3) == [200] * 3


async def test_who_is_refused_otherwise_is_not_charged(kit: Kit, limiter: RateLimiter) -> None:
    plain, _ = add(kit, scopes={"read"}, organization_limits=limits(60, burst=0))
    inner = behind_keys(kit, limiter=limiter)
    async with client_of(behind_keys(kit, scopes=["write"], limiter=limiter)) as client:
        assert await statuses(client, plain, 3) == [403] * 3
    async with client_of(inner) as client:
        assert await statuses(client, plain, 2) == [200, 429]


async def test_at_once_no_more_are_let_through_than_may(kit: Kit, limiter: RateLimiter) -> None:
    plain, _ = add(kit, organization_limits=limits(60, burst=9))
    async with client_of(behind_keys(kit, limiter=limiter)) as client:
        found = await asyncio.gather(*(statuses(client, plain, 1) for _ in range(40)))
    assert sorted(status for (status,) in found) == [200] * 10 + [429] * 30


async def test_a_limiter_that_fails_lets_nobody_in(kit: Kit) -> None:
    class Fails:
        def check_all(self, _pairs: Any) -> Any:
            raise ConfigError("limits that are none")

    class SaysSomethingElse:
        def check_all(self, _pairs: Any) -> Any:
            class Answer:
                allowed = "yes"
                retry_after_seconds = 0.0

                def headers(self) -> list[tuple[bytes, bytes]]:
                    return []

            return Answer()

    class SaysNothing:
        def check_all(self, _pairs: Any) -> Any:
            return None

    plain, _ = add(kit, organization_limits=limits())
    cases = ((Fails(), 503), (SaysSomethingElse(), 429), (SaysNothing(), 503))
    for limiter, status in cases:
        async with client_of(behind_keys(kit, limiter=limiter)) as client:
            assert await statuses(client, plain, 1) == [status]


@pytest.mark.parametrize("route_class", [None, GuardedRoute])
async def test_the_dependency_limits_and_tells_what_is_left(
    kit: Kit, limiter: RateLimiter, route_class: Any
) -> None:
    plain, _ = add(kit, organization_limits=limits(60, burst=1))
    app = FastAPI()
    if route_class is not None:
        app.router.route_class = route_class

    @app.get("/whose", dependencies=[Depends(ApiKeyAuth(kit.cache, limiter=limiter))])
    async def whose() -> str:
        return ""

    async with client_of(app) as client:
        answer = await client.get("/whose", headers={"x-api-key": plain})
        assert answer.status_code == 200
        assert "r=1" in answer.headers["ratelimit"]
        assert await statuses(client, plain, 2) == [200, 429]


@pytest.mark.parametrize("mode", ["shared", "leased"])
async def test_processes_share_limits_in_redis(kit: Kit, mode: Any) -> None:
    plain, _ = add(kit, organization_limits=limits(60, burst=4))
    with RedisServer() as server:
        made = [RateLimiter(redis_url=server.url, mode=mode) for _ in range(2)]
        found: list[int] = []
        for limiter in made:
            app = behind_keys(kit, application(), limiter=limiter)
            async with client_of(app) as client:
                found += await statuses(client, plain, 5)
        assert found.count(200) in (5, 6)
        assert found[-1] == 429
        for limiter in made:
            await limiter.aclose()


@pytest.mark.parametrize(
    ("organization", "key", "count"),
    [
        (None, None, 2),
        ("allow", None, 2),
        (None, "allow", 5),
        ("allow", "allow", 9),
        ("deny", "allow", 0),
        ("allow", "deny", 0),
        (OnErrorByBucket(minute="local", day="deny"), "allow", 5),
        ("allow", OnErrorByBucket(minute="allow", day="local"), 3),
    ],
)
async def test_without_redis_limits_of_organizations_and_of_keys_have_their_own_way(
    kit: Kit, organization: Any, key: Any, count: int
) -> None:
    plain, _ = add(
        kit, organization_limits=limits(1, burst=4), key_limits=limits(1, burst=1, per_day=3)
    )
    with RedisServer() as server:
        async with RateLimiter(redis_url=server.url, mode="shared") as limiter:
            server.kill()
            options = {"organization_on_error": organization, "key_on_error": key}
            app = behind_keys(kit, limiter=limiter, **options)
            async with client_of(app) as client:
                found = await statuses(client, plain, 9)
                assert found == [200] * count + [429] * (9 - count)
                if count == 0:
                    answer = await client.get("/whose", headers={"x-api-key": plain})
                    assert answer.headers["retry-after"] == "1"
                    assert "ratelimit" not in answer.headers


async def test_the_dependency_has_them_too(kit: Kit) -> None:
    plain, _ = add(kit, organization_limits=limits(1, burst=4), key_limits=limits(1, burst=1))
    with RedisServer() as server:
        async with RateLimiter(redis_url=server.url, mode="shared") as limiter:
            server.kill()
            auth = ApiKeyAuth(kit.cache, limiter=limiter, key_on_error="allow")
            app = FastAPI()

            @app.get("/whose", dependencies=[Depends(auth)])
            async def whose() -> str:
                return ""

            async with client_of(app) as client:
                assert await statuses(client, plain, 6) == [200] * 5 + [429]


async def test_what_holds_without_redis_matters_nothing_where_there_is_none(
    kit: Kit, limiter: RateLimiter
) -> None:
    plain, _ = add(kit, organization_limits=limits(60, burst=1))
    app = behind_keys(kit, limiter=limiter, organization_on_error="deny", key_on_error="deny")
    async with client_of(app) as client:
        assert await statuses(client, plain, 3) == [200, 200, 429]


def test_what_nobody_could_do_without_redis_is_refused_at_once(
    kit: Kit, limiter: RateLimiter
) -> None:
    for option in ("organization_on_error", "key_on_error"):
        with pytest.raises(ConfigError, match=option):
            behind_keys(kit, limiter=limiter, **{option: "open"})


async def test_refusals_are_counted_by_the_limit_they_are_for(
    kit: Kit, limiter: RateLimiter
) -> None:
    cases: list[tuple[str, KeyLimits | None, KeyLimits | None]] = [
        ("organization_minute", limits(60, burst=0), limits(61, burst=5)),
        ("organization_day", limits(60, burst=5, per_day=1), None),
        ("key_minute", limits(60, burst=5), limits(61, burst=0)),
        ("key_day", None, limits(None, per_day=1)),
        ("either_minute", limits(60, burst=0), limits(60, burst=5)),
        ("either_day", limits(None, per_day=1), limits(None, burst=1, per_day=1)),
        # The same number, of the minute and of the day.
        ("key_day", limits(1, burst=5), limits(None, per_day=1)),
        ("organization_minute", limits(2, burst=0), limits(60, burst=5, per_day=2)),
    ]
    for number, (limit, of_all, own) in enumerate(cases):
        plain, _ = add(
            kit,
            number,
            organization_id=f"o{number}",
            organization_limits=of_all,
            key_limits=own,
        )
        before = limiter.stats().refused_by
        async with client_of(behind_keys(kit, limiter=limiter)) as client:
            assert await statuses(client, plain, 3) == [200, 429, 429]
        after = limiter.stats().refused_by
        assert {name: after[name] - before[name] for name in after} == {
            name: 2 if name == limit else 0 for name in after
        }
    with pytest.raises(ConfigError, match="limit must be one of"):
        limiter.note_refusal("o1")
