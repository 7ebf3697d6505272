"""Rate limits in one process: limits, decisions, what clients are told, names of all kinds."""

from __future__ import annotations

import asyncio
import copy
import itertools
import math
import pickle
import threading
from pathlib import Path

import pytest

from velro_cache._engine import ManualClock
from velro_cache.exceptions import ConfigError, InvalidKeyError
from velro_cache.rate_limit import Decision, RateLimit, RateLimiter

USUAL = RateLimit()


def limiter(max_keys: int = 1000) -> tuple[RateLimiter, ManualClock]:
    clock = ManualClock()
    return RateLimiter(clock=clock, max_keys=max_keys), clock


class TestRateLimit:
    def test_its_defaults_are_those_of_the_documentation(self) -> None:
        assert (USUAL.requests_per_minute, USUAL.burst, USUAL.requests_per_day) == (60, 10, 10_000)
        assert USUAL.most_at_once == 11
        assert repr(USUAL) == "RateLimit(requests_per_minute=60, burst=10, requests_per_day=10000)"

    @pytest.mark.parametrize(
        ("settings", "said"),
        [
            ({"requests_per_minute": 0}, "requests_per_minute"),
            ({"requests_per_minute": -1}, "requests_per_minute"),
            ({"requests_per_minute": 60_000_001}, "requests_per_minute"),
            ({"requests_per_minute": 10**30}, "requests_per_minute"),
            ({"requests_per_minute": 1.5}, "not float"),
            ({"requests_per_minute": True}, "not bool"),
            ({"requests_per_minute": "60"}, "not str"),
            ({"burst": -1}, "burst"),
            ({"burst": None}, "burst"),
            ({"burst": 60_000_001}, "burst"),
            ({"requests_per_day": 0}, "requests_per_day"),
            ({"requests_per_day": 86_400_000_001}, "requests_per_day"),
        ],
    )
    def test_a_number_out_of_range_is_a_clear_error(
        self, settings: dict[str, int], said: str
    ) -> None:
        with pytest.raises(ConfigError, match=said):
            RateLimit(**settings)

    def test_it_is_a_value_that_cannot_change(self) -> None:
        same = RateLimit(60, 10, 10_000)
        assert same == USUAL
        assert hash(same) == hash(USUAL)
        assert len({same, USUAL, RateLimit(61), RateLimit(burst=11), RateLimit(None)}) == 4
        assert USUAL != (60, 10, 10_000)
        with pytest.raises(AttributeError):
            USUAL.burst = 5  # type: ignore[misc]
        with pytest.raises(AttributeError):
            USUAL.other = 5  # type: ignore[attr-defined]

    def test_it_can_be_copied_and_pickled(self) -> None:
        assert copy.deepcopy(USUAL) == USUAL
        assert pickle.loads(pickle.dumps(RateLimit(None, 3, 7))) == RateLimit(None, 3, 7)  # noqa: S301


