"""The compiled store with the settings it was made from."""

import dataclasses
import functools
import logging
import os
import socket
import sys
from typing import Any, Self

from velro_cache._engine import CacheCore, ManualClock, after_fork, before_fork
from velro_cache.config import OptimizedCacheConfig

__all__ = ["ConfiguredCache"]

log = logging.getLogger("velro_cache")


class ConfiguredCache(CacheCore):
    """A store that knows its settings.

    Args:
        config: Settings; None: the defaults.
        clock: A clock that tests move by hand; None: the system's.
    """

    __slots__ = ("_config",)

    _config: OptimizedCacheConfig

    def __new__(
        cls,
        config: OptimizedCacheConfig | None = None,
        *,
        clock: ManualClock | None = None,
        l2: object = None,
    ) -> Self:
        """Build the compiled half from the settings."""
        config = config or OptimizedCacheConfig()
        settings = {
            **dataclasses.asdict(config),
            "shards": _locks(config.max_size_mb),
            "sharing": _SHARING[config.share_invalidations],
            "log": _log_settings(config, shares_values=l2 is not None),
        }
        cache = super().__new__(cls, settings, clock)
        reason = cache._sharing()["not_shared_because"]
        if reason is not None:
            log.warning("cache %r does not share invalidations: %s", config.name, reason)
        return cache

    def __init__(
        self, config: OptimizedCacheConfig | None = None, *, clock: ManualClock | None = None
    ) -> None:
        self._config = config or OptimizedCacheConfig()

    @property
    def config(self) -> OptimizedCacheConfig:
        """The settings this cache was made with."""
        return self._config


if hasattr(os, "register_at_fork"):
    # Threads of the compiled half are kept out of locks while the process forks.
    os.register_at_fork(
        before=before_fork,
        after_in_parent=functools.partial(after_fork, in_child=False),
        after_in_child=functools.partial(after_fork, in_child=True),
    )

_SHARING = {True: "required", "if_possible": "if_possible", False: "private"}


def _log_settings(config: OptimizedCacheConfig, *, shares_values: bool) -> dict[str, Any] | None:
    """What connects this host with others; None: nothing does."""
    url = config.log_address
    if url is None:
        return None
    return {
        "url": url,
        "timeout_seconds": config.log_timeout_seconds,
        "max_staleness_seconds": config.max_staleness_seconds,
        "serve_stale": config.on_silence == "serve_stale",
        "has_values": shares_values or config.redis_url is not None,
        "wait": config.invalidation_wait,
        "host": socket.gethostname(),
    }


_LEAST_MIB_PER_LOCK = 2
"""A lock guards a share of the bounds, and an entry must fit it."""


def _locks(max_size_mb: int) -> int:
    """Locks of a new store: one under the GIL, where more would only cost.

    Without one, so many that two threads seldom meet at the same; more than that brings nothing.
    """
    if getattr(sys, "_is_gil_enabled", lambda: True)():
        return 1
    return max(1, min(32 * (os.cpu_count() or 1), max_size_mb // _LEAST_MIB_PER_LOCK))
