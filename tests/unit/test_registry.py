"""The one manager of a process."""

from __future__ import annotations

import threading

import pytest

from callers import InThread
from velro_cache import (
    EvictionPolicy,
    OptimizedCacheConfig,
    OptimizedCacheManager,
    cached_authorization,
    get_cache_manager,
    start_cache_manager,
    stop_cache_manager,
)
from velro_cache.exceptions import CacheStoppedError, ConfigError


def test_there_is_one_manager_and_everybody_gets_it() -> None:
    manager = get_cache_manager()
    assert isinstance(manager, OptimizedCacheManager)
    assert get_cache_manager() is manager
    assert manager.config == OptimizedCacheConfig()


def test_the_first_call_decides_the_settings() -> None:
    config = OptimizedCacheConfig(max_entries=5, name="first")
    manager = get_cache_manager(config)
    assert manager.config == config
    assert get_cache_manager() is manager
    assert get_cache_manager(OptimizedCacheConfig(max_entries=5, name="first")) is manager


def test_other_settings_later_are_an_error_and_change_nothing() -> None:
    manager = get_cache_manager(OptimizedCacheConfig(max_entries=5))
    with pytest.raises(ConfigError, match="other settings"):
        get_cache_manager(OptimizedCacheConfig(eviction_policy=EvictionPolicy.LRU))
    assert get_cache_manager() is manager
    assert manager.config.max_entries == 5


async def test_other_settings_at_the_start_are_an_error() -> None:
    get_cache_manager()
    with pytest.raises(ConfigError, match="other settings"):
        await start_cache_manager(OptimizedCacheConfig.production())


async def test_start_makes_and_starts_it() -> None:
    manager = await start_cache_manager(OptimizedCacheConfig(name="started"))
    names = [thread.name for thread in threading.enumerate()]
    assert "velro-cache-sweeper-started" in names
    assert get_cache_manager() is manager
    assert await start_cache_manager() is manager
    names = [thread.name for thread in threading.enumerate()]
    assert names.count("velro-cache-sweeper-started") == 1


async def test_stop_stops_and_forgets_it() -> None:
    manager = await start_cache_manager()
    manager.set("k", 1)
    await stop_cache_manager()
    assert manager.is_stopped
    with pytest.raises(CacheStoppedError):
        manager.get("k")
    another = get_cache_manager(OptimizedCacheConfig(max_entries=7))
    assert another is not manager
    assert another.get("k") == (None, False)


async def test_stop_without_a_manager_does_nothing() -> None:
    await stop_cache_manager()
    await stop_cache_manager()


async def test_start_runs_the_preloaders() -> None:
    manager = get_cache_manager()

    async def preload() -> None:
        manager.set("k", "preloaded")

    manager.add_preloader(preload)
    await start_cache_manager()
    assert manager.get("k") == ("preloaded", True)


def test_many_threads_at_once_get_the_same_manager() -> None:
    together = threading.Barrier(50)

    def ask() -> OptimizedCacheManager:
        together.wait()
        return get_cache_manager()

    threads = [InThread(ask) for _ in range(50)]
    assert len({id(thread.outcome()) for thread in threads}) == 1


async def test_a_decorated_function_follows_the_manager_of_the_process() -> None:
    calls = []

    @cached_authorization()
    def check(user_id: str) -> int:
        calls.append(user_id)
        return len(calls)

    assert check("u") == check("u") == 1
    assert len(get_cache_manager()) == 1
    await stop_cache_manager()
    # The next manager starts empty.
    assert check("u") == check("u") == 2
    assert get_cache_manager().invalidate_user_data("u") == 1
    assert check("u") == 3


async def test_a_decorated_function_says_so_when_its_manager_was_stopped_by_hand() -> None:
    @cached_authorization()
    def check(user_id: str) -> str:
        return user_id

    check("u")
    get_cache_manager().stop()
    with pytest.raises(CacheStoppedError):
        check("u")
