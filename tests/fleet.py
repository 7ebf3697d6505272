"""Hosts that share values, with a log of invalidations that lies in the memory of the test."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from velro_cache import OptimizedCacheConfig, OptimizedCacheManager
from velro_cache._engine import ManualClock
from velro_cache.l2.two_levels import TwoLevels


class Log:
    """Names of what was invalidated, in order; entry 1 is the first."""

    def __init__(self) -> None:
        self.generation = "first"
        self.entries: list[str] = []


class Host(OptimizedCacheManager):
    """A manager that knows how far it has read the log."""

    log: Log
    applied: int
    reads: bool
    hears: bool
    """Whether there was news from the log lately."""

    def join(self, log: Log, l2: Any, clocks: Any, **settings: Any) -> Host:
        self.log, self.applied, self.reads = log, len(log.entries), True
        self.hears = True
        self._l2 = TwoLevels(self, self.config.replace(**settings), l2, **clocks)
        return self

    def revoke(self, tag: str) -> None:
        """Invalidate here and tell the others, who have not heard it yet."""
        self.invalidate_by_tags([tag])
        self.log.entries.append(tag)
        self.catch_up()

    def catch_up(self) -> None:
        for tag in self.log.entries[self.applied :]:
            self.invalidate_by_tags([tag])
            self.applied += 1

    def _position(self) -> tuple[str, int] | None:
        return (self.log.generation, self.applied) if self.reads else None

    def _admits(
        self,
        key: str,
        tags: Iterable[str],
        generation: str,
        sequence: int,
        permissive: bool = True,
    ) -> bool:
        since = self.log.entries[sequence : self.applied]
        if permissive and not self.hears:
            return False
        known = self.reads and generation == self.log.generation and sequence <= self.applied
        return known and not {key, *tags} & set(since)


def host(
    log: Log,
    l2: Any,
    *,
    clock: ManualClock | None = None,
    wall: Callable[[], float] = time.time,
    redis_url: str = "redis://not.used.example",
    **settings: Any,
) -> Host:
    """A new host, with a table of its own."""
    # It must not read the log of that Redis: the one of the test is in its place.
    config = OptimizedCacheConfig(share_invalidations=False, **settings)
    return Host(config, clock=clock).join(log, l2, {"wall": wall}, redis_url=redis_url)
