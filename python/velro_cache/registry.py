"""The one manager a process usually has."""

from collections.abc import Iterator
from contextlib import contextmanager

from velro_cache._engine import set_default_cache
from velro_cache.config import OptimizedCacheConfig
from velro_cache.exceptions import ConfigError
from velro_cache.fork_safety import ForkSafeLock
from velro_cache.manager import OptimizedCacheManager

__all__ = [
    "get_cache_manager",
    "start_cache_manager",
    "stop_cache_manager",
    "using_cache_manager",
]

_lock = ForkSafeLock()
_manager: OptimizedCacheManager | None = None
_in_its_place: OptimizedCacheManager | None = None


def get_cache_manager(config: OptimizedCacheConfig | None = None) -> OptimizedCacheManager:
    """Return the manager of this process; make it on the first call.

    Args:
        config: Settings for the first call; None: the defaults, or whatever the manager was made
            with.

    Returns:
        The same manager every time, until ``stop_cache_manager()``.

    Raises:
        ConfigError: There is a manager already, and it was made with other settings. Not within
            :func:`using_cache_manager`.
    """
    global _manager
    if _in_its_place is not None:
        return _in_its_place
    manager = _manager
    if manager is None:
        with _lock:
            if _manager is None:
                _manager = OptimizedCacheManager(config)
                set_default_cache(_manager)
            manager = _manager
    if config is not None and config != manager.config:
        raise ConfigError(
            "there is a cache manager with other settings already; configure it in one place,"
            " or build a second OptimizedCacheManager of your own"
        )
    return manager


async def start_cache_manager(config: OptimizedCacheConfig | None = None) -> OptimizedCacheManager:
    """Make the manager of this process if there is none, and start it.

    Args:
        config: As for :func:`get_cache_manager`.

    Returns:
        The started manager.

    Raises:
        ConfigError: There is a manager already, and it was made with other settings.
    """
    manager = get_cache_manager(config)
    await manager.start()
    return manager


async def stop_cache_manager() -> None:
    """Stop the manager of this process and forget it; the next one starts empty."""
    global _manager
    with _lock:
        manager, _manager = _manager, None
        set_default_cache(_in_its_place)
    if manager is not None:
        await manager.stop()


@contextmanager
def using_cache_manager(manager: OptimizedCacheManager) -> Iterator[OptimizedCacheManager]:
    """Have everybody in this process use a manager, whatever settings they ask for; for tests.

    Args:
        manager: To be used by all threads and tasks until the block ends. It is not stopped, by
            nobody: that is for whoever made it.

    Returns:
        A context manager.
    """
    global _in_its_place
    with _lock:
        before, _in_its_place = _in_its_place, manager
        set_default_cache(manager)
    try:
        yield manager
    finally:
        with _lock:
            _in_its_place = before
            set_default_cache(before or _manager)
