"""What the figures of a cache suggest."""

from typing import Any, Final

__all__ = ["recommendations"]

_LEAST_LOOKUPS: Final = 1000
"""Fewer say nothing yet."""

_NEARLY_FULL: Final = 0.95


def recommendations(stats: dict[str, Any]) -> list[str]:
    """Say what to look at, the most urgent first.

    Args:
        stats: The answer of ``/stats``, with ``target_hit_rate_percent`` and
            ``target_access_time_ms`` laid over it.

    Returns:
        Sentences; none if there is nothing to be done.
    """
    return [*_safety(stats), *_room(stats), *_speed(stats)]


def _safety(stats: dict[str, Any]) -> list[str]:
    found = []
    sharing, log = stats["sharing"], stats["log"]
    if sharing["state"] == "lost":
        found.append(
            "The shared table is lost: nothing is served from memory. Make room in the folder of"
            " the table, or correct its rights."
        )
    if sharing["state"] == "private":
        found.append(
            "Invalidations reach this process only. Share them (share_invalidations), unless"
            " there is one worker."
        )
    if log is not None and not log["has_lease"]:
        found.append(
            "There is no news from the log: what allows something is loaded each time. See whether"
            " the log can be reached (velro-cache check-config)."
        )
    if log is not None and log["unpublished_invalidations"]:
        found.append(
            f"{log['unpublished_invalidations']:,} invalidations are not in the log yet: other"
            " hosts do not know of them."
        )
    if log is not None and log["garbage_entries"]:
        found.append("Somebody writes to the log who should not: entries cannot be understood.")
    if stats["stale_served_lookups"]:
        found.append(
            f"{stats['stale_served_lookups']:,} lookups were answered outside of what is promised"
            ' (on_silence="serve_stale").'
        )
    return found


def _room(stats: dict[str, Any]) -> list[str]:
    found = []
    entries = stats["total_entries"] / stats["max_entries"]
    memory = stats["total_size_mb"] / stats["max_size_mb"]
    evicted = stats["evicted_entries"]
    if evicted and evicted > stats["sets"] / 10:
        which = "max_entries" if entries >= memory else "max_size_mb"
        found.append(
            f"{evicted:,} of {stats['sets']:,} stored entries had to make room: raise {which}."
        )
    elif max(entries, memory) >= _NEARLY_FULL:
        which = "max_entries" if entries >= memory else "max_size_mb"
        found.append(f"The cache is nearly full: watch evictions, or raise {which}.")
    if stats["oversize_rejects"]:
        found.append(
            f"{stats['oversize_rejects']:,} values were larger than the cache may hold: store"
            " less of them, or raise max_size_mb."
        )
    return found


def _speed(stats: dict[str, Any]) -> list[str]:
    lookups = stats["total_requests"]
    if lookups < _LEAST_LOOKUPS:
        return [f"Only {lookups:,} lookups were made so far: too few to say more."]
    found = []
    target = stats["target_hit_rate_percent"]
    if stats["hit_rate_percent"] < target:
        worst = min(
            (
                (family["hit_rate_percent"], name)
                for name, family in stats["families"].items()
                if family["requests"] >= lookups / 20
            ),
            default=None,
        )
        where = f"; worst among the busy kinds: {worst[1]} ({worst[0]:.1f} %)" if worst else ""
        why = ""
        if stats["expired_entries"] > stats["invalidated_entries"] + stats["evicted_entries"]:
            why = " Most entries left because their life was over: longer lives would help."
        elif stats["invalidated_entries"] > stats["expired_entries"] + stats["evicted_entries"]:
            why = " Most entries left because they were invalidated: name less, or warm."
        found.append(
            f"The hit rate is {stats['hit_rate_percent']:.1f} %, the target {target:g} %"
            f"{where}.{why}"
        )
    if stats["average_access_time_ms"] > stats["target_access_time_ms"]:
        found.append(
            f"A lookup takes {stats['average_access_time_ms']:.6f} ms on average, the target is"
            f" {stats['target_access_time_ms']:g} ms: see whether the machine is overloaded."
        )
    if stats["lock_timeouts"]:
        found.append(f"{stats['lock_timeouts']:,} lookups gave up on a lock.")
    if stats["fail_closed_lookups"] > lookups / 100:
        found.append(
            f"{stats['fail_closed_lookups']:,} lookups were not answered for want of news from the"
            " log: it is often away, or max_staleness_seconds is short."
        )
    if stats["stale_rejects"] > stats["sets"] / 20:
        found.append(
            "Many values are invalidated while they are loaded: load faster, or invalidate less."
        )
    return found
