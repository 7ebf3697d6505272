"""Counting checks: one account for each cache manager, however many objects do the checking."""

from __future__ import annotations

import weakref
from dataclasses import dataclass, field
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

    @property
    def total(self) -> int:
        """Checks counted so far."""
        return self.cache_hits + self.shared_loads + self.service_calls

    def as_dict(self) -> dict[str, Any]:
        """What was counted, one consistent reading.

        Returns:
            The counters, ``total_requests``, ``cache_misses`` (all that were not hits),
            ``hit_rate_percent`` and the mean, fastest and slowest check in milliseconds (0.0
            before the first one).
        """
        with self._lock:
            total = self.total
            return {
                "total_requests": total,
                "cache_hits": self.cache_hits,
                "cache_misses": total - self.cache_hits,
                "hit_rate_percent": 100.0 * self.cache_hits / total if total else 0.0,
                "average_response_time_ms": 1000 * self._seconds / total if total else 0.0,
                "fastest_response_ms": 1000 * (self._fastest or 0.0),
                "slowest_response_ms": 1000 * (self._slowest or 0.0),
                "shared_loads": self.shared_loads,
                "service_calls": self.service_calls,
                "refreshes": self.refreshes,
                "expired_hits": self.expired_hits,
                "granted": self.granted,
                "refused": self.refused,
                "errors": self.errors,
            }


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
