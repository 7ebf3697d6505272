"""Hosts that take values from each other (L2), in a Redis that is not the log.

What lies there outlives every cache: a value from before a revocation is there until somebody
replaces it, and whoever starts, or has forgotten everything, finds it.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from network import LONG, THERE, Hosts, hosts, server_of, some_of
from test_two_hosts import assert_kept

from services.proxy import Proxy
from services.redis import RedisServer

SECRET = "the same text of 32 characters or more"  # noqa: S105


class Values:
    """Where the values lie, and the network to there."""

    def __init__(self, server: RedisServer, way: Proxy) -> None:
        self.server = server
        self.way = way


@contextmanager
def sharing_hosts(folder: Path, **config: Any) -> Generator[tuple[Hosts, Values]]:
    """Two hosts with a log in one Redis, and values in another one."""
    with server_of("redis") as log, RedisServer() as server, Proxy(server.port) as way:
        url = server.url.replace(f":{server.port}/", f":{way.port}/")
        # With patience for a machine that has other things to do.
        settings = {"redis_url": url, "l2_signing_key": SECRET, "l2_timeout_seconds": 0.5}
        with hosts(folder, log, **(settings | config)) as both:
            yield both, Values(server, way)


def _killed_and_back(both: Hosts, _: Values) -> None:
    """A worker dies in the middle of whatever it does, revoking maybe; another takes its place."""
    both.fleet.kill(2)
    both.fleet.run_on(watched=2)
    both.fleet.restart(2)
    both.fleet.until_at_work(2)


def _silent(both: Hosts, values: Values) -> None:
    values.way.freeze()
    both.fleet.run_on(revocations=4)
    values.way.thaw()


def _killed_values(_: Hosts, values: Values) -> None:
    values.server.restart(kill=True)


MISHAPS: dict[str, Callable[[Hosts, Values], object]] = {
    "a worker is killed": _killed_and_back,
    "connections are cut": lambda _, values: values.way.cut("rst"),
    "values flushed": lambda _, values: values.server.cli("FLUSHALL"),
    "log flushed": lambda both, _: both.miss(lambda: both.server.cli("FLUSHALL")),
    "a host hears nothing": lambda both, _: both.miss(lambda: None),
    "values cannot be reached": _silent,
    "values killed": _killed_values,
    "log killed": lambda both, _: both.miss(lambda: both.server.restart(kill=True)),
}


@pytest.mark.parametrize(
    "habit",
    ["calling.by_calling", pytest.param(None, marks=LONG)],
    ids=["functions", "get_or_load"],
)
def test_nothing_revoked_comes_back_from_there(
    tmp_path: Path, scale: int, habit: str | None
) -> None:
    # By other ways than calls, everything is revoked now and then; who is killed at that leaves it
    # pending, and its host takes nothing from others any more.
    mishaps = (
        MISHAPS if habit else {what: MISHAPS[what] for what in MISHAPS if "worker" not in what}
    )
    with sharing_hosts(tmp_path) as (both, values):
        both.start(habit=habit)
        both.fleet.run_on(watched=5)
        for mishap in some_of(mishaps, 4, scale):
            mishap(both, values)
            both.fleet.run_on(watched=3)
        found = both.fleet.stop()
    assert_kept(found, revocations=20 * scale, watched=15 * scale)
    assert found.from_other_hosts > 0


@LONG
def test_a_host_of_new_workers_finds_what_old_ones_have_left(tmp_path: Path, scale: int) -> None:
    with sharing_hosts(tmp_path) as (both, _):
        both.start(habit="calling.by_calling")
        for _ in range(scale):
            both.fleet.run_on(watched=5)
            for worker in (2, 3):
                both.fleet.kill(worker)
            both.ways[THERE].freeze()
            both.fleet.run_on(revocations=6)
            both.ways[THERE].thaw()
            for worker in (2, 3):
                both.fleet.restart(worker)
            both.fleet.until_at_work(2, 3)
        found = both.fleet.stop()
    assert_kept(found, revocations=10 * scale, watched=5 * scale)
    assert found.from_other_hosts > 0
