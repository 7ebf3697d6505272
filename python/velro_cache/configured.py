"""The compiled store with the settings it was made from."""

import dataclasses
import os
import sys
from typing import Self

from velro_cache._engine import CacheCore, ManualClock
from velro_cache.config import OptimizedCacheConfig

__all__ = ["ConfiguredCache"]


class ConfiguredCache(CacheCore):
    """A store that knows its settings.

    Args:
        config: Settings; None: the defaults.
        clock: A clock that tests move by hand; None: the system's.
    """

    __slots__ = ("_config",)

    _config: OptimizedCacheConfig

    def __new__(
        cls, config: OptimizedCacheConfig | None = None, *, clock: ManualClock | None = None
    ) -> Self:
        """Build the compiled half from the settings."""
        config = config or OptimizedCacheConfig()
        settings = {**dataclasses.asdict(config), "shards": _locks(config.max_size_mb)}
        return super().__new__(cls, settings, clock)

    def __init__(
        self, config: OptimizedCacheConfig | None = None, *, clock: ManualClock | None = None
    ) -> None:
        self._config = config or OptimizedCacheConfig()

    @property
    def config(self) -> OptimizedCacheConfig:
        """The settings this cache was made with."""
        return self._config


_LEAST_MIB_PER_LOCK = 2
"""A lock guards a share of the bounds, and an entry must fit it."""


def _locks(max_size_mb: int) -> int:
    """Locks of a new store: one under the GIL, where more would only cost.

    Without one, so many that two threads seldom meet at the same; more than that brings nothing.
    """
    if getattr(sys, "_is_gil_enabled", lambda: True)():
        return 1
    return max(1, min(32 * (os.cpu_count() or 1), max_size_mb // _LEAST_MIB_PER_LOCK))
