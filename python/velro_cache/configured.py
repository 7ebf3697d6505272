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
        settings = dataclasses.asdict(config or OptimizedCacheConfig())
        return super().__new__(cls, {**settings, "shards": _locks()}, clock)

    def __init__(
        self, config: OptimizedCacheConfig | None = None, *, clock: ManualClock | None = None
    ) -> None:
        self._config = config or OptimizedCacheConfig()

    @property
    def config(self) -> OptimizedCacheConfig:
        """The settings this cache was made with."""
        return self._config


def _locks() -> int:
    """Locks of a new store: one under the GIL, where more would only cost."""
    gil_enabled = getattr(sys, "_is_gil_enabled", lambda: True)()
    return 1 if gil_enabled else 4 * (os.cpu_count() or 1)
