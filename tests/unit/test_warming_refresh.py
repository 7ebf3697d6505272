"""Keeping hot entries alive: when, how many at once, and what must not come of it."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_high_performance_authorization import NOON, Bench

from velro_cache.warming import HotKeys, Refresher


class Warm(Bench):
    """A service that is kept warm, with the moments of refreshing in hand."""

    def __init__(self, hottest: int = 10, concurrency: int = 4, chance: float = 0.5) -> None:
        super().__init__()
        self.service.keep_warm()
        self.warmers = self.cache.warmers
        self.refresher = Refresher(
            self.warmers.hot_keys,
            self.warmers._reloads.get,
            hottest=hottest,
            concurrency=concurrency,
            seconds=lambda: (self.wall - NOON).total_seconds(),
            chance=lambda: chance,
        )


async def test_what_is_hot_never_misses() -> None:
    warm = Warm()
    for _ in range(40):
        await warm.ask("team")
        await warm.ask("ownership")
        await warm.ask("project")
        await warm.refresher.refresh_due()
        warm.pass_time(100)
    figures = warm.service.get_performance_metrics()["total"]
    # The first of each; what was asked for after that was there.
    assert figures["cache_misses"] - figures["refreshes"] == 3
    # One when it became hot, then one for each time the life of 600 s was over by three quarters.
    assert figures["refreshes"] == 3 * (1 + 39 // 5)


async def test_what_is_not_asked_for_any_more_is_left_alone() -> None:
    warm = Warm()
    await warm.ask("team")
    assert (await warm.refresher.refresh_due()).loaded == 1
    warm.warmers.hot_keys.age()
    warm.pass_time(599)
    assert (await warm.refresher.refresh_due()).total == 0
    warm.pass_time(1)
    assert len(warm.cache.keys()) == 0


async def test_only_the_hottest_are_kept_alive_and_so_many_at_once() -> None:
    warm = Warm(hottest=10, concurrency=3)
    for number in range(30):
        for _ in range(1 + (number < 10)):
            await warm.ask("team", f"t{number}")
    warm.inner.calls.clear()
    warm.inner.most_running = 0
    report = await warm.refresher.refresh_due()
    assert (report.total, report.loaded) == (10, 10)
    assert {call["team_id"] for call in warm.inner.calls} == {f"t{n}" for n in range(10)}
    assert warm.inner.most_running == 3


async def test_a_denial_takes_the_place_of_the_grant_and_is_not_hot() -> None:
    warm = Warm()
    await warm.ask("team")
    warm.inner.granted = False
    report = await warm.refresher.refresh_due()
    assert (report.denied, report.loaded) == (1, 0)
    assert not (await warm.ask("team")).granted
    assert (await warm.refresher.refresh_due()).total == 0


async def test_denials_do_not_become_hot() -> None:
    warm = Warm()
    warm.inner.granted = False
    for number in range(100):
        await warm.ask("team", f"random-{number}")
    assert len(warm.warmers.hot_keys) == 0


async def test_a_failing_reload_prolongs_nothing() -> None:
    warm = Warm()
    await warm.ask("team")
    warm.inner.error = ConnectionError()
    for _ in range(6):
        assert (await warm.refresher.refresh_due()).failed == 1
        warm.pass_time(100)
    with pytest.raises(ConnectionError):
        await warm.ask("team")
    warm.inner.error = None
    await warm.refresher.refresh_due()
    assert (await warm.ask("team")).granted


async def test_a_grant_that_ends_soon_is_asked_for_sooner_and_never_prolonged() -> None:
    warm = Warm()
    warm.inner.fields = {"expires_at": NOON + timedelta(seconds=100)}
    await warm.ask("team")
    await warm.refresher.refresh_due()
    warm.pass_time(75)
    assert (await warm.refresher.refresh_due()).loaded == 1
    warm.pass_time(25)
    assert not (await warm.ask("team")).granted


async def test_a_revocation_during_a_reload_is_never_undone_by_it() -> None:
    warm = Warm()
    await warm.ask("team")
    warm.inner.gate = asyncio.Event()
    warm.inner.entered.clear()
    reloading = asyncio.ensure_future(warm.refresher.refresh_due())
    await warm.inner.entered.wait()
    warm.inner.granted = False
    await warm.service.invalidate_team_permissions("r")
    warm.inner.gate.set()
    await reloading
    assert len(warm.cache.keys()) == 0
    assert not (await warm.ask("team")).granted


async def test_media_access_is_nothing_for_the_journal_for_its_token_is_not_kept() -> None:
    warm = Warm()
    for _ in range(5):
        await warm.ask("media")
    assert len(warm.warmers.hot_keys) == 0


async def test_after_shutdown_nothing_is_reloaded() -> None:
    warm = Warm()
    await warm.ask("team")
    await warm.service.shutdown()
    assert (await warm.refresher.refresh_due()).total == 0


async def test_the_moments_are_spread() -> None:
    due = []
    for chance in (0.0, 0.999):
        warm = Warm(chance=chance)
        await warm.ask("team")
        await warm.refresher.refresh_due()
        seconds = 0
        while (await warm.refresher.refresh_due()).total == 0:
            warm.pass_time(10)
            seconds += 10
        due.append(seconds)
    assert due == [360, 540]


async def test_a_started_cache_does_it_by_itself() -> None:
    bench = Bench()
    bench.service.keep_warm()
    bench.cache.warmers.keep_hot(every_seconds=0.005)
    await bench.cache.start()
    await bench.ask("team")
    bench.inner.entered.clear()
    await bench.inner.entered.wait()
    bench.cache.stop()
    await asyncio.sleep(0)
    assert not bench.cache.warmers._tasks


NAMES = st.lists(st.sampled_from([str(number) for number in range(12)]), max_size=200)


@given(NAMES, st.integers(1, 5))
def test_hot_names_are_bounded_and_what_leads_by_far_is_kept(
    names: list[str], capacity: int
) -> None:
    hot = HotKeys(capacity)
    for name in names:
        hot.note("kind", name)
        # As often as everything else together, and then some.
        hot.note("kind", "leader")
        hot.note("kind", "leader")
        assert len(hot) <= 2 * capacity
    if names:
        assert hot.hottest(1) == [("kind", "leader")]
    assert len(hot.hottest(3)) <= 3


def test_names_fade() -> None:
    hot = HotKeys()
    hot.note("kind", 1)
    for _ in range(4):
        hot.note("kind", 2)
    hot.note("kind", "x" * 2000)
    assert hot.hottest(5) == [("kind", "2"), ("kind", "1")]
    hot.age()
    assert hot.hottest(5) == [("kind", "2")]
    hot.forget(("kind", "2"))
    hot.forget(("kind", "2"))
    assert len(hot) == 0
    with pytest.raises(ValueError):
        HotKeys(0)
