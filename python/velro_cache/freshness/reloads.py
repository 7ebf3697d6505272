"""Loads that run beside an answer: in tasks and in threads, so many at the most.

Each key has one at a time. Their results reach nobody but the cache; if one fails, that is counted
and logged by the name of its error alone, since its text may hold anything.
"""

import asyncio
import concurrent.futures
import contextlib
import contextvars
import functools
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Coroutine
from typing import Any, Final, NamedTuple

from velro_cache.flight import end_of
from velro_cache.fork_safety import ForkSafeLock
from velro_cache.freshness.counts import FreshnessCounts

__all__ = ["Reloads"]

log = logging.getLogger("velro_cache")

_Work = concurrent.futures.Future[Any]

_MORE_THREADS: Final = 64
"""Beyond the limit: for loads that hang, and for loads within loads, which must not wait for one
that waits for them."""


class _UnderWay(NamedTuple):
    """A load that somebody waits for."""

    work: _Work
    overdue_at: float


class Reloads:
    """The loads of one cache that run beside an answer.

    Args:
        limit: How many run at once; 1 or more. As many threads again may hold loads that somebody
            waits for with a time limit.
        counts: Where they are counted.
        name: That of the cache, for the log.
    """

    __slots__ = (
        "__weakref__",
        "_closed",
        "_counts",
        "_limit",
        "_lock",
        "_name",
        "_tasks",
        "_threads",
        "_work",
    )

    def __init__(self, limit: int, counts: FreshnessCounts, name: str) -> None:
        self._limit = limit
        self._counts = counts
        self._name = name
        self._lock = ForkSafeLock()
        self._closed = False
        # By key: the task, or None for a thread.
        self._tasks: dict[str, asyncio.Task[None] | None] = {}
        self._work: dict[object, _UnderWay] = {}
        # Those that hang are among them, and no longer in what can be joined.
        self._threads = 0
        _all.add(self)

    @property
    def running(self) -> int:
        """How many run now."""
        return len(self._tasks)

    def begin_task(self, key: str, load: Callable[[], Coroutine[Any, Any, object]]) -> bool:
        """Load in a task of the running event loop.

        Args:
            key: What is loaded.
            load: Loads it.

        Returns:
            Whether it has begun. No: one runs already, or there is no room, or the cache stopped.
        """
        if not self._enter(key):
            return False
        # A context of its own: it belongs to no request, and to no load that this one is part of.
        task = asyncio.get_running_loop().create_task(
            self._run_task(load), name="velro-cache-reload", context=contextvars.Context()
        )
        with self._lock:
            self._tasks[key] = task
        # Also if it was cancelled before its first step.
        task.add_done_callback(functools.partial(self._leave_task, key))
        return True

    def begin_thread(self, key: str, load: Callable[[], object]) -> bool:
        """Load in a thread; otherwise as :meth:`begin_task`."""
        if not self._enter(key):
            return False
        thread = threading.Thread(
            target=contextvars.Context().run,
            args=(self._run_thread, key, load),
            name="velro-cache-reload",
            # One that hangs must not keep the process from ending.
            daemon=True,
        )
        try:
            thread.start()
        except RuntimeError:
            # No more threads are to be had.
            self._leave(key)
            self._counts.reload("skipped")
            return False
        return True

    def work(self, name: object) -> _Work | None:
        """What runs in a thread under this name, for callers who wait, but not for ever."""
        under_way = self._work.get(name)
        if under_way is None or time.monotonic() >= under_way.overdue_at:
            return None
        return under_way.work

    def begin_work(
        self, name: object, load: Callable[[], Any], timeout_seconds: float | None, *, nested: bool
    ) -> _Work | None:
        """Load in a thread, for callers who wait, but not for ever.

        Args:
            name: What others find it by: a key, or an object of the caller's.
            load: Loads it; runs in a copy of the caller's context.
            timeout_seconds: After so long it takes nobody's place any more; None: never.
            nested: Whether the caller is part of a load itself.

        Returns:
            What to wait for. None: there is no room, or another caller was faster.

        Raises:
            RuntimeError: The system allows no more threads.
        """
        with self._lock:
            self._forget_overdue()
            if name in self._work or self._threads >= self._limit + _MORE_THREADS:
                return None
            if not nested and len(self._work) >= self._limit:
                return None
            work: _Work = concurrent.futures.Future()
            self._work[name] = _UnderWay(work, end_of(timeout_seconds))
            self._threads += 1
        thread = threading.Thread(
            target=contextvars.copy_context().run,
            args=(self._run_work, name, work, load),
            name="velro-cache-load",
            daemon=True,
        )
        try:
            thread.start()
        except RuntimeError as error:
            self._end_work(name, work)
            work.set_exception(error)
            raise
        return work

    def wait_for_room(self, seconds: float) -> None:
        """Wait until one of the loads that others wait for ends, or so long."""
        with self._lock:
            self._forget_overdue()
            works = [one.work for one in self._work.values()]
            ends = [one.overdue_at for one in self._work.values()]
        if ends:
            # Then one of them leaves room, whether it has ended or not.
            seconds = min(seconds, max(0.001, min(ends) - time.monotonic()))
        if not works:
            # Only those that hang take room; look again soon.
            time.sleep(min(seconds, 0.01))
            return
        concurrent.futures.wait(works, seconds, concurrent.futures.FIRST_COMPLETED)

    def open(self) -> None:
        """Begin loads again after :meth:`close`."""
        self._closed = False

    def close(self) -> list[str]:
        """Cancel the tasks and begin no more; return the keys that were being loaded.

        Threads cannot be cancelled. What they load is refused by a cache that was stopped.
        """
        self._closed = True
        with self._lock:
            tasks = dict(self._tasks)
        for task in filter(None, tasks.values()):
            loop = task.get_loop()
            # A loop may be closed between the question and the call.
            with contextlib.suppress(RuntimeError):
                if not loop.is_closed():
                    loop.call_soon_threadsafe(task.cancel)
        return list(tasks)

    def forget_all(self) -> None:
        """Forget loads that will never end: after a fork, those of the parent."""
        self._tasks = {}
        self._work = {}
        self._threads = 0

    def _enter(self, key: str) -> bool:
        with self._lock:
            if self._closed or key in self._tasks:
                return False
            if len(self._tasks) >= self._limit:
                self._forget_lost()
            if len(self._tasks) >= self._limit:
                self._counts.reload("skipped")
                return False
            self._tasks[key] = None
        self._counts.reload("begun")
        return True

    def _forget_lost(self) -> None:
        """Make room of tasks whose event loop was closed."""
        for key, task in list(self._tasks.items()):
            if task is not None and task.get_loop().is_closed():
                del self._tasks[key]

    def _leave(self, key: str) -> None:
        with self._lock:
            self._tasks.pop(key, None)

    def _leave_task(self, key: str, task: "asyncio.Task[None]") -> None:
        with self._lock:
            if self._tasks.get(key) is task:
                del self._tasks[key]

    async def _run_task(self, load: Callable[[], Coroutine[Any, Any, object]]) -> None:
        try:
            await load()
        except Exception as error:
            self._note_failure(error)

    def _run_thread(self, key: str, load: Callable[[], object]) -> None:
        try:
            load()
        except Exception as error:
            self._note_failure(error)
        finally:
            self._leave(key)

    def _run_work(self, name: object, work: _Work, load: Callable[[], Any]) -> None:
        # First out of the way of new callers: nobody can join one that has ended.
        try:
            value = load()
        except BaseException as error:
            self._end_work(name, work)
            work.set_exception(error)
        else:
            self._end_work(name, work)
            work.set_result(value)

    def _end_work(self, name: object, work: _Work) -> None:
        with self._lock:
            self._threads -= 1
            under_way = self._work.get(name)
            if under_way is not None and under_way.work is work:
                del self._work[name]

    def _forget_overdue(self) -> None:
        """Make room of loads that should have ended; their threads go on."""
        now = time.monotonic()
        for name, under_way in list(self._work.items()):
            if now >= under_way.overdue_at:
                del self._work[name]

    def _note_failure(self, error: Exception) -> None:
        if self._closed:
            return
        self._counts.reload("failed")
        kind = type(error).__name__
        log.warning("cache %r: a value was not loaded anew: %s", self._name, kind)


_all: "weakref.WeakSet[Reloads]" = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for reloads in list(_all):
        reloads.forget_all()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
