"""Two hosts that share a log: no allow is older than ``max_staleness``, whatever the network does.

While a host hears nothing, its requests are answered by the loader; when it hears again, by the
cache, without a restart.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

from checker import Tally
from network import HERE, LONG, THERE, LogKind, hosts, logs, server_of, some_of

from services.proxy import Proxy

FAULTS: dict[str, Callable[[Proxy], None]] = {
    "frozen": lambda way: way.freeze(),
    "reset": lambda way: way.cut("rst"),
    "answers lost": lambda way: way.drop_half("answers"),
    "refused": lambda way: way.refuse(),
    "slow": lambda way: way.delay(0.2),
    "requests lost": lambda way: way.drop_half("requests"),
    "closed": lambda way: way.cut("fin"),
    "a trickle": lambda way: way.trickle(300),
}


def assert_kept(
    found: Tally, *, revocations: int, watched: int, host_is_late: bool = False
) -> None:
    """Nothing was violated, nobody was turned away, and enough happened to say so.

    With ``host_is_late``, hosts were kept from hearing of many revocations, and must have served
    what was revoked for a while: so it would have been seen if they had done so for longer.
    """
    assert found.violations == []
    assert found.errors == 0
    assert found.revocations >= revocations
    assert found.watched >= watched
    assert found.worst_staleness_seconds > 0 or not host_is_late


@logs("redis")
def test_one_host_after_the_other_is_cut_off(tmp_path: Path, scale: int, kind: LogKind) -> None:
    with server_of(kind) as server, hosts(tmp_path, server, kind) as both:
        fleet = both.fleet
        both.start()
        fleet.run_on(watched=15)
        for turn, fault in enumerate(some_of(FAULTS, 4, scale)):
            way = both.ways[(THERE, HERE)[turn % 2]]
            fault(way)
            # Longer than anybody may go on serving what they know.
            fleet.run_for(2 * fleet.max_staleness_seconds)
            fleet.run_on(checks=50, revocations=2)
            way.thaw()
            fleet.run_on(watched=3)
        found = fleet.stop()
    assert_kept(found, revocations=22 * scale, watched=22 * scale, host_is_late=True)


@logs("redis with values")
def test_everybody_is_cut_off_for_good(tmp_path: Path, scale: int, kind: LogKind) -> None:
    with server_of(kind) as server, hosts(tmp_path, server, kind) as both:
        fleet = both.fleet
        both.start()
        for _ in range(scale):
            fleet.run_on(watched=15)
            for way in both.ways:
                way.refuse()
            fleet.run_for(4 * fleet.max_staleness_seconds)
            asked = fleet.tally()
            answered = fleet.run_on(checks=200)
            # Every allow has been asked for anew, by the one who got it or together with others.
            assert answered.loads > asked.loads
            for way in both.ways:
                way.thaw()
        fleet.run_on(watched=15)
        found = fleet.stop()
    assert_kept(found, revocations=15 * (scale + 1), watched=15 * (scale + 1))
    assert found.unacknowledged > 0
    assert (found.from_other_hosts > 0) == (kind == "redis with values")


def test_without_news_the_database_is_not_run_over(tmp_path: Path, scale: int) -> None:
    limit = 3
    with server_of("redis") as server, hosts(tmp_path, server, refill_limit=limit) as both:
        fleet = both.fleet
        both.start(threads=8, load_seconds=0.02, revokes=False)
        for permission in range(fleet.board.shape.permissions):
            fleet.truth.commit(permission, granted=True)
        for way in both.ways:
            way.freeze()
        fleet.run_for(2 * fleet.max_staleness_seconds)
        fleet.forget_loads_at_once()
        found = fleet.run_on(loads=100 * scale)
        assert found.errors == 0
        assert 1 <= found.most_loads_at_once <= limit


def test_a_host_whose_workers_are_all_stopped_wakes_up_to_the_present(
    tmp_path: Path, scale: int
) -> None:
    with server_of("redis") as server, hosts(tmp_path, server) as both:
        fleet = both.fleet
        # The workers of one host are forked, with what their parent had in its cache.
        fleet.start([0, 1], host=HERE, **both.plan(HERE))
        fleet.start([2, 3], host=THERE, born="fork", **both.plan(THERE))
        fleet.until_at_work()
        for _ in range(scale):
            fleet.run_on(watched=10)
            for worker in (2, 3):
                fleet.send(worker, signal.SIGSTOP)
            fleet.run_for(2 * fleet.max_staleness_seconds)
            fleet.run_on(revocations=4)
            for worker in (2, 3):
                fleet.send(worker, signal.SIGCONT)
            fleet.run_on(watched=10)
        found = fleet.stop()
    assert_kept(found, revocations=24 * scale, watched=20 * scale)


@LONG
def test_the_worker_that_renews_the_lease_is_killed(tmp_path: Path, scale: int) -> None:
    with server_of("redis") as server, hosts(tmp_path, server) as both:
        fleet = both.fleet
        both.start()
        for victim in [2, 3] * scale:
            fleet.run_on(watched=10)
            fleet.kill(victim)
            fleet.run_on(watched=5)
            fleet.restart(victim)
            fleet.until_at_work(victim)
        found = fleet.stop()
    assert_kept(found, revocations=25 * scale, watched=30 * scale)


@logs("postgresql")
def test_where_the_whole_fleet_is_waited_for_nobody_is_allowed_after_the_return(
    tmp_path: Path, scale: int, kind: LogKind
) -> None:
    with (
        server_of(kind) as server,
        hosts(tmp_path, server, kind, invalidation_wait="fleet", log_timeout_seconds=3) as both,
    ):
        fleet = both.fleet
        both.start()
        fleet.run_on(watched=20 * scale)
        # Waiting for the fleet includes waiting until those who are cut off serve nothing.
        both.ways[THERE].freeze()
        fleet.run_on(revocations=6)
        both.ways[THERE].thaw()
        fleet.run_on(watched=10)
        found = fleet.stop()
    assert found.violations == []
    assert found.errors == 0
    assert found.watched >= 20 * scale + 10
