"""The answer to a caller whose value has ended, or is about to.

In this order, each step only if the caller asked for it and the one before gave nothing:

1. a value that ended a moment ago, and a load of it beside (stale while revalidate);
2. what the load gives, if it ends within the soft limit;
3. the value of before, while the load goes on;
4. what the load gives, if it ends within the hard limit;
5. the value of before, because the load failed or took too long (stale if error);
6. the error.

A value of before is looked up at the moment it is handed out, never earlier: an invalidation that
came while the caller waited has taken it away. The engine keeps none that allows something.
"""

import asyncio
import concurrent.futures
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final, NoReturn, Protocol

from velro_cache.exceptions import CacheStoppedError, LoaderRecursionError, LoaderTimeoutError
from velro_cache.flight import copy_of, is_nested
from velro_cache.freshness.counts import FreshnessCounts, Stale
from velro_cache.freshness.due_times import DueTimes
from velro_cache.freshness.policy import Freshness
from velro_cache.freshness.reloads import Reloads

__all__ = ["Answers"]

_NONE: Final = object()
_MISS: Final = object()

_MOST_JITTER: Final = 0.05
"""By how much the moment of loading ahead varies, as a part of the life."""

_MISTAKES: Final = (CacheStoppedError, LoaderRecursionError)
"""No failures of a service: hiding them behind an old value would help nobody."""

Load = Callable[[], Any]
AsyncLoad = Callable[[], Coroutine[Any, Any, Any]]


class _Cache(Protocol):
    def get_value(self, key: str, default: Any = None) -> Any: ...
    def _past_end(self, key: str, longest: float) -> tuple[Any, float] | None: ...
    def _explain(self, key: str) -> dict[str, Any]: ...
    def _clock_seconds(self) -> float: ...


class _Flights(Protocol):
    def cancel(self, key: str) -> None: ...


