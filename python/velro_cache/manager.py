"""The cache manager: the compiled store, with configuration, loading and a life cycle."""

import asyncio
import dataclasses
import logging
import os
import sys
import threading
import weakref
from collections.abc import AsyncIterable, Awaitable, Callable, Generator, Iterable, Mapping
from types import TracebackType
from typing import Any, Final, Self, TypeVar, cast, final, overload
from uuid import UUID

from velro_cache._engine import CacheCore, ManualClock, generate_auth_key, key_kinds
from velro_cache.config import OptimizedCacheConfig
from velro_cache.loader import Flights, Ttl
from velro_cache.stats import as_documented

__all__ = ["Id", "OptimizedCacheManager"]

Id = str | UUID | int
"""What names a user, a generation, a project or a team."""

T = TypeVar("T")

log = logging.getLogger("velro_cache")

_MISS: Final = object()
_CONFIGURED: Final[Any] = object()
_KINDS: Final = {name: number for number, (name, _, _) in enumerate(key_kinds())}


@final
class _Started:
    """Result of ``start()`` and ``stop()``: already done, and may be awaited all the same."""

    __slots__ = ("_work",)

    def __init__(self, work: Callable[[], Awaitable[None]]) -> None:
        self._work = work

    def __await__(self) -> Generator[Any, None, None]:
        return self._work().__await__()


