"""A machine was suspended: its clock shows nothing of that, and nothing from before is believed."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

from services.redis import until
from velro_cache import OptimizedCacheConfig, OptimizedCacheManager
from velro_cache._engine import ManualClock

KEY = "auth:user:1:permissions"


def test_news_from_before_a_suspension_are_as_old_as_they_are(tmp_path: Path) -> None:
    clock, path = ManualClock(), tmp_path / "log.db"
    config = OptimizedCacheConfig(
        name="suspended",
        invalidation_log=f"sqlite:///{path}",
        share_invalidations=False,
        log_timeout_seconds=0.1,
    )
    with OptimizedCacheManager(config, clock=clock) as cache:

        def has_lease() -> bool:
            found: bool = cache.get_stats()["log"]["has_lease"]
            return found

        def hears() -> bool:
            # For the next heartbeat to be due.
            clock.advance(0.01)
            return has_lease()

        until(hears, "it has heard from the log")
        cache.set(KEY, {"read": True})
        assert cache.get(KEY)[1]
        # Nobody can write a heartbeat from now on. By the clock alone, the news would stay new.
        with contextlib.closing(sqlite3.connect(path, timeout=20)) as other:
            other.execute("BEGIN IMMEDIATE")
            clock.suspend(3600)
            until(lambda: not has_lease(), "it has noticed")
            assert cache.get_stats()["log"]["lease_age_ms"] >= 3_600_000
            assert cache.get(KEY) == (None, False)
            # What is loaded now is new, but may be revoked without our hearing of it.
            cache.set(KEY, {"read": False, "write": True})
            assert cache.get(KEY) == (None, False)
        until(hears, "it has heard from the log again")
        assert cache.get(KEY) == ({"read": False, "write": True}, True)


def test_lives_do_not_outlast_a_suspension() -> None:
    clock = ManualClock()
    cache = OptimizedCacheManager(OptimizedCacheConfig(share_invalidations=False), clock=clock)
    cache.set("long", 1, ttl=60)
    stamp = cache.snapshot()
    cache.sweep()
    assert cache.get("long") == (1, True)
    clock.suspend(3600)
    cache.sweep()
    assert cache.get("long") == (None, False)
    # Nor is a load kept that began before.
    cache.set("slow", 1, ttl=60, stamp=stamp)
    assert cache.get("slow") == (None, False)
    cache.set("new", 1, ttl=60)
    cache.sweep()
    assert cache.get("new") == (1, True)
