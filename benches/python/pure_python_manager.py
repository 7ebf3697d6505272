"""The cache manager of the Velro documents, written in plain Python.

The documents describe a dict-based L1 cache with LRU eviction, a TTL per entry, tags, a lock,
formatted hierarchical keys and statistics that include the access time. This is that manager as
a careful Python programmer would write it: it is what a service has without the Rust engine, so
the benchmark's "times faster" are measured against it.

It is meant to be a fair opponent. Whatever the documents leave open is decided in favour of
speed: the lock is taken with ``with`` and not with a timeout, sizes are estimated with
``sys.getsizeof``, nothing is compressed, eviction is plain LRU in O(1), entries use slots, and a
stored value is handed out by reference.
"""

from __future__ import annotations

import functools
import inspect
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from time import monotonic
from typing import Any, Final
from uuid import UUID

KEY_PATTERNS: Final = {
    "user_profile": "auth:user:{user_id}:profile",
    "user_permissions": "auth:user:{user_id}:permissions",
    "generation_access": "auth:gen:{generation_id}:user:{user_id}:access",
    "project_access": "auth:project:{project_id}:user:{user_id}:access",
    "team_role": "auth:team:{team_id}:user:{user_id}:role",
    "uuid_validation": "uuid:validation:{uuid_hash}:context:{context}",
    "session_data": "session:{user_id}:data",
    "rate_limit": "rate_limit:user:{user_id}:window:{window}",
}


class _Entry:
    """One stored value with its deadline, tags, weight and use counters."""

    __slots__ = ("deadline", "hits", "last_access", "priority", "size_bytes", "tags", "value")

    def __init__(
        self,
        value: object,
        deadline: float,
        tags: frozenset[str],
        priority: int,
        size_bytes: int,
        now: float,
    ) -> None:
        self.value = value
        self.deadline = deadline
        self.tags = tags
        self.priority = priority
        self.size_bytes = size_bytes
        self.hits = 0
        self.last_access = now


class PurePythonCacheManager:
    """A thread-safe LRU cache with TTL, tags and statistics in plain Python."""

    def __init__(
        self,
        *,
        max_entries: int = 10_000,
        max_size_mb: int = 128,
        default_ttl_seconds: float = 300.0,
        max_ttl_seconds: float = 3600.0,
        auth_ttl_seconds: float = 600.0,
    ) -> None:
        """Make an empty cache.

        Args:
            max_entries: Number of entries above which the least recently used one is dropped.
            max_size_mb: Estimated size in MiB above which entries are dropped.
            default_ttl_seconds: Time to live of an entry stored without one.
            max_ttl_seconds: Longer times to live are cut down to this one.
            auth_ttl_seconds: Time to live of the authorization helpers' entries.
        """
        self._max_entries = max_entries
        self._max_bytes = max_size_mb * 1024 * 1024
        self._default_ttl = default_ttl_seconds
        self._max_ttl = max_ttl_seconds
        self._auth_ttl = auth_ttl_seconds
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._tagged: dict[str, set[str]] = {}
        self._lock = threading.RLock()
        self._bytes = 0
        self._requests = 0
        self._hits = 0
        self._misses = 0
        self._evictions = 0
        self._expirations = 0
        self._access_seconds = 0.0
        self._auth_requests = 0
        self._auth_hits = 0
        self._permission_hits = 0

    def __len__(self) -> int:
        """Return the number of entries, expired ones that were not yet swept included."""
        return len(self._entries)

    def get(self, key: str, default: object = None) -> tuple[Any, bool]:
        """Look a key up.

        Args:
            key: The key.
            default: What to hand out on a miss.

        Returns:
            ``(value, True)`` on a hit, ``(default, False)`` otherwise.
        """
        begin = monotonic()
        with self._lock:
            self._requests += 1
            entry = self._entries.get(key)
            if entry is None:
                self._misses += 1
                self._access_seconds += monotonic() - begin
                return default, False
            if entry.deadline <= begin:
                self._drop(key)
                self._expirations += 1
                self._misses += 1
                self._access_seconds += monotonic() - begin
                return default, False
            self._entries.move_to_end(key)
            entry.hits += 1
            entry.last_access = begin
            self._hits += 1
            self._access_seconds += monotonic() - begin
            return entry.value, True

    def set(
        self,
        key: str,
        value: object,
        ttl: float | None = None,
        tags: Iterable[str] | None = None,
        priority: int = 1,
    ) -> bool:
        """Store a value.

        Args:
            key: The key.
            value: The value; kept and handed out by reference.
            ttl: Seconds to live; None stands for the configured default.
            tags: Names under which the entry can be invalidated.
            priority: Kept with the entry; plain LRU does not look at it.

        Returns:
            True if the value was stored, False if it alone is larger than the cache.
        """
        now = monotonic()
        lifetime = self._default_ttl if ttl is None else min(ttl, self._max_ttl)
        size_bytes = sys.getsizeof(value) + sys.getsizeof(key)
        if size_bytes > self._max_bytes:
            return False
        names = frozenset(tags) if tags is not None else frozenset()
        entry = _Entry(value, now + lifetime, names, priority, size_bytes, now)
        with self._lock:
            if key in self._entries:
                self._drop(key)
            self._entries[key] = entry
            self._bytes += size_bytes
            for name in names:
                keys = self._tagged.get(name)
                if keys is None:
                    self._tagged[name] = {key}
                else:
                    keys.add(key)
            while len(self._entries) > self._max_entries or self._bytes > self._max_bytes:
                oldest = next(iter(self._entries))
                self._drop(oldest)
                self._evictions += 1
            return True

    def delete(self, key: str) -> bool:
        """Remove an entry; True if there was one."""
        with self._lock:
            if key not in self._entries:
                return False
            self._drop(key)
            return True

    def clear(self) -> None:
        """Remove every entry; the statistics stay."""
        with self._lock:
            self._entries.clear()
            self._tagged.clear()
            self._bytes = 0

    def invalidate_by_tags(self, tags: Iterable[str]) -> int:
        """Remove every entry that carries one of the tags; return how many there were."""
        with self._lock:
            keys: set[str] = set()
            for name in tags:
                keys |= self._tagged.get(name, set())
            for key in keys:
                self._drop(key)
            return len(keys)

    @staticmethod
    def generate_auth_key(key_type: str, **params: object) -> str:
        """Format the key of one of the documented kinds from its ids."""
        return KEY_PATTERNS[key_type].format(**params)

    def get_generation_access(
        self, generation_id: str | UUID, user_id: str | UUID
    ) -> tuple[Any, bool]:
        """Look up what a user may do with a generation: ``(value, hit)``."""
        key = self.generate_auth_key(
            "generation_access", generation_id=generation_id, user_id=user_id
        )
        value, hit = self.get(key)
        with self._lock:
            self._auth_requests += 1
            if hit:
                self._auth_hits += 1
                self._permission_hits += 1
        return value, hit

    def set_generation_access(
        self,
        generation_id: str | UUID,
        user_id: str | UUID,
        data: object,
        ttl: float | None = None,
    ) -> bool:
        """Store what a user may do with a generation, with the documented tags."""
        key = self.generate_auth_key(
            "generation_access", generation_id=generation_id, user_id=user_id
        )
        tags = ("auth", "generation_access", f"generation:{generation_id}", f"user:{user_id}")
        return self.set(key, data, self._auth_ttl if ttl is None else ttl, tags, priority=2)

    def get_stats(self) -> dict[str, float]:
        """Return the counters under the names of the documents."""
        with self._lock:
            requests = self._requests
            return {
                "total_requests": requests,
                "cache_hits": self._hits,
                "cache_misses": self._misses,
                "hit_rate_percent": 100.0 * self._hits / requests if requests else 0.0,
                "average_access_time_ms": (
                    1000.0 * self._access_seconds / requests if requests else 0.0
                ),
                "total_entries": len(self._entries),
                "total_size_mb": self._bytes / (1024 * 1024),
                "evictions": self._evictions,
                "expirations": self._expirations,
                "auth_requests": self._auth_requests,
                "auth_cache_hits": self._auth_hits,
                "permission_check_hits": self._permission_hits,
            }

    def _drop(self, key: str) -> None:
        """Remove an entry that exists and its tag links; the caller holds the lock."""
        entry = self._entries.pop(key)
        self._bytes -= entry.size_bytes
        for name in entry.tags:
            keys = self._tagged[name]
            keys.discard(key)
            if not keys:
                del self._tagged[name]


