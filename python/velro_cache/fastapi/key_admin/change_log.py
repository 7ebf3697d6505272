"""The last changes made through the routes: who, what, why, and what came of it."""

import logging
from collections import deque
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from velro_cache.fastapi.admin.audit import AuditLog
from velro_cache.fastapi.key_admin.answers import ChangeEntry
from velro_cache.request_ids import current_request_id

__all__ = ["ChangeLog"]

log = logging.getLogger("velro_cache")

_LEVELS: Final = {"done": logging.INFO, "refused": logging.INFO}


class ChangeLog:
    """Keeps the last entries of this process in memory, and writes each to the log.

    The logger is ``velro_cache``: that is where entries outlive the process. No entry holds a key.

    Args:
        size: How many are kept; 1 or more.
        now: The wall clock, with a time zone.

    Raises:
        ValueError: ``size`` is out of range.
    """

    def __init__(self, size: int, now: Callable[[], datetime]) -> None:
        if size < 1:
            raise ValueError("changes_kept must be 1 or more")
        self._entries: deque[ChangeEntry] = deque(maxlen=size)
        self._now = now
        # The cache tells by its marks what was invalidated over HTTP.
        self._marks = AuditLog(1, now)

    def mark(self) -> str:
        """Make a name for a change that is about to be made; see :meth:`AuditLog.mark`."""
        return self._marks.mark()

    def add(self, **fields: Any) -> None:
        """Write an entry down.

        Args:
            **fields: Those of :class:`ChangeEntry`, but for the time and the request.
        """
        entry = ChangeEntry(at=self._now(), request_id=current_request_id(), **fields)
        self._entries.append(entry)
        log.log(
            _LEVELS.get(entry.outcome, logging.WARNING),
            "api keys: %s of organization %r, key %r by %r: %s",
            entry.action,
            entry.organization_id,
            entry.key_id,
            entry.actor,
            entry.outcome,
            extra={"velro_cache_key_change": entry.model_dump(mode="json")},
        )

    def latest(self, limit: int) -> list[ChangeEntry]:
        """Give entries, the newest first.

        Args:
            limit: How many at most.
        """
        return list(reversed(self._entries.copy()))[:limit]
