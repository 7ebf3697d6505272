"""What recommendations rest on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from velro_cache.config import OptimizedCacheConfig

__all__ = ["LEAST_LOOKUPS", "MOST_ERROR", "Evidence"]

LEAST_LOOKUPS: Final = 1000
"""Of fewer lookups, a share in percent says nothing yet: by chance alone it is off by three points
or more."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of a cache.

    Attributes:
        stats: The answer of ``get_stats()``.
        settings: The settings of the cache.
        what_if: The answer of ``get_what_if()``. None: there is no estimate.
        history: The answer of ``get_history()``. None: not known.
        top_keys: The answer of ``get_top_keys(500, hash_ids=True)``; empty: not known.
        denials: ``kept`` and ``not_kept``, what became of denials. None: not known.
    """

    stats: Mapping[str, Any]
    settings: OptimizedCacheConfig
    what_if: Mapping[str, Any] | None = None
    history: Mapping[str, Sequence[Any]] | None = None
    top_keys: Sequence[Mapping[str, Any]] = ()
    denials: Mapping[str, int] | None = None

    @property
    def lookups(self) -> int:
        """All lookups so far."""
        return int(self.stats["total_requests"])

    @property
    def has_enough_lookups(self) -> bool:
        """Whether there were so many that shares of them say something."""
        return self.lookups >= LEAST_LOOKUPS

    def gain_points(self, change: str, factor: float) -> float | None:
        """By how much the hit rate is estimated to rise after a change.

        Both rates are estimates of the same simulation, so what is wrong with both of them does not
        count.

        Args:
            change: ``"size"`` or ``"ttl"``.
            factor: What it is multiplied by.

        Returns:
            Percentage points, negative where it falls. None: there is no estimate, or it is not to
            be trusted because the simulation of things as they are misses the measured hit rate.
        """
        if self.what_if is None:
            return None
        rates = {
            (one["change"], one["factor"]): one["estimated_hit_rate"]
            for one in self.what_if["estimates"]
        }
        now, then = rates.get((change, 1.0)), rates.get((change, factor))
        if now is None or then is None:
            return None
        if abs(now - self.what_if["measured_hit_rate"]) > MOST_ERROR:
            return None
        return float(100.0 * (then - now))


MOST_ERROR: Final = 0.05
"""An estimate of things as they are that is off by more than five points is not a guide to things
as they might be."""
