"""Keys kept fresh in memory: all live ones are read every quarter of an hour, in the background.

A service then answers from memory alone: the database sees one reader per host, however many
requests there are. Changes do not wait for it: they come through invalidations.

On each host one process reads the database; it holds the lock of a file beside the table that the
processes of a host share, and writes what it read there for the others
(:mod:`velro_cache.api_keys.host_snapshot`). If it ends, however it ends, another one takes over.
Without a shared table each process reads for itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import random
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Final, Self

from velro_cache.api_keys.cache import ApiKeyCache
from velro_cache.api_keys.generation import Generation
from velro_cache.api_keys.host_snapshot import HostSnapshot
from velro_cache.api_keys.key_rows import Rows
from velro_cache.api_keys.live_rows import live_rows
from velro_cache.api_keys.models import ApiKey
from velro_cache.exceptions import AuthorizationUnavailable

__all__ = ["RefreshManager", "RefreshReport"]

log = logging.getLogger("velro_cache")

_FIRST_PAUSE_SECONDS: Final = 1.0
_LOOK_SECONDS: Final = 1.0
"""So often a process looks whether another one has read anew, or has ended."""

_INTERVALS_OF_LIFE: Final = 2.0
"""Of what was read; less the jitter of the cache."""

_LATE: Final = 1.5
"""Intervals after which a process reads for itself, though another one should have."""

_OVERLAP_SECONDS: Final = 60.0
"""A row that was changed by a long transaction bears the time of its beginning."""


@dataclass(frozen=True, slots=True)
class RefreshReport:
    """What a refresh did.

    Attributes:
        updated: Keys that are new, or of which anything has changed.
        removed: Keys that are gone, or not good any more.
        total: Keys that were read.
        seconds: How long it took.
        source: Who read the database: ``"database"``: this process; ``"host"``: another one of
            this host.
    """

    updated: int
    removed: int
    total: int
    seconds: float
    source: str


class RefreshManager:
    """Reads all live keys into memory, at the start and again and again.

    Args:
        cache: The keys in memory, and where they are read from.
        interval_seconds: How often all are read. What is read answers for twice as long, so that
            one refresh may fail.
        jitter: Part of the interval by which hosts differ, 0 to 0.5.
        incremental_seconds: How often those are read that have changed since. None: never; then
            what other programs change without an invalidation is seen at the next refresh.
        share_on_host: Whether one process reads for all of a host.
        page_size: Keys that are read at once, where rows do not come by COPY.
        now: The wall clock, in seconds since 1970; that of the database may differ by some.
        monotonic: A clock that only goes forward, in seconds.

    Raises:
        ValueError: A time makes no sense.
    """

    def __init__(
        self,
        cache: ApiKeyCache,
        *,
        interval_seconds: float = 900.0,
        jitter: float = 0.1,
        incremental_seconds: float | None = None,
        share_on_host: bool = True,
        page_size: int = 500,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        for name, value in (
            ("interval_seconds", interval_seconds),
            ("incremental_seconds", incremental_seconds),
        ):
            if value is not None and not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} must be above 0 seconds")
        if not 0 <= jitter <= 0.5:
            raise ValueError("jitter must be 0 to 0.5")
        if page_size < 1:
            raise ValueError("page_size must be 1 or more")
        self._cache = cache
        self._interval = interval_seconds
        self._fresh_seconds = _INTERVALS_OF_LIFE * interval_seconds
        self._jitter = jitter
        self._incremental = incremental_seconds
        self._shares = share_on_host
        self._page_size = page_size
        self._now = now
        self._clock = monotonic
        self._snapshot: HostSnapshot | None = None
        self._task: asyncio.Task[None] | None = None
        self._one_at_a_time = asyncio.Lock()
        self._read_since = 0.0
        self._ended: set[str] = set()
        self._last: RefreshReport | None = None
        self._whole_at = 0.0
        self._read_at = monotonic()
        self._counts = {"refreshes": 0, "incremental_refreshes": 0, "failures": 0}
        self._failed_in_a_row = 0

    # Life

    async def start(self) -> None:
        """Read everything once, and begin to do so again and again.

        Fails for nobody: a database that cannot be read now is tried again; until then keys are
        asked about one by one.
        """
        if self._task is not None:
            return
        if self._shares:
            self._snapshot = HostSnapshot.beside_table_of(self._cache.manager)
        self._whole_at = self._clock()
        await self._try(self._from_either)
        self._task = asyncio.create_task(self._run(), name="velro-cache-api-keys")

    async def stop(self) -> None:
        """End it. What is in memory stays."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        if self._snapshot is not None:
            self._snapshot.close()
            self._snapshot = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    # Refreshes

    async def refresh_now(self) -> RefreshReport:
        """Read all live keys from the database now, and drop what is gone.

        Returns:
            What came of it.

        Raises:
            Exception: What the repository raised. What was in memory before is there, and nothing
                was dropped.

        Consistency: what is revoked while this runs is neither kept nor brought back.
        Cost: one pass over all live keys, in steps of a fraction of a millisecond.
        """
        return await self._from_database()

    async def refresh_changed(self) -> RefreshReport:
        """Read the keys that have changed since the last time.

        Returns:
            What came of it; ``removed`` are those that are not good any more.

        Raises:
            Exception: As for :meth:`refresh_now`.
        """
        async with self._one_at_a_time:
            started, began_at = time.perf_counter(), self._now()
            since = max(0.0, self._read_since - _OVERLAP_SECONDS)
            updated, removed, total, ended = 0, 0, 0, set()
            async for key in self._changed(since):
                total += 1
                if not key.is_live(began_at):
                    ended.add(key.id)
                    # Once, though several passes read it. Others may have it, whoever has not.
                    if key.id not in self._ended:
                        self._cache.invalidate(key_id=key.id, reason="changed in the database")
                        removed += 1
                elif self._known(key.digest) != key:
                    # Under all its names, in all processes.
                    self._cache.invalidate(key_id=key.id, reason="changed in the database")
                    updated += 1
            if updated:
                # Read again: what was read before that invalidation might undo another one.
                stamp = self._cache.snapshot()
                async for key in self._changed(since):
                    if key.is_live(began_at):
                        self._cache.set(key, stamp=stamp)
            self._ended = ended
            self._read_since = began_at
            self._counts["incremental_refreshes"] += 1
            seconds = time.perf_counter() - started
            return RefreshReport(updated, removed, total, seconds, "database")

    async def _changed(self, since: float) -> AsyncIterator[ApiKey]:
        pages = self._cache.repository.fetch_live(changed_since=since, page_size=self._page_size)
        async for page in pages:
            for key in page:
                yield key
            await asyncio.sleep(0)

    def _known(self, digest: bytes) -> ApiKey | None:
        # What was read may be no key.
        with contextlib.suppress(AuthorizationUnavailable):
            return self._cache.kept(digest)
        return None

    def stats(self) -> dict[str, Any]:
        """How refreshes are doing.

        Returns:
            ``refreshes``, ``incremental_refreshes``, ``failures``, ``failed_in_a_row``,
            ``reads_for_host`` (whether this process is the one that reads), ``age_seconds`` (since
            all keys were read last, by whomever of this host; before the first time, since this
            was made), ``last`` (the report of the last whole refresh; None: there was none).
        """
        snapshot = self._snapshot
        return {
            **self._counts,
            "failed_in_a_row": self._failed_in_a_row,
            "reads_for_host": snapshot is None or snapshot.is_mine,
            "age_seconds": self._clock() - self._read_at,
            "last": self._last,
        }

    async def _from_host(self) -> RefreshReport | None:
        """Take over what another process of this host has read; None: there is nothing new."""
        found = None if self._snapshot is None else self._snapshot.newer()
        if found is None:
            return None
        # It answers for as long as where it was read.
        age = max(0.0, self._now() - found.read_at)
        if age > _LATE * self._interval:
            return None
        async with self._one_at_a_time:
            started = time.perf_counter()
            generation = Generation(self._cache, found.stamp, self._fresh_seconds - age)
            report = await self._applied(generation, found.blocks(), started, "host")
            self._read_since = found.read_at
            self._whole_at = self._clock()
            self._read_at = self._whole_at - age
            return report

    async def _from_database(self) -> RefreshReport:
        async with self._one_at_a_time:
            started, began_at, snapshot = time.perf_counter(), self._now(), self._snapshot
            generation = Generation(self._cache, None, self._fresh_seconds)
            rows = live_rows(self._cache.repository, self._page_size)
            if snapshot is not None and snapshot.take():
                rows = snapshot.written(rows, generation.stamp, began_at)
            report = await self._applied(generation, rows, started, "database")
            self._read_since = began_at
            self._whole_at = self._read_at = self._clock()
            return report

    async def _from_either(self) -> None:
        """Read the database if that is for this process to do, else what another one has read."""
        snapshot = self._snapshot
        is_late = self._clock() - self._whole_at > _LATE * self._interval
        if snapshot is None or snapshot.take() or is_late:
            await self._from_database()
        else:
            await self._from_host()

    async def _applied(
        self,
        generation: Generation,
        read: AsyncIterator[Rows],
        started: float,
        source: str,
    ) -> RefreshReport:
        async for rows in read:
            await generation.put(rows)
        removed = await generation.drop_absent()
        seconds = time.perf_counter() - started
        report = RefreshReport(generation.updated, removed, generation.total, seconds, source)
        self._last = report
        self._counts["refreshes"] += 1
        log.info(
            "api keys refreshed: %d updated, %d removed, %d in all, in %.3f s",
            report.updated,
            report.removed,
            report.total,
            report.seconds,
        )
        return report

    async def _try(self, refresh: Callable[[], Any]) -> bool:
        try:
            await refresh()
        except Exception as error:
            self._counts["failures"] += 1
            self._failed_in_a_row += 1
            # Its text may name an address.
            log.warning("api keys were not refreshed: %s", type(error).__name__)
            return False
        self._failed_in_a_row = 0
        return True

    async def _run(self) -> None:
        whole_at, changed_at = self._next_whole(), self._next_changed()
        while True:
            await asyncio.sleep(
                max(0.0, min(whole_at, changed_at, self._next_look()) - self._clock())
            )
            snapshot = self._snapshot
            has_news = snapshot is not None and not snapshot.is_mine and snapshot.has_newer()
            if has_news or self._clock() >= whole_at:
                await self._try(self._from_either)
                whole_at = self._next_whole()
            elif self._clock() >= changed_at:
                if snapshot is None or snapshot.take():
                    await self._try(self.refresh_changed)
                changed_at = self._next_changed()

    def _next_whole(self) -> float:
        failed = self._failed_in_a_row
        seconds = self._interval * (1.0 - random.random() * self._jitter)  # noqa: S311
        if failed:
            pause = _FIRST_PAUSE_SECONDS * 2.0 ** min(failed - 1, 20)
            seconds = min(seconds, pause * (0.5 + random.random() / 2))  # noqa: S311
        return self._clock() + seconds

    def _next_changed(self) -> float:
        return math.inf if self._incremental is None else self._clock() + self._incremental

    def _next_look(self) -> float:
        snapshot = self._snapshot
        waits = snapshot is not None and not snapshot.is_mine
        return self._clock() + _LOOK_SECONDS if waits else math.inf
