"""Whether lookups are answered from memory, and fast."""

from collections.abc import Iterator
from typing import Final

from velro_cache.recommendations.evidence import LEAST_LOOKUPS, Evidence
from velro_cache.recommendations.finding import Finding

__all__ = ["findings_about_speed"]

_BUSY_KIND: Final = 0.05
"""A kind with less than one lookup in twenty cannot spoil the whole."""

_FELL_POINTS: Final = 10.0
"""Less is how a hit rate goes up and down in a day."""

_MOST_OF_ALL: Final = 0.5
_LEAST_FOR_A_HOT_KEY: Final = 10_000
"""Of estimated requests: of one in 128 that are looked at, so many make 78."""

_MANY_DENIALS_DROPPED: Final = 0.1
_LEAST_DENIALS: Final = 100


def findings_about_speed(evidence: Evidence) -> Iterator[Finding]:
    """Tell what keeps lookups from being answered from memory, and fast."""
    stats = evidence.stats
    if stats["lock_timeouts"]:
        yield Finding(
            "lock_timeouts",
            "warning",
            "Some lookups gave up on a lock",
            f"{stats['lock_timeouts']:,} operations waited longer than lock_timeout_seconds.",
            "See whether the machine is overloaded; with many threads, raise lock_timeout_seconds.",
        )
    yield from _denials(evidence)
    if not evidence.has_enough_lookups:
        yield Finding(
            "too_few_lookups",
            "info",
            "Not enough lookups yet",
            f"{evidence.lookups:,} lookups were made so far; {LEAST_LOOKUPS:,} are needed to say"
            " more.",
            "Look again later.",
        )
        return
    yield from _hit_rate(evidence)
    yield from _recently(evidence)
    if not stats["meeting_access_time_target"]:
        yield Finding(
            "lookups_slow",
            "warning",
            "Lookups take longer than they should",
            f"{stats['average_access_time_ms']:.6f} ms on average, the target is"
            f" {stats['target_access_time_ms']:g} ms.",
            "See whether the machine is overloaded.",
        )
    yield from _hot_key(evidence)


def _hit_rate(evidence: Evidence) -> Iterator[Finding]:
    stats = evidence.stats
    target = stats["target_hit_rate_percent"]
    if not stats["meeting_hit_rate_target"]:
        reasons = sorted(stats["miss_reasons"].items(), key=lambda item: -item[1])
        yield Finding(
            "hit_rate_low",
            "warning",
            "The hit rate is below its target",
            f"{stats['hit_rate_percent']:.1f} % of {evidence.lookups:,} lookups, the target is"
            f" {target:g} %. Most misses are {reasons[0][0].replace('_', ' ')}.",
            "See the other findings, and what each cause of a miss asks for in the documentation.",
        )
    least = max(LEAST_LOOKUPS, _BUSY_KIND * evidence.lookups)
    busy = [
        (100.0 * family["hits"] / family["requests"], name, family["requests"])
        for name, family in stats["families"].items()
        if family["requests"] >= least
    ]
    # Of one kind alone, everything is said.
    if len(busy) > 1 and min(busy)[0] < target:
        rate, name, requests = min(busy)
        yield Finding(
            "kind_hit_rate_low",
            "info",
            f"Keys of the kind {name} miss most",
            f"{rate:.1f} % of {requests:,} lookups were answered from memory, the target is"
            f" {target:g} %.",
            "See whether these are asked for again at all, and whether their lives are too short.",
        )


def _recently(evidence: Evidence) -> Iterator[Finding]:
    if evidence.history is None:
        return
    hits = sum(count or 0 for count in evidence.history["hits"])
    lookups = hits + sum(count or 0 for count in evidence.history["misses"])
    if lookups < LEAST_LOOKUPS:
        return
    recent, usual = 100.0 * hits / lookups, evidence.stats["hit_rate_percent"]
    if usual - recent >= _FELL_POINTS:
        yield Finding(
            "hit_rate_fell",
            "warning",
            "The hit rate has fallen",
            f"{recent:.1f} % of the last {lookups:,} lookups, {usual:.1f} % of all.",
            "See what changed: a deployment, a wide invalidation, other ids that are asked for.",
        )


def _hot_key(evidence: Evidence) -> Iterator[Finding]:
    # Estimates add up to the number of lookups.
    total = sum(key["estimated_requests"] for key in evidence.top_keys)
    hottest = max(evidence.top_keys, key=lambda key: key["estimated_requests"], default=None)
    if hottest is None:
        return
    sure = hottest["estimated_requests"] - hottest["error_bound"]
    if sure >= _LEAST_FOR_A_HOT_KEY and sure > _MOST_OF_ALL * total:
        yield Finding(
            "one_hot_key",
            "info",
            "Most lookups are for one key",
            f"{hottest['key']}: about {100.0 * sure / total:.0f} % of the lookups of the last"
            " minutes.",
            "Look it up once for each request and hand it on.",
        )


def _denials(evidence: Evidence) -> Iterator[Finding]:
    if evidence.denials is None:
        return
    dropped = evidence.denials["not_kept"]
    every = dropped + evidence.denials["kept"]
    if every >= _LEAST_DENIALS and dropped > _MANY_DENIALS_DROPPED * every:
        yield Finding(
            "denials_not_kept",
            "warning",
            "More is denied than may be cached",
            f"{dropped:,} of {every:,} denials were not kept, so that they do not take the room of"
            " grants.",
            "See whether somebody tries ids at random; if it is ordinary use, raise"
            " max_cached_denies.",
        )
