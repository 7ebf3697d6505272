"""The documents' manager in plain Python, and its hand-folded variant."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, ClassVar

import pure_python_manager
from contestants.base import TTL_SECONDS, Load, PairAnswers


class PurePython(PairAnswers):
    """Dict, lock, TTL, tags and statistics in Python, as the Velro documents describe it."""

    slug = "pure"
    title = "pure-Python manager"
    features = "LRU, TTL, tags, statistics, lock"

    put = "cache.set(key, value, ttl, tags)"
    read_through = """
        value, hit = cache.get(key)
        if not hit:
            value = load(key)
            cache.set(key, value, ttl, ("auth", "profile"))
    """
    generation_access = "cache.get_generation_access(generation, user)"

    manager: ClassVar[type[pure_python_manager.PurePythonCacheManager]] = (
        pure_python_manager.PurePythonCacheManager
    )

    def open(self, capacity: int, load: Load) -> None:
        """Make a manager of that many entries."""
        self.cache = self.manager(max_entries=capacity, max_size_mb=1024)

    def store_generation_access(self, generation: Any, user: Any, value: object) -> None:
        """Store through the documented helper."""
        self.cache.set_generation_access(generation, user, value)

    def decorate(
        self, function: Callable[[Any, Any], str], capacity: int
    ) -> Callable[[Any, Any], str]:
        """Decorate with the documents' decorator."""
        self.open(capacity, str)
        return pure_python_manager.cached_authorization(self.cache, TTL_SECONDS)(function)

    def decorate_async(
        self, function: Callable[[Any, Any], Coroutine[Any, Any, str]], capacity: int
    ) -> Callable[[Any, Any], Coroutine[Any, Any, str]]:
        """Decorate with the documents' decorator."""
        self.open(capacity, str)
        return pure_python_manager.cached_authorization(self.cache, TTL_SECONDS)(function)


class TightPurePython(PurePython):
    """The same with `get_generation_access` folded into one hand-written body."""

    slug = "pure-tight"
    title = "pure-Python manager, folded by hand"
    groups = frozenset(("ids", "grants"))
    manager = pure_python_manager.TightPurePythonCacheManager