class Answers:
    """Answers callers of one cache as their :class:`Freshness` says.

    Args:
        cache: Where values are.
        flights: The loads of the cache.
        limit: How many loads run at once beside answers.
        name: That of the cache, for the log.
    """

    __slots__ = ("_cache", "_due", "_flights", "_reloads", "counts")

    def __init__(self, cache: _Cache, flights: _Flights, limit: int, name: str) -> None:
        self._cache = cache
        self._flights = flights
        self.counts = FreshnessCounts()
        self._reloads = Reloads(limit, self.counts, name)
        self._due = DueTimes(cache._clock_seconds)

    def figures(self) -> dict[str, Any]:
        """What became of callers, for statistics."""
        return {**self.counts.figures(), "reloads_running": self._reloads.running}

    def open(self) -> None:
        """Begin loads again after :meth:`close`."""
        self._reloads.open()

    def close(self) -> None:
        """Cancel what runs beside answers."""
        self._due.clear()
        for key in self._reloads.close():
            self._flights.cancel(key)

    # Before the end

    def is_due(self, key: str, freshness: Freshness) -> bool:
        """Whether a value that was just found is to be loaded anew."""
        return freshness.refresh_ahead is not None and self._due.is_due(key)

    def used(self, key: str, again: Load) -> None:
        """Have a value that is due loaded anew in a thread, if there is room."""
        # Claimed afterwards: what finds no room waits for a later caller.
        if self._reloads.begin_thread(key, again):
            self._due.claim(key)

    def aused(self, key: str, again: AsyncLoad) -> None:
        """Have a value that is due loaded anew in a task, if there is room."""
        if self._reloads.begin_task(key, again):
            self._due.claim(key)

    def loaded(self, key: str, freshness: Freshness) -> None:
        """Note that a value was loaded that is to be loaded anew before its end."""
        part = freshness.refresh_ahead
        if part is not None:
            # None: it was not stored.
            left = self._cache._explain(key)["seconds_left"]
            jitter = min(_MOST_JITTER, (1 - part) / 2, part / 2)
            self._due.loaded(key, left, part, jitter)

    # After it

    def answer(
        self,
        key: str,
        freshness: Freshness,
        load: Load,
        *,
        refresh: bool,
        timeout_seconds: float | None,
    ) -> Any:
        """Answer a caller that found nothing, in this thread.

        Args:
            key: Which value.
            freshness: What was asked for.
            load: Loads it, or waits for whoever does.
            refresh: Whether the caller must see the state of now, so that no old value will do.
            timeout_seconds: How long the load may take; None: for ever.

        Returns:
            The value; a copy of the caller's own.

        Raises:
            LoaderTimeoutError: The hard limit, and nothing else to be had.
            Exception: Whatever the load raised.
        """
        if not refresh:
            stale = self._revalidating(key, freshness)
            if stale is not _NONE:
                self._reloads.begin_thread(key, load)
                return stale
        try:
            if freshness.soft_timeout_seconds is None and freshness.hard_timeout_seconds is None:
                return load()
            return self._wait(key, freshness, load, refresh, timeout_seconds)
        except Exception as error:
            return self._instead(key, freshness, error, refresh)

    async def aanswer(
        self, key: str, freshness: Freshness, load: AsyncLoad, *, refresh: bool
    ) -> Any:
        """Answer a caller that found nothing, in this event loop; otherwise as :meth:`answer`."""
        if not refresh:
            stale = self._revalidating(key, freshness)
            if stale is not _NONE:
                self._reloads.begin_task(key, load)
                return stale
        try:
            if freshness.soft_timeout_seconds is None and freshness.hard_timeout_seconds is None:
                return await load()
            return await self._await(key, freshness, load, refresh)
        except Exception as error:
            return self._instead(key, freshness, error, refresh)

    def _wait(
        self,
        key: str,
        freshness: Freshness,
        load: Load,
        refresh: bool,
        timeout_seconds: float | None,
    ) -> Any:
        # A load in this thread could not be left alone.
        began_at = time.monotonic()
        # Whoever must see the state of now does not join what began before.
        name: object = object() if refresh else key
        mine: concurrent.futures.Future[Any] | None = None
        for which, seconds in _limits(freshness, refresh):
            while (left := began_at + seconds - time.monotonic()) > 0:
                work = mine or self._reloads.work(name)
                if work is None:
                    work = mine = self._reloads.begin_work(
                        name, load, timeout_seconds, nested=is_nested()
                    )
                if work is None:
                    # So many hang already; one of them may end.
                    self._reloads.wait_for_room(left)
                    continue
                if not concurrent.futures.wait([work], left).done:
                    break
                if work is mine:
                    return work.result()
                error = work.exception()
                if error is not None:
                    if not isinstance(error, Exception):
                        # What ends that thread is no answer for this one.
                        continue
                    # One object would gather the frames of all who raise it.
                    raise copy_of(error, error.__traceback__)
                found = self._cache.get_value(key, _MISS)
                if found is not _MISS:
                    return found
            stale = self._after(which, key, freshness, refresh)
            if stale is not _NONE:
                return stale
        # Only a soft limit, and nothing old to be had.
        return load()

    async def _await(self, key: str, freshness: Freshness, load: AsyncLoad, refresh: bool) -> Any:
        began_at = time.monotonic()
        for which, seconds in _limits(freshness, refresh):
            guard = asyncio.timeout(max(0.0, began_at + seconds - time.monotonic()))
            try:
                async with guard:
                    # Ends this wait alone: the load has a task of its own, and goes on.
                    return await load()
            except TimeoutError:
                if not guard.expired():
                    raise
            stale = self._after(which, key, freshness, refresh)
            if stale is not _NONE:
                return stale
        return await load()

    def _after(self, which: str, key: str, freshness: Freshness, refresh: bool) -> Any:
        """What a caller gets that has waited so long; nothing: it goes on waiting."""
        if which == "soft":
            self.counts.timed_out("soft")
            return self._stale(key, freshness.stale_if_error_seconds, "soft_timeout")
        self.counts.timed_out("hard")
        raise _HardTimeoutError(f"no answer within {freshness.hard_timeout_seconds} s")

    def _revalidating(self, key: str, freshness: Freshness) -> Any:
        return self._stale(key, freshness.stale_while_revalidate_seconds, "revalidating")

    def _stale(self, key: str, longest_seconds: float, why: Stale) -> Any:
        if longest_seconds <= 0:
            return _NONE
        found = self._cache._past_end(key, longest_seconds)
        if found is None:
            return _NONE
        self.counts.stale(why)
        return found[0]

    def _instead(self, key: str, freshness: Freshness, error: Exception, refresh: bool) -> Any:
        """What a caller gets whose load failed."""
        hopes = freshness.fail_mode == "stale" and not refresh
        if hopes and not isinstance(error, _MISTAKES):
            why: Stale = "hard_timeout" if isinstance(error, _HardTimeoutError) else "error"
            stale = self._stale(key, freshness.stale_if_error_seconds, why)
            if stale is not _NONE:
                self.counts.failed("stale")
                return stale
        self.counts.failed("raise")
        _raise(error)


class _HardTimeoutError(LoaderTimeoutError):
    """A caller has waited as long as it may; the load goes on."""


def _limits(freshness: Freshness, refresh: bool) -> list[tuple[str, float]]:
    soft, hard = freshness.soft_timeout_seconds, freshness.hard_timeout_seconds
    limits = []
    # No old value will do for whoever must see the state of now.
    if soft is not None and not refresh:
        limits.append(("soft", soft))
    if hard is not None:
        limits.append(("hard", hard))
    return limits


def _raise(error: Exception) -> NoReturn:
    if isinstance(error, _HardTimeoutError):
        # The class that is documented; which limit it was says its text.
        raise LoaderTimeoutError(str(error)) from None
    raise error
