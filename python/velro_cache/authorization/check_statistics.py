"""Counting checks: one account for each cache manager, however many objects do the checking."""

from __future__ import annotations

import weakref
from dataclasses import dataclass, field
from typing import Any, Final

from velro_cache._engine import HitCounts
from velro_cache.fork_safety import ForkSafeLock
from velro_cache.manager import OptimizedCacheManager

__all__ = ["CheckStatistics", "statistics_of"]


@dataclass(slots=True)
class CheckStatistics:
    """Counts and times of the checks made through one cache manager.

    Attributes:
        hits: Checks answered by a cached decision: counted without a lock, some of them by the
            compiled half itself.
        shared_loads: Checks answered by a decision that another check was already waiting for.
        service_calls: Checks for which the authorization service was asked.
        refreshes: Checks that were told not to trust the cache (``force_refresh``).
        expired_hits: Cached decisions not used because their own ``expires_at`` had come.
        errors: Checks that ended with an exception: no answer.
    """

    hits: HitCounts = field(default_factory=HitCounts, repr=False)
    shared_loads: int = 0
    service_calls: int = 0
    refreshes: int = 0
    expired_hits: int = 0
    errors: int = 0
    # Of checks that were not hits:
    _granted: int = 0
    _refused: int = 0
    _seconds: float = 0.0
    _answered: int = 0
    _answered_seconds: float = 0.0
    _fastest: float | None = None
    _slowest: float | None = None
    _lock: ForkSafeLock = field(default_factory=ForkSafeLock, repr=False)

    def record_load(
        self, seconds: float, *, granted: bool | None, asked: bool, refresh: bool
    ) -> None:
        """Count a check that the cache could not answer.

        Args:
            seconds: What the whole check took.
            granted: The answer. None: it ended with an exception.
            asked: Whether this check called the service itself, rather than share a call.
            refresh: Whether it was told not to trust the cache.
        """
        with self._lock:
            self.service_calls += asked
            self.shared_loads += not asked
            self.refreshes += refresh
            if granted is None:
                self.errors += 1
            else:
                self._granted += granted
                self._refused += not granted
                if asked:
                    self._answered += 1
                    self._answered_seconds += seconds
            self._seconds += seconds
            self._fastest = _least(self._fastest, seconds)
            self._slowest = _most(self._slowest, seconds)

    def record_expired_hit(self) -> None:
        """Count a cached decision that was past its own ``expires_at``."""
        with self._lock:
            self.expired_hits += 1

    def add(self, other: CheckStatistics) -> None:
        """Add what another account has counted.

        Args:
            other: The other account; stays as it is.
        """
        with other._lock:
            counted = {name: getattr(other, name) for name in _SUMMED}
            fastest, slowest = other._fastest, other._slowest
        with self._lock:
            for name, figure in counted.items():
                setattr(self, name, getattr(self, name) + figure)
            self._fastest = _least(self._fastest, fastest)
            self._slowest = _most(self._slowest, slowest)
        self.hits.add(other.hits)

    def as_dict(self) -> dict[str, Any]:
        """What was counted, in one reading.

        Returns:
            The counters, ``total_requests``, ``cache_misses`` (all that were not hits),
            ``hit_rate_percent`` and the mean, fastest and slowest check in milliseconds (0.0
            before the first one). ``granted`` and ``refused``: answers, cached or not.
            ``average_cached_ms``: the mean of the hits. ``average_uncached_ms``: the mean of the
            checks for which the service was called and gave an answer; those that waited for the
            call of another one are in neither. ``improvement_ms``: the difference of the two. None,
            each, while there is nothing to take a mean of.
        """
        granted, refused, seconds, fastest, slowest = self.hits.read()
        hits = granted + refused
        with self._lock:
            misses = self.shared_loads + self.service_calls
            total = hits + misses
            cached = 1000 * seconds / hits if hits else None
            uncached = 1000 * self._answered_seconds / self._answered if self._answered else None
            both = cached is not None and uncached is not None
            return {
                "total_requests": total,
                "cache_hits": hits,
                "cache_misses": misses,
                "hit_rate_percent": 100.0 * hits / total if total else 0.0,
                "average_response_time_ms": (
                    1000 * (seconds + self._seconds) / total if total else 0.0
                ),
                "fastest_response_ms": 1000 * (_least(self._fastest, fastest) or 0.0),
                "slowest_response_ms": 1000 * (_most(self._slowest, slowest) or 0.0),
                "average_cached_ms": cached,
                "average_uncached_ms": uncached,
                "improvement_ms": (uncached or 0.0) - (cached or 0.0) if both else None,
                "shared_loads": self.shared_loads,
                "service_calls": self.service_calls,
                "refreshes": self.refreshes,
                "expired_hits": self.expired_hits,
                "granted": granted + self._granted,
                "refused": refused + self._refused,
                "errors": self.errors,
            }


_SUMMED: Final = (
    *("shared_loads", "service_calls", "refreshes", "expired_hits", "errors"),
    *("_granted", "_refused", "_seconds", "_answered", "_answered_seconds"),
)


def _least(one: float | None, other: float | None) -> float | None:
    return min((seconds for seconds in (one, other) if seconds is not None), default=None)


def _most(one: float | None, other: float | None) -> float | None:
    return max((seconds for seconds in (one, other) if seconds is not None), default=None)


# Weak: the account of a manager goes when the manager does.
_accounts: weakref.WeakKeyDictionary[OptimizedCacheManager, CheckStatistics] = (
    weakref.WeakKeyDictionary()
)
_accounts_lock = ForkSafeLock()


def statistics_of(manager: OptimizedCacheManager) -> CheckStatistics:
    """The account of a manager, opened when first asked for.

    Args:
        manager: The cache manager.

    Returns:
        The one account all checks through it are counted in.
    """
    account = _accounts.get(manager)
    if account is None:
        with _accounts_lock:
            account = _accounts.setdefault(manager, CheckStatistics())
    return account
