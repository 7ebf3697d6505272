"""What a scrape reads of API keys and rate limits, with Prometheus' own parsers."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse
from prometheus_client.registry import Collector

sys.path.insert(0, str(Path(__file__).parents[1] / "api_keys"))

from held_keys import FORMAT, Kit

from services.redis import RedisServer
from velro_cache._engine import ManualClock
from velro_cache.api_keys import KeyLimits, LastUsedWriter, RefreshManager, RefreshReport
from velro_cache.api_keys.usage import BatchedUsage, UsageBatch, UsageEvent
from velro_cache.exceptions import ApiKeyError, AuthorizationUnavailable, MissBudgetExceeded
from velro_cache.prometheus import ApiKeyCollector, CacheCollector, RateLimitCollector
from velro_cache.prometheus.api_keys import API_KEY_FAMILIES
from velro_cache.prometheus.rate_limits import RATE_LIMIT_FAMILIES
from velro_cache.rate_limit import RateLimit, RateLimiter, RateLimitStatistics

SLOW = RateLimit(1, 1, None)
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


class Seconds:
    """A clock that tests move."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Sink:
    """Takes what it is given, or does not."""

    def __init__(self) -> None:
        self.is_away = False

    async def write(self, _batch: UsageBatch) -> None:
        if self.is_away:
            raise ConnectionError("sink.internal")

    async def aclose(self) -> None:
        pass


class Gateway:
    """All that has figures, as a gateway has it."""

    def __init__(self) -> None:
        self.kit = Kit(misses_per_second=1, miss_burst=4, unknown_ttl_seconds=60)
        self.seconds = Seconds()
        self.refresh = RefreshManager(
            self.kit.cache, share_on_host=False, now=self.kit.clock, monotonic=self.seconds
        )
        self.sink = Sink()
        self.usage = BatchedUsage(self.sink, max_waiting=3)
        self.last_used = LastUsedWriter(self.kit.keys, max_keys=1)
        self.collector = ApiKeyCollector(
            self.kit.cache,
            refresh=self.refresh,
            usage=self.usage,
            last_used=self.last_used,
        )


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    made = Gateway()
    with made.kit.manager:
        yield made


def text_of(collectors: Iterable[Collector], *, openmetrics: bool = False) -> str:
    registry = CollectorRegistry()
    for collector in collectors:
        registry.register(collector)
    generate = generate_openmetrics if openmetrics else generate_latest
    return generate(registry).decode()


def scrape(*collectors: Collector) -> Samples:
    found = {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in parse(text_of(collectors))
        for sample in family.samples
    }
    of_openmetrics = {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in parse_openmetrics(text_of(collectors, openmetrics=True))
        for sample in family.samples
    }
    assert set(found) == set(of_openmetrics)
    return found


def value(found: Samples, metric: str, **labels: str) -> float:
    labels.setdefault("limiter" if metric.startswith("rate_limit") else "cache", "default")
    return found[f"velro_cache_{metric}", frozenset(labels.items())]


def event() -> UsageEvent:
    return UsageEvent(
        organization_id="o1",
        key_id="k1",
        endpoint="/a",
        method="GET",
        status=200,
        duration_seconds=0.1,
        at=0.0,
    )


async def test_checks_of_keys_are_counted_by_what_became_of_them(gateway: Gateway) -> None:
    kit, plain = gateway.kit, FORMAT.generate()
    kit.keys.add(plain)
    for _ in range(3):
        await kit.cache.verify(plain)
    for wrong in ("nonsense", *[FORMAT.generate()] * 3):
        with pytest.raises(ApiKeyError):
            await kit.cache.verify(wrong)
    kit.keys.error = ConnectionError("db.internal")
    with pytest.raises(AuthorizationUnavailable):
        await kit.cache.verify(FORMAT.generate())
    kit.keys.error = None
    with pytest.raises(ApiKeyError):
        await kit.cache.verify(FORMAT.generate())
    with pytest.raises(MissBudgetExceeded):
        await kit.cache.verify(FORMAT.generate())
    # It was read a quarter of an hour ago, and the database is away.
    kit.clock.seconds += 1000
    kit.keys.error = ConnectionError("db.internal")
    assert await kit.cache.verify(plain)
    found = scrape(gateway.collector)
    assert value(found, "api_keys_hits_total") == 2
    assert value(found, "api_keys_loads_total") == 5
    assert value(found, "api_keys_malformed_total") == 1
    assert value(found, "api_keys_refused_from_memory_total") == 2
    assert value(found, "api_keys_unavailable_total") == 1
    assert value(found, "api_keys_misses_refused_total") == 1
    assert value(found, "api_keys_stale_served_total") == 1
    assert value(found, "api_keys_unknown") == kit.cache.stats()["unknown_keys"] == 2


