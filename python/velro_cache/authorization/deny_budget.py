"""How many denials may be cached at once, so that made-up ids do not crowd out real entries.

Whoever asks about ids at random gets a denial for each. Were they all kept, they would fill the
cache and push out the grants of everybody else. Each cache therefore has one account of denials:
so many may be alive, and what comes beyond is answered and not kept.

A denial lives for ``deny_ttl_seconds`` at the most. Time is cut into windows of that length; what
is alive was stored in this window or the one before, so their sum bounds it. Two numbers do, and
no list of keys has to be kept. A clock that is set back begins a new window; one that is set
forward forgets what is counted too early, so that at most as many again may be kept once.
"""

from __future__ import annotations

import weakref
from datetime import datetime
from typing import Final

from velro_cache.fork_safety import ForkSafeLock
from velro_cache.manager import OptimizedCacheManager

__all__ = ["DENIES_PER_ENTRIES", "DenyBudget", "default_denies", "deny_budget_of"]

DENIES_PER_ENTRIES: Final = 10
"""One entry in so many may be a denial, unless ``max_cached_denies`` says otherwise."""


class DenyBudget:
    """Counts the denials that may still be alive in one cache."""

    __slots__ = ("_before", "_begun_at", "_lock", "_now", "_window_seconds", "kept", "not_kept")

    def __init__(self) -> None:
        self._lock = ForkSafeLock()
        self._begun_at: datetime | None = None
        self._window_seconds = 0.0
        self._before = 0
        self._now = 0
        self.kept = 0
        self.not_kept = 0

    def take(self, limit: int, seconds: float, now: datetime) -> bool:
        """Ask whether one more denial may be kept.

        Args:
            limit: How many may be alive.
            seconds: How long this one would live.
            now: The moment, with a time zone.

        Returns:
            True: it may, and is counted.
        """
        with self._lock:
            # The longest life there is: services with shorter ones are counted too carefully.
            self._window_seconds = max(self._window_seconds, seconds)
            self._turn_to(now)
            if self._before + self._now >= limit:
                self.not_kept += 1
                return False
            self._now += 1
            self.kept += 1
            return True

    def alive_at_most(self, now: datetime) -> int:
        """Upper bound on the denials that are alive.

        Args:
            now: The moment, with a time zone.

        Returns:
            Those kept in this window and the one before.
        """
        with self._lock:
            self._turn_to(now)
            return self._before + self._now

    def _turn_to(self, now: datetime) -> None:
        if self._begun_at is None:
            self._begun_at = now
            return
        past = (now - self._begun_at).total_seconds()
        if 0 <= past < self._window_seconds:
            return
        # One window on; or the clock was set back, and nobody can tell how long it has been.
        is_next = past < 0 or past < 2 * self._window_seconds
        self._before = self._now if is_next else 0
        self._now = 0
        self._begun_at = now


def default_denies(max_entries: int) -> int:
    """How many denials may be alive where nobody has said.

    Args:
        max_entries: Bound of the cache.

    Returns:
        A tenth of it, at least 1.
    """
    return max(1, max_entries // DENIES_PER_ENTRIES)


# Weak: the account of a manager goes when the manager does.
_budgets: weakref.WeakKeyDictionary[OptimizedCacheManager, DenyBudget] = weakref.WeakKeyDictionary()
_budgets_lock = ForkSafeLock()


def deny_budget_of(manager: OptimizedCacheManager) -> DenyBudget:
    """The account of a manager, opened when first asked for.

    Args:
        manager: The cache manager.

    Returns:
        The one account in which all denials kept in it are counted.
    """
    budget = _budgets.get(manager)
    if budget is None:
        with _budgets_lock:
            budget = _budgets.setdefault(manager, DenyBudget())
    return budget