class TightPurePythonCacheManager(PurePythonCacheManager):
    """The same manager with the id lookup written out by hand.

    The documents layer `get_generation_access` over `generate_auth_key` and `get`. Somebody who
    only wants the last nanosecond out of Python would fold the three into one body, under one
    lock and with an f-string; the benchmark shows this form too, so that nobody has to guess how
    much of the difference is layering.
    """

    def get_generation_access(
        self, generation_id: str | UUID, user_id: str | UUID
    ) -> tuple[Any, bool]:
        """Look up what a user may do with a generation: ``(value, hit)``."""
        key = f"auth:gen:{generation_id}:user:{user_id}:access"
        begin = monotonic()
        with self._lock:
            self._requests += 1
            self._auth_requests += 1
            entry = self._entries.get(key)
            if entry is None or entry.deadline <= begin:
                if entry is not None:
                    self._drop(key)
                    self._expirations += 1
                self._misses += 1
                self._access_seconds += monotonic() - begin
                return None, False
            self._entries.move_to_end(key)
            entry.hits += 1
            entry.last_access = begin
            self._hits += 1
            self._auth_hits += 1
            self._permission_hits += 1
            self._access_seconds += monotonic() - begin
            return entry.value, True


def cached_authorization(
    manager: PurePythonCacheManager, ttl_seconds: float = 600.0
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Cache a function's results in a manager, as the documents' decorator does.

    Args:
        manager: Where the results are kept.
        ttl_seconds: How long a result lives.

    Returns:
        A decorator for plain and for async functions. The key is text made from the function's
        name and the ``repr`` of its arguments.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        prefix = f"{function.__module__}.{function.__qualname__}"

        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def answer_async(*args: object, **kwargs: object) -> Any:
                key = f"{prefix}:{args!r}:{kwargs!r}" if kwargs else f"{prefix}:{args!r}"
                value, hit = manager.get(key)
                if not hit:
                    value = await function(*args, **kwargs)
                    manager.set(key, value, ttl_seconds)
                return value

            return answer_async

        @functools.wraps(function)
        def answer(*args: object, **kwargs: object) -> Any:
            key = f"{prefix}:{args!r}:{kwargs!r}" if kwargs else f"{prefix}:{args!r}"
            value, hit = manager.get(key)
            if not hit:
                value = function(*args, **kwargs)
                manager.set(key, value, ttl_seconds)
            return value

        return answer

    return decorate
