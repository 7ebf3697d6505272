"""All that is warmed in one cache: at the start, from the journal, and while it runs."""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from functools import partial
from time import perf_counter
from typing import Any

from velro_cache.fork_safety import ForkSafeLock
from velro_cache.warming.hot_keys import HotKeys
from velro_cache.warming.journal import HotKeyJournal, JournalContent
from velro_cache.warming.limits import run_limited
from velro_cache.warming.refresh import Refresher, Reload, reload_all
from velro_cache.warming.report import Progress, WarmReport
from velro_cache.warming.sources import Pairs, Source, WarmableCache, read_source

__all__ = ["Warmers"]

log = logging.getLogger("velro_cache")

_AGE_EVERY_SECONDS = 60.0


class Warmers:
    """What a cache warms, and when. Made by ``cache.warmers``.

    ``await cache.start()`` runs the registered loaders and reloads what the journal names; then, if
    asked, keeps the hottest names alive until ``cache.stop()``, which writes the journal.

    Args:
        cache: Where entries go.
        batch_size: ``warming_batch_size`` of the configuration.
        enabled: ``warming_enabled`` of the configuration.
    """

    __slots__ = (
        "__weakref__",
        "_cache",
        "_concurrency",
        "_enabled",
        "_journal",
        "_journal_content",
        "_journal_seconds",
        "_journal_timeout_seconds",
        "_lock",
        "_progress",
        "_ready",
        "_refresh_seconds",
        "_refresher",
        "_reloads",
        "_sources",
        "_tasks",
        "batch_size",
        "hot_keys",
        "reports",
    )

    def __init__(self, cache: WarmableCache, batch_size: int, enabled: bool = True) -> None:
        self._cache = weakref.ref(cache)
        self.batch_size = batch_size
        self._enabled = enabled
        self._lock = ForkSafeLock()
        self._sources: list[Source] = []
        self._reloads: dict[str, Reload] = {}
        self._progress: Progress | None = None
        self._concurrency = 4
        self._journal: HotKeyJournal | None = None
        self._journal_content = JournalContent()
        self._journal_seconds = 60.0
        self._journal_timeout_seconds = 30.0
        self._refresher: Refresher | None = None
        self._refresh_seconds = 5.0
        self._tasks: set[asyncio.Task[None]] = set()
        self._ready = False
        self.hot_keys = HotKeys()
        self.reports: dict[str, WarmReport] = {}

    def register(
        self,
        kind: str,
        loader: Callable[[], AsyncIterable[tuple[Any, Any]] | Awaitable[Pairs]],
        *,
        ttl: float | Callable[[Any], float | None] | None = None,
        tags: Iterable[str] | None = None,
        priority: int = 1,
        permissive: bool | Callable[[Any], bool] = True,
        only_hot: bool = False,
        before_ready: bool = True,
        timeout_seconds: float = 60.0,
    ) -> None:
        """Have entries of a kind loaded at each start.

        Args:
            kind: One of the eight kinds of keys, or a name of your own.
            loader: An asynchronous generator function of pairs, or a coroutine function that
                returns pairs. For one of the eight kinds a pair is the id (or a tuple of the ids
                in the order of the key) and the value; otherwise the key and the value. It must
                read the source itself, not cached results.
            ttl: Life in seconds, or a function from the value to it (0 or less: do not store).
                None: that of the kind, or ``default_ttl_seconds``.
            tags: As for ``set``; for keys of your own only.
            priority: As for ``set``; for keys of your own only.
            permissive: Whether the values allow something, or a function that says so of each.
            only_hot: Store what the journal names, and nothing else.
            before_ready: Whether ``await cache.start()`` waits for it. Otherwise it runs in the
                background.
            timeout_seconds: How long it may take in all.

        Raises:
            TypeError, ValueError: What was given makes no sense.

        Consistency: the stamp is taken before the loader is called.
        """
        listed = None
        if tags is not None:
            if isinstance(tags, str):
                raise TypeError("tags must be several texts, not one")
            listed = tuple(tags)
        source = Source(
            kind=kind,
            loader=loader,
            ttl=ttl,
            tags=listed,
            priority=priority,
            permissive=permissive,
            only_hot=only_hot,
            before_ready=before_ready,
            timeout_seconds=timeout_seconds,
        )
        with self._lock:
            self._sources.append(source)
            self._ready = self._ready and not before_ready

    def register_reload(self, kind: str, reload: Reload) -> None:
        """Say how one name of a kind is loaded anew, from its ids.

        Args:
            kind: Kind of the names, as they are noted in ``hot_keys``.
            reload: A coroutine function of the ids, which are texts. It loads anew whatever is
                there (``aget_or_load(..., refresh=True)``), and returns the life of what it has
                stored in seconds; None: nothing that is worth being kept alive.
        """
        if not callable(reload):
            raise TypeError("reload must be a coroutine function")
        with self._lock:
            self._reloads[kind] = reload

    def unregister_reload(self, kind: str, reload: Reload) -> None:
        """Take back what was registered, if it is still that one.

        Args:
            kind: As registered.
            reload: As registered.
        """
        with self._lock:
            if self._reloads.get(kind) == reload:
                del self._reloads[kind]

    def show_progress(self, progress: Progress | None) -> None:
        """Have somebody told how far each kind is, after each batch.

        Args:
            progress: Called with the report of the kind. None: nobody.
        """
        self._progress = progress

    def use_journal(
        self,
        journal: HotKeyJournal,
        *,
        write_every_seconds: float = 60.0,
        timeout_seconds: float = 30.0,
    ) -> None:
        """Remember the hot names for the next process.

        At the start what the journal names is loaded by the functions of ``register_reload``;
        while the cache runs, and at its stop, the hottest names are written.

        Args:
            journal: Where.
            write_every_seconds: How often, while the cache runs.
            timeout_seconds: How long loading what it names may take in all; the start waits for it.

        Raises:
            ValueError: A number is not above 0.
        """
        if not write_every_seconds > 0:
            raise ValueError(f"write_every_seconds must be above 0, not {write_every_seconds}")
        if not timeout_seconds > 0:
            raise ValueError(f"timeout_seconds must be above 0, not {timeout_seconds}")
        self._journal = journal
        self._journal_timeout_seconds = timeout_seconds
        self._journal_seconds = write_every_seconds

    def keep_hot(
        self,
        *,
        hottest: int = 100,
        every_seconds: float = 5.0,
        concurrency: int = 4,
        fraction: float = 0.75,
        jitter: float = 0.15,
    ) -> Refresher:
        """Load the hottest names anew before they end, from the next start on.

        Args:
            hottest: How many names are kept alive.
            every_seconds: How often it is looked what is due.
            concurrency: How many are loaded at once.
            fraction: After which part of its life a name is loaded anew.
            jitter: By how much that varies, as a part of the life.

        Returns:
            What does it.

        Raises:
            TypeError, ValueError: A number is none, or out of range.
        """
        if not every_seconds > 0:
            raise ValueError(f"every_seconds must be above 0, not {every_seconds}")
        self._refresh_seconds = every_seconds
        self._refresher = Refresher(
            self.hot_keys,
            self._reloads.get,
            hottest=hottest,
            concurrency=concurrency,
            fraction=fraction,
            jitter=jitter,
        )
        self._refresher.retry_seconds = every_seconds
        return self._refresher

    @property
    def is_ready(self) -> bool:
        """Whether all that readiness waits for has been loaded, or tried."""
        return self._ready or not self._enabled or not self._waited_for()

    def was_hot(self, kind: str, *ids: object) -> bool:
        """Whether the journal of the process before this one names something.

        Args:
            kind: Kind of the name.
            *ids: Its ids.

        Returns:
            False, too, before ``await cache.start()`` has read it.
        """
        return self._journal_content.holds((kind, *map(str, ids)))

    async def run(self) -> dict[str, WarmReport]:
        """Load what readiness waits for; then begin with the rest. ``cache.start()`` calls it.

        Returns:
            A report for each kind that was waited for, and for the ``journal``. No failure ends
            it: a cache that is not warm is slower, not wrong.
        """
        if not self._enabled:
            return {}
        self._end_tasks()
        if self._journal is not None:
            self._journal_content = await asyncio.to_thread(self._journal.read)
            for name in self._journal_content.keys:
                # They stay hot for a while, so that a second restart soon after finds them.
                self.hot_keys.note(*name)
        await self._read(self._waited_for())
        if self._journal_content.keys:
            await self._reload_journal()
        self._ready = True
        later = [source for source in self._sources if not source.before_ready]
        if later:
            self._begin(self._read(later), "velro-cache-warming")
        if self._refresher is not None or self._journal is not None:
            self._begin(self._keep_up(), "velro-cache-keeping-hot")
        return dict(self.reports)

    def stop(self) -> None:
        """End what runs in the background, and write the journal. ``cache.stop()`` calls it."""
        self._ready = False
        if self._end_tasks():
            self._write_journal()

    def _end_tasks(self) -> int:
        """End what runs in the background; say how many tasks that were."""
        tasks, self._tasks = self._tasks, set()
        for task in tasks:
            loop = task.get_loop()
            if not loop.is_closed():
                loop.call_soon_threadsafe(task.cancel)
        return len(tasks)

    async def _read(self, sources: list[Source]) -> None:
        cache = self._cache()
        if cache is None:
            return

        async def read(source: Source) -> None:
            self.reports[source.kind] = await read_source(
                source, cache, self.batch_size, self._journal_content.holds, self._progress
            )

        await run_limited((partial(read, source) for source in sources), self._concurrency)

    async def _reload_journal(self) -> None:
        names = self._journal_content.keys
        report = self.reports["journal"] = WarmReport("journal", total=len(names))
        started = perf_counter()
        try:
            async with asyncio.timeout(self._journal_timeout_seconds):
                await reload_all(names, self._reloads.get, report, self._concurrency)
        except TimeoutError as error:
            report.fail(error)
        report.seconds = perf_counter() - started
        log.info(
            "warmed from the journal: %d loaded, %d not, %d failed, in %.3f s",
            report.loaded,
            report.denied + report.skipped,
            report.failed,
            report.seconds,
        )

    async def _keep_up(self) -> None:
        loop = asyncio.get_running_loop()
        aged_at = written_at = loop.time()
        while True:
            await asyncio.sleep(self._refresh_seconds)
            if self._cache() is None:
                # Nobody uses it any more, and nobody has stopped it.
                return
            try:
                if self._refresher is not None:
                    self.reports["refresh"] = await self._refresher.refresh_due()
                if loop.time() - aged_at >= _AGE_EVERY_SECONDS:
                    aged_at = loop.time()
                    self.hot_keys.age()
                if loop.time() - written_at >= self._journal_seconds:
                    written_at = loop.time()
                    await asyncio.to_thread(self._write_journal)
            except Exception:
                log.exception("keeping hot names alive failed; it goes on")

    def _write_journal(self) -> None:
        if self._journal is None:
            return
        names = self.hot_keys.hottest(self._journal.max_keys)
        if not names:
            # A process that nobody has asked anything knows no better than the one before.
            return
        try:
            self._journal.write(names)
        except OSError as error:
            log.warning(
                "the hot-key journal %s was not written: %s", self._journal.path, error.strerror
            )

    def _begin(self, work: Any, name: str) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _waited_for(self) -> list[Source]:
        return [source for source in self._sources if source.before_ready]
