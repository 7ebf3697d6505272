"""Usage as log records, for those who collect logs anyway."""

from __future__ import annotations

import logging
from typing import Final

from velro_cache.api_keys.usage.events import UsageBatch

__all__ = ["LogUsage"]


class LogUsage:
    """Writes one record for each event, with its fields as attributes of the record.

    Args:
        name: Of the logger.
        level: Of the records.
    """

    def __init__(self, name: str = "velro_cache.api_keys.usage", level: int = logging.INFO) -> None:
        self._logger: Final = logging.getLogger(name)
        self._level = level

    async def write(self, batch: UsageBatch) -> None:
        """See :class:`UsageSink`."""
        if not self._logger.isEnabledFor(self._level):
            return
        for event in batch.events:
            self._logger.log(
                self._level,
                "%s %s %d",
                event.method,
                event.endpoint,
                event.status,
                extra={
                    "organization_id": event.organization_id,
                    "key_id": event.key_id,
                    "endpoint": event.endpoint,
                    "method": event.method,
                    "status": event.status,
                    "duration_seconds": event.duration_seconds,
                    "at": event.at,
                },
            )

    async def aclose(self) -> None:
        """See :class:`UsageSink`."""
