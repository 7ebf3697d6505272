"""Whether the cache is as large as it should be."""

from collections.abc import Iterator
from typing import Final

from velro_cache.recommendations.evidence import Evidence
from velro_cache.recommendations.finding import Finding

__all__ = ["findings_about_size"]

_WORTH_DOUBLING_POINTS: Final = 2.0
"""Less is within what the estimate itself may be off by."""

_HARDLY_LOST_POINTS: Final = 0.5
"""A cache of half the size that loses less is larger than it is good for."""

_MUCH_EVICTED: Final = 0.1
"""Of what is stored. Where there is no estimate, more than that may have gone too early."""

_NEARLY_FULL: Final = 0.95

_MUCH_MEMORY_MB: Final = 16.0
"""Where less is in use, there is nothing worth giving back."""


def findings_about_size(evidence: Evidence) -> Iterator[Finding]:
    """Tell whether there is too little room, or too much."""
    stats = evidence.stats
    entries = stats["total_entries"] / stats["max_entries"]
    memory = stats["total_size_mb"] / stats["max_size_mb"]
    bound = "max_entries" if entries >= memory else "max_size_mb"
    fullness = max(entries, memory)
    gain = evidence.gain_points("size", 2.0)
    if evidence.has_enough_lookups and (small := _too_small(evidence, bound, gain)):
        yield small
    # Where more room is known to be of no use, being full is no news.
    elif fullness >= _NEARLY_FULL and (gain is None or gain >= _WORTH_DOUBLING_POINTS):
        yield Finding(
            "cache_nearly_full",
            "info",
            "The cache is nearly full",
            f"{100 * fullness:.0f} % of {bound} are in use.",
            f"Watch evictions, or raise {bound}.",
        )
    loss = evidence.gain_points("size", 0.5)
    if (
        loss is not None
        and loss > -_HARDLY_LOST_POINTS
        and fullness > 0.5
        and stats["total_size_mb"] >= _MUCH_MEMORY_MB
    ):
        yield Finding(
            "cache_too_large",
            "info",
            "Half the memory would do",
            f"With half the size, the hit rate would fall by about {max(0.0, -loss):.1f} points;"
            f" {stats['total_size_mb']:.0f} MiB are in use.",
            f"If memory is short, halve {bound}.",
        )
    if stats["oversize_rejects"]:
        yield Finding(
            "values_too_large",
            "warning",
            "Some values are larger than the cache may hold",
            f"{stats['oversize_rejects']:,} values were not stored.",
            "Store less of them, or raise max_size_mb.",
        )


def _too_small(evidence: Evidence, bound: str, gain: float | None) -> Finding | None:
    stats = evidence.stats
    evicted, stored = stats["evictions"], stats["sets"]
    if not evicted:
        return None
    detail = f"{evicted:,} of {stored:,} stored entries had to make room."
    if gain is not None:
        if gain < _WORTH_DOUBLING_POINTS:
            return None
        detail += f" With twice the size, the hit rate would rise by about {gain:.1f} points."
    elif evicted <= _MUCH_EVICTED * stored:
        return None
    return Finding(
        "cache_too_small", "warning", "The cache is too small", detail, f"Raise {bound}."
    )
