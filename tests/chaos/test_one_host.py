"""One host, many workers: after the call that revokes has returned, nobody is allowed any more."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from checker import Tally
from workers import Fleet


def assert_kept(found: Tally, *, watched: int) -> None:
    """Nothing was violated, nobody was turned away, and enough happened to say so."""
    assert found.violations == []
    assert found.errors == 0
    assert found.watched >= watched
    assert found.allows_before >= watched


@pytest.mark.long
@pytest.mark.parametrize(
    "born", ["spawn", "fork", "fork-empty", "multiprocessing-fork", "multiprocessing-spawn"]
)
def test_no_allow_after_a_revocation_however_workers_are_born(
    tmp_path: Path, scale: int, born: str
) -> None:
    with Fleet(tmp_path, 4) as fleet:
        fleet.start(range(4), born=born)
        fleet.until_at_work()
        fleet.run_until(lambda found: found.watched >= 40 * scale)
        found = fleet.stop()
    assert_kept(found, watched=40 * scale)
    assert found.watchers >= 2.5 * 40 * scale


def test_no_allow_after_a_revocation_whatever_workers_do(tmp_path: Path, scale: int) -> None:
    with Fleet(tmp_path, 6) as fleet:
        fleet.start([0], threads=3, style="nested")
        fleet.start([1], style="by_hand", threads=2)
        fleet.start([2], style="asyncio", threads=4)
        fleet.start([3], born="fork", load_seconds=0.03)
        fleet.start([4], born="multiprocessing-fork", style="asyncio")
        fleet.start([5], born="multiprocessing-spawn", config={"max_entries": 5})
        fleet.until_at_work()
        fleet.run_until(lambda found: found.watched >= 60 * scale)
        found = fleet.stop()
    assert_kept(found, watched=60 * scale)


def test_killed_workers_take_nothing_with_them(tmp_path: Path, scale: int) -> None:
    with Fleet(tmp_path, 4) as fleet:
        fleet.start(range(4))
        fleet.until_at_work()
        for victim in [0, 1] * scale:
            fleet.run_on(watched=10)
            fleet.kill(victim)
            fleet.run_on(watched=5)
            fleet.restart(victim)
            fleet.until_at_work(victim)
        found = fleet.stop()
    assert_kept(found, watched=30 * scale)


def test_a_worker_that_was_stopped_wakes_up_to_the_present(tmp_path: Path, scale: int) -> None:
    with Fleet(tmp_path, 4) as fleet:
        fleet.start(range(4))
        fleet.until_at_work()
        for sleeper in [1, 3] * scale:
            fleet.run_on(watched=10)
            fleet.send(sleeper, signal.SIGSTOP)
            # Revocations take longer now: whoever revokes waits a while for the one who sleeps.
            fleet.run_on(revocations=6)
            fleet.send(sleeper, signal.SIGCONT)
        fleet.run_on(watched=10)
        found = fleet.stop()
    assert_kept(found, watched=30 * scale)
