"""The last invalidations made through the routes: who, what, why, and what came of it."""

import itertools
import logging
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from velro_cache.fastapi.admin.answers import AuditEntry

__all__ = ["AuditLog", "utc_now"]

log = logging.getLogger("velro_cache")


def utc_now() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)


class AuditLog:
    """Keeps the last entries of this process in memory, and writes each to the log.

    The logger is ``velro_cache``, at INFO: that is where entries outlive the process.

    Args:
        size: How many are kept; 1 or more.
        now: The wall clock, with a time zone.

    Raises:
        ValueError: ``size`` is out of range.
    """

    def __init__(self, size: int, now: Callable[[], datetime]) -> None:
        if size < 1:
            raise ValueError("audit_size must be 1 or more")
        self._entries: deque[AuditEntry] = deque(maxlen=size)
        self._now = now

    def add(self, **fields: Any) -> AuditEntry:
        """Write an entry down.

        Args:
            **fields: Those of :class:`AuditEntry`, but for the time.
        """
        entry = AuditEntry(at=self._now(), **fields)
        # One step under every interpreter: no lock is held while something is logged.
        self._entries.append(entry)
        log.info(
            "cache %r: %s of %r by %r: %s, %s entries dropped",
            entry.cache,
            entry.action,
            entry.names,
            entry.actor,
            entry.outcome,
            entry.dropped_entries,
            extra={"velro_cache_audit": entry.model_dump(mode="json")},
        )
        return entry

    def latest(self, limit: int) -> list[AuditEntry]:
        """Give the last entries, the newest first.

        Args:
            limit: How many at most.
        """
        return list(itertools.islice(reversed(self._entries.copy()), limit))
