"""The cache manager: the store with warming, statistics and a life cycle."""

import asyncio
import atexit
import logging
import os
import sys
import threading
import time
import weakref
from collections.abc import AsyncIterable, Awaitable, Callable, Generator, Iterable, Mapping
from types import TracebackType
from typing import Any, Self, final

from velro_cache._engine import ManualClock
from velro_cache.config import OptimizedCacheConfig
from velro_cache.fork_safety import ForkSafeLock
from velro_cache.l2.contract import L2Backend, TwoSidedL2Backend
from velro_cache.observed import ObservedCache
from velro_cache.revoking import Revocation
from velro_cache.stats import as_documented
from velro_cache.typed_entries import Id, Wait
from velro_cache.warming.warmers import Warmers

__all__ = ["Id", "OptimizedCacheManager"]

log = logging.getLogger("velro_cache")


@final
class _Started:
    """Result of ``start()`` and ``stop()``: already done, and may be awaited all the same."""

    __slots__ = ("_work",)

    def __init__(self, work: Callable[[], Awaitable[None]]) -> None:
        self._work = work

    def __await__(self) -> Generator[Any, None, None]:
        return self._work().__await__()


class OptimizedCacheManager(ObservedCache):
    """Answers from memory, until told otherwise.

    Safe to use from any number of threads and event loops of one process at once. Works without
    ``start()``; that only adds the sweeper, which gives the memory of expired entries back while
    nobody asks for them and notes once a second how things stand, and the preloaders.

    Each process keeps entries of its own. Invalidations reach all processes of this host whose
    cache has the same ``name``, and with an ``invalidation_log`` all hosts.

    Args:
        config: Settings; None: the defaults.
        clock: A clock that tests move by hand; None: the system's.
        l2: Where values are shared with other hosts (see :mod:`velro_cache.l2`); None: in the
            Redis of ``redis_url``, if there is one.

    Raises:
        SharedTableError: Invalidations cannot be shared on this host.
        ConfigError: The address of the log cannot be used; or values are to be shared, and there
            is no log, a package is missing, or ``l2`` lacks a method.
    """

    __slots__ = ("_bell", "_life_lock", "_preloaders", "_sweeper", "_warmers")

    _preloaders: list[Callable[[], Awaitable[None]]]
    _sweeper: threading.Thread | None
    _warmers: Warmers | None
    _bell: "_Bell"

    def __init__(
        self,
        config: OptimizedCacheConfig | None = None,
        *,
        clock: ManualClock | None = None,
        l2: L2Backend | TwoSidedL2Backend | None = None,
    ) -> None:
        super().__init__(config, clock=clock, l2=l2)
        self._life_lock = ForkSafeLock()
        self._preloaders = []
        self._sweeper = None
        self._warmers = None
        self._bell = _Bell()
        _all.add(self)

    def revoking(
        self,
        *,
        tags: Iterable[str] | None = None,
        user_id: Id | None = None,
        generation_id: Id | None = None,
        keys: Iterable[str] | None = None,
        patterns: Iterable[str] | None = None,
        wait: Wait | None = None,
        reason: str | None = None,
        actor: str | None = None,
    ) -> Revocation:
        """Invalidate when a block is left; it goes around the transaction that revokes.

        ::

            with cache.revoking(user_id=user_id):
                with database.begin() as transaction:
                    ...

        Args:
            tags: Tags, as for ``invalidate_by_tags``, any number.
            user_id: A user, as for ``invalidate_user_data``.
            generation_id: A generation, as for ``invalidate_generation_data``.
            keys: Keys, as for ``delete``.
            patterns: Wildcards, as for ``invalidate_by_pattern``.
            wait: What to wait for if the block succeeds: ``"host"``, ``"bus"`` or ``"fleet"``.
                None: ``invalidation_wait`` of the configuration.
            reason: Why, for ``get_recent_invalidations``.
            actor: Who asks for it.

        Returns:
            A context manager for ``with`` and ``async with``, to which more can be added.

        Raises:
            InvalidTagError, InvalidKeyError, TypeError, ValueError: Before the block runs: what
                was given names nothing, or there is no such ``wait``.
            CacheStoppedError: The cache was stopped.
            ValueError: At the end of the block: nothing was named, there or with ``add()``.
            InvalidationNotAcknowledged: At the end: the commit and the invalidation on this host
                are done, but the log or the other hosts did not answer in time.

        Consistency: when the block has been left, however that came about, no lookup of this
        host that begins later is answered by what was named. If an exception has ended the block,
        nothing is waited for, and the exception goes on.
        Cost: one invalidation for all names.
        """
        wait = self._config.invalidation_wait if wait is None else wait
        revocation = Revocation(self, wait, reason, actor)
        return revocation.add(
            tags=tags, user_id=user_id, generation_id=generation_id, keys=keys, patterns=patterns
        )

    async def warm(
        self,
        entries: AsyncIterable[tuple[str, Any]] | Iterable[tuple[str, Any]] | Mapping[str, Any],
        *,
        ttl: float | None = None,
        tags: Iterable[str] | None = None,
        priority: int = 1,
    ) -> int:
        """Store many entries, ``warming_batch_size`` at a time, letting other tasks run between.

        Args:
            entries: Pairs of key and value; a mapping, an iterable or an asynchronous iterable,
                such as rows streamed from a database.
            ttl: As for ``set``.
            tags: As for ``set``, the same for all.
            priority: As for ``set``, the same for all.

        Returns:
            How many were stored; 0 without reading anything if ``warming_enabled`` is off.

        Consistency: the stamp is taken before the first entry is read, so what is invalidated
        while the warm-up runs is not brought back by it.
        """
        if not self._config.warming_enabled:
            return 0
        stamp = self.snapshot()
        stored = 0
        batch: dict[str, Any] = {}
        tag_list = None if tags is None else list(tags) if not isinstance(tags, str) else tags

        def flush() -> int:
            count = self.set_many(batch, ttl, tag_list, priority, stamp=stamp)
            batch.clear()
            return count

        async for key, value in _aiter(entries):
            batch[key] = value
            if len(batch) >= self._config.warming_batch_size:
                stored += flush()
                await asyncio.sleep(0)
        return stored + flush()

    def add_preloader(self, preloader: Callable[[], Awaitable[None]]) -> None:
        """Have something awaited by ``await start()``, usually a call of :meth:`warm`.

        Args:
            preloader: A coroutine function without arguments. It runs once per start if
                ``warming_enabled`` and ``preload_auth_data`` are on.
        """
        self._preloaders.append(preloader)

    @property
    def warmers(self) -> Warmers:
        """What this cache warms at its start and keeps warm; see :mod:`velro_cache.warming`."""
        with self._life_lock:
            if self._warmers is None:
                config = self._config
                enabled = config.warming_enabled and config.preload_auth_data
                self._warmers = Warmers(self, config.warming_batch_size, enabled)
            return self._warmers

    def get_stats(self) -> dict[str, Any]:
        """Count what happened since the manager was made.

        Returns:
            The documented figures (``hit_rate_percent``, ``average_access_time_ms``,
            ``total_entries`` ...) and more; see :mod:`velro_cache.stats`. Counters are exact;
            times come from one lookup in 128. Cost: `O(shards)`.
        """
        figures = as_documented(self._stats(), self._sharing(), self._config)
        predictor = None if self._warmers is None else self._warmers.predictor
        return {
            **figures,
            "freshness": self._answers.figures(),
            "adaptive_ttl": self._lives.figures(),
            "l2": self._l2_figures(),
            "prediction": None if predictor is None else predictor.figures(),
        }

    def start(self) -> _Started:
        """Start the sweeper, and the preloaders and warmers if awaited.

        Returns:
            Something to await: ``await manager.start()`` also runs the preloaders and what is
            registered with ``warmers``. Without an event loop, plain ``manager.start()`` does all
            but those.
        """
        with self._life_lock:
            self._reopen()
            self._answers.open()
            if self._sweeper is None or not self._sweeper.is_alive():
                self._bell = _Bell()
                self._on_leftovers(self._bell.ring)
                sweeper = threading.Thread(
                    target=_sweep_regularly,
                    args=(weakref.ref(self), self._bell, self._config),
                    name=f"velro-cache-sweeper-{self._config.name}",
                    daemon=True,
                )
                # Some systems and some moments allow no more threads; then there is no sweeper.
                sweeper.start()
                self._sweeper = sweeper
                _started.add(self)
        return _Started(self._preload)

    def stop(self) -> _Started:
        """Stop the sweeper, drop all entries, and refuse further use until ``start()``.

        Returns:
            Something that may be awaited; everything is done already.
        """
        if self._warmers is not None:
            self._warmers.stop()
        self._answers.close()
        self._close()
        self.stop_sweeping()
        if self._l2 is not None:
            self._l2.close()
        return _Started(_nothing if self._l2 is None else self._l2.aclose)

    def stop_sweeping(self) -> None:
        """Stop the sweeper alone; entries stay, and are swept again after ``start()``."""
        with self._life_lock:
            self._on_leftovers(None)
            self._bell.end()
            sweeper, self._sweeper = self._sweeper, None
        if sweeper is not None and sweeper is not threading.current_thread():
            sweeper.join(timeout=5)

    @property
    def is_stopped(self) -> bool:
        """Whether ``stop()`` was called, and no ``start()`` since."""
        return self._closed

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    def __repr__(self) -> str:
        state = "stopped" if self._closed else f"{len(self)} entries"
        return f"<{type(self).__name__} {self._config.name!r}: {state}>"

    async def _preload(self) -> None:
        if self._config.warming_enabled and self._config.preload_auth_data:
            for preloader in self._preloaders:
                await preloader()
            if self._warmers is not None:
                await self._warmers.run()


