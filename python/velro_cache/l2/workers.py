"""A few threads for calls that may block, so that nobody waits for them longer than he likes.

A call that hangs keeps its thread and nothing else: whoever waits goes on when its time is over,
and with all threads kept, further calls are given up when theirs is. The threads are daemons: what
hangs does not keep the program from ending.
"""

import collections
import concurrent.futures
import os
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any, Final

__all__ = ["TooMuchToDoError", "Workers"]

_MOST_THREADS: Final = 8
"""A Redis answers within a fraction of a millisecond: some 10,000 lookups a second."""

_MOST_WAITING: Final = 1000
"""Calls in the queue; a value in it may take 1 MiB."""


class TooMuchToDoError(Exception):
    """The queue is full."""


class _Call:
    __slots__ = ("deadline", "future", "work")

    def __init__(self, work: Callable[[], Any], deadline: float) -> None:
        self.work = work
        self.deadline = deadline
        self.future: concurrent.futures.Future[Any] = concurrent.futures.Future()


class Workers:
    """Threads that are started when they are needed, and in a forked child anew.

    Args:
        name: What their names begin with.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._reset()
        _all_workers.add(self)

    def submit(self, work: Callable[[], Any], seconds: float) -> "concurrent.futures.Future[Any]":
        """Have something done in one of the threads.

        Args:
            work: What to do.
            seconds: If it has not begun when these are over, it is not begun at all.

        Returns:
            Where the outcome will be.

        Raises:
            TooMuchToDoError: Too many calls wait already.
        """
        call = _Call(work, time.monotonic() + seconds)
        with self._changed:
            if len(self._queue) >= _MOST_WAITING:
                raise TooMuchToDoError
            self._queue.append(call)
            if self._idle:
                # Counted as busy from now on: the next call must not rely on the same one.
                self._idle -= 1
                self._changed.notify()
            elif self._threads < _MOST_THREADS:
                self._threads += 1
                self._start_thread()
        return call.future

    def run(self, work: Callable[[], Any], seconds: float) -> Any:
        """Have something done, and wait for it.

        Args:
            work: What to do.
            seconds: How long to wait.

        Returns:
            What it returned.

        Raises:
            TimeoutError: It took too long; it may go on and end nobody knows when.
            TooMuchToDoError: Too many calls wait already.
            Exception: What it raised.
        """
        future = self.submit(work, seconds)
        if not concurrent.futures.wait([future], seconds).done:
            # If it has not begun, it need not.
            future.cancel()
            raise TimeoutError
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            # Begun too late, or not at all.
            raise TimeoutError from None

    def stop(self) -> None:
        """Let idle threads end. Those that are needed later are started later."""
        with self._changed:
            self._life = object()
            self._threads = self._idle = 0
            self._changed.notify_all()

    def _reset(self) -> None:
        self._changed = threading.Condition()
        self._queue: collections.deque[_Call] = collections.deque()
        self._threads = 0
        self._idle = 0
        self._life = object()

    def _start_thread(self) -> None:
        # Holds the workers only while there is something to do, so that they can go.
        arguments = (weakref.ref(self), self._changed, self._queue, self._life)
        name = f"{self._name}-{self._threads}"
        thread = threading.Thread(target=_work, args=arguments, name=name, daemon=True)
        try:
            thread.start()
        except RuntimeError:
            # Some systems and some moments allow no more threads.
            self._threads -= 1

    def __del__(self) -> None:
        self.stop()


def _work(
    workers: "weakref.ref[Workers]",
    changed: threading.Condition,
    queue: "collections.deque[_Call]",
    life: object,
) -> None:
    while True:
        with changed:
            while not queue:
                owner = workers()
                if owner is None or owner._life is not life:
                    return
                owner._idle += 1
                del owner
                changed.wait()
            call = queue.popleft()
        _do(call)
        del call


def _do(call: _Call) -> None:
    if time.monotonic() >= call.deadline:
        call.future.cancel()
    if not call.future.set_running_or_notify_cancel():
        return
    try:
        outcome = call.work()
    except Exception as error:
        call.future.set_exception(error)
    except BaseException as error:
        # Meant to end a thread or a task, and nothing to whoever waits.
        call.future.set_exception(RuntimeError(f"a worker met a {type(error).__name__}"))
    else:
        call.future.set_result(outcome)


_all_workers: "weakref.WeakSet[Workers]" = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for workers in list(_all_workers):
        workers._reset()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
