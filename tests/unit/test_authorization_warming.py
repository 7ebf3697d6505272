"""Asking ahead for a user: how much at once, what is counted, and what is never stored."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from test_high_performance_authorization import Bench, Inner

from velro_cache.exceptions import AuthorizationUnavailable
from velro_cache.warming import WarmReport

IDS = [f"g{number}" for number in range(40)]
CREDENTIAL: dict[str, Any] = {"auth_token": "good"}


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def until_asked(inner: Inner, times: int) -> None:
    while len(inner.calls) < times:  # noqa: ASYNC110 - several, not one
        await asyncio.sleep(0)


async def test_what_was_warmed_is_not_asked_again(bench: Bench) -> None:
    report = await bench.service.warm_cache_for_user(
        "u", IDS, **CREDENTIAL, team_ids=["t"], project_ids=["p"]
    )
    assert (report.loaded, report.denied, report.failed, report.total) == (42, 0, 0, 42)
    assert report.seconds > 0
    assert report.done == 42
    asked = bench.asked
    for one in IDS:
        await bench.ask("media", one)
    await bench.ask("team", "t")
    await bench.ask("project", "p")
    assert bench.asked == asked == 42


async def test_without_a_token_ownership_is_asked(bench: Bench) -> None:
    await bench.service.warm_cache_for_user("u", (one for one in IDS[:3]))
    assert bench.inner.calls == [{"generation_id": one, "user_id": "u"} for one in IDS[:3]]


async def test_what_is_cached_already_is_not_asked(bench: Bench) -> None:
    await bench.service.warm_cache_for_user("u", IDS)
    assert (await bench.service.warm_cache_for_user("u", IDS)).loaded == 40
    assert bench.asked == 40


async def test_only_so_many_are_asked_at_once(bench: Bench) -> None:
    await bench.service.warm_cache_for_user("u", IDS, concurrency=3)
    assert bench.inner.most_running == 3


async def test_denials_and_failures_are_counted_apart(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.inner.granted = False
    assert (await bench.service.warm_cache_for_user("u", IDS)).denied == 40
    bench.inner.error = ConnectionError("the password is hunter2")
    with caplog.at_level(logging.WARNING, "velro_cache"):
        report = await bench.service.warm_cache_for_user("u", ["x", "y"], **CREDENTIAL)
    assert (report.failed, dict(report.errors)) == (2, {"ConnectionError": 2})
    assert "2 of 2" in caplog.text
    assert "hunter2" not in caplog.text
    assert not bench.cache.keys("*:t*")


async def test_progress_is_told_and_cannot_end_the_work(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[int] = []
    await bench.service.warm_cache_for_user("u", IDS, on_progress=lambda r: seen.append(r.done))
    assert seen == list(range(1, 41))

    def broken(report: WarmReport) -> None:
        seen.append(report.done)
        raise RuntimeError("no terminal")

    seen.clear()
    report = await bench.service.warm_cache_for_user("u", IDS, on_progress=broken)
    assert (report.done, seen) == (40, [1])
    assert "cannot be shown" in caplog.text


async def test_a_revocation_during_a_warm_up_is_never_undone_by_it(bench: Bench) -> None:
    bench.inner.gate = asyncio.Event()
    warming = asyncio.ensure_future(
        bench.service.warm_cache_for_user("u", IDS, **CREDENTIAL, concurrency=40)
    )
    await until_asked(bench.inner, 40)
    bench.inner.granted = False
    await bench.service.invalidate_user_permissions("u")
    bench.inner.gate.set()
    await warming
    assert len(bench.cache) == 0
    assert not (await bench.ask("media", IDS[0])).granted


async def test_a_cancelled_warm_up_leaves_nothing_running(bench: Bench) -> None:
    bench.inner.gate = asyncio.Event()
    warming = asyncio.ensure_future(bench.service.warm_cache_for_user("u", IDS))
    await until_asked(bench.inner, 8)
    assert bench.service.get_detailed_cache_metrics()["warming"] == 1
    warming.cancel()
    with pytest.raises(asyncio.CancelledError):
        await warming
    await asyncio.sleep(0)
    assert bench.service.get_detailed_cache_metrics()["warming"] == 0
    bench.inner.gate.set()
    await asyncio.sleep(0)
    assert bench.asked == 8


async def test_shutdown_ends_a_warm_up(bench: Bench) -> None:
    bench.inner.gate = asyncio.Event()
    warming = asyncio.ensure_future(bench.service.warm_cache_for_user("u", IDS))
    await until_asked(bench.inner, 8)
    await bench.service.shutdown()
    with pytest.raises(AuthorizationUnavailable):
        await warming
    bench.inner.gate.set()


async def test_wrong_arguments_ask_nobody(bench: Bench) -> None:
    with pytest.raises(TypeError, match="resource_ids"):
        await bench.service.warm_cache_for_user("u", "g1")
    for concurrency, error in [(0, ValueError), (True, TypeError), (1.5, TypeError)]:
        with pytest.raises(error):
            await bench.service.warm_cache_for_user("u", IDS, concurrency=concurrency)  # type: ignore[arg-type]
    with pytest.raises(ValueError):
        await bench.service.warm_cache_for_user("u", IDS, required_role="king")  # type: ignore[arg-type]
    assert bench.asked == 0


async def test_nothing_is_asked_where_warming_is_off() -> None:
    bench = Bench({"warming_enabled": False})
    assert (await bench.service.warm_cache_for_user("u", IDS)).done == 0
    assert bench.asked == 0