async def test_the_last_refresh_is_told_and_how_long_ago_it_was(gateway: Gateway) -> None:
    gateway.seconds.now = 30
    found = scrape(gateway.collector)
    # Nothing was read yet: since the start.
    assert value(found, "api_keys_refresh_age_seconds") == 30
    assert value(found, "api_keys_refreshes_total") == 0
    assert not any(metric == "velro_cache_api_keys_refresh_keys" for metric, _ in found)
    plains = [FORMAT.generate() for _ in range(3)]
    keys = [gateway.kit.keys.add(plain, number) for number, plain in enumerate(plains)]
    await gateway.refresh.refresh_now()
    found = scrape(gateway.collector)
    assert value(found, "api_keys_refresh_age_seconds") == 0
    assert value(found, "api_keys_refresh_keys") == 3
    assert value(found, "api_keys_refresh_updated_keys") == 3
    assert 0 < value(found, "api_keys_refresh_seconds") < 60
    assert value(found, "api_keys_refresh_reads_for_host") == 1
    gateway.seconds.now = 930
    assert value(scrape(gateway.collector), "api_keys_refresh_age_seconds") == 900
    del gateway.kit.keys.rows[keys[0].digest]
    await gateway.refresh.refresh_now()
    await gateway.refresh.refresh_changed()
    found = scrape(gateway.collector)
    assert value(found, "api_keys_refresh_age_seconds") == 0
    assert value(found, "api_keys_refreshes_total") == 2
    assert value(found, "api_keys_incremental_refreshes_total") == 1
    assert value(found, "api_keys_refresh_removed_keys") == 1


async def test_refreshes_that_fail_are_counted_and_the_last_good_one_grows_old(
    gateway: Gateway,
) -> None:
    gateway.kit.keys.add(FORMAT.generate())
    async with gateway.refresh:
        assert value(scrape(gateway.collector), "api_keys_refresh_age_seconds") == 0
    gateway.kit.keys.error = ConnectionError("db.internal")
    gateway.seconds.now = 2000
    async with gateway.refresh:
        found = scrape(gateway.collector)
        assert value(found, "api_keys_refresh_failures_total") == 1
        assert value(found, "api_keys_refresh_failures_in_a_row") == 1
        assert value(found, "api_keys_refresh_age_seconds") == 2000
        assert value(found, "api_keys_refresh_keys") == 1


async def test_what_became_of_usage_and_of_uses_is_told(gateway: Gateway) -> None:
    for _ in range(5):
        gateway.usage.record(event())
    gateway.last_used.note("k1")
    gateway.last_used.note("k2")
    gateway.sink.is_away = True
    await gateway.usage.flush()
    found = scrape(gateway.collector)
    assert value(found, "api_keys_usage_waiting") == 3
    assert value(found, "api_keys_usage_dropped_total") == 2
    assert value(found, "api_keys_usage_failures_total") == 1
    assert value(found, "api_keys_usage_written_total") == 0
    assert value(found, "api_keys_last_used_waiting") == 1
    assert value(found, "api_keys_last_used_dropped_total") == 1
    gateway.sink.is_away = False
    await gateway.usage.flush()
    await gateway.last_used.flush()
    found = scrape(gateway.collector)
    assert value(found, "api_keys_usage_waiting") == 0
    assert value(found, "api_keys_usage_written_total") == 3
    assert value(found, "api_keys_last_used_written_total") == 1
    assert value(found, "api_keys_last_used_failures_total") == 0


async def test_what_there_is_not_has_no_samples(gateway: Gateway) -> None:
    found = {metric for metric, _ in scrape(ApiKeyCollector(gateway.kit.cache))}
    assert "velro_cache_api_keys_hits_total" in found
    others = ("refresh", "incremental", "usage", "last")
    assert not [name for name in found if name.split("_")[4] in others]