class TestChecks:
    def test_burst_and_one_more_at_once_then_the_steady_rate(self) -> None:
        limits, clock = limiter()
        allowed = [bool(limits.check("org", USUAL)) for _ in range(20)]
        assert allowed == [True] * 11 + [False] * 9
        for _ in range(50):
            clock.advance(1)
            assert limits.check("org", USUAL).allowed
            assert not limits.check("org", USUAL).allowed

    def test_the_day_ends_what_the_minute_would_allow(self) -> None:
        limits, clock = limiter()
        limit = RateLimit(6000, 99, 150)
        assert sum(bool(limits.check("org", limit)) for _ in range(200)) == 100
        clock.advance(60)
        assert sum(bool(limits.check("org", limit)) for _ in range(200)) == 50
        decision = limits.check("org", limit)
        assert (decision.limit, decision.remaining) == (150, 0)
        assert 570 - 61 < decision.retry_after_seconds < 577
        # No window begins anew: tokens come back evenly, 150 a day.
        clock.advance(86_400 / 150 * 10)
        assert sum(bool(limits.check("org", limit)) for _ in range(200)) == 10

    @pytest.mark.parametrize("limit", [USUAL, RateLimit(7, 1, None), RateLimit(None, 0, 7)])
    @pytest.mark.parametrize("cost", [1, 2])
    def test_who_waits_as_long_as_told_is_let_in(self, limit: RateLimit, cost: int) -> None:
        for rounded in (False, True):
            limits, clock = limiter()
            while decision := limits.check("org", limit, cost):
                pass
            wait = decision.retry_after_seconds
            told = dict(decision.headers())[b"retry-after"]
            assert math.ceil(wait) == int(told)
            clock.advance(wait - 0.002)
            assert not limits.check("org", limit, cost).allowed
            clock.advance(0.002 if not rounded else int(told) - wait + 0.002)
            assert limits.check("org", limit, cost).allowed

    def test_an_organisation_and_a_key_are_charged_together_or_not_at_all(self) -> None:
        limits, _ = limiter()
        org, key = RateLimit(60, 9, None), RateLimit(60, 2, None)
        pairs = [("org:1", org), ("key:1", key)]
        assert [bool(limits.check_all(pairs)) for _ in range(5)] == [True] * 3 + [False] * 2
        assert limits.check("org:1", org).remaining == 6
        refused = limits.check_all(pairs)
        assert (refused.limit, refused.remaining) == (60, 0)
        assert limits.check("org:1", org).remaining == 5

    def test_limits_that_change_hold_at_once_and_give_no_full_bucket(self) -> None:
        limits, clock = limiter()
        small, large = RateLimit(60, 10, None), RateLimit(600, 100, None)
        for _ in range(11):
            limits.check("org", small)
        assert not limits.check("org", small)
        assert limits.check("org", large).remaining == 89
        assert limits.check("org", large, 89).allowed
        refused = limits.check("org", small)
        assert (refused.allowed, refused.retry_after_seconds) == (False, 1.0)
        clock.advance(1)
        assert limits.check("org", small).allowed

    def test_a_clock_that_is_not_moved_gives_nothing(self) -> None:
        limits, _ = limiter()
        assert sum(bool(limits.check("org", USUAL)) for _ in range(1000)) == 11

    def test_without_limits_everything_is_allowed_and_nothing_is_kept(self) -> None:
        limits, _ = limiter()
        free = RateLimit(requests_per_minute=None, requests_per_day=None)
        decision = limits.check("org", free, cost=10**6)
        assert decision.allowed
        assert (decision.limit, decision.remaining, decision.headers()) == (None, None, [])
        assert limits.stats().names == 0

    def test_checks_are_counted(self) -> None:
        limits, _ = limiter()
        for number in range(20):
            limits.check("org", USUAL)
            limits.check(f"key {number % 5}", USUAL)
        stats = limits.stats()
        assert (stats.allowed, stats.refused, stats.names) == (31, 9, 6)
        assert stats.decided_by["local"] == 40
        assert stats.breaker is None

    def test_threads_share_a_bucket_to_the_last_token(self) -> None:
        limits, _ = limiter()
        limit = RateLimit(60, 999, None)
        allowed = []

        def ask() -> None:
            allowed.append(sum(bool(limits.check("org", limit)) for _ in range(1000)))

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(allowed) == 1000


class TestDecision:
    def test_its_headers_are_those_of_the_draft(self) -> None:
        limits, _ = limiter()
        assert limits.check("org", USUAL).headers() == [
            (b"ratelimit-policy", b'"minute";q=60;w=60, "day";q=10000;w=86400'),
            (b"ratelimit", b'"minute";r=10;t=1, "day";r=9999;t=9'),
        ]
        limits.check("org", USUAL, 10)
        assert limits.check("org", USUAL).headers() == [
            (b"ratelimit-policy", b'"minute";q=60;w=60, "day";q=10000;w=86400'),
            (b"ratelimit", b'"minute";r=0;t=1'),
            (b"retry-after", b"1"),
        ]

    def test_a_refusal_is_false_and_says_when_to_come_back(self) -> None:
        limits, _ = limiter()
        limit = RateLimit(1, 0, None)
        first, second = limits.check("org", limit), limits.check("org", limit)
        assert first
        assert not second
        assert (first.retry_after_seconds, second.retry_after_seconds) == (0.0, 60.0)
        assert second.reset_after_seconds == 60.0
        assert second.decided_by == "local"

    def test_it_is_a_value_and_shows_no_name(self) -> None:
        first, second = (limiter()[0].check("a secret name", USUAL) for _ in range(2))
        assert first == second
        assert hash(first) == hash(second)
        assert "secret" not in repr(first)
        with pytest.raises(AttributeError):
            first.allowed = True  # type: ignore[misc]

    def test_nobody_is_called_the_decider_who_is_not_known(self) -> None:
        with pytest.raises(ValueError, match="decided_by"):
            Decision._made(USUAL, True, 0, 0, 0, "somebody")


