"""Decisions that rest on a token: loaded anew by the request that finds them near their end."""

from __future__ import annotations

import asyncio
import contextvars
from datetime import timedelta

import pytest
from test_high_performance_authorization import NOON, Bench

from velro_cache.authorization.eager import EagerReloads

FAR_FROM_THE_END, NEAR_THE_END = 350, 545
"""Of 600 seconds, a decision is due after 360 to 540."""


@pytest.fixture
async def bench() -> Bench:
    bench = Bench()
    bench.service.keep_warm()
    return bench


async def settled(bench: Bench) -> None:
    """Let what runs beside come to its end."""
    eager = bench.service._eager
    assert eager is not None
    await asyncio.gather(*eager._tasks)


async def test_a_hit_near_the_end_is_answered_and_loads_anew(bench: Bench) -> None:
    await bench.ask("media")
    bench.pass_time(FAR_FROM_THE_END)
    await bench.ask("media")
    await settled(bench)
    assert bench.asked == 1
    bench.pass_time(NEAR_THE_END - FAR_FROM_THE_END)
    assert (await bench.ask("media")).granted
    assert bench.asked == 1, "it did not wait"
    await settled(bench)
    assert bench.asked == 2
    assert bench.inner.calls[0] == bench.inner.calls[1], "with the same token"
    # The life of the new one began with its own load.
    bench.pass_time(FAR_FROM_THE_END)
    await bench.ask("media")
    await settled(bench)
    assert bench.asked == 2
    figures = bench.service.get_detailed_cache_metrics()["eager"]
    assert figures == {"begun": 1, "failed": 0}


async def test_many_hits_near_the_end_cause_one_load(bench: Bench) -> None:
    await bench.ask("media")
    bench.pass_time(NEAR_THE_END)
    for _ in range(20):
        await bench.ask("media")
    await settled(bench)
    assert bench.asked == 2


async def test_nothing_is_loaded_anew_unless_asked_for() -> None:
    bench = Bench()
    await bench.ask("media")
    bench.pass_time(NEAR_THE_END)
    await bench.ask("media")
    await asyncio.sleep(0)
    assert bench.asked == 1


async def test_a_denial_takes_the_place_of_the_grant(bench: Bench) -> None:
    await bench.ask("media")
    bench.pass_time(NEAR_THE_END)
    bench.inner.granted = False
    assert (await bench.ask("media")).granted, "nobody has invalidated it, and it has not ended"
    await settled(bench)
    assert not (await bench.ask("media")).granted


async def test_denials_are_not_loaded_anew(bench: Bench) -> None:
    bench.inner.granted = False
    await bench.ask("media")
    bench.pass_time(29)
    await bench.ask("media")
    await settled(bench)
    assert bench.asked == 1


async def test_a_failure_prolongs_nothing(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    await bench.ask("media")
    bench.pass_time(NEAR_THE_END)
    bench.inner.error = ConnectionError("password hunter2")
    assert (await bench.ask("media")).granted
    await settled(bench)
    assert bench.service.get_detailed_cache_metrics()["eager"] == {"begun": 1, "failed": 1}
    assert "ConnectionError" in caplog.text
    assert "hunter2" not in caplog.text
    bench.pass_time(600 - NEAR_THE_END)
    with pytest.raises(ConnectionError):
        await bench.ask("media")


async def test_a_revocation_during_the_load_is_never_undone_by_it(bench: Bench) -> None:
    await bench.ask("media")
    bench.pass_time(NEAR_THE_END)
    bench.inner.gate = asyncio.Event()
    bench.inner.entered.clear()
    await bench.ask("media")
    await bench.inner.entered.wait()
    bench.inner.granted = False
    await bench.service.invalidate_user_permissions("u")
    bench.inner.gate.set()
    await settled(bench)
    assert len(bench.cache) == 0
    assert not (await bench.ask("media")).granted


async def test_only_so_many_run_at_once_and_the_rest_are_not_lost(bench: Bench) -> None:
    for number in range(10):
        await bench.ask("media", f"g{number}")
    bench.pass_time(NEAR_THE_END)
    bench.inner.most_running = 0
    bench.inner.gate = asyncio.Event()
    for number in range(10):
        await bench.ask("media", f"g{number}")
    await asyncio.sleep(0)
    bench.inner.gate.set()
    await settled(bench)
    assert bench.inner.most_running <= 4
    for _ in range(3):
        for number in range(10):
            await bench.ask("media", f"g{number}")
        await settled(bench)
    assert bench.asked == 20


async def test_a_load_belongs_to_no_request(bench: Bench) -> None:
    request = contextvars.ContextVar("request", default="none")
    seen = []

    async def note() -> None:
        seen.append(request.get())

    request.set("of ada")
    eager = EagerReloads(lambda: NOON)
    eager.begin(note)
    await asyncio.gather(*eager._tasks)
    assert seen == ["none"]


async def test_shutdown_ends_what_is_under_way(bench: Bench) -> None:
    await bench.ask("media")
    bench.pass_time(NEAR_THE_END)
    bench.inner.gate = asyncio.Event()
    bench.inner.entered.clear()
    await bench.ask("media")
    await bench.inner.entered.wait()
    await bench.service.shutdown()
    eager = bench.service._eager
    assert eager is not None
    assert not eager._tasks
    bench.inner.gate.set()


async def test_so_many_decisions_are_remembered_and_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("velro_cache.freshness.due_times._MOST_WATCHED", 3)
    now = NOON
    eager = EagerReloads(lambda: now, chance=lambda: 0.5)
    for number in range(5):
        eager.loaded(str(number), 100)
    now += timedelta(seconds=75)
    assert [eager.claims(str(number)) for number in range(5)] == [False, False, True, True, True]
    eager.loaded("5", 0)
    eager.loaded("6", None)
    assert not eager.claims("5")
