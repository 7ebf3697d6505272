"""The plugin of pytest: fixtures for a cache of the test's own. It is there once installed.

``velro_clock``: a :class:`~velro_cache.testing.FrozenClock`.
``velro_config``: the settings of the cache; override it in a ``conftest.py``.
``velro_cache_manager``: a fresh cache on that clock, shared with no other process. While a test
uses it, everything in the process does: applications under test, decorated functions,
``get_cache_manager()``.
``assert_cached``, ``assert_not_cached``: take a key or a wildcard of that cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import pytest

# No web framework among these: the plugin is loaded wherever the package is installed.
from velro_cache.config import OptimizedCacheConfig
from velro_cache.manager import OptimizedCacheManager
from velro_cache.registry import using_cache_manager
from velro_cache.testing import keys
from velro_cache.testing.frozen_clock import FrozenClock

__all__ = [
    "assert_cached",
    "assert_not_cached",
    "velro_cache_manager",
    "velro_clock",
    "velro_config",
]


@pytest.fixture
def velro_clock() -> FrozenClock:
    """A clock that stands still until the test moves it."""
    return FrozenClock()


@pytest.fixture
def velro_config() -> OptimizedCacheConfig:
    """Settings of ``velro_cache_manager``: the defaults, in a table of its own."""
    return OptimizedCacheConfig(name="pytest", share_invalidations=False)


@pytest.fixture
def velro_cache_manager(
    velro_config: OptimizedCacheConfig, velro_clock: FrozenClock
) -> Iterator[OptimizedCacheManager]:
    """A fresh cache, used by everything in this process while the test runs."""
    manager = OptimizedCacheManager(velro_config, clock=velro_clock.engine)
    try:
        with using_cache_manager(manager):
            yield manager
    finally:
        manager.stop()


@pytest.fixture
def assert_cached(velro_cache_manager: OptimizedCacheManager) -> Callable[[str], None]:
    """Assert that a lookup would find a key."""
    return partial(keys.assert_cached, velro_cache_manager)


@pytest.fixture
def assert_not_cached(velro_cache_manager: OptimizedCacheManager) -> Callable[[str], None]:
    """Assert that a lookup would not find a key."""
    return partial(keys.assert_not_cached, velro_cache_manager)
