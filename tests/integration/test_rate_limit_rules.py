"""What holds for each limit of a check while Redis is stopped, killed or frozen."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from services.redis import RedisServer
from velro_cache._engine import ManualClock
from velro_cache.exceptions import ConfigError
from velro_cache.rate_limit import (
    Decision,
    Mode,
    OnErrorByBucket,
    OnErrors,
    RateLimit,
    RateLimiter,
    Rule,
)

pytestmark = pytest.mark.timeout(120)

# Slow enough that nothing comes back while a test runs.
SMALL = RateLimit(1, 1, None)
LARGE = RateLimit(1, 10, None)
DAILY = RateLimit(1, 10, 3)

HURTS: dict[str, Callable[[RedisServer], None]] = {
    "stopped": RedisServer.stop,
    "killed": RedisServer.kill,
    "frozen": RedisServer.freeze,
}


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with RedisServer() as running:
        yield running


async def away(server: RedisServer, hurt: str, limiter: RateLimiter) -> None:
    """Take Redis away, while connections to it are open."""
    assert (await limiter.acheck("warm-up", LARGE)).decided_by in ("shared", "lease")
    HURTS[hurt](server)


async def asked(limiter: RateLimiter, times: int, *rules: Rule) -> list[Decision]:
    return [await limiter.acheck_all(rules) for _ in range(times)]


@pytest.mark.parametrize("mode", ["shared", "leased"])
@pytest.mark.parametrize("hurt", HURTS)
class TestARedisThatIsAway:
    def test_each_limit_has_its_own_way_within_the_time_limit(
        self, server: RedisServer, hurt: str, mode: Mode
    ) -> None:
        async def run() -> None:
            async with RateLimiter(mode=mode, redis_url=server.url) as limiter:
                await away(server, hurt, limiter)
                slowest = 0.0
                for on_error, by, allowed in (
                    (None, "local", 2),
                    ("local", "local", 2),
                    ("allow", "allowed_unchecked", 9),
                    ("deny", "denied_unchecked", 0),
                ):
                    decisions = []
                    for _ in range(9):
                        began = time.monotonic()
                        rule = Rule(f"name {on_error}", SMALL, on_error)  # type: ignore[arg-type]
                        decisions.append(await limiter.acheck_all([rule]))
                        slowest = max(slowest, time.monotonic() - began)
                    assert {one.decided_by for one in decisions} == {by}
                    assert sum(map(bool, decisions)) == allowed
                # 250 ms, with room for a busy machine; and after three of them nobody waits.
                assert slowest < 0.75
                stats = limiter.stats()
                assert stats.breaker != "closed"
                assert stats.breaker_opened == 1
                assert stats.redis_errors + stats.redis_timeouts < 10
                assert stats.redis_skipped > 20
                if hurt == "frozen":
                    server.thaw()

        asyncio.run(run())

    def test_it_is_asked_again_when_it_is_back(
        self, server: RedisServer, hurt: str, mode: Mode
    ) -> None:
        async def run() -> None:
            clock = ManualClock()
            limiter = RateLimiter(mode=mode, redis_url=server.url, clock=clock)
            async with limiter:
                await away(server, hurt, limiter)
                rule = Rule("name", SMALL, "deny")
                assert {one.decided_by for one in await asked(limiter, 5, rule)} == {
                    "denied_unchecked"
                }
                server.thaw() if hurt == "frozen" else server.start()
                clock.advance(11)
                # Another name: what was given up may have taken its tokens all the same.
                rule = Rule("other", SMALL, "deny")
                assert [bool(one) for one in await asked(limiter, 3, rule)] == [True, True, False]
                assert limiter.stats().breaker == "closed"

        asyncio.run(run())


def gone(
    server: RedisServer, *rules: Rule, times: int = 9, on_error: OnErrors = "local"
) -> list[Decision]:
    """What is decided while Redis is not there at all."""

    async def run() -> list[Decision]:
        server.kill()
        limiter = RateLimiter(mode="shared", redis_url=server.url, on_error=on_error)
        async with limiter:
            return await asked(limiter, times, *rules)

    return asyncio.run(run())


def summary(decisions: list[Decision]) -> tuple[set[str], int]:
    return {one.decided_by for one in decisions}, sum(map(bool, decisions))


class TestSeveralLimitsAtOnce:
    def test_one_that_denies_is_enough(self, server: RedisServer) -> None:
        for others in ("allow", "local"):
            rules = Rule("a", LARGE, others), Rule("b", LARGE, "deny")  # type: ignore[arg-type]
            assert summary(gone(server, *rules)) == ({"denied_unchecked"}, 0)

    def test_what_is_allowed_unchecked_is_left_out_and_the_rest_counted(
        self, server: RedisServer
    ) -> None:
        rules = Rule("a", SMALL, "allow"), Rule("b", DAILY, "local")
        decisions = gone(server, *rules)
        assert summary(decisions) == ({"local"}, 3)
        # Of the one that is counted.
        assert decisions[-1].limit == 3

    def test_all_that_are_allowed_unchecked_are(self, server: RedisServer) -> None:
        rules = Rule("a", SMALL, "allow"), Rule("b", SMALL, "allow")
        decisions = gone(server, *rules)
        assert summary(decisions) == ({"allowed_unchecked"}, 9)
        assert decisions[0].headers() == []

    def test_what_says_nothing_goes_by_the_limiter(self, server: RedisServer) -> None:
        assert summary(gone(server, Rule("a", SMALL), on_error="deny"))[1] == 0
        assert summary(gone(server, Rule("a", SMALL), on_error="allow"))[1] == 9
        assert summary(gone(server, Rule("a", SMALL, "local"), on_error="deny"))[1] == 2

    def test_what_is_refused_takes_nothing_here(self, server: RedisServer) -> None:
        async def run() -> None:
            server.kill()
            async with RateLimiter(mode="shared", redis_url=server.url) as limiter:
                both = Rule("a", LARGE), Rule("b", SMALL, "deny")
                assert not any(await asked(limiter, 20, *both))
                assert summary(await asked(limiter, 20, Rule("a", LARGE))) == ({"local"}, 11)

        asyncio.run(run())

    def test_a_limit_that_limits_nothing_denies_nothing(self, server: RedisServer) -> None:
        free = RateLimit(requests_per_minute=None, requests_per_day=None)
        assert summary(gone(server, Rule("a", free, "deny"))) == ({"local"}, 9)
        rules = Rule("a", free, "deny"), Rule("b", SMALL, "allow")
        assert summary(gone(server, *rules)) == ({"allowed_unchecked"}, 9)


class TestMinuteAndDayApart:
    @pytest.mark.parametrize(
        ("minute", "day", "by", "allowed"),
        [
            ("local", "local", "local", 3),
            ("local", "allow", "local", 11),
            ("allow", "local", "local", 3),
            ("allow", "allow", "allowed_unchecked", 20),
            ("local", "deny", "denied_unchecked", 0),
            ("deny", "allow", "denied_unchecked", 0),
        ],
    )
    def test_each_has_its_own_way(
        self, server: RedisServer, minute: Any, day: Any, by: str, allowed: int
    ) -> None:
        rule = Rule("a", DAILY, OnErrorByBucket(minute=minute, day=day))
        assert summary(gone(server, rule, times=20)) == ({by}, allowed)

    def test_a_bucket_that_there_is_not_has_nothing_to_say(self, server: RedisServer) -> None:
        rule = Rule("a", SMALL, OnErrorByBucket(minute="local", day="deny"))
        assert summary(gone(server, rule)) == ({"local"}, 2)
        only_day = Rule("b", RateLimit(None, 0, 3), OnErrorByBucket(minute="deny", day="local"))
        server.start()
        assert summary(gone(server, only_day)) == ({"local"}, 3)

    def test_it_may_be_said_for_a_check_and_for_all(self, server: RedisServer) -> None:
        async def run() -> None:
            server.kill()
            apart = OnErrorByBucket(minute="local", day="allow")
            for usual, own in ((apart, None), ("deny", apart)):
                async with RateLimiter(
                    mode="shared",
                    redis_url=server.url,
                    on_error=usual,  # type: ignore[arg-type]
                ) as limiter:
                    found = [await limiter.acheck("a", DAILY, on_error=own) for _ in range(20)]
                    assert summary(found) == ({"local"}, 11)

        asyncio.run(run())


class TestWhatNobodyCouldDo:
    def test_it_is_refused_before_anybody_is_asked(self, server: RedisServer) -> None:
        async def run() -> None:
            for wrong in ("fail", "", ["deny"], 1):
                async with RateLimiter(mode="shared", redis_url=server.url) as limiter:
                    rule: Any = Rule("a", SMALL, wrong)  # type: ignore[arg-type]
                    with pytest.raises(ConfigError, match="on_error must be one of"):
                        await limiter.acheck_all([("b", SMALL), rule])
                    assert limiter.stats().redis_trips == 0
                with pytest.raises(ConfigError, match="on_error"):
                    RateLimiter(mode="shared", redis_url=server.url, on_error=wrong)  # type: ignore[arg-type]
                with pytest.raises(ConfigError, match="day must be one of"):
                    OnErrorByBucket(day=wrong)  # type: ignore[arg-type]

        asyncio.run(run())

    def test_what_is_neither_a_pair_nor_a_rule_is_refused(self, server: RedisServer) -> None:
        async def run() -> None:
            async with RateLimiter(mode="shared", redis_url=server.url) as limiter:
                for wrong in (("a",), ("a", SMALL, "deny"), "abc"):
                    with pytest.raises(TypeError, match="Rule"):
                        await limiter.acheck_all([wrong])  # type: ignore[list-item]

        asyncio.run(run())


def test_a_rule_is_a_pair_where_there_is_no_redis() -> None:
    limiter = RateLimiter()
    rules = [Rule("a", LARGE, "deny"), ("b", SMALL)]
    assert [bool(limiter.check_all(rules)) for _ in range(3)] == [True, True, False]
    assert asyncio.run(limiter.acheck_all([Rule("c", SMALL, "deny")])).decided_by == "local"
