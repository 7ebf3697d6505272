"""What can happen to a Redis that is the log."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from network import HERE, LONG, THERE, Hosts, LogKind, hosts, server_of, some_of
from test_two_hosts import assert_kept

from services.proxy import Proxy
from services.redis import RedisServer

STREAM, SEQUENCE = "velro:{default}:log", "velro:{default}:sequence"

MISHAPS: dict[str, Callable[[RedisServer], object]] = {
    "clients killed": lambda server: server.cli("CLIENT", "KILL", "TYPE", "normal"),
    "flushed": lambda server: server.cli("FLUSHALL"),
    "trimmed": lambda server: server.cli("XTRIM", STREAM, "MAXLEN", 0),
    "killed and started empty": lambda server: server.restart(kill=True),
    "log deleted": lambda server: server.cli("DEL", STREAM),
    "scripts forgotten": lambda server: server.cli("SCRIPT", "FLUSH"),
    "restarted": lambda server: server.restart(),
}
"""All of these happen while one host has not read the last entries."""


@pytest.mark.parametrize("kind", [pytest.param("redis", marks=LONG), "redis with values"])
def test_mishaps(tmp_path: Path, scale: int, kind: LogKind) -> None:
    with server_of(kind) as server, hosts(tmp_path, server, kind) as both:
        both.start()
        for mishap in some_of(MISHAPS, 3, scale):
            both.miss(partial(mishap, server))
        both.fleet.run_on(watched=6)
        found = both.fleet.stop()
    assert_kept(found, revocations=21 * scale, watched=15 * scale)
    assert (found.from_other_hosts > 0) == (kind == "redis with values")


def test_a_replica_takes_over_that_has_not_heard_of_the_last_revocations(
    tmp_path: Path, scale: int
) -> None:
    with server_of("redis") as first, hosts(tmp_path, first) as both:
        both.start()
        primary = first
        for _ in range(scale):
            primary = _fail_over(both, primary)
        found = both.fleet.stop()
        primary.close()
    assert_kept(found, revocations=20 * scale, watched=30 * scale)


@LONG
@pytest.mark.parametrize("is_fenced", [True, False])
def test_a_primary_that_was_deposed_and_does_not_know_it(tmp_path: Path, is_fenced: bool) -> None:
    """One host goes on talking to it, and it answers; with ``wait_for_replicas`` it cannot."""
    fence = {"wait_for_replicas": 1} if is_fenced else {}
    with (
        RedisServer() as old,
        RedisServer(replica_of=old) as new,
        Proxy(old.port) as between,
        hosts(tmp_path, old, options=fence) as both,
    ):
        new.cli("REPLICAOF", "127.0.0.1", between.port)
        both.start()
        both.fleet.run_on(watched=10)
        between.refuse()
        new.replicate(None)
        with RedisServer(replica_of=new):
            both.ways[HERE].retarget(new.port)
            both.ways[HERE].cut()
            both.fleet.run_on(revocations=12)
            both.fleet.run_for(2 * both.fleet.max_staleness_seconds)
            found = both.fleet.stop()
    assert (found.errors, found.watched >= 10) == (0, True)
    assert (found.violations == []) == is_fenced, found


def _fail_over(both: Hosts, primary: RedisServer) -> RedisServer:
    replica = RedisServer(replica_of=primary).start()
    with Proxy(primary.port) as between:
        # What is on its way when the primary dies must not arrive later.
        replica.cli("REPLICAOF", "127.0.0.1", between.port)
        both.fleet.run_on(watched=15)
        between.freeze()
        # One host has not heard of them either; the new primary will not tell it.
        both.ways[THERE].freeze()
        both.fleet.run_on(revocations=8)
        between.refuse()
    last = int(primary.cli("GET", SEQUENCE))
    primary.kill()
    replica.replicate(None)
    # It lacks what the primary had acknowledged, or this shows nothing.
    assert int(replica.cli("GET", SEQUENCE)) <= last - 4
    for way in both.ways:
        way.retarget(replica.port)
        way.thaw()
        way.cut()
    both.fleet.run_on(watched=15)
    return replica
