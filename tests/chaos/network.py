"""Two hosts, an invalidation log, and a network between them that each host has for itself."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal, TypeVar
from urllib.parse import urlencode

import pytest
from workers import Fleet

from services.postgres import PostgresServer
from services.proxy import Proxy
from services.redis import RedisServer

__all__ = ["HERE", "LONG", "THERE", "Hosts", "LogKind", "hosts", "logs", "server_of", "some_of"]

LogKind = Literal["redis", "redis with values", "postgresql"]
"""What hosts share; in the second one, values as well as invalidations."""
T = TypeVar("T")
LONG = pytest.mark.long


def logs(*short: LogKind) -> pytest.MarkDecorator:
    """Run a test with each kind of log; a short run, with these."""
    kinds: tuple[LogKind, ...] = ("redis", "redis with values", "postgresql")
    marked = [pytest.param(kind, marks=() if kind in short else LONG) for kind in kinds]
    return pytest.mark.parametrize("kind", marked)


HERE, THERE = 0, 1
"""The two hosts; each has the workers 2h and 2h + 1, and both hosts revoke."""
MAX_STALENESS_SECONDS = 0.5


class Hosts:
    """A fleet on two hosts, and what connects each of them to the log.

    Attributes:
        fleet: Four workers.
        server: The log.
        ways: The network between each host and the log.
    """

    def __init__(
        self,
        fleet: Fleet,
        server: Any,
        ways: tuple[Proxy, Proxy],
        *,
        setting: str,
        options: dict[str, Any],
    ) -> None:
        self.fleet = fleet
        self._setting = setting
        self._options = f"?{urlencode(options)}" if options else ""
        self.server = server
        self.ways = ways

    def plan(self, host: int, **plan: Any) -> dict[str, Any]:
        """What the workers of a host are told: how they reach the log, besides the rest."""
        config = {self._setting: _through(self.ways[host], self.server) + self._options}
        return {
            "staleness_seconds": self.fleet.max_staleness_seconds,
            **plan,
            "config": config | plan.get("config", {}),
        }

    def start(self, **plan: Any) -> None:
        """Start two workers on each host, and wait until they work.

        Unless told otherwise, one of them asks for results that are made of other results.
        """
        for host in (HERE, THERE):
            for worker, style in ((2 * host, "get_or_load"), (2 * host + 1, "nested")):
                self.fleet.start(
                    [worker], host=host, **self.plan(host, **({"style": style} | plan))
                )
        self.fleet.until_at_work()

    def miss(self, mishap: Callable[[], object]) -> None:
        """Let something happen to the log while one host has not read its last entries."""
        self.fleet.run_on(watched=3)
        self.ways[THERE].freeze()
        self.fleet.run_on(revocations=4)
        mishap()
        self.ways[THERE].thaw()


def some_of(mishaps: dict[str, T], count: int, scale: int) -> list[T]:
    """What to try: the first ones in a short run, all of them again and again in a long one."""
    return list(mishaps.values()) * scale if scale > 1 else list(mishaps.values())[:count]


@contextmanager
def server_of(kind: LogKind) -> Generator[Any]:
    """A log of its own, empty."""
    with PostgresServer() if kind == "postgresql" else RedisServer() as server:
        yield server


@contextmanager
def hosts(
    folder: Path,
    server: Any,
    kind: LogKind | None = None,
    *,
    options: dict[str, Any] | None = None,
    **config: Any,
) -> Generator[Hosts]:
    """Two hosts that share a log, each by a network of its own.

    Args:
        folder: For what they write.
        server: The log.
        kind: What they share.
        options: What is added to the address of the log.
        **config: Settings of all caches.
    """
    setting = "redis_url" if kind == "redis with values" else "invalidation_log"
    settings: dict[str, Any] = {
        "max_staleness_seconds": MAX_STALENESS_SECONDS,
        "log_timeout_seconds": 0.5,
        "invalidation_wait": "bus",
    }
    with ExitStack() as stack:
        ways = (
            stack.enter_context(Proxy(server.port)),
            stack.enter_context(Proxy(server.port)),
        )
        fleet = stack.enter_context(Fleet(folder, 4, **(settings | config)))
        yield Hosts(fleet, server, ways, setting=setting, options=options or {})


def _through(way: Proxy, server: Any) -> str:
    return str(server.url).replace(f":{server.port}/", f":{way.port}/")
