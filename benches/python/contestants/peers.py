"""The third-party caches, each used as its own documentation shows it.

Libraries are imported when a contestant is asked for, so that one which is not installed only
takes itself out of the tables.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Coroutine, Iterable
from datetime import timedelta
from typing import Any

from contestants.base import EVERYWHERE, TTL_SECONDS, Contestant, Load, PairAnswers
from workload import Row


class _Peer(Contestant):
    """A third-party cache."""

    module_name: str

    @classmethod
    def load_library(cls) -> None:
        """Import the library."""
        importlib.import_module(cls.module_name)

    @classmethod
    def library(cls) -> Any:
        """Return the imported library."""
        return importlib.import_module(cls.module_name)


class CacheboxLru(_Peer):
    """cachebox.LRUCache."""

    slug = "cachebox-lru"
    title = "cachebox LRU"
    package = "cachebox"
    module_name = "cachebox"
    features = "LRU; no TTL"

    generation_access = 'cache.get(f"auth:gen:{generation}:user:{user}:access")'

    def open(self, capacity: int, load: Load) -> None:
        """Make an LRU cache."""
        self.cache = self.library().LRUCache(capacity)

    def store_generation_access(self, generation: object, user: object, value: object) -> None:
        """Store a value under the formatted key."""
        self.cache[f"auth:gen:{generation}:user:{user}:access"] = value

    def decorate(
        self, function: Callable[[Any, Any], str], capacity: int
    ) -> Callable[[Any, Any], str]:
        """Decorate with `cachebox.cached` and its default key maker."""
        library = self.library()
        decorated: Callable[[Any, Any], str] = library.cached(library.LRUCache(capacity))(function)
        return decorated

    def decorate_async(
        self, function: Callable[[Any, Any], Coroutine[Any, Any, str]], capacity: int
    ) -> Callable[[Any, Any], Coroutine[Any, Any, str]]:
        """Decorate with `cachebox.cached` and its default key maker."""
        library = self.library()
        decorated: Callable[[Any, Any], Coroutine[Any, Any, str]] = library.cached(
            library.LRUCache(capacity)
        )(function)
        return decorated


class CacheboxVttl(_Peer):
    """cachebox.VTTLCache."""

    slug = "cachebox-vttl"
    title = "cachebox VTTL"
    groups = EVERYWHERE - {"calls"}
    package = "cachebox"
    module_name = "cachebox"
    features = "TTL per entry; drops the soonest to expire"

    put = "cache.insert(key, value, ttl)"
    read_through = """
        value = cache.get(key)
        if value is None:
            value = load(key)
            cache.insert(key, value, ttl)
    """

    def open(self, capacity: int, load: Load) -> None:
        """Make a cache with a TTL per entry."""
        self.cache = self.library().VTTLCache(capacity)


class MokaPy(_Peer):
    """moka-py."""

    slug = "moka"
    title = "moka-py"
    package = "moka-py"
    module_name = "moka_py"
    features = "W-TinyLFU, one TTL"

    put = "cache.set(key, value)"
    read_through = """
        value = cache.get(key)
        if value is None:
            value = load(key)
            cache.set(key, value)
    """

    def open(self, capacity: int, load: Load) -> None:
        """Make a cache with its default policy and a TTL."""
        self.cache = self.library().Moka(capacity, ttl=TTL_SECONDS)

    def size(self) -> int:
        """Return the number of entries after the pending evictions."""
        self.cache.run_pending_tasks()
        return int(self.cache.count())

    def decorate(
        self, function: Callable[[Any, Any], str], capacity: int
    ) -> Callable[[Any, Any], str]:
        """Decorate with `moka_py.cached`."""
        decorated: Callable[[Any, Any], str] = self.library().cached(capacity, ttl=TTL_SECONDS)(
            function
        )
        return decorated

    def decorate_async(
        self, function: Callable[[Any, Any], Coroutine[Any, Any, str]], capacity: int
    ) -> Callable[[Any, Any], Coroutine[Any, Any, str]]:
        """Decorate with `moka_py.cached`."""
        decorated: Callable[[Any, Any], Coroutine[Any, Any, str]] = self.library().cached(
            capacity, ttl=TTL_SECONDS
        )(function)
        return decorated


class Theine(PairAnswers, _Peer):
    """theine."""

    slug = "theine"
    title = "theine"
    package = "theine"
    module_name = "theine"
    features = "W-TinyLFU, TTL per entry, counts, lock"

    put = "cache.set(key, value, ttl)"

    def open(self, capacity: int, load: Load) -> None:
        """Make a cache with its default locking."""
        self.cache = self.library().Cache(capacity)

    def names(self) -> dict[str, object]:
        """Return the cache and the TTL as the `timedelta` theine wants."""
        return {"cache": self.cache, "ttl": timedelta(seconds=TTL_SECONDS)}

    def clear(self, rows: Iterable[Row]) -> None:
        """Remove the rows one by one: after `clear()` theine 2.0.0 panics at the next stores."""
        for key, _value, _tags in rows:
            self.cache.delete(key)

    def close(self) -> None:
        """Stop the cache's maintenance."""
        if self.cache is not None:
            self.cache.close()
        super().close()

    def decorate(
        self, function: Callable[[Any, Any], str], capacity: int
    ) -> Callable[[Any, Any], str]:
        """Decorate with `theine.Memoize`, automatic keys."""
        decorated: Callable[[Any, Any], str] = self.library().Memoize(
            capacity, timedelta(seconds=TTL_SECONDS)
        )(function)
        return decorated

    def decorate_async(
        self, function: Callable[[Any, Any], Coroutine[Any, Any, str]], capacity: int
    ) -> Callable[[Any, Any], Coroutine[Any, Any, str]]:
        """Decorate with `theine.Memoize`, automatic keys."""
        decorated: Callable[[Any, Any], Coroutine[Any, Any, str]] = self.library().Memoize(
            capacity, timedelta(seconds=TTL_SECONDS)
        )(function)
        return decorated