class TestNames:
    def test_names_that_look_alike_are_apart(self) -> None:
        limits, _ = limiter()
        names = ["a", "A", "a\0", "\0a", "a ", "é", "e\u0301", "\ud800", "\udfff", "\U0001f600"]
        once = RateLimit(1, 0, None)
        assert all(limits.check(name, once) for name in names)
        assert not any(limits.check(name, once) for name in names)

    @pytest.mark.parametrize("mode", ["check", "check_all"])
    @pytest.mark.parametrize(
        "name", ["", "x" * 1025, "é" * 513, "x" * 10_000_000, "\ud800" * 342], ids=len
    )
    def test_a_name_that_is_empty_or_too_long_is_an_error_that_does_not_show_it(
        self, name: str, mode: str
    ) -> None:
        limits, _ = limiter()
        with pytest.raises(InvalidKeyError) as caught:
            if mode == "check":
                limits.check(name, USUAL)
            else:
                limits.check_all([("good", USUAL), (name, USUAL)])
        assert "x" * 10 not in str(caught.value)
        assert limits.stats().names == limits.stats().allowed == 0

    @pytest.mark.parametrize("name", [None, 7, b"bytes", ["list"]])
    def test_a_name_must_be_a_text(self, name: object) -> None:
        with pytest.raises(TypeError):
            limiter()[0].check(name, USUAL)  # type: ignore[arg-type]

    @pytest.mark.parametrize("cost", [0, -1, 12, 2**64, 2**200])
    def test_a_cost_that_could_never_be_paid_is_an_error(self, cost: int) -> None:
        limits, _ = limiter()
        with pytest.raises(ValueError, match="cost must be between 1 and 11"):
            limits.check("org", USUAL, cost)
        with pytest.raises(ValueError, match="cost must be between 1 and 11"):
            limits.check_all([("org", USUAL)], cost)

    def test_there_may_be_so_many_names_in_a_check(self) -> None:
        limits, _ = limiter()
        pairs = [(f"n{number}", USUAL) for number in range(17)]
        assert limits.check_all(pairs[:16])
        for wrong in (pairs, []):
            with pytest.raises(ValueError, match="1 to 16 names"):
                limits.check_all(wrong)


class TestMemory:
    def test_a_million_random_names_take_a_bounded_place(self) -> None:
        limits, _ = limiter(max_keys=50_000)
        for number in range(50_000):
            limits.check(f"warm {number}", USUAL)
        before = resident_bytes()
        for number in range(1_000_000):
            limits.check(f"random {number}", USUAL)
        assert resident_bytes() - before < 4 << 20
        stats = limits.stats()
        assert stats.names == 50_000
        assert stats.displaced > 400_000

    def test_a_flood_of_names_does_not_fill_the_bucket_of_an_active_one(self) -> None:
        limits, clock = limiter(max_keys=1000)
        for _ in range(11):
            limits.check("active", USUAL)
        for number in itertools.count():
            limits.check(f"random {number}", USUAL)
            if number % 1000 == 0:
                clock.advance(0.1)
                if number == 9000:
                    break
        # A second has passed: one request, as without a flood.
        assert sum(bool(limits.check("active", USUAL)) for _ in range(5)) == 1

    def test_idle_names_take_no_place(self) -> None:
        limits, clock = limiter(max_keys=1_000_000)
        once = RateLimit(60, 0, None)
        for number in range(10_000):
            limits.check(f"name {number}", once)
            clock.advance(0.1)
        assert limits.stats().names <= 11
        assert limits.stats().displaced == 0


class TestSettings:
    @pytest.mark.parametrize(
        ("settings", "said"),
        [
            ({"name": ""}, "name must be"),
            ({"name": "a}b"}, "name must be"),
            ({"name": "x" * 65}, "name must be"),
            ({"mode": "global"}, "mode must be one of local, shared, leased"),
            ({"on_error": "raise"}, "on_error must be one of local, allow, deny"),
            ({"max_keys": 0}, "max_keys"),
            ({"max_keys": True}, "max_keys"),
            ({"lease_tokens": 0}, "lease_tokens"),
            ({"timeout_seconds": 0}, "timeout_seconds"),
            ({"timeout_seconds": math.nan}, "timeout_seconds"),
            ({"timeout_seconds": "1"}, "timeout_seconds"),
            ({"redis_url": "redis://localhost"}, "no effect"),
            ({"mode": "shared"}, "needs redis_url"),
            ({"mode": "leased"}, "needs redis_url"),
            ({"mode": "shared", "redis_url": "http://:hidden@x"}, "redis_url cannot be read"),
        ],
    )
    def test_a_setting_that_is_wrong_or_useless_is_an_error(
        self, settings: dict[str, object], said: str
    ) -> None:
        with pytest.raises(ConfigError, match=said) as caught:
            RateLimiter(**settings)  # type: ignore[arg-type]
        assert "hidden" not in str(caught.value)

    def test_what_is_not_local_must_be_awaited(self) -> None:
        limits = RateLimiter(mode="shared", redis_url="redis://127.0.0.1:1")
        with pytest.raises(ConfigError, match="await acheck"):
            limits.check("org", USUAL)
        with pytest.raises(ConfigError, match="await acheck_all"):
            limits.check_all([("org", USUAL)])

    def test_what_is_local_can_be_awaited(self) -> None:
        async def ask() -> list[bool]:
            async with RateLimiter() as limits:
                one = await limits.acheck("org", USUAL)
                return [one.allowed, bool(await limits.acheck_all([("org", USUAL)]))]

        assert asyncio.run(ask()) == [True, True]


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096
