"""What comes with Python: the plain dict (the yardstick) and `functools.lru_cache`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, ClassVar

from contestants.base import Contestant, Load
from workload import Row


class PlainDict(Contestant):
    """A dict: no bound, no expiry, no lock, no statistics. Every ratio is to this one."""

    slug = "dict"
    title = "plain dict (the yardstick)"
    features = "no bound, no TTL"

    generation_access = 'cache.get(f"auth:gen:{generation}:user:{user}:access")'

    def open(self, capacity: int, load: Load) -> None:
        """Make an empty dict; the capacity is not kept."""
        self.cache = {}

    def store_generation_access(self, generation: object, user: object, value: object) -> None:
        """Store a value under the formatted key."""
        self.cache[f"auth:gen:{generation}:user:{user}:access"] = value

    def decorate_async(
        self, function: Callable[[Any, Any], Coroutine[Any, Any, str]], capacity: int
    ) -> Callable[[Any, Any], Coroutine[Any, Any, str]]:
        """Return the least an async cache can be: a dict behind one coroutine."""
        results: dict[tuple[object, object], str] = {}

        async def answer(user_id: object, generation_id: object) -> str:
            value = results.get((user_id, generation_id))
            if value is None:
                value = results[user_id, generation_id] = await function(user_id, generation_id)
            return value

        return answer


class LruCache(Contestant):
    """`functools.lru_cache`: a function's results, LRU; a lookup is a call."""

    slug = "lru_cache"
    title = "functools.lru_cache"
    features = "LRU, counts; no TTL, no set"

    get = "cache({key})"
    put: ClassVar[str | None] = None
    read_through = "value = cache(key)"

    def open(self, capacity: int, load: Load) -> None:
        """Wrap the source of the values."""
        self.cache = functools.lru_cache(maxsize=capacity)(load)

    def clear(self, rows: Iterable[Row]) -> None:
        """Remove all results."""
        self.cache.cache_clear()

    def size(self) -> int:
        """Return the number of results."""
        return int(self.cache.cache_info().currsize)

    def fill(self, rows: Iterable[Row]) -> None:
        """Call the wrapped source once for each key."""
        for key, _value, _tags in rows:
            self.cache(key)

    def decorate(
        self, function: Callable[[Any, Any], str], capacity: int
    ) -> Callable[[Any, Any], str]:
        """Decorate in the usual way."""
        return functools.lru_cache(maxsize=capacity)(function)