async def test_decisions_are_counted_and_redis_is_watched() -> None:
    clock = ManualClock()
    with RedisServer() as server:
        async with RateLimiter(
            name="org", mode="shared", redis_url=server.url, clock=clock, timeout_seconds=10
        ) as limiter:
            collector = RateLimitCollector(limiter, RateLimiter(name="other"))
            for _ in range(3):
                await limiter.acheck("4711-secret", SLOW)
            found = scrape(collector)
            assert value(found, "rate_limit_decisions_total", limiter="org", outcome="allowed") == 2
            assert value(found, "rate_limit_decisions_total", limiter="org", outcome="refused") == 1
            assert value(found, "rate_limit_decided_total", limiter="org", by="shared") == 3
            assert value(found, "rate_limit_redis_trips_total", limiter="org") == 3
            assert value(found, "rate_limit_breaker_state", limiter="org", state="closed") == 1
            assert (
                value(found, "rate_limit_decisions_total", limiter="other", outcome="refused") == 0
            )
            states = {"limiter": "other", "state": "closed"}
            assert ("velro_cache_rate_limit_breaker_state", frozenset(states.items())) not in found
            server.kill()
            for on_error in ("local", "allow", "deny", "local", "allow"):
                await limiter.acheck("4711-secret", SLOW, on_error=on_error)  # type: ignore[arg-type]
            found = scrape(collector)
            for by, count in (("local", 2), ("allowed_unchecked", 2), ("denied_unchecked", 1)):
                assert value(found, "rate_limit_decided_total", limiter="org", by=by) == count
            assert value(found, "rate_limit_redis_errors_total", limiter="org") == 3
            assert value(found, "rate_limit_redis_timeouts_total", limiter="org") == 0
            assert value(found, "rate_limit_redis_skipped_total", limiter="org") == 2
            assert value(found, "rate_limit_breaker_state", limiter="org", state="open") == 1
            assert value(found, "rate_limit_breaker_state", limiter="org", state="closed") == 0
            assert value(found, "rate_limit_breaker_opened_total", limiter="org") == 1
            assert value(found, "rate_limit_names", limiter="org") == 1
            assert "secret" not in text_of([collector])
            server.start()
            clock.advance(11)
            await limiter.acheck("4711-secret", SLOW)
            found = scrape(collector)
            assert value(found, "rate_limit_breaker_state", limiter="org", state="closed") == 1
    with pytest.raises(ValueError, match="names of their own"):
        RateLimitCollector(RateLimiter(), RateLimiter())


class Noted(dict[str, Any]):
    """Knows what was read."""

    def __init__(self, figures: dict[str, Any]) -> None:
        super().__init__(figures)
        self.read: set[str] = set()

    def __getitem__(self, key: str) -> Any:
        self.read.add(key)
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        self.read.add(key)
        return super().get(key, default)


async def test_every_figure_is_shown(gateway: Gateway) -> None:
    await gateway.refresh.refresh_now()
    stats = {part: Noted(dict(figures)) for part, figures in gateway.collector._stats().items()}
    for family in API_KEY_FAMILIES:
        list(family.read(stats))
    unread = {part: set(figures) - figures.read for part, figures in stats.items()}
    # Who read: `reads_for_host` tells. The last one has metrics of its own.
    assert unread == {
        "keys": set(),
        "refresh": {"last"},
        "last": {"source"},
        "usage": set(),
        "last_used": set(),
    }
    assert {one.name for one in fields(RefreshReport)} == set(stats["last"])
    limits = Noted({name.name: {} for name in fields(RateLimitStatistics)})
    for name in limits:
        if name not in ("decided_by", "refused_by"):
            dict.__setitem__(limits, name, 1)
    for family in RATE_LIMIT_FAMILIES:
        list(family.read(limits))
    assert set(limits) == limits.read


async def test_there_are_as_many_series_with_a_thousand_keys_as_with_one(gateway: Gateway) -> None:
    limiter = RateLimiter()
    collectors = (gateway.collector, RateLimitCollector(limiter))
    limits = KeyLimits(requests_per_minute=1, burst_size=0)

    async def ask(number: int) -> None:
        plain = FORMAT.generate()
        key = gateway.kit.keys.add(
            plain, number, organization_id=f"secret-{number}", organization_limits=limits
        )
        gateway.kit.cache.set(key)
        await gateway.kit.cache.verify(plain)
        limiter.check(f"secret-{number}", SLOW)
        gateway.usage.record(event())
        shown.append(plain[8:])
        shown.append(key.digest.hex())

    shown = ["secret"]
    await ask(0)
    await gateway.refresh.refresh_now()
    before = set(scrape(*collectors))
    for number in range(1, 1000):
        await ask(number)
    await gateway.refresh.refresh_now()
    assert set(scrape(*collectors)) == before
    text = text_of(collectors)
    assert not any(one in text for one in shown)
    # A process has some seventy series of these, and no more.
    assert len(before) < 80


@pytest.fixture
def everything(gateway: Gateway) -> Iterator[list[Collector]]:
    yield [
        CacheCollector(gateway.kit.manager),
        gateway.collector,
        RateLimitCollector(RateLimiter()),
    ]


async def test_they_may_be_registered_together(everything: list[Collector]) -> None:
    text = text_of(everything)
    names = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(names) == len(set(names))


@pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool: make test-tools")
async def test_promtool_has_nothing_to_say(gateway: Gateway, everything: list[Collector]) -> None:
    await gateway.refresh.refresh_now()
    checked = await asyncio.to_thread(
        subprocess.run,
        ["promtool", "check", "metrics"],
        input=text_of(everything).encode(),
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")