_started: "weakref.WeakSet[OptimizedCacheManager]" = weakref.WeakSet()
_all: "weakref.WeakSet[OptimizedCacheManager]" = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for manager in list(_all):
        try:
            manager._after_fork()
        except Exception:
            log.exception("cache %r hears from no other host in this child", manager.config.name)
    _send_the_rest_at_end()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


@atexit.register
def _stop_sweepers() -> None:
    """End the sweepers before the interpreter does: it would cut them off in mid-sweep."""
    for manager in list(_started):
        manager.stop_sweeping()
    _send_the_rest()


def _send_the_rest() -> None:
    """Send what this process has invalidated last: nobody else would."""
    for manager in list(_all):
        manager._drain()


def _send_the_rest_at_end(_: object = None) -> None:
    """Have it sent also by processes of ``multiprocessing``, which end without ``atexit``."""
    # Not imported: where nobody has, there are none.
    util = sys.modules.get("multiprocessing.util")
    if util is not None:
        util.Finalize(None, _send_the_rest, exitpriority=0)
        # Each of its processes begins by forgetting what is to be done at the end.
        util.register_after_fork(_send_the_rest, _send_the_rest_at_end)


_send_the_rest_at_end()


class _Bell:
    """Tells a sweeper that there is something to be swept, or that it is to end."""

    __slots__ = ("_ended", "_event")

    def __init__(self) -> None:
        self._event = threading.Event()
        self._ended = False

    def ring(self) -> None:
        """Have it sweep now."""
        self._event.set()

    def end(self) -> None:
        """Have it end."""
        self._ended = True
        self._event.set()

    def wait(self, seconds: float) -> tuple[bool, bool]:
        """Wait so long or until it rings; return whether it has, and False once it is to end."""
        has_rung = self._event.wait(seconds)
        self._event.clear()
        return has_rung, not self._ended


