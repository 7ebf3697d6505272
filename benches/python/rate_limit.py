"""What a check of a rate limit costs: ``make bench-rate-limit``, or ``rate_limit.py --quick``.

Ours beside the library ``limits`` (moving window, fixed window), a token bucket in a dict as one
would write it oneself, and one SHA-256 of a short text as something everybody knows the price of.
With a Redis on this machine, the three modes as well. Every answer is checked: all are allowed, or
all refused, as announced.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from harness import Lane, Runner, race
from machine import describe
from velro_cache._engine import LocalLimiter
from velro_cache.rate_limit import RateLimit, RateLimiter

ROOT = Path(__file__).parents[2]
NAMES = [f"org:{number:08}" for number in range(10_000)]
WIDE = RateLimit(60_000_000, 60_000_000, None)
NARROW = RateLimit(1, 0, None)
BOTH = RateLimit(60_000_000, 60_000_000, 86_400_000_000)


class BucketsInADict:
    """GCRA as it is usually written in Python: one dict, one float for each name."""

    def __init__(self, per_minute: int, burst: int) -> None:
        """Choose the limit."""
        self._interval = 60.0 / per_minute
        self._tolerance = burst * self._interval
        self._full_at: dict[str, float] = {}

    def check(self, key: str) -> bool:
        """Take a token if there is one."""
        now = time.monotonic()
        full_at = max(now, self._full_at.get(key, now))
        if full_at - now > self._tolerance:
            return False
        self._full_at[key] = full_at + self._interval
        return True


def contestants() -> dict[str, tuple[str, dict[str, object], bool | None]]:
    """Statement, names in it, and the answer it must give, of everybody who takes part."""
    ours, core = RateLimiter(), LocalLimiter()
    full = RateLimiter()
    for name in NAMES:
        full.check(name, NARROW)
    own = BucketsInADict(60_000_000, 60_000_000)
    found: dict[str, tuple[str, dict[str, object], bool | None]] = {
        "velro-cache, compiled half": (
            "core.check(key, limit).allowed",
            {"core": core, "limit": WIDE},
            True,
        ),
        "velro-cache, RateLimiter": (
            "ours.check(key, limit).allowed",
            {"ours": ours, "limit": WIDE},
            True,
        ),
        "... minute and day": (
            "ours.check(key, limit).allowed",
            {"ours": ours, "limit": BOTH},
            True,
        ),
        "... refused": ("full.check(key, limit).allowed", {"full": full, "limit": NARROW}, False),
        "... organisation and key": (
            "ours.check_all([(key, limit), ('key', limit)]).allowed",
            {"ours": ours, "limit": WIDE},
            True,
        ),
        "a dict, in Python": ("own.check(key)", {"own": own}, True),
        "hashlib.sha256": (
            "sha256(text).digest()",
            {"sha256": hashlib.sha256, "text": b"org"},
            None,
        ),
    }
    try:
        import limits
        import limits.storage
        import limits.strategies
    except ImportError:
        print("without `limits`: pip install limits", file=sys.stderr)
        return found
    item = limits.RateLimitItemPerMinute(1_000_000)
    for title, kind in (
        ("limits, fixed window", limits.strategies.FixedWindowRateLimiter),
        ("limits, sliding window", limits.strategies.SlidingWindowCounterRateLimiter),
        ("limits, moving window", limits.strategies.MovingWindowRateLimiter),
    ):
        strategy = kind(limits.storage.MemoryStorage())
        found[title] = ("strategy.hit(item, key)", {"strategy": strategy, "item": item}, True)
    return found


def in_this_process(seconds: float) -> dict[str, float]:
    """Nanoseconds of each."""
    runner = Runner()
    lanes = []
    keys = NAMES[:1000]
    for title, (statement, names, expected) in contestants().items():
        answers = runner.collected(statement, names, label=title)(keys)
        if expected is not None and set(answers) != {expected}:
            raise AssertionError(f"{title}: not all answers are {expected}")
        loop = runner.timed(statement, names, label=title)
        lanes.append(Lane(title, lambda _, loop=loop: loop(keys), len(keys)))
    timings = race(lanes, rounds=2000, budget_seconds=seconds)
    runner.close()
    return {title: timing.best for title, timing in timings.items()}


async def over_redis(url: str, seconds: float) -> dict[str, float]:
    """Nanoseconds of an awaited check, one after the other: the median of fifties."""
    found = {}
    for title, limiter in (
        ("acheck, local", RateLimiter()),
        ("acheck, leased", RateLimiter(mode="leased", redis_url=url, timeout_seconds=5)),
        ("acheck, shared", RateLimiter(mode="shared", redis_url=url, timeout_seconds=5)),
    ):
        async with limiter:
            check: Callable[[str, RateLimit], Awaitable[object]] = limiter.acheck
            for _ in range(200):
                await check("org", WIDE)
            laps, end = [], time.perf_counter() + seconds
            while (began := time.perf_counter()) < end:
                for _ in range(50):
                    if not await check("org", WIDE):
                        raise AssertionError(f"{title}: refused")
                laps.append((time.perf_counter() - began) / 50 * 1e9)
            found[title] = statistics.median(laps)
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a glance, no more")
    seconds = 1.0 if parser.parse_args().quick else 10.0
    machine = describe(ROOT, "make bench-rate-limit")
    print(f"{machine.processor}, {machine.python}, load {machine.load_average:.1f}")
    local = in_this_process(seconds)
    floor = local["a dict, in Python"]
    print(f"{'':30} {'ns':>9} {'x dict':>7}")
    for title, nanos in local.items():
        print(f"{title:30} {nanos:9.0f} {nanos / floor:7.2f}")
    sys.path.insert(0, str(ROOT / "tests"))
    from services.redis import RedisServer

    with RedisServer() as server:
        for title, nanos in asyncio.run(over_redis(server.url, seconds / 3)).items():
            print(f"{title:30} {nanos:9.0f} {nanos / floor:7.2f}")


if __name__ == "__main__":
    main()