class WarpCache(_Peer):
    """warp_cache: a decorated function whose table can also be read and written."""

    slug = "warp"
    title = "warp_cache"
    package = "warp_cache"
    module_name = "warp_cache"
    features = "SIEVE, one TTL, counts"

    put = "cache.set(value, key)"
    read_through = "value = cache(key)"

    def open(self, capacity: int, load: Load) -> None:
        """Wrap the source of the values."""
        self.cache = self.library().cache(max_size=capacity, ttl=TTL_SECONDS)(load)

    def clear(self, rows: Iterable[Row]) -> None:
        """Remove all results."""
        self.cache.cache_clear()

    def size(self) -> int:
        """Return the number of results."""
        return int(self.cache.cache_info().current_size)

    def decorate(
        self, function: Callable[[Any, Any], str], capacity: int
    ) -> Callable[[Any, Any], str]:
        """Decorate in the usual way."""
        decorated: Callable[[Any, Any], str] = self.library().cache(
            max_size=capacity, ttl=TTL_SECONDS
        )(function)
        return decorated

    def decorate_async(
        self, function: Callable[[Any, Any], Coroutine[Any, Any, str]], capacity: int
    ) -> Callable[[Any, Any], Coroutine[Any, Any, str]]:
        """Decorate in the usual way."""
        decorated: Callable[[Any, Any], Coroutine[Any, Any, str]] = self.library().cache(
            max_size=capacity, ttl=TTL_SECONDS
        )(function)
        return decorated


class LruDict(_Peer):
    """lru-dict."""

    slug = "lru-dict"
    title = "lru-dict"
    package = "lru-dict"
    module_name = "lru"
    features = "LRU, counts; no TTL"

    def open(self, capacity: int, load: Load) -> None:
        """Make an LRU mapping."""
        self.cache = self.library().LRU(capacity)


class _Cachetools(_Peer):
    """A cachetools cache; its documentation asks users of threads to bring a lock."""

    package = "cachetools"
    module_name = "cachetools"
    thread_safe = False

    def decorate(
        self, function: Callable[[Any, Any], str], capacity: int
    ) -> Callable[[Any, Any], str]:
        """Decorate with `cachetools.cached`, without a lock."""
        self.open(capacity, str)
        decorated: Callable[[Any, Any], str] = self.library().cached(self.cache)(function)
        return decorated


class CachetoolsLru(_Cachetools):
    """cachetools.LRUCache."""

    slug = "cachetools-lru"
    title = "cachetools LRU"
    features = "LRU; no TTL, no lock"

    def open(self, capacity: int, load: Load) -> None:
        """Make an LRU cache."""
        self.cache = self.library().LRUCache(capacity)


class CachetoolsTtl(_Cachetools):
    """cachetools.TTLCache."""

    slug = "cachetools-ttl"
    title = "cachetools TTL"
    features = "LRU, one TTL; no lock"

    def open(self, capacity: int, load: Load) -> None:
        """Make an LRU cache with a TTL."""
        self.cache = self.library().TTLCache(capacity, TTL_SECONDS)


class Cashews(_Peer):
    """cashews with its memory backend."""

    slug = "cashews"
    title = "cashews (memory)"
    package = "cashews"
    module_name = "cashews"
    features = "LRU, TTL per entry; async only"
    is_async = True

    get = "await cache.get({key})"
    put = "await cache.set(key, value, expire=ttl)"
    read_through = """
        value = await cache.get(key)
        if value is None:
            value = load(key)
            await cache.set(key, value, expire=ttl)
    """

    def open(self, capacity: int, load: Load) -> None:
        """Set the memory backend up, sweeping once a minute."""
        self.cache = self.library().Cache()
        self.cache.setup("mem://", size=capacity, check_interval=60)

    def close(self) -> None:
        """Stop the backend's sweep."""
        if self.cache is not None:
            self.runner.finish(self.cache.close())
        super().close()

    def clear(self, rows: Iterable[Row]) -> None:
        """Remove all entries."""
        self.runner.finish(self.cache.clear())

    def size(self) -> int:
        """Return the number of entries."""
        return int(self.runner.finish(self.cache.get_keys_count()))

    def decorate_async(
        self, function: Callable[[Any, Any], Coroutine[Any, Any, str]], capacity: int
    ) -> Callable[[Any, Any], Coroutine[Any, Any, str]]:
        """Decorate with a TTL and a key template, as the documentation recommends."""
        self.open(capacity, str)
        decorated: Callable[[Any, Any], Coroutine[Any, Any, str]] = self.cache(
            ttl=TTL_SECONDS, key="check:{user_id}:{generation_id}"
        )(function)
        return decorated
