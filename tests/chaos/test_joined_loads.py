"""Loads that take longer than ``max_staleness``, on a host that hears nothing meanwhile.

Whoever asks while a value is being loaded waits for that load. What it has read may have been
revoked elsewhere in the meantime, and the host does not know. Two managers with tables of their
own stand for two hosts here, so that each step can be waited for.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from pathlib import Path

import pytest
from network import server_of

from callers import Gate, InThread, Joins
from services.proxy import Proxy
from services.redis import RedisServer
from velro_cache import OptimizedCacheConfig, OptimizedCacheManager

STALENESS = 0.3
PATIENCE = 20.0


class TwoHosts:
    """The host that revokes, the one that loads, and what connects the second one to the log."""

    def __init__(self, folder: Path, server: RedisServer, way: Proxy) -> None:
        self.way = way
        self.granted = True
        self.gate = Gate()
        here, there = folder / "here", folder / "there"
        self.here = _host(here, server.url)
        self.there = _host(there, f"redis://127.0.0.1:{way.port}/0")
        self.joins = Joins(self.there)
        until(lambda: hears(self.here) and hears(self.there), "both hosts hear the log")

    def load_slowly(self) -> bool:
        """Read, and take long to say what was read."""
        granted = self.granted
        self.gate.wait_inside()
        return granted

    def ask_there(self) -> InThread[bool]:
        return InThread(lambda: self.there.get_or_load("k", self.load_slowly, tags=["t"]))

    def revoke_here(self) -> None:
        """Returns when the log has acknowledged it and nobody may still not know."""
        self.granted = False
        self.here.invalidate_by_tags(["t"])
        acknowledged = time.monotonic()
        until(lambda: time.monotonic() > acknowledged + 2 * STALENESS, "time passes")


def _host(folder: Path, url: str) -> OptimizedCacheManager:
    folder.mkdir()
    return OptimizedCacheManager(
        OptimizedCacheConfig(
            shared_memory_directory=str(folder),
            invalidation_log=url,
            invalidation_wait="bus",
            max_staleness_seconds=STALENESS,
        )
    )


def hears(host: OptimizedCacheManager) -> bool:
    return bool(host.get_stats()["log"]["has_lease"])


def until(condition: object, what: str) -> None:
    assert callable(condition)
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"never: {what}"
        time.sleep(0.005)


@pytest.fixture
def two(tmp_path: Path) -> Generator[TwoHosts]:
    with server_of("redis") as server, Proxy(server.port) as way:
        yield TwoHosts(tmp_path, server, way)


@pytest.mark.parametrize("begins", ["while it hears", "in silence"])
@pytest.mark.parametrize("ends", ["in silence", "after it hears again"])
def test_who_asks_too_late_is_not_told_what_an_older_load_has_read(
    two: TwoHosts, begins: str, ends: str
) -> None:
    if begins == "in silence":
        two.way.freeze()
        until(lambda: not hears(two.there), "the host no longer hears")
    first = two.ask_there()
    two.gate.until_reached()
    two.way.freeze()
    two.revoke_here()
    second = two.ask_there()
    two.joins.until(callers=2)
    if ends == "after it hears again":
        two.way.thaw()
        until(lambda: hears(two.there), "the host hears again")
    two.gate.open()
    # The first one had asked before anything was revoked.
    assert first.outcome() is True
    assert second.outcome() is False


def test_where_the_whole_fleet_was_waited_for_nobody_joins_an_older_load(two: TwoHosts) -> None:
    """A host that no longer hears is not waited for: it is to serve nothing it does not know."""
    # The first time, it waits until every host has had the time to say that it is there.
    two.here.invalidate_by_tags(["other"], wait="fleet")
    two.way.freeze()
    until(lambda: not hears(two.there), "the host no longer hears")
    first = two.ask_there()
    two.gate.until_reached()
    two.granted = False
    two.here.invalidate_by_tags(["t"], wait="fleet")
    second = two.ask_there()
    two.joins.until(callers=2)
    two.gate.open()
    assert first.outcome() is True
    assert second.outcome() is False


def test_who_asks_in_time_shares_the_load(two: TwoHosts) -> None:
    first = two.ask_there()
    two.gate.until_reached()
    second = two.ask_there()
    two.joins.until(callers=2)
    two.gate.open()
    assert (first.outcome(), second.outcome()) == (True, True)
    assert two.there.get("k") == (True, True)