_SECONDS_OF_A_POINT = 1.0
"""So often the sweeper has the history note how things stand."""


def _sweep_regularly(
    manager: "weakref.ref[OptimizedCacheManager]",
    bell: _Bell,
    config: OptimizedCacheConfig,
) -> None:
    # Holds the manager only while it sweeps, so that one nobody uses any more can go.
    interval = config.cleanup_interval_seconds
    sweep_at = time.monotonic() + interval
    while True:
        has_rung, goes_on = bell.wait(min(interval, _SECONDS_OF_A_POINT))
        alive = manager()
        if alive is None or not goes_on:
            return
        try:
            alive._observe()
            if has_rung or time.monotonic() >= sweep_at:
                sweep_at = time.monotonic() + interval
                alive.sweep()
        except Exception:
            log.exception("sweep failed; the next one is in %s s", config.cleanup_interval_seconds)
        del alive


async def _nothing() -> None:
    return None


async def _aiter(
    entries: AsyncIterable[tuple[str, Any]] | Iterable[tuple[str, Any]] | Mapping[str, Any],
) -> AsyncIterable[tuple[str, Any]]:
    if isinstance(entries, AsyncIterable):
        async for pair in entries:
            yield pair
        return
    for pair in entries.items() if isinstance(entries, Mapping) else entries:
        yield pair
