"""What a scrape reads, with Prometheus' own parser."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse

from services.redis import RedisServer, until
from velro_cache import OptimizedCacheConfig, OptimizedCacheManager
from velro_cache.l2 import MemoryL2
from velro_cache.prometheus import CacheCollector

NOT_FIGURES = {
    # Text, and what follows from other figures.
    "name",
    "eviction_policy",
    "hit_rate_percent",
    "average_access_time_ms",
    "total_requests",
    "cache_hits",
    "cache_misses",
    "auth_requests",
    "auth_cache_hits",
    "uuid_validation_hits",
    "permission_check_hits",
    "meeting_access_time_target",
    "meeting_hit_rate_target",
    "target_access_time_ms",
    "target_hit_rate_percent",
    "compression_enabled",
    "path",
    "not_shared_because",
    "last_error",
    "backend",
    "seal",
}

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[OptimizedCacheManager]:
    log = f"sqlite:///{tmp_path / 'log.db'}"
    config = OptimizedCacheConfig(
        name="scraped", invalidation_log=log, shared_memory_directory=str(tmp_path)
    )
    with OptimizedCacheManager(config, l2=MemoryL2()) as made:
        yield made


def scrape(*caches: OptimizedCacheManager) -> Samples:
    registry = CollectorRegistry()
    registry.register(CacheCollector(*caches))
    text = generate_latest(registry).decode()
    found = {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in parse(text)
        for sample in family.samples
    }
    openmetrics = generate_openmetrics(registry).decode()
    assert {sample.name for family in parse_openmetrics(openmetrics) for sample in family.samples}
    return found


def value(found: Samples, metric: str, **labels: str) -> float:
    labels.setdefault("cache", "scraped")
    return found[f"velro_cache_{metric}", frozenset(labels.items())]


def test_a_scrape_shows_what_the_statistics_show(cache: OptimizedCacheManager) -> None:
    until(lambda: cache.get_stats()["log"]["has_lease"], "there is news")
    cache.set_user_profile("ada", {"name": "Ada"})
    for user in ("ada", "ada", "ben"):
        cache.get_user_profile(user)
    cache.get_or_load("session:1", lambda: 1)
    cache.invalidate_user_data("ada")
    until(lambda: cache.get_stats()["log"]["published"] == 1, "the log has it")
    found = scrape(cache)
    assert value(found, "hits_total", family="auth:user") == 2
    assert value(found, "misses_total", family="auth:user") == 1
    assert value(found, "sets_total") == cache.get_stats()["sets"]
    assert value(found, "entries") == 1
    assert value(found, "bytes") == pytest.approx(cache.get_stats()["total_size_mb"] * 1024**2)
    assert value(found, "invalidations_total") == 1
    assert value(found, "table_state", state="shared") == 1
    assert value(found, "table_state", state="lost") == 0
    assert value(found, "log_published_total") == 1
    assert value(found, "log_has_lease") == 1
    assert 0 <= value(found, "log_lease_age_seconds") < 10
    assert value(found, "l2_enabled") == 1
    assert value(found, "l2_misses_total") == 1
    assert value(found, "l2_reading_state", state="closed") == 1


def test_every_figure_is_shown(cache: OptimizedCacheManager) -> None:
    from velro_cache.prometheus.families import FAMILIES

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

    stats = Noted(cache.get_stats())
    parts = {"sharing", "log", "l2"}
    for part in parts:
        stats[part] = Noted(stats[part])
    for family in FAMILIES:
        list(family.read(stats))
    assert set(stats) - stats.read == NOT_FIGURES & set(stats)
    # Errors are shown by kind.
    unread = {key for part in parts for key in set(stats[part]) - stats[part].read}
    assert unread == {"path", "not_shared_because", "last_error", "backend", "seal", "errors"}


@pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool: make test-tools")
def test_promtool_has_nothing_to_say(cache: OptimizedCacheManager) -> None:
    registry = CollectorRegistry()
    registry.register(CacheCollector(cache))
    check = ["promtool", "check", "metrics"]
    checked = subprocess.run(
        check, input=generate_latest(registry), capture_output=True, check=False, timeout=60
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


def test_silence_of_the_log_is_seen(redis_of_its_own: RedisServer, tmp_path: Path) -> None:
    config = OptimizedCacheConfig(
        name="scraped",
        invalidation_log=redis_of_its_own.url,
        max_staleness_seconds=0.3,
        shared_memory_directory=str(tmp_path),
    )
    with OptimizedCacheManager(config) as cache:
        until(lambda: value(scrape(cache), "log_has_lease") == 1, "there is news")
        redis_of_its_own.stop()
        until(lambda: value(scrape(cache), "log_has_lease") == 0, "there is none")
        until(lambda: value(scrape(cache), "log_errors_total") > 0, "it is counted")
        cache.invalidate_user_data("ada")
        assert value(scrape(cache), "log_unpublished") == 1
        assert value(scrape(cache), "log_lease_age_seconds") > 0.3


@pytest.fixture
def redis_of_its_own() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


def test_several_caches_are_told_apart_by_name(cache: OptimizedCacheManager) -> None:
    other = OptimizedCacheManager(OptimizedCacheConfig(name="other"))
    other.set("session:1", 1)
    found = scrape(cache, other)
    assert value(found, "entries") == 0
    assert value(found, "entries", cache="other") == 1
    with pytest.raises(ValueError, match="names of their own"):
        CacheCollector(cache, cache)


def test_nothing_a_caller_chose_is_shown(cache: OptimizedCacheManager) -> None:
    secret = "4711-secret"  # noqa: S105
    cache.set_user_profile(secret, secret)
    cache.set(f"made-up:{secret}", secret, tags=[secret])
    cache.get(f"made-up:{secret}")
    cache.invalidate_by_tags([secret])
    registry = CollectorRegistry()
    registry.register(CacheCollector(cache))
    assert secret not in generate_latest(registry).decode()


def test_without_the_package_the_error_says_what_to_do() -> None:
    code = "import sys; sys.modules['prometheus_client'] = None; import velro_cache.prometheus"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "pip install 'velro-cache[prometheus]'" in ended.stderr
