"""Assertions about what is in a cache."""

from __future__ import annotations

from velro_cache.manager import OptimizedCacheManager

__all__ = ["assert_cached", "assert_not_cached"]


def assert_cached(cache: OptimizedCacheManager, key: str) -> None:
    """Assert that a lookup would find an entry; it counts as none.

    Args:
        cache: Where.
        key: A key, or a wildcard of which at least one entry must be there. Decisions and tokens
            lie below ``auth:gen:{generation_id}:user:{user_id}:access`` and the like, so end the
            key with ``*``.

    Raises:
        AssertionError: It is not there.
    """
    __tracebackhide__ = True
    if not _found(cache, key):
        raise AssertionError(f"not cached: {key!r}; there are {cache.keys(limit=20)}")


def assert_not_cached(cache: OptimizedCacheManager, key: str) -> None:
    """Assert that a lookup would find no entry; it counts as none.

    Args:
        cache: Where.
        key: A key, or a wildcard of which no entry may be there.

    Raises:
        AssertionError: One is there.
    """
    __tracebackhide__ = True
    found = _found(cache, key)
    if found:
        raise AssertionError(f"cached, and should not be: {found}")


def _found(cache: OptimizedCacheManager, key: str) -> list[str]:
    return [key] if key in cache else cache.keys(key, limit=20) if set("*?[") & set(key) else []
