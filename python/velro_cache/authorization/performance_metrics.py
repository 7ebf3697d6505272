"""How much sooner answers come from the cache: the accounts of the four questions, side by side.

Times are those of whole calls, as the caller sees them. An answer from the cache counts as cached;
one for which the service was asked, as uncached. One that waited for the call of another is neither
and counts in ``shared_loads``; one that ended in an exception counts in ``errors``. So the
difference of the two means is what a hit really saved, measured in the same process.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from velro_cache.authorization.check_statistics import CheckStatistics

__all__ = ["MEDIA_ACCESS", "performance_metrics"]

MEDIA_ACCESS: Final = "generation_media_access"
"""What the question about media is called in statistics."""


def performance_metrics(accounts: Mapping[str, CheckStatistics], now: datetime) -> dict[str, Any]:
    """Lay the accounts side by side.

    Args:
        accounts: One for each question.
        now: When they are read.

    Returns:
        ``operations``, ``total`` and ``timestamp``; see
        ``HighPerformanceAuthorizationService.get_performance_metrics``.
    """
    total = CheckStatistics()
    operations = {}
    for name, account in accounts.items():
        operations[name] = _with_savings(account)
        total.add(account)
    return {
        "operations": operations,
        "total": _with_savings(total),
        "timestamp": now.isoformat(),
    }


def _with_savings(account: CheckStatistics) -> dict[str, Any]:
    figures = account.as_dict()
    improvement = figures["improvement_ms"]
    saved = None if improvement is None else figures["cache_hits"] * improvement / 1000
    return {**figures, "saved_seconds": saved}