class OptimizedCacheManager(CacheCore):
    """Answers from memory, until told otherwise.

    Safe to use from any number of threads and event loops of one process at once. Works without
    ``start()``; that only adds the sweeper, which gives the memory of expired entries back while
    nobody asks for them, and the preloaders.

    Invalidation reaches this process. Another worker process has a cache of its own.

    Args:
        config: Settings; None: the defaults.
        clock: A clock that tests move by hand; None: the system's.
    """

    __slots__ = ("_config", "_flights", "_preloaders", "_stop_sweeping", "_sweeper")

    _config: OptimizedCacheConfig
    _flights: Flights
    _preloaders: list[Callable[[], Awaitable[None]]]
    _sweeper: threading.Thread | None
    _stop_sweeping: threading.Event

    def __new__(
        cls, config: OptimizedCacheConfig | None = None, *, clock: ManualClock | None = None
    ) -> Self:
        """Build the compiled half from the settings."""
        settings = dataclasses.asdict(config or OptimizedCacheConfig())
        return super().__new__(cls, {**settings, "shards": _locks()}, clock)

    def __init__(
        self, config: OptimizedCacheConfig | None = None, *, clock: ManualClock | None = None
    ) -> None:
        self._config = config or OptimizedCacheConfig()
        self._flights = Flights(self)
        self._preloaders = []
        self._sweeper = None
        self._stop_sweeping = threading.Event()

    @property
    def config(self) -> OptimizedCacheConfig:
        """The settings this manager was made with."""
        return self._config

    # ------------------------------------------------------------------ loading

    def get_or_load(
        self,
        key: str,
        loader: Callable[[], T],
        *,
        ttl: Ttl = None,
        tags: Iterable[str] | None = None,
        priority: int = 1,
        load_timeout_seconds: float | None = _CONFIGURED,
        refresh: bool = False,
    ) -> T:
        """Look a key up; on a miss, load it once for everybody who asks meanwhile.

        Args:
            key: Name of the entry.
            loader: Called without arguments on a miss. What it returns is cached, None too.
            ttl: Life in seconds, or a function from the loaded value to it (0 or less: do not
                cache). None: ``default_ttl_seconds``.
            tags: As for ``set``.
            priority: As for ``set``.
            load_timeout_seconds: Longest wait for a load in another thread; None: no limit.
                Left out: as configured. A load in this thread is not interrupted.
            refresh: Load even if there is a value, and even if somebody else is loading: for a
                caller that must see the state of now.

        Returns:
            The value; a copy of the caller's own.

        Raises:
            LoaderTimeoutError: Another thread's load took too long.
            LoaderRecursionError: The loader asked for its own key.
            Exception: Whatever the loader raised, for everybody who waited. Nothing is cached.

        Consistency: a value invalidated while it was being loaded is not stored, and given only
        to callers that had asked before the invalidation.
        """
        if not refresh:
            found = self.get_value(key, _MISS)
            if found is not _MISS:
                return cast("T", found)
        return self.load_missing(
            key,
            loader,
            ttl=ttl,
            tags=tags,
            priority=priority,
            load_timeout_seconds=load_timeout_seconds,
            refresh=refresh,
        )

    def load_missing(
        self,
        key: str,
        loader: Callable[[], T],
        *,
        ttl: Ttl = None,
        tags: Iterable[str] | None = None,
        priority: int = 1,
        load_timeout_seconds: float | None = _CONFIGURED,
        refresh: bool = False,
    ) -> T:
        """Do what :meth:`get_or_load` does after its lookup has missed.

        For callers that looked already: a second lookup would count a second miss.
        """
        timeout = self._timeout(load_timeout_seconds)
        entry = self._prepare(key, None if callable(ttl) else ttl, tags, priority)
        return cast("T", self._flights.load(key, entry, loader, ttl, timeout, refresh))

    @overload
    async def aget_or_load(
        self,
        key: str,
        loader: Callable[[], Awaitable[T]],
        *,
        ttl: Ttl = None,
        tags: Iterable[str] | None = None,
        priority: int = 1,
        load_timeout_seconds: float | None = _CONFIGURED,
        refresh: bool = False,
    ) -> T: ...
    @overload
    async def aget_or_load(
        self,
        key: str,
        loader: Callable[[], T],
        *,
        ttl: Ttl = None,
        tags: Iterable[str] | None = None,
        priority: int = 1,
        load_timeout_seconds: float | None = _CONFIGURED,
        refresh: bool = False,
    ) -> T: ...
    async def aget_or_load(
        self,
        key: str,
        loader: Callable[[], Awaitable[T] | T],
        *,
        ttl: Ttl = None,
        tags: Iterable[str] | None = None,
        priority: int = 1,
        load_timeout_seconds: float | None = _CONFIGURED,
        refresh: bool = False,
    ) -> T:
        """Look a key up; on a miss, await its loader once for everybody who asks meanwhile.

        Args:
            key: Name of the entry.
            loader: Called without arguments on a miss; may be a coroutine function. What it
                returns is cached, None too. It runs in a task of its own, so a caller that is
                cancelled does not take the load away from the others.
            ttl: As for ``get_or_load``.
            tags: As for ``set``.
            priority: As for ``set``.
            load_timeout_seconds: Longest time for the load, after which it is cancelled; None:
                no limit. Left out: as configured.
            refresh: As for ``get_or_load``.

        Returns:
            The value; a copy of the caller's own.

        Raises:
            LoaderTimeoutError: The load took too long.
            LoaderRecursionError: The loader asked for its own key.
            LoaderCancelledError: The loader raised ``CancelledError`` of its own accord.
            Exception: Whatever the loader raised, for everybody who waited. Nothing is cached.

        Consistency: as for ``get_or_load``.
        """
        if not refresh:
            found = self.get_value(key, _MISS)
            if found is not _MISS:
                return cast("T", found)
        return await self.aload_missing(
            key,
            cast("Callable[[], Awaitable[T]]", loader),
            ttl=ttl,
            tags=tags,
            priority=priority,
            load_timeout_seconds=load_timeout_seconds,
            refresh=refresh,
        )

    @overload
    async def aload_missing(
        self,
        key: str,
        loader: Callable[[], Awaitable[T]],
        *,
        ttl: Ttl = None,
        tags: Iterable[str] | None = None,
        priority: int = 1,
        load_timeout_seconds: float | None = _CONFIGURED,
        refresh: bool = False,
    ) -> T: ...
    @overload
    async def aload_missing(
        self,
        key: str,
        loader: Callable[[], T],
        *,
        ttl: Ttl = None,
        tags: Iterable[str] | None = None,
        priority: int = 1,
        load_timeout_seconds: float | None = _CONFIGURED,
        refresh: bool = False,
    ) -> T: ...
    async def aload_missing(
        self,
        key: str,
        loader: Callable[[], Awaitable[T] | T],
        *,
        ttl: Ttl = None,
        tags: Iterable[str] | None = None,
        priority: int = 1,
        load_timeout_seconds: float | None = _CONFIGURED,
        refresh: bool = False,
    ) -> T:
        """Do what :meth:`aget_or_load` does after its lookup has missed.

        For callers that looked already: a second lookup would count a second miss.
        """
        timeout = self._timeout(load_timeout_seconds)
        entry = self._prepare(key, None if callable(ttl) else ttl, tags, priority)
        return cast("T", await self._flights.aload(key, entry, loader, ttl, timeout, refresh))

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

    # ------------------------------------------------------------------ typed setters

    def generate_auth_key(self, key_type: str, **params: Id) -> str:
        """Build the key of one of the eight kinds; see :func:`velro_cache.generate_auth_key`."""
        return generate_auth_key(key_type, **params)

    def set_user_profile(
        self, user_id: Id, data: Any, ttl: float | None = None, *, stamp: int | None = None
    ) -> bool:
        """Store a user's profile for ``auth_ttl_seconds``, tagged with the user."""
        return self._set_typed(_KINDS["user_profile"], (user_id,), data, ttl, stamp)

    def set_user_permissions(
        self, user_id: Id, data: Any, ttl: float | None = None, *, stamp: int | None = None
    ) -> bool:
        """Store a user's permissions for ``auth_ttl_seconds``, tagged with the user."""
        return self._set_typed(_KINDS["user_permissions"], (user_id,), data, ttl, stamp)

    def set_generation_access(
        self,
        generation_id: Id,
        user_id: Id,
        data: Any,
        ttl: float | None = None,
        *,
        stamp: int | None = None,
    ) -> bool:
        """Store what a user may do with a generation, tagged with both."""
        ids = (generation_id, user_id)
        return self._set_typed(_KINDS["generation_access"], ids, data, ttl, stamp)

    def set_project_access(
        self,
        project_id: Id,
        user_id: Id,
        data: Any,
        ttl: float | None = None,
        *,
        stamp: int | None = None,
    ) -> bool:
        """Store what a user may do in a project, tagged with both."""
        return self._set_typed(_KINDS["project_access"], (project_id, user_id), data, ttl, stamp)

    def set_team_role(
        self,
        team_id: Id,
        user_id: Id,
        data: Any,
        ttl: float | None = None,
        *,
        stamp: int | None = None,
    ) -> bool:
        """Store a user's role in a team, tagged with both."""
        return self._set_typed(_KINDS["team_role"], (team_id, user_id), data, ttl, stamp)

    def set_uuid_validation(
        self,
        uuid_str: str | UUID,
        context: Id,
        data: Any,
        ttl: float | None = None,
        *,
        stamp: int | None = None,
    ) -> bool:
        """Store the result of validating a UUID for ``uuid_validation_ttl_seconds``."""
        return self._set_typed(_KINDS["uuid_validation"], (uuid_str, context), data, ttl, stamp)

    def set_session_data(
        self, user_id: Id, data: Any, ttl: float | None = None, *, stamp: int | None = None
    ) -> bool:
        """Store a user's session for ``default_ttl_seconds``, tagged with the user."""
        return self._set_typed(_KINDS["session_data"], (user_id,), data, ttl, stamp)

    def set_rate_limit(
        self,
        user_id: Id,
        window: Id,
        data: Any,
        ttl: float | None = None,
        *,
        stamp: int | None = None,
    ) -> bool:
        """Store a user's rate limit state in a window, tagged with the user."""
        return self._set_typed(_KINDS["rate_limit"], (user_id, window), data, ttl, stamp)

    # ------------------------------------------------------------------ invalidation

    async def invalidate_user_authorization_cache(self, user_id: Id) -> int:
        """Do what :meth:`invalidate_user_data` does, for callers that await.

        Returns:
            How many live entries were dropped.
        """
        return self.invalidate_user_data(user_id)

    async def invalidate_generation_authorization_cache(self, generation_id: Id) -> int:
        """Do what :meth:`invalidate_generation_data` does, for callers that await.

        Returns:
            How many live entries were dropped.
        """
        return self.invalidate_generation_data(generation_id)

    # ------------------------------------------------------------------ statistics

    def get_stats(self) -> dict[str, Any]:
        """Count what happened since the manager was made.

        Returns:
            The documented figures (``hit_rate_percent``, ``average_access_time_ms``,
            ``total_entries`` ...) and more; see :mod:`velro_cache.stats`. Counters are exact;
            times come from one lookup in 128. Cost: `O(shards)`.
        """
        return as_documented(self._stats(), self._config)

    # ------------------------------------------------------------------ life cycle

    def start(self) -> _Started:
        """Start the sweeper, and the preloaders if awaited.

        Returns:
            Something to await: ``await manager.start()`` also runs the preloaders. Without an
            event loop, plain ``manager.start()`` does all but those.
        """
        self._reopen()
        if self._sweeper is None or not self._sweeper.is_alive():
            self._stop_sweeping = threading.Event()
            self._sweeper = threading.Thread(
                target=_sweep_regularly,
                args=(weakref.ref(self), self._stop_sweeping, self._config),
                name=f"velro-cache-sweeper-{self._config.name}",
                daemon=True,
            )
            self._sweeper.start()
        return _Started(self._preload)

    def stop(self) -> _Started:
        """Stop the sweeper, drop all entries, and refuse further use until ``start()``.

        Returns:
            Something that may be awaited; everything is done already.
        """
        self._close()
        self._stop_sweeping.set()
        sweeper, self._sweeper = self._sweeper, None
        if sweeper is not None and sweeper is not threading.current_thread():
            sweeper.join(timeout=5)
        return _Started(_nothing)

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

    def _timeout(self, asked: float | None) -> float | None:
        if asked is _CONFIGURED:
            return self._config.load_timeout_seconds
        if asked is None:
            return None
        if isinstance(asked, bool) or not isinstance(asked, (int, float)):
            raise TypeError(f"load_timeout_seconds must be a number, not {type(asked).__name__}")
        if not asked > 0:
            raise ValueError(f"load_timeout_seconds must be above 0, not {asked!r}")
        return asked


def _sweep_regularly(
    manager: "weakref.ref[OptimizedCacheManager]",
    stop: threading.Event,
    config: OptimizedCacheConfig,
) -> None:
    # Holds the manager only while it sweeps, so that one nobody uses any more can go.
    while not stop.wait(config.cleanup_interval_seconds):
        alive = manager()
        if alive is None:
            return
        try:
            alive.sweep()
        except Exception:
            log.exception("sweep failed; the next one is in %s s", config.cleanup_interval_seconds)
        del alive


def _locks() -> int:
    """Locks of a new store: one under the GIL, where more would only cost."""
    gil_enabled = getattr(sys, "_is_gil_enabled", lambda: True)()
    return 1 if gil_enabled else 4 * (os.cpu_count() or 1)


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
