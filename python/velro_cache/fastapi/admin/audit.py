"""The last invalidations made through the routes: who, what, why, and what came of it."""

import itertools
import logging
import secrets
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

from velro_cache.fastapi.admin.answers import AuditEntry
from velro_cache.request_ids import current_request_id

__all__ = ["AuditLog", "is_mark", "utc_now"]

_beginnings: Final[set[str]] = set()
"""What marks of this process begin with: one text for each audit log there ever was."""

log = logging.getLogger("velro_cache")


def utc_now() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)


def is_mark(text: str) -> bool:
    """Whether an audit log of this process made a text: see :meth:`AuditLog.mark`.

    Args:
        text: What may be a mark, or anything an application wrote.
    """
    beginning, _, serial = text.rpartition("-")
    return beginning in _beginnings and serial.isdecimal()


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
        self._entries: deque[tuple[str, AuditEntry]] = deque(maxlen=size)
        self._now = now
        # Several routers may operate one cache, and several processes come from one fork.
        self._beginning = f"http-{secrets.token_hex(4)}"
        _beginnings.add(self._beginning)
        self._serials = itertools.count(1)

    def mark(self) -> str:
        """Make a name for an invalidation that is about to be made.

        The journal of the cache hears of it, too; by the mark it is known there.

        Returns:
            Such as ``http-5f0c1e9a-7``, of which there is one.
        """
        return f"{self._beginning}-{next(self._serials)}"

    def add(self, mark: str, **fields: Any) -> AuditEntry:
        """Write an entry down.

        Args:
            mark: As the journal of the cache has it.
            **fields: Those of :class:`AuditEntry`, but for the time, the request, and
                that it came over HTTP.
        """
        entry = AuditEntry(
            at=self._now(), made="over_http", request_id=current_request_id(), **fields
        )
        # One step under every interpreter: no lock is held while something is logged.
        self._entries.append((mark, entry))
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

    def latest(self) -> list[tuple[str, AuditEntry]]:
        """Give the entries with their marks, the newest first."""
        return list(reversed(self._entries.copy()))
