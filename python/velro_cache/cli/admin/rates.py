"""What happened between two looks at the same worker."""

import math
from typing import Any

__all__ = ["Rates"]


class Rates:
    """Turns counters into rates.

    A service has several workers, and any of them may answer; each counts for itself. So what was
    seen is kept for each, and a rate is between two looks at the same one.
    """

    def __init__(self) -> None:
        self._seen: dict[int, tuple[float, dict[str, Any]]] = {}

    def since_last(self, stats: dict[str, Any], now_seconds: float) -> dict[str, float]:
        """Compare with the last look at this worker.

        Args:
            stats: Figures of a worker.
            now_seconds: When, on a clock that never goes back.

        Returns:
            ``lookups_per_second`` and ``hit_rate_percent`` since then; NaN where that is not known:
            at the first look, or when nothing was asked.
        """
        before = self._seen.get(stats["process_id"])
        self._seen[stats["process_id"]] = (now_seconds, stats)
        nothing = {"lookups_per_second": math.nan, "hit_rate_percent": math.nan}
        if before is None:
            return nothing
        seconds = now_seconds - before[0]
        lookups = stats["total_requests"] - before[1]["total_requests"]
        # Fewer than before: another process with the same number.
        if seconds <= 0 or lookups < 0:
            return nothing
        hits = stats["cache_hits"] - before[1]["cache_hits"]
        return {
            "lookups_per_second": lookups / seconds,
            "hit_rate_percent": 100.0 * hits / lookups if lookups else math.nan,
        }
