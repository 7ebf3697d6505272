"""All that is warmed in one cache: at the start, from the journal, and while it runs."""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import Any

from velro_cache.fork_safety import ForkSafeLock
from velro_cache.warming.hot_keys import HotKey, HotKeys
from velro_cache.warming.journal import HotKeyJournal
from velro_cache.warming.journal_keeper import JournalKeeper
from velro_cache.warming.limits import run_limited
from velro_cache.warming.on_demand import OnDemand
from velro_cache.warming.prediction import Predictable, Predictor
from velro_cache.warming.prediction_limits import PredictionLimits
from velro_cache.warming.refresh import Refresher, Reload
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
        "_lock",
        "_predictable",
        "_progress",
        "_ready",
        "_refresh_seconds",
        "_refresher",
        "_reloads",
        "_sources",
        "_tasks",
        "batch_size",
        "hot_keys",
        "on_demand",
        "predictor",
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
        self._predictable: dict[str, Predictable] = {}
        self._journal: JournalKeeper | None = None
        self._refresher: Refresher | None = None
        self._refresh_seconds = 5.0
        self._tasks: set[asyncio.Task[None]] = set()
        self._ready = False
        self.hot_keys = HotKeys()
        self.predictor: Predictor | None = None
        self.reports: dict[str, WarmReport] = {}
        self.on_demand = OnDemand(
            self._sources, self._reloads, self.reports, self._read, enabled, self._concurrency
        )

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

    def register_reload(
        self,
        kind: str,
        reload: Reload,
        *,
        is_cached: Callable[..., bool] | None = None,
        preload: Reload | None = None,
    ) -> None:
        """Say how one name of a kind is loaded anew, from its ids.

        Args:
            kind: Kind of the names, as they are noted in ``hot_keys``.
            reload: A coroutine function of the ids, which are texts. It loads anew whatever is
                there (``aget_or_load(..., refresh=True)``), and returns the life of what it has
                stored in seconds; None: nothing that is worth being kept alive.
            is_cached: A function of the ids: whether there is an entry that would be served now,
                without counting as a use. None: names of this kind are not predicted.
            preload: As ``reload``, for what is not cached, and is likely to be asked for. None:
                ``reload`` does it.
        """
        if not callable(reload):
            raise TypeError("reload must be a coroutine function")
        with self._lock:
            self._reloads[kind] = reload
            self._predictable.pop(kind, None)
            if is_cached is not None:
                self._predictable[kind] = Predictable(preload or reload, is_cached)

    def unregister_reload(self, kind: str, reload: Reload) -> None:
        """Take back what was registered, if it is still that one.

        Args:
            kind: As registered.
            reload: As registered.
        """
        with self._lock:
            if self._reloads.get(kind) == reload:
                del self._reloads[kind]
                self._predictable.pop(kind, None)

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
        self._journal = JournalKeeper(journal, self.hot_keys, write_every_seconds, timeout_seconds)

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

    def predict(
        self,
        user_at: Mapping[str, int],
        limits: PredictionLimits | None = None,
        *,
        group_of: Callable[[str], str | None] | None = None,
    ) -> Predictor:
        """Load ahead what a user is likely to ask for next, from the next start on.

        Args:
            user_at: By kind, which of the ids is the user's, from 0. Kinds are those noted in
                ``hot_keys``, and registered by :meth:`register_reload` with ``is_cached``.
            limits: How much of it there may be. None: the defaults.
            group_of: From a user's id to the group whose habits his accesses are part of, such as
                his role. It must be quick. None, or None returned: each user has habits of his own.

        Returns:
            What does it; its ``figures()`` say how it does.

        Raises:
            ValueError: A place is negative.
        """
        self.predictor = Predictor(
            self.hot_keys, user_at, self._predictable.get, limits or PredictionLimits(), group_of
        )
        return self.predictor

    @property
    def is_ready(self) -> bool:
        """Whether all that readiness waits for has been loaded, or tried."""
        return self._ready or not self._enabled or not self._waited_for()

    @property
    def journal(self) -> HotKeyJournal | None:
        """The journal of :meth:`use_journal`. None: there is none."""
        return None if self._journal is None else self._journal.journal

    @property
    def journal_names(self) -> int:
        """How many names the journal held when ``await cache.start()`` read it."""
        return 0 if self._journal is None else len(self._journal.content)

    def was_hot(self, kind: str, *ids: object) -> bool:
        """Whether the journal of the process before this one names something.

        Args:
            kind: Kind of the name.
            *ids: Its ids.

        Returns:
            False, too, before ``await cache.start()`` has read it.
        """
        return self._is_in_journal((kind, *map(str, ids)))

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
            await self._journal.read()
        await self._read(self._waited_for())
        if self._journal is not None and self._journal.content.keys:
            report = self.reports["journal"] = WarmReport("journal")
            await self._journal.reload(self._reloads.get, report, self._concurrency)
        self._ready = True
        later = [source for source in self._sources if not source.before_ready]
        if later:
            self._begin(self._read(later), "velro-cache-warming")
        if self._refresher is not None or self._journal is not None:
            self._begin(self._keep_up(), "velro-cache-keeping-hot")
        if self.predictor is not None:
            self._begin(self.predictor.run(), "velro-cache-predicting")
        return dict(self.reports)

    def stop(self) -> None:
        """End what runs in the background, and write the journal. ``cache.stop()`` calls it."""
        self._ready = False
        if self._end_tasks() and self._journal is not None:
            self._journal.write()

    def _end_tasks(self) -> int:
        """End what runs in the background; say how many tasks ran on their own."""
        self.on_demand.stop()
        tasks, self._tasks = self._tasks, set()
        for task in tasks:
            loop = task.get_loop()
            if not loop.is_closed():
                loop.call_soon_threadsafe(task.cancel)
        return len(tasks)

    async def _read(self, sources: list[Source]) -> None:
        cache = self._cache()
        if cache is None or not sources:
            return

        async def read(source: Source) -> None:
            report = self.reports[source.kind] = WarmReport(source.kind)
            await read_source(
                source, cache, self.batch_size, self._is_in_journal, self._progress, report
            )

        await run_limited((partial(read, source) for source in sources), self._concurrency)

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
                journal = self._journal
                if journal and loop.time() - written_at >= journal.write_every_seconds:
                    written_at = loop.time()
                    await asyncio.to_thread(journal.write)
            except Exception:
                log.exception("keeping hot names alive failed; it goes on")

    def _is_in_journal(self, name: HotKey) -> bool:
        return self._journal is not None and self._journal.content.holds(name)

    def _begin(self, work: Any, name: str) -> None:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _waited_for(self) -> list[Source]:
        return [source for source in self._sources if source.before_ready]
