"""Permissions and the log in one database: who changes them calls no cache, a trigger writes."""

from __future__ import annotations

from pathlib import Path

import psycopg
from network import HERE, THERE, hosts
from test_two_hosts import assert_kept

from services.postgres import PostgresServer
from velro_cache.outbox import outbox_ddl, trigger_ddl


def test_what_is_committed_is_heard_of(tmp_path: Path, scale: int) -> None:
    with PostgresServer() as server, hosts(tmp_path, server, truth=server.url) as both:
        fleet = both.fleet
        with psycopg.connect(server.url) as database:
            database.execute(outbox_ddl("postgresql"))
            database.execute(trigger_ddl("postgresql", "permissions", ["permission:{id}"]))
        both.start(habit="transactions.only_commits")
        for _ in range(scale):
            for host in (THERE, HERE):
                fleet.run_on(watched=8)
                both.ways[host].freeze()
                fleet.run_on(revocations=6)
                both.ways[host].thaw()
        fleet.run_on(watched=8)
        found = fleet.stop()
    assert_kept(found, revocations=30 * scale, watched=24 * scale)


def test_what_nobody_writes_into_the_outbox_is_caught(tmp_path: Path) -> None:
    """The same without the trigger: what was allowed in the beginning is allowed for ever."""
    with PostgresServer() as server, hosts(tmp_path, server, truth=server.url) as both:
        both.start(habit="transactions.only_commits")
        both.fleet.run_until(lambda found: found.revocations >= 20 and found.violations)
        found = both.fleet.stop()
    assert found.violations
    assert (found.errors, found.revocations >= 20) == (0, True)
