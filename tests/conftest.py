"""What all Python tests share: a cache with a clock by hand, and a registry that starts empty."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from velro_cache._engine import ManualClock
from velro_cache.config import OptimizedCacheConfig
from velro_cache.manager import OptimizedCacheManager
from velro_cache.registry import stop_cache_manager


def _in_memory() -> str | None:
    return "/dev/shm" if os.path.isdir("/dev/shm") else None  # noqa: S108 - a folder of our own in it


# The machines these run on are shared: a slow example is no finding, a wrong one is.
_patient: dict[str, Any] = {
    "deadline": None,
    "suppress_health_check": [HealthCheck.too_slow],
    "print_blob": True,
}
settings.register_profile("fast", max_examples=100, **_patient)
settings.register_profile("slow", max_examples=3000, **_patient)
settings.load_profile(os.environ.get("VELRO_HYPOTHESIS_PROFILE", "fast"))

# Nothing that runs besides these tests shares a table with them.
# A process that a test left behind may still write while the folder goes.
_tables = tempfile.TemporaryDirectory(
    prefix="velro-cache-tests-", dir=_in_memory(), ignore_cleanup_errors=True
)
os.environ["VELRO_CACHE_SHARED_MEMORY_DIRECTORY"] = _tables.name

MakeCache = Callable[..., OptimizedCacheManager]


@pytest.fixture
def clock() -> ManualClock:
    """A clock that stands still until the test moves it."""
    return ManualClock()


@pytest.fixture
def make_cache(clock: ManualClock) -> MakeCache:
    """Build caches by settings, all on the clock of the test."""

    def make(**fields: Any) -> OptimizedCacheManager:
        return OptimizedCacheManager(OptimizedCacheConfig(**fields), clock=clock)

    return make


@pytest.fixture
def cache(make_cache: MakeCache) -> OptimizedCacheManager:
    """A cache with the default settings."""
    return make_cache()


@pytest.fixture(autouse=True)
def _registry_is_empty_afterwards() -> Iterator[None]:
    yield
    # Nothing in it waits, so it needs no event loop; a test may have left one in any state.
    stopping = stop_cache_manager()
    with pytest.raises(StopIteration):
        stopping.send(None)
