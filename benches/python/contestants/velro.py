"""velro-cache itself: TTL, tags and statistics on, adaptive eviction, as it comes."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Coroutine
from typing import Any, ClassVar

from contestants.base import TTL_SECONDS, Contestant, Load, PairAnswers


class Velro(PairAnswers):
    """`OptimizedCacheManager.get`, which answers ``(value, hit)`` as documented."""

    slug = "velro"
    title = "**velro-cache** `get`"
    package = None
    features = "adaptive, TTL per entry, tags, statistics, thread-safe"

    put = "cache.set(key, value, ttl, tags)"
    read_through = """
        value, hit = cache.get(key)
        if not hit:
            value = load(key)
            cache.set(key, value, ttl, ("auth", "profile"))
    """
    generation_access = "cache.get_generation_access(generation, user)"

    settings: ClassVar[dict[str, object]] = {}
    """What differs from the default configuration."""
    isolated: ClassVar[bool] = True

    @classmethod
    def version(cls) -> str | None:
        """Return the package's own version."""
        return str(importlib.import_module("velro_cache").__version__)

    @classmethod
    def load_library(cls) -> None:
        """Import the manager and with it the extension."""
        importlib.import_module("velro_cache.manager")

    def open(self, capacity: int, load: Load) -> None:
        """Make a manager of that many entries, everything else as it comes."""
        config = importlib.import_module("velro_cache.config").OptimizedCacheConfig(
            max_entries=capacity, max_size_mb=1024, **self.settings
        )
        self.cache = importlib.import_module("velro_cache.manager").OptimizedCacheManager(config)

    def store_generation_access(self, generation: Any, user: Any, value: object) -> None:
        """Store through the documented helper."""
        self.cache.set_generation_access(generation, user, value)

    def _decorated(self, function: Callable[..., Any], capacity: int) -> Callable[..., Any]:
        """Return the function under `cached_authorization` with a tag per user."""
        self.open(capacity, str)
        decorator = importlib.import_module("velro_cache.decorators").cached_authorization(
            ttl_seconds=TTL_SECONDS, tags=("user:{user_id}",), cache=self.cache
        )
        decorated: Callable[..., Any] = decorator(function)
        return decorated

    def decorate(
        self, function: Callable[[Any, Any], str], capacity: int
    ) -> Callable[[Any, Any], str]:
        """Decorate with `cached_authorization`, tagged by user."""
        return self._decorated(function, capacity)

    def decorate_async(
        self, function: Callable[[Any, Any], Coroutine[Any, Any, str]], capacity: int
    ) -> Callable[[Any, Any], Coroutine[Any, Any, str]]:
        """Decorate with `cached_authorization`, tagged by user."""
        return self._decorated(function, capacity)


class VelroValue(Velro):
    """`OptimizedCacheManager.get_value`, which answers the value alone."""

    slug = "velro-value"
    title = "**velro-cache** `get_value`"
    groups = frozenset(("lookup", "read through", "threads"))

    get = "cache.get_value({key})"
    read_through = """
        value = cache.get_value(key)
        if value is None:
            value = load(key)
            cache.set(key, value, ttl, ("auth", "profile"))
    """

    def unwrap(self, answer: Any) -> object:
        """Turn the value into itself or `MISSING`."""
        return Contestant.unwrap(self, answer)


class VelroUntagged(Velro):
    """Stores without tags, which is what the peers without tags have to be compared with."""

    slug = "velro-untagged"
    title = "**velro-cache**, no tags"
    groups = frozenset(("store", "memory"))

    put = "cache.set(key, value, ttl)"


class VelroShared(Velro):
    """The manager with ``isolation="shared"``: mutable values are handed out by reference."""

    slug = "velro-shared"
    title = '**velro-cache**, `isolation="shared"`'
    groups = frozenset(("grants",))

    settings: ClassVar[dict[str, object]] = {"isolation": "shared"}
    isolated = False


class VelroUncompressed(Velro):
    """The manager without compression, as in the development preset."""

    slug = "velro-uncompressed"
    title = "**velro-cache**, `compression_enabled=False`"
    groups = frozenset(("grants",))

    settings: ClassVar[dict[str, object]] = {"compression_enabled": False}
