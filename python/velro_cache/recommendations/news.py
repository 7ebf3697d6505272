"""Whether this process hears of what is invalidated elsewhere, and others of what is here."""

from collections.abc import Iterator
from typing import Final

from velro_cache.recommendations.evidence import Evidence
from velro_cache.recommendations.finding import Finding

__all__ = ["findings_about_news"]

_MUCH_LAG_ENTRIES: Final = 1000
"""A follower reads so many in a fraction of a second; one that is further behind is not keeping
up, or has just begun."""

_MANY_LEASE_MISSES: Final = 0.01
"""Above one lookup in a hundred, the log is away often enough for its cause to be looked for."""


def findings_about_news(evidence: Evidence) -> Iterator[Finding]:
    """Tell what is wrong with the table and the log."""
    yield from _of_the_table(evidence)
    yield from _of_the_log(evidence)
    stats = evidence.stats
    if stats["stale_served"]:
        yield Finding(
            "stale_served",
            "warning",
            "Answers outside of what is promised",
            f"{stats['stale_served']:,} lookups were answered without news from the log, because"
            ' of on_silence="serve_stale".',
            'Set on_silence="reload", or make the log easier to reach.',
        )
    missed = stats["miss_reasons"]["lease"]
    if evidence.has_enough_lookups and missed > _MANY_LEASE_MISSES * evidence.lookups:
        yield Finding(
            "lease_misses",
            "warning",
            "Valid entries are not served for want of news",
            f"{missed:,} of {evidence.lookups:,} lookups found an entry and no news from the log.",
            "See whether the log is often away; if not, raise max_staleness_seconds.",
        )


def _of_the_table(evidence: Evidence) -> Iterator[Finding]:
    sharing = evidence.stats["sharing"]
    if sharing["state"] == "lost":
        yield Finding(
            "table_lost",
            "critical",
            "The shared table is lost",
            "Nothing is served from memory, because invalidations of others cannot be seen.",
            "Make room in the folder of the table, or correct its rights.",
        )
    # Who asked for a table of his own knows.
    if sharing["state"] == "private" and evidence.settings.share_invalidations:
        yield Finding(
            "table_private",
            "warning",
            "Invalidations reach this process only",
            "Shared memory was not to be had, so this process has a table of its own.",
            "Give it a folder that it may write to (shared_memory_directory), or, with one worker,"
            " set share_invalidations to False.",
        )


def _of_the_log(evidence: Evidence) -> Iterator[Finding]:
    log = evidence.stats["log"]
    if log is None:
        return
    if not log["has_lease"]:
        yield Finding(
            "log_silent",
            "critical",
            "There is no news from the log",
            "What allows something is loaded each time, since others may have revoked it.",
            "See whether the log can be reached: velro-cache check-config.",
        )
    elif log["lag"] > _MUCH_LAG_ENTRIES:
        yield Finding(
            "log_behind",
            "warning",
            "This host is behind the log",
            f"{log['lag']:,} entries of the log were not applied yet.",
            "See whether the machine is overloaded, or more is invalidated than is meant to be.",
        )
    if log["unpublished"]:
        yield Finding(
            "invalidations_unpublished",
            "warning",
            "Other hosts do not know of all invalidations",
            f"{log['unpublished']:,} invalidations of this host are not in the log yet.",
            "If it stays so, see whether the log takes writes.",
        )
    if log["garbage"]:
        yield Finding(
            "log_garbage",
            "critical",
            "Somebody writes to the log who should not",
            f"{log['garbage']:,} entries of the log could not be understood. Each was taken for"
            " an invalidation of everything.",
            "Find out who can write to it, and let the services alone do so.",
        )
