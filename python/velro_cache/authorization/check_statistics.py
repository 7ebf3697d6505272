"""Counting checks: one account for each cache manager, however many objects do the checking."""

from __future__ import annotations

import weakref
from dataclasses import dataclass, field, fields
from typing import Any

from velro_cache.fork_safety import ForkSafeLock
from velro_cache.manager import OptimizedCacheManager

__all__ = ["CheckStatistics", "statistics_of"]


@dataclass(slots=True)
class CheckStatistics:
    """Counts and times of the checks made through one cache manager.

    Attributes:
        cache_hits: Checks answered by a cached decision.
        shared_loads: Checks answered by a decision that another check was already waiting for.
        service_calls: Checks for which the authorization service was asked.
        refreshes: Checks that were told not to trust the cache (``force_refresh``).
        expired_hits: Cached decisions not used because their own ``expires_at`` had come.
        granted: Answers that allowed what was asked for.
        refused: Answers that did not.
        errors: Checks that ended with an exception: no answer.
    """

    cache_hits: int = 0
    shared_loads: int = 0
    service_calls: int = 0
    refreshes: int = 0
    expired_hits: int = 0
    granted: int = 0
    refused: int = 0
    errors: int = 0
    _seconds: float = 0.0
    _cached_seconds: float = 0.0
    _uncached: int = 0
    _uncached_seconds: float = 0.0
    _fastest: float | None = None
    _slowest: float | None = None
    _lock: ForkSafeLock = field(default_factory=ForkSafeLock, repr=False)

    def record_hit(self, seconds: float, granted: bool) -> None:
        """Count an answer from the cache.

        Args:
            seconds: What the whole check took.
            granted: The answer.
        """
        with self._lock.lock:
            self.cache_hits += 1
            self._cached_seconds += seconds
            # What _record does; a call would cost as much again.
            if granted:
                self.granted += 1
            else:
                self.refused += 1
            self._seconds += seconds
            fastest, slowest = self._fastest, self._slowest
            if fastest is None or seconds < fastest:
                self._fastest = seconds
            if slowest is None or seconds > slowest:
                self._slowest = seconds

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
            if asked and granted is not None:
                self._uncached += 1
                self._uncached_seconds += seconds
            self._record(seconds, granted)

    def record_expired_hit(self) -> None:
        """Count a cached decision that was past its own ``expires_at``."""
        with self._lock:
            self.expired_hits += 1

    def _record(self, seconds: float, granted: bool | None) -> None:
        if granted is None:
            self.errors += 1
        elif granted:
            self.granted += 1
        else:
            self.refused += 1
        self._seconds += seconds
        if self._fastest is None or seconds < self._fastest:
            self._fastest = seconds
        if self._slowest is None or seconds > self._slowest:
            self._slowest = seconds

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
            both = [seconds for seconds in (self._fastest, fastest) if seconds is not None]
            self._fastest = min(both, default=None)
            both = [seconds for seconds in (self._slowest, slowest) if seconds is not None]
            self._slowest = max(both, default=None)

    @property
    def total(self) -> int:
        """Checks counted so far."""
        return self.cache_hits + self.shared_loads + self.service_calls

    def as_dict(self) -> dict[str, Any]:
        """What was counted, one consistent reading.

        Returns:
            The counters, ``total_requests``, ``cache_misses`` (all that were not hits),
            ``hit_rate_percent`` and the mean, fastest and slowest check in milliseconds (0.0
            before the first one). ``average_cached_ms``: the mean of the hits.
            ``average_uncached_ms``: the mean of the checks for which the service was called and
            gave an answer; those that waited for the call of another one are in neither.
            ``improvement_ms``: the difference of the two. None, each, while there is nothing to
            take a mean of.
        """
        with self._lock:
            total = self.total
            cached = 1000 * self._cached_seconds / self.cache_hits if self.cache_hits else None
            uncached = 1000 * self._uncached_seconds / self._uncached if self._uncached else None
            both = cached is not None and uncached is not None
            return {
                "total_requests": total,
                "cache_hits": self.cache_hits,
                "cache_misses": total - self.cache_hits,
                "hit_rate_percent": 100.0 * self.cache_hits / total if total else 0.0,
                "average_response_time_ms": 1000 * self._seconds / total if total else 0.0,
                "fastest_response_ms": 1000 * (self._fastest or 0.0),
                "slowest_response_ms": 1000 * (self._slowest or 0.0),
                "average_cached_ms": cached,
                "average_uncached_ms": uncached,
                "improvement_ms": (uncached or 0.0) - (cached or 0.0) if both else None,
                "shared_loads": self.shared_loads,
                "service_calls": self.service_calls,
                "refreshes": self.refreshes,
                "expired_hits": self.expired_hits,
                "granted": self.granted,
                "refused": self.refused,
                "errors": self.errors,
            }


_SUMMED = tuple(one.name for one in fields(CheckStatistics) if one.type in ("int", "float"))


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
