"""What is loaded at the start of a cache, and what a warm-up must never do."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from velro_cache.manager import OptimizedCacheManager
from velro_cache.warming import WarmReport


async def roles() -> AsyncIterator[tuple[tuple[str, str], str]]:
    for number in range(120):
        yield ("t", f"u{number}"), "editor"


async def test_loaders_of_documented_kinds_bring_ids_and_values(
    cache: OptimizedCacheManager,
) -> None:
    async def profiles() -> dict[str, Any]:
        return {"ada": {"name": "Ada"}}

    cache.warmers.register("team_role", roles)
    cache.warmers.register("user_profile", profiles)
    await cache.start()
    assert cache.get_team_role("t", "u7") == ("editor", True)
    assert cache.get_user_profile("ada") == ({"name": "Ada"}, True)
    assert cache.warmers.reports["team_role"].loaded == 120
    assert cache.invalidate_by_tags(["team:t"]) == 120
    cache.stop()


async def test_loaders_of_other_kinds_bring_keys(cache: OptimizedCacheManager, clock: Any) -> None:
    async def quotas() -> list[tuple[str, int]]:
        return [("quota:ada", 3), ("quota:ben", 0)]

    cache.warmers.register(
        "quota", quotas, ttl=lambda value: 60 * value, tags=["quota"], permissive=lambda v: v > 0
    )
    await cache.start()
    assert cache.get("quota:ada") == (3, True)
    assert "quota:ben" not in cache
    report = cache.warmers.reports["quota"]
    assert (report.loaded, report.skipped) == (1, 1)
    clock.advance(180)
    assert "quota:ada" not in cache
    cache.stop()


async def test_progress_is_told_after_each_batch(
    make_cache: Callable[..., OptimizedCacheManager],
) -> None:
    cache = make_cache(warming_batch_size=50)
    seen: list[int] = []
    cache.warmers.register("team_role", roles)
    cache.warmers.show_progress(lambda report: seen.append(report.done))
    await cache.start()
    assert seen == [50, 100, 120]
    cache.stop()


async def test_a_broken_display_does_not_end_the_work(
    cache: OptimizedCacheManager, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_: WarmReport) -> None:
        raise RuntimeError("no terminal")

    cache.warmers.register("team_role", roles)
    cache.warmers.show_progress(broken)
    await cache.start()
    assert len(cache) == 120
    assert caplog.text.count("cannot be shown") == 1
    cache.stop()


async def test_what_is_invalidated_while_it_is_loaded_is_not_brought_back(
    cache: OptimizedCacheManager,
) -> None:
    async def during() -> AsyncIterator[tuple[tuple[str, str], str]]:
        yield ("t", "ada"), "owner"
        cache.invalidate_user_data("ada")
        yield ("t2", "ada"), "owner"
        yield ("t", "ben"), "owner"

    cache.warmers.register("team_role", during)
    await cache.start()
    assert cache.get_team_role("t", "ada") == (None, False)
    assert cache.get_team_role("t2", "ada") == (None, False)
    assert cache.get_team_role("t", "ben") == ("owner", True)
    assert cache.warmers.reports["team_role"].skipped == 1
    cache.stop()


async def test_a_failing_loader_ends_nothing_and_tells_no_secrets(
    cache: OptimizedCacheManager, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken() -> AsyncIterator[tuple[tuple[str, str], str]]:
        yield ("t", "first"), "editor"
        raise ConnectionError("password hunter2")

    async def nothing() -> None:
        return None

    async def wrong_ids() -> list[tuple[Any, str]]:
        return [(("only", "two", "three"), "x")]

    cache.warmers.register("team_role", broken)
    cache.warmers.register("user_profile", nothing)  # type: ignore[arg-type]
    cache.warmers.register("project_access", wrong_ids)
    with caplog.at_level(logging.INFO, "velro_cache"):
        await cache.start()
    assert cache.get_team_role("t", "first") == ("editor", True)
    reports = cache.warmers.reports
    assert reports["team_role"].errors == {"ConnectionError": 1}
    assert reports["user_profile"].errors == {"TypeError": 1}
    assert reports["project_access"].errors == {"ValueError": 1}
    assert "hunter2" not in caplog.text
    assert cache.warmers.is_ready
    cache.stop()


async def test_a_loader_that_hangs_is_given_up_and_closed(cache: OptimizedCacheManager) -> None:
    closed = asyncio.Event()

    async def hangs() -> AsyncIterator[tuple[tuple[str, str], str]]:
        try:
            yield ("t", "first"), "editor"
            await asyncio.Event().wait()
        finally:
            closed.set()

    cache.warmers.register("team_role", hangs, timeout_seconds=0.02)
    await cache.start()
    assert cache.warmers.reports["team_role"].errors == {"TimeoutError": 1}
    assert closed.is_set()
    cache.stop()


async def test_readiness_waits_for_what_it_is_to_wait_for(cache: OptimizedCacheManager) -> None:
    first, second = asyncio.Event(), asyncio.Event()
    ended = asyncio.Event()

    async def needed() -> dict[str, str]:
        await first.wait()
        return {"ada": "Ada"}

    async def later() -> AsyncIterator[tuple[str, int]]:
        await second.wait()
        yield "k", 1
        ended.set()

    assert cache.warmers.is_ready, "there is nothing to wait for"
    cache.warmers.register("user_profile", needed)
    cache.warmers.register("other", later, before_ready=False)
    assert not cache.warmers.is_ready
    starting = asyncio.ensure_future(_start(cache))
    await asyncio.sleep(0)
    assert not cache.warmers.is_ready
    first.set()
    await starting
    assert cache.warmers.is_ready
    assert "k" not in cache
    second.set()
    await ended.wait()
    assert cache.get("k") == (1, True)
    cache.stop()
    assert not cache.warmers.is_ready


async def _start(cache: OptimizedCacheManager) -> None:
    await cache.start()


async def test_stopping_ends_what_runs_in_the_background(cache: OptimizedCacheManager) -> None:
    cancelled = asyncio.Event()

    async def endless() -> AsyncIterator[tuple[str, int]]:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        yield "k", 1

    cache.warmers.register("other", endless, before_ready=False)
    await cache.start()
    await asyncio.sleep(0)
    cache.stop()
    await cancelled.wait()


@pytest.mark.parametrize("off", ["warming_enabled", "preload_auth_data"])
async def test_nothing_is_loaded_where_warming_is_off(
    make_cache: Callable[..., OptimizedCacheManager], off: str
) -> None:
    cache = make_cache(**{off: False})
    cache.warmers.register("team_role", roles)
    await cache.start()
    assert len(cache) == 0
    assert cache.warmers.is_ready
    cache.stop()


def test_what_would_be_ignored_is_refused(cache: OptimizedCacheManager) -> None:
    warmers = cache.warmers
    assert warmers is cache.warmers
    with pytest.raises(ValueError, match="tags"):
        warmers.register("team_role", roles, tags=["t"])
    with pytest.raises(ValueError, match="tags"):
        warmers.register("team_role", roles, priority=3)
    with pytest.raises(TypeError, match="tags"):
        warmers.register("other", roles, tags="t")
    with pytest.raises(TypeError, match="loader"):
        warmers.register("other", [("k", 1)])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="timeout_seconds"):
        warmers.register("other", roles, timeout_seconds=0)
    with pytest.raises(TypeError, match="reload"):
        warmers.register_reload("other", None)  # type: ignore[arg-type]
    for options in ({"every_seconds": 0}, {"hottest": 0}, {"concurrency": 0}, {"fraction": 1}):
        with pytest.raises(ValueError):
            warmers.keep_hot(**options)  # type: ignore[arg-type]
