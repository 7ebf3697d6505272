"""Mistakes that must be found: a checker that finds none of these proves nothing elsewhere.

Each runs like the scenario it spoils, until a good number of revocations were watched.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from checker import Tally
from network import HERE, LONG, THERE, Hosts, hosts, server_of
from test_shared_values import sharing_hosts
from workers import Fleet


def assert_caught(found: Tally, *, watched: int) -> None:
    """It was seen, and not because something else went wrong."""
    assert found.watched >= watched
    assert found.errors == 0
    assert found.violations, found


@pytest.mark.parametrize(
    "breakage",
    [
        "stamps_after_the_read",
        "invalidates_before_the_commit",
        "forgets_every_tenth",
        "reads_a_lagging_replica",
    ],
)
def test_on_one_host(tmp_path: Path, scale: int, breakage: str) -> None:
    with Fleet(tmp_path, 4) as fleet:
        fleet.start(range(4), habit=f"breakage.{breakage}")
        fleet.until_at_work()
        fleet.run_until(lambda found: found.watched >= 12 * scale and found.violations)
        found = fleet.stop()
    assert_caught(found, watched=12 * scale)


def test_one_worker_with_a_table_of_its_own(tmp_path: Path, scale: int) -> None:
    with Fleet(tmp_path, 4) as fleet:
        fleet.start([0, 1, 2])
        fleet.start([3], config={"share_invalidations": False})
        fleet.until_at_work()
        # It is told nothing, and tells nobody anything.
        fleet.run_until(lambda found: found.watched >= 12 * scale and _late(found) > {3})
        found = fleet.stop()
    assert_caught(found, watched=12 * scale)


def _cut_off_until_caught(both: Hosts, host: int, *, watched: int) -> Tally:
    """Cut a host off at moments at which others have cached what will be revoked next."""
    found, tries = both.fleet.tally(), 0
    while not found.violations or found.watched < watched:
        assert (tries := tries + 1) < 30, found
        both.fleet.run_on(watched=4)
        # What the first host has granted, a worker of the second one has cached.
        both.fleet.until_hot(2, owners=(0, 1))
        both.ways[host].freeze()
        both.fleet.run_for(3 * both.fleet.max_staleness_seconds)
        both.ways[host].thaw()
        found = both.fleet.tally()
    return both.fleet.stop()


def _late(found: Tally) -> set[int]:
    """The workers that allowed what they must not."""
    return {violation.worker for violation in found.violations}


@pytest.mark.parametrize(
    "mistake",
    [
        pytest.param({"config": {"max_staleness_seconds": 60}}, id="far too patient"),
        pytest.param({"config": {"on_silence": "serve_stale"}}, id="serves stale", marks=LONG),
        pytest.param(
            {"habit": "breakage.calls_an_allow_harmless", "style": "by_hand"},
            id="calls an allow harmless",
            marks=LONG,
        ),
    ],
)
def test_on_a_host_that_hears_nothing(tmp_path: Path, scale: int, mistake: dict[str, Any]) -> None:
    with server_of("redis") as server, hosts(tmp_path, server) as both:
        both.start(**mistake)
        found = _cut_off_until_caught(both, THERE, watched=12 * scale)
    assert_caught(found, watched=12 * scale)
    assert not any(violation.same_host for violation in found.violations)


def test_a_host_that_promises_what_it_does_not_wait_for(tmp_path: Path, scale: int) -> None:
    with server_of("redis") as server, hosts(tmp_path, server, invalidation_wait="host") as both:
        both.start(habit="breakage.promises_what_it_does_not_wait_for")
        found = _cut_off_until_caught(both, HERE, watched=12 * scale)
    assert_caught(found, watched=12 * scale)
    assert _late(found) <= {2, 3}


def test_a_worker_that_believes_whatever_lies_in_l2(tmp_path: Path, scale: int) -> None:
    with sharing_hosts(tmp_path) as (both, _):
        for worker, habit in enumerate(
            ["calling.by_calling"] * 3 + ["breakage.believes_whatever_lies_in_l2"]
        ):
            host = (HERE, HERE, THERE, THERE)[worker]
            both.fleet.start([worker], host=host, **both.plan(host, habit=habit))
        both.fleet.until_at_work()
        both.fleet.run_until(lambda found: found.watched >= 12 * scale and found.violations)
        found = both.fleet.stop()
    assert_caught(found, watched=12 * scale)
    assert 3 in _late(found)
