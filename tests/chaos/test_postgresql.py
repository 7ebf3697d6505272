"""What can happen to a PostgreSQL that holds the log."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from network import LONG, THERE, hosts, server_of, some_of
from test_two_hosts import assert_kept

from services.postgres import PostgresServer
from services.proxy import Proxy

LAST = "SELECT seq FROM velro_counter"

MISHAPS: dict[str, Callable[[PostgresServer], object]] = {
    "connections ended": lambda server: server.psql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
    ),
    "crashed and recovered": lambda server: server.restart("immediate"),
    "emptied": lambda server: server.psql("TRUNCATE velro_invalidations"),
    "a server process crashed": lambda server: server.crash_a_backend(),
    "restarted": lambda server: server.restart("fast"),
}
"""All of these happen while one host has not read the last entries."""


def test_mishaps(tmp_path: Path, scale: int) -> None:
    with server_of("postgresql") as server, hosts(tmp_path, server) as both:
        both.start()
        for mishap in some_of(MISHAPS, 3, scale):
            both.miss(partial(mishap, server))
        both.fleet.run_on(watched=6)
        found = both.fleet.stop()
    assert_kept(found, revocations=20 * scale, watched=14 * scale)


@LONG
def test_a_standby_takes_over_that_has_not_heard_of_the_last_revocations(tmp_path: Path) -> None:
    with (
        server_of("postgresql") as primary,
        hosts(tmp_path, primary) as both,
        PostgresServer(standby_of=primary) as standby,
    ):
        both.start()
        with Proxy(primary.port) as between:
            # What is on its way when the primary dies must not arrive later.
            way = f"host=127.0.0.1 port={between.port} user=postgres"
            standby.psql(f"ALTER SYSTEM SET primary_conninfo = '{way}'")
            standby.psql("SELECT pg_reload_conf()")
            both.fleet.run_on(watched=15)
            assert between.open_connections == 1
            standby.wait_for_replay()
            between.freeze()
            # One host has not heard of them either; the new primary will not tell it.
            both.ways[THERE].freeze()
            both.fleet.run_on(revocations=8)
            between.refuse()
        last = int(primary.psql(LAST))
        primary.kill()
        standby.promote()
        # It lacks what the primary had acknowledged, or this shows nothing.
        assert int(standby.psql(LAST)) <= last - 4
        for way_of_host in both.ways:
            way_of_host.retarget(standby.port)
            way_of_host.thaw()
            way_of_host.cut()
        both.fleet.run_on(watched=15)
        found = both.fleet.stop()
    assert_kept(found, revocations=20, watched=30)
