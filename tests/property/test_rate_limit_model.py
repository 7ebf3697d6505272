"""The local limiter beside an exact model with fractions, and beside the library ``limits``."""

from __future__ import annotations

import time
from fractions import Fraction

import limits
import limits.storage
import limits.strategies
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from velro_cache._engine import ManualClock
from velro_cache.rate_limit import RateLimit, RateLimiter

NANOSECOND = Fraction(1, 10**9)
NAMES = st.sampled_from(["a", "b", "é", "\ud800\0"])
LIMITS = st.builds(
    RateLimit,
    st.none() | st.integers(1, 300),
    st.integers(2, 30),
    st.none() | st.integers(3, 200),
)


class Bucket:
    """Tokens that are missing, as a fraction."""

    def __init__(self) -> None:
        self.missing = Fraction(0)
        self.at = Fraction(0)
        self.rate = Fraction(0)

    def follow(self, rate: Fraction, capacity: int, now: Fraction) -> None:
        self.missing = max(Fraction(0), self.missing - (now - self.at) * self.rate)
        self.missing = min(self.missing, Fraction(capacity))
        self.at, self.rate = now, rate


class Model:
    """What a limiter should do."""

    def __init__(self) -> None:
        self.buckets: dict[tuple[str, str], Bucket] = {}

    def lacks(self, name: str, limit: RateLimit, cost: int, now: Fraction) -> Fraction:
        """For how many seconds the cost is not there."""
        longest = Fraction(0)
        for kind, rate, capacity in kinds(limit):
            bucket = self.buckets.setdefault((name, kind), Bucket())
            bucket.follow(rate, capacity, now)
            longest = max(longest, (bucket.missing + cost - capacity) / rate)
        return longest

    def take(self, name: str, limit: RateLimit, cost: int) -> None:
        for kind, _, _ in kinds(limit):
            self.buckets[name, kind].missing += cost


def kinds(limit: RateLimit) -> list[tuple[str, Fraction, int]]:
    found = []
    if limit.requests_per_minute is not None:
        found.append(("minute", Fraction(limit.requests_per_minute, 60), limit.burst + 1))
    if (day := limit.requests_per_day) is not None:
        found.append(("day", Fraction(day, 86_400), day))
    return found


class LimiterMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.limiter = RateLimiter(clock=self.clock, max_keys=100)
        self.model = Model()
        self.now = Fraction(0)
        self.allowed = self.refused = 0

    @rule(millis=st.one_of(st.integers(0, 3000), st.integers(0, 200_000_000)))
    def time_passes(self, millis: int) -> None:
        self.clock.advance(millis / 1000)
        self.now += Fraction(millis, 1000)

    @rule(name=NAMES, limit=LIMITS, cost=st.integers(1, 3))
    def check(self, name: str, limit: RateLimit, cost: int) -> None:
        self.ask([(name, limit)], cost)

    @rule(limit=LIMITS, name=NAMES, times=st.integers(1, 40))
    def many_checks(self, name: str, limit: RateLimit, times: int) -> None:
        for _ in range(times):
            self.ask([(name, limit)], 1)

    @rule(first=LIMITS, second=LIMITS, cost=st.integers(1, 3))
    def check_two(self, first: RateLimit, second: RateLimit, cost: int) -> None:
        self.ask([("a", first), ("b", second)], cost)

    def ask(self, pairs: list[tuple[str, RateLimit]], cost: int) -> None:
        lacks = max(self.model.lacks(name, limit, cost, self.now) for name, limit in pairs)
        decision = self.limiter.check_all(pairs, cost)
        if decision.allowed:
            # Never what fractions would refuse.
            assert lacks <= 0
            assert decision.retry_after_seconds == 0
            self.allowed += 1
            for name, limit in pairs:
                self.model.take(name, limit, cost)
        else:
            # Refused by rounding alone: by nanoseconds, one for each token and change of limits.
            assert lacks > -20_000 * NANOSECOND
            told = Fraction(str(decision.retry_after_seconds))
            assert lacks <= told
            assert told - max(lacks, Fraction(0)) < Fraction(2, 1000)
            self.refused += 1

    @invariant()
    def everything_is_counted(self) -> None:
        stats = self.limiter.stats()
        assert (stats.allowed, stats.refused) == (self.allowed, self.refused)


TestLimiterMachine = LimiterMachine.TestCase


@given(
    per_minute=st.integers(1, 120),
    burst=st.integers(0, 30),
    pauses=st.lists(st.integers(0, 4000) | st.integers(0, 90_000), min_size=1, max_size=150),
)
@settings(max_examples=60)
def test_no_minute_sees_more_than_is_documented_says_another_library(
    per_minute: int, burst: int, pauses: list[int]
) -> None:
    clock, wall = ManualClock(), 1_900_000_000.0
    limiter = RateLimiter(clock=clock)
    limit = RateLimit(per_minute, burst, None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "time", lambda: wall)
        storage = limits.storage.MemoryStorage()
        other = limits.strategies.MovingWindowRateLimiter(storage)
        most = limits.RateLimitItemPerMinute(per_minute + burst + 1)
        for millis in pauses:
            clock.advance(millis / 1000)
            wall += millis / 1000
            for _ in range(3):
                if limiter.check("org", limit):
                    assert other.hit(most, "org")


@given(per_minute=st.integers(1, 600), seconds=st.integers(1, 3000))
@settings(max_examples=60)
def test_who_asks_all_the_time_gets_the_steady_rate(per_minute: int, seconds: int) -> None:
    clock = ManualClock()
    limiter = RateLimiter(clock=clock)
    limit = RateLimit(per_minute, 10, None)
    allowed = 0
    for _ in range(seconds):
        while limiter.check("org", limit):
            allowed += 1
        clock.advance(1)
    # Between what came back, and that with the burst; a token a second at most is lost in a
    # bucket that is full before somebody asks.
    came_back = Fraction(per_minute * (seconds - 1), 60)
    if per_minute <= 11 * 60:
        assert came_back + 10 <= allowed <= came_back + 11
