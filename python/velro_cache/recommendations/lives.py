"""Whether entries live as long as they should, and what ends them."""

from collections.abc import Iterator
from typing import Final

from velro_cache.recommendations.evidence import LEAST_LOOKUPS, Evidence
from velro_cache.recommendations.finding import Finding

__all__ = ["findings_about_lives"]

_WORTH_LONGER_POINTS: Final = 2.0
"""Longer lives mean older answers where something changes and is not invalidated, so they are
suggested for a clear gain only."""

_HARDLY_LOST_POINTS: Final = 0.5
"""Lives of half the length that cost less are longer than they need to be."""

_MOST_OF_THE_MISSES: Final = 0.5

_MANY_STALE_LOADS: Final = 0.05
"""Of all values that were loaded: each of them was loaded for one caller alone."""


def findings_about_lives(evidence: Evidence) -> Iterator[Finding]:
    """Tell what ends entries too early, or lets them live for nothing."""
    stats = evidence.stats
    refused, stored = stats["stale_rejects"], stats["sets"]
    loaded = refused + stored
    if loaded >= LEAST_LOOKUPS and refused > _MANY_STALE_LOADS * loaded:
        yield Finding(
            "stale_loads",
            "warning",
            "Many values are invalidated while they are loaded",
            f"{refused:,} of {loaded:,} values were not stored for that reason.",
            "Load faster, or invalidate less: finer tags, or one invalidation for many changes.",
        )
    if not evidence.has_enough_lookups:
        return
    yield from _length(evidence)
    reasons, misses = stats["miss_reasons"], stats["cache_misses"]
    if (
        not stats["meeting_hit_rate_target"]
        and reasons["invalidated"] > _MOST_OF_THE_MISSES * misses
    ):
        yield Finding(
            "misses_by_invalidation",
            "info",
            "Most misses follow an invalidation",
            f"{reasons['invalidated']:,} of {misses:,} lookups that missed asked for what had been"
            " invalidated.",
            "Invalidate by finer tags, or load anew what is asked for most (warming).",
        )


def _length(evidence: Evidence) -> Iterator[Finding]:
    stats = evidence.stats
    gain = evidence.gain_points("ttl", 2.0)
    expired, misses = stats["miss_reasons"]["expired"], stats["cache_misses"]
    # Without an estimate: only where a target is missed, and most misses have that cause.
    is_guess = gain is None
    is_guess = is_guess and not stats["meeting_hit_rate_target"]
    is_guess = is_guess and expired > _MOST_OF_THE_MISSES * misses
    if is_guess or (gain is not None and gain >= _WORTH_LONGER_POINTS):
        detail = f"{expired:,} of {misses:,} lookups that missed asked for what had expired."
        if gain is not None:
            detail += (
                f" With lives of twice the length, the hit rate would rise by about {gain:.1f}"
                " points."
            )
        yield Finding(
            "lives_too_short",
            "info",
            "Longer lives would help",
            detail,
            "Raise default_ttl_seconds or auth_ttl_seconds if every change is invalidated.",
        )
    loss = evidence.gain_points("ttl", 0.5)
    if loss is not None and loss > -_HARDLY_LOST_POINTS and expired:
        yield Finding(
            "lives_too_long",
            "info",
            "Shorter lives would cost hardly anything",
            f"With lives of half the length, the hit rate would fall by about"
            f" {max(0.0, -loss):.1f} points.",
            "If some changes are not invalidated, halve the lives: the longest time for which they"
            " go unnoticed is halved with them.",
        )
