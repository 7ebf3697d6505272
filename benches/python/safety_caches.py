"""The caches of the safety programs, all under one small interface.

A cache without an operation says so with None; a program that needs it is then left out. All of
them keep the very object they are given, because what a program watches is its life.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, Final, NamedTuple

__all__ = ["CACHES", "Cache", "Member"]

Function = Callable[[Any], Any]


class Cache(NamedTuple):
    """One opened cache.

    Attributes:
        set: Store a value under a key.
        get: Look a key up; what a miss gives does not matter, and it may be a KeyError.
        delete: Remove a key that is there; None if keys cannot be removed one by one.
        clear: Remove everything.
        decorate: Cache the results of a function of one argument, in a cache of its own if need be.
        load: Look a key up, and call a loader on a miss; None if loaders cannot be given.
    """

    set: Callable[[Any, Any], Any]
    get: Callable[[Any], Any]
    delete: Callable[[Any], Any] | None
    clear: Callable[[], Any]
    decorate: Callable[[Function], Function]
    load: Callable[[Any, Callable[[], Any]], Any] | None


class Member(NamedTuple):
    """A cache that takes part: its name, its distribution, and how it is opened."""

    title: str
    package: str
    open: Callable[[int], Cache]


def _velro(capacity: int) -> Cache:
    from velro_cache import OptimizedCacheConfig, OptimizedCacheManager, cached_authorization

    config = OptimizedCacheConfig(isolation="shared", max_entries=capacity)
    cache = OptimizedCacheManager(config)
    decorate = cached_authorization(cache=cache)
    return Cache(cache.set, cache.get, cache.delete, cache.clear, decorate, cache.get_or_load)


def _cachebox(capacity: int) -> Cache:
    import cachebox

    cache = cachebox.LRUCache(capacity)
    return Cache(
        cache.insert,
        cache.get,
        lambda key: cache.pop(key, None),
        cache.clear,
        cachebox.cached(cache),
        None,
    )


def _moka(capacity: int) -> Cache:
    import moka_py

    cache = moka_py.Moka(capacity)
    return Cache(
        cache.set,
        cache.get,
        cache.remove,
        cache.clear,
        moka_py.cached(capacity),
        cache.get_with,
    )


def _theine(capacity: int) -> Cache:
    import theine

    cache = theine.Cache(capacity)
    return Cache(
        cache.set, cache.get, cache.delete, cache.clear, theine.Memoize(capacity, None), None
    )


def _warp(capacity: int) -> Cache:
    import warp_cache

    # A decorator alone: an entry is stored by a call that misses, and read by one that hits.
    coming: dict[Hashable, Any] = {}

    @warp_cache.cache(max_size=capacity)
    def entry(key: Any) -> Any:
        return coming.pop(key)

    def store(key: Any, value: Any) -> None:
        coming[key] = value
        entry(key)
        coming.pop(key, None)

    decorate = warp_cache.cache(max_size=capacity)
    return Cache(store, entry, None, entry.cache_clear, decorate, None)


CACHES: Final[dict[str, Member]] = {
    "velro": Member("velro-cache", "velro-cache", _velro),
    "cachebox": Member("cachebox", "cachebox", _cachebox),
    "moka": Member("moka-py", "moka-py", _moka),
    "theine": Member("theine", "theine", _theine),
    "warp": Member("warp_cache", "warp_cache", _warp),
}
"""Those that take part, by the name on the command line."""
