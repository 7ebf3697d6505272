"""Warm-ups that somebody asks for while a cache runs: one at a time, in the background.

They are those of the start once more: the same loaders, the same functions that load a name anew,
each load under a stamp of its own.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from velro_cache.warming.hot_keys import HotKey
from velro_cache.warming.refresh import Reload, reload_within
from velro_cache.warming.report import WarmReport
from velro_cache.warming.sources import Source

__all__ = ["MOST_NAMES", "OnDemand"]

log = logging.getLogger("velro_cache")

MOST_NAMES: Final = 1000
"""Names of one warm-up."""

_NAMES_TIMEOUT_SECONDS: Final = 60.0


class OnDemand:
    """Warm-ups of one cache that somebody asks for.

    Args:
        sources: The loaders that are registered; belongs to the caller, who adds to it.
        reloads: By kind, what loads one name anew; likewise.
        reports: Where it is seen by kind how far a warm-up is; likewise.
        read: Runs loaders.
        is_enabled: Whether the settings allow warming.
        concurrency: How many names are loaded at once.
    """

    __slots__ = (
        "_concurrency",
        "_is_enabled",
        "_read",
        "_reloads",
        "_reports",
        "_sources",
        "_task",
    )

    def __init__(
        self,
        sources: Sequence[Source],
        reloads: Mapping[str, Reload],
        reports: dict[str, WarmReport],
        read: Callable[[list[Source]], Awaitable[None]],
        is_enabled: bool,
        concurrency: int,
    ) -> None:
        self._sources = sources
        self._reloads = reloads
        self._reports = reports
        self._read = read
        self._is_enabled = is_enabled
        self._concurrency = concurrency
        self._task: asyncio.Task[None] | None = None

    @property
    def is_running(self) -> bool:
        """Whether one is under way."""
        return self._task is not None and not self._task.done()

    @property
    def kinds(self) -> list[str]:
        """The kinds that :meth:`begin` knows."""
        return sorted({source.kind for source in self._sources})

    @property
    def kinds_of_names(self) -> list[str]:
        """The kinds that :meth:`begin_names` knows."""
        return sorted(self._reloads)

    def begin(self, kinds: Iterable[str] | None = None) -> asyncio.Task[None]:
        """Run registered loaders again.

        Args:
            kinds: Of which kinds. None: of all.

        Returns:
            The work, which may be awaited or left alone; its reports are in
            ``warmers.reports``. A loader that fails ends no other.

        Raises:
            ValueError: There is no loader of one of these kinds; nothing was begun.
            RuntimeError: One is under way, or warming is switched off; nothing was begun.

        Consistency: as at the start; what is invalidated while a loader runs is not stored by it.
        """
        if isinstance(kinds, str):
            raise TypeError("kinds must be several texts, not one")
        wanted = set(self.kinds if kinds is None else kinds)
        if unknown := wanted.difference(self.kinds):
            raise ValueError(f"nothing is registered for {min(unknown)!r:.80}")
        self._check_free()
        sources = [source for source in self._sources if source.kind in wanted]
        return self._begin(self._read(sources), wanted)

    def begin_names(self, kind: str, names: Iterable[Sequence[str]]) -> asyncio.Task[None]:
        """Load names of a kind anew.

        Args:
            kind: One for which ``register_reload`` was called.
            names: The ids of each name; 1,000 names at the most.

        Returns:
            As :meth:`begin`; the report is that of the kind.

        Raises:
            ValueError: Nobody knows how to load this kind, or there are too many names.
            RuntimeError: As for :meth:`begin`.
        """
        if kind not in self._reloads:
            raise ValueError(f"nobody knows how to load one {kind!r:.80}")
        listed: list[HotKey] = [(kind, *name) for name in names]
        if len(listed) > MOST_NAMES:
            raise ValueError(f"at most {MOST_NAMES} names at once, not {len(listed)}")
        self._check_free()
        return self._begin(self._load(kind, listed), {kind})

    def stop(self) -> None:
        """Cancel what is under way."""
        task, self._task = self._task, None
        if task is not None and not task.get_loop().is_closed():
            task.get_loop().call_soon_threadsafe(task.cancel)

    def _check_free(self) -> None:
        if not self._is_enabled:
            raise RuntimeError("warming is switched off in the settings")
        if self.is_running:
            raise RuntimeError("a warm-up is under way")

    def _begin(self, work: Any, kinds: set[str]) -> asyncio.Task[None]:
        for kind in kinds:
            # Some wait for their turn; what was counted the last time is not theirs.
            self._reports[kind] = WarmReport(kind, is_running=True)

        def ended(_: asyncio.Task[None]) -> None:
            # It may have been cancelled before it came to all of them.
            for kind in kinds:
                self._reports[kind].is_running = False

        loop = asyncio.get_running_loop()
        self._task = loop.create_task(work, name="velro-cache-warming-on-demand")
        self._task.add_done_callback(ended)
        return self._task

    async def _load(self, kind: str, names: list[HotKey]) -> None:
        report = self._reports[kind] = WarmReport(kind, total=len(names), is_running=True)
        reload_of = self._reloads.get
        await reload_within(_NAMES_TIMEOUT_SECONDS, names, reload_of, report, self._concurrency)
        log.info(
            "loaded %s anew: %d granted, %d not, %d failed, in %.3f s",
            kind,
            report.loaded,
            report.denied + report.skipped,
            report.failed,
            report.seconds,
        )
