"""The hot-key journal in the life of a cache: read at its start, written while it runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from velro_cache.warming.hot_keys import HotKeys
from velro_cache.warming.journal import HotKeyJournal, JournalContent
from velro_cache.warming.refresh import Reload, reload_within
from velro_cache.warming.report import WarmReport

__all__ = ["JournalKeeper"]

log = logging.getLogger("velro_cache")


class JournalKeeper:
    """Reads a journal, loads what it names, and writes it.

    Args:
        journal: Where it lies.
        hot_keys: What is written to it.
        write_every_seconds: How often, while the cache runs.
        timeout_seconds: How long loading what it names may take in all.

    Attributes:
        content: What it said at the last :meth:`read`.

    Raises:
        ValueError: A number is not above 0.
    """

    __slots__ = ("_hot_keys", "_timeout_seconds", "content", "journal", "write_every_seconds")

    def __init__(
        self,
        journal: HotKeyJournal,
        hot_keys: HotKeys,
        write_every_seconds: float,
        timeout_seconds: float,
    ) -> None:
        if not write_every_seconds > 0:
            raise ValueError(f"write_every_seconds must be above 0, not {write_every_seconds}")
        if not timeout_seconds > 0:
            raise ValueError(f"timeout_seconds must be above 0, not {timeout_seconds}")
        self.journal = journal
        self.content = JournalContent()
        self.write_every_seconds = write_every_seconds
        self._timeout_seconds = timeout_seconds
        self._hot_keys = hot_keys

    async def read(self) -> None:
        """Read what it says; never fails."""
        self.content = await asyncio.to_thread(self.journal.read)
        for name in self.content.keys:
            # They stay hot for a while, so that a second restart soon after finds them.
            self._hot_keys.note(*name)

    async def reload(
        self, reload_of: Callable[[str], Reload | None], report: WarmReport, concurrency: int
    ) -> None:
        """Load what it names.

        Args:
            reload_of: The function that loads names of a kind; None: there is none.
            report: Where it is counted.
            concurrency: How many at once.
        """
        names = self.content.keys
        report.total = len(names)
        await reload_within(self._timeout_seconds, names, reload_of, report, concurrency)
        log.info(
            "warmed from the journal: %d loaded, %d not, %d failed, in %.3f s",
            report.loaded,
            report.denied + report.skipped,
            report.failed,
            report.seconds,
        )

    def write(self) -> None:
        """Write the hottest names; a warning if that fails."""
        names = self._hot_keys.hottest(self.journal.max_keys)
        if not names:
            # A process that nobody has asked anything knows no better than the one before.
            return
        try:
            self.journal.write(names)
        except OSError as error:
            log.warning(
                "the hot-key journal %s was not written: %s", self.journal.path, error.strerror
            )
