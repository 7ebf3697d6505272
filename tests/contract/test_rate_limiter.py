"""What a rate limiter must do, in each of its modes, with a real Redis where one counts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from itertools import count
from typing import Any

import pytest
import pytest_asyncio

from services.redis import RedisServer
from velro_cache.exceptions import InvalidKeyError
from velro_cache.rate_limit import Mode, RateLimit, RateLimiter

BY = {"local": "local", "shared": "shared", "leased": "lease"}
NUMBERS = count()

pytestmark = pytest.mark.asyncio


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer() as running:
        yield running


@pytest_asyncio.fixture(params=["local", "shared", "leased"])
async def limits(request: Any, server: RedisServer) -> AsyncIterator[RateLimiter]:
    mode: Mode = request.param
    url = None if mode == "local" else server.url
    name = f"contract-{next(NUMBERS)}"
    # No answer of a server on a busy machine is too late here.
    async with RateLimiter(mode=mode, redis_url=url, name=name, timeout_seconds=10) as made:
        yield made
        stats = made.stats()
        assert (stats.redis_errors, stats.redis_timeouts, stats.redis_skipped) == (0, 0, 0)


async def allowed_of(limits: RateLimiter, times: int, limit: RateLimit, key: str = "org") -> int:
    return sum([bool(await limits.acheck(key, limit)) for _ in range(times)])


# Slow enough that nothing comes back while a test runs.
SLOW = RateLimit(1, 10, None)


async def test_burst_and_one_more_are_allowed_at_once(limits: RateLimiter) -> None:
    assert await allowed_of(limits, 30, SLOW) == 11
    decision = await limits.acheck("org", SLOW)
    assert (decision.allowed, decision.remaining, decision.limit) == (False, 0, 1)
    assert 50 < decision.retry_after_seconds <= 60
    assert 600 < decision.reset_after_seconds <= 660
    assert decision.decided_by == BY[limits.mode]
    assert dict(decision.headers())[b"ratelimit-policy"] == b'"minute";q=1;w=60'


async def test_the_day_is_limited_too(limits: RateLimiter) -> None:
    assert await allowed_of(limits, 30, RateLimit(60_000, 1000, 7)) == 7
    assert (await limits.acheck("org", RateLimit(60_000, 1000, 7))).limit == 7


async def test_what_remains_is_told(limits: RateLimiter) -> None:
    told = [(await limits.acheck("org", SLOW)).remaining for _ in range(11)]
    assert told == list(range(10, -1, -1))


async def test_tokens_come_back_evenly(limits: RateLimiter) -> None:
    fast = RateLimit(6000, 0, None)
    first = await limits.acheck("org", fast)
    assert first.allowed
    while not (again := await limits.acheck("org", fast)):
        assert again.retry_after_seconds <= 0.011
        await asyncio.sleep(again.retry_after_seconds)


async def test_several_names_are_charged_together_or_not_at_all(limits: RateLimiter) -> None:
    pairs = [("org", SLOW), ("key", RateLimit(1, 2, None))]
    assert sum([bool(await limits.acheck_all(pairs)) for _ in range(9)]) == 3
    assert await allowed_of(limits, 30, SLOW) == 8


async def test_a_name_that_comes_twice_is_charged_twice(limits: RateLimiter) -> None:
    pairs = [("org", SLOW), ("org", SLOW)]
    assert sum([bool(await limits.acheck_all(pairs)) for _ in range(9)]) == 5
    assert await allowed_of(limits, 30, SLOW) == 1


async def test_a_cost_is_paid_in_full_or_not_at_all(limits: RateLimiter) -> None:
    assert (await limits.acheck("org", SLOW, 8)).allowed
    assert not (await limits.acheck("org", SLOW, 4)).allowed
    assert (await limits.acheck("org", SLOW, 3)).allowed
    for wrong in (0, -1, 12, 10**30):
        with pytest.raises(ValueError, match="between 1 and 11"):
            await limits.acheck("org", SLOW, wrong)


async def test_limits_that_change_hold_at_once_and_give_no_full_bucket(
    limits: RateLimiter,
) -> None:
    large = RateLimit(1, 20, None)
    assert await allowed_of(limits, 30, SLOW) == 11
    assert await allowed_of(limits, 30, large) == 10
    assert await allowed_of(limits, 30, SLOW) == 0
    faster = RateLimit(2, 10, None)
    # As many tokens are missing, each of which comes back in half the time.
    refused = await limits.acheck("org", faster)
    assert not refused.allowed
    assert refused.retry_after_seconds <= 30


async def test_many_at_once_get_no_more_than_there_is(limits: RateLimiter) -> None:
    limit = RateLimit(1, 99, None)
    decisions = await asyncio.gather(*(limits.acheck("org", limit) for _ in range(300)))
    allowed = sum(map(bool, decisions))
    if limits.mode == "leased":
        # Some were held for those who had been refused meanwhile; they are there now.
        assert 80 <= allowed <= 100
        allowed += await allowed_of(limits, 30, limit)
    assert allowed == 100


async def test_names_that_look_alike_are_apart(limits: RateLimiter) -> None:
    once = RateLimit(1, 0, None)
    names = [
        "a",
        "A",
        "a\0",
        "a\r\nSET x 1",
        "a:b",
        "a}",
        "*",
        "é",
        "e\u0301",
        "\ud800",
        "😀" * 256,
    ]
    assert all([await limits.acheck(name, once) for name in names])
    assert not any([await limits.acheck(name, once) for name in names])


async def test_a_name_that_is_no_name_is_an_error_that_does_not_show_it(
    limits: RateLimiter,
) -> None:
    for name in ("", "x" * 1025, "x" * 10_000_000, "é" * 600, "\ud800" * 342):
        with pytest.raises(InvalidKeyError) as caught:
            await limits.acheck_all([("good", SLOW), (name, SLOW)])
        assert "x" * 10 not in str(caught.value)
    with pytest.raises(TypeError):
        await limits.acheck(b"bytes", SLOW)  # type: ignore[arg-type]
    for wrong in ([], [("org", SLOW)] * 17):
        with pytest.raises(ValueError, match="1 to 16 names"):
            await limits.acheck_all(wrong)


async def test_without_limits_everything_is_allowed(limits: RateLimiter) -> None:
    free = RateLimit(requests_per_minute=None, requests_per_day=None)
    assert await allowed_of(limits, 100, free) == 100
    pairs = [("org", free), ("key", SLOW)]
    assert sum([bool(await limits.acheck_all(pairs)) for _ in range(30)]) == 11


async def test_decisions_are_counted_by_who_made_them(limits: RateLimiter) -> None:
    await allowed_of(limits, 20, SLOW)
    stats = limits.stats()
    assert (stats.allowed, stats.refused) == (11, 9)
    assert stats.decided_by[BY[limits.mode]] == 20
    assert stats.breaker == (None if limits.mode == "local" else "closed")
