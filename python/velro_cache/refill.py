"""Lets only so many loads run at once while a host has nothing to serve from memory.

A host that has lost touch with the invalidation log serves nothing permissive from memory, and one
that has found it again after a while may believe nothing from before. Single flight lets one
caller load for all who ask for the same value; this is for many different ones.
"""

import asyncio
import concurrent.futures
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator

from velro_cache.exceptions import LoaderTimeoutError
from velro_cache.fork_safety import ForkSafeLock

__all__ = ["RefillGate"]

_Turn = concurrent.futures.Future[None]


class RefillGate:
    """Counts loads under way, and holds some back while there is a reason to.

    Args:
        limit: Loads at once then; 1 or more.
        is_refilling: Says whether there is a reason.
    """

    __slots__ = ("_is_refilling", "_limit", "_lock", "_running", "_waiting")

    def __init__(self, limit: int, is_refilling: Callable[[], bool]) -> None:
        self._limit = limit
        self._is_refilling = is_refilling
        self._lock = ForkSafeLock()
        self._running = 0
        self._waiting: deque[_Turn] = deque()

    @contextlib.contextmanager
    def load(self, timeout_seconds: float | None) -> Iterator[None]:
        """Let a load of this thread run when it is its turn.

        Args:
            timeout_seconds: Longest wait for it; None: for ever.

        Raises:
            LoaderTimeoutError: It took longer.
        """
        turn = self._come()
        try:
            if turn is not None and not concurrent.futures.wait([turn], timeout_seconds).done:
                raise _no_turn(timeout_seconds)
            yield
        finally:
            self._go(turn)

    @contextlib.asynccontextmanager
    async def aload(self, timeout_seconds: float | None) -> AsyncIterator[None]:
        """Let a load of this task run when it is its turn; otherwise as :meth:`load`."""
        turn = self._come()
        try:
            if turn is not None:
                waiter = asyncio.wrap_future(turn)
                if not (await asyncio.wait([waiter], timeout=timeout_seconds))[0]:
                    raise _no_turn(timeout_seconds)
            yield
        finally:
            self._go(turn)

    def forget_all(self) -> None:
        """Forget loads that will never end: after a fork, those of the parent."""
        self._running = 0
        self._waiting = deque()

    def _come(self) -> _Turn | None:
        """Begin a load; or get in line, behind those who came before."""
        with self._lock:
            if self._running < self._limit or not self._is_refilling():
                self._running += 1
                return None
            turn: _Turn = concurrent.futures.Future()
            self._waiting.append(turn)
            return turn

    def _go(self, turn: _Turn | None) -> None:
        """End a load, or give up one's place in the line."""
        with self._lock:
            if turn is not None and (turn.cancel() or turn.cancelled()):
                with contextlib.suppress(ValueError):
                    self._waiting.remove(turn)
                return
            self._running = max(0, self._running - 1)
            while self._waiting and (self._running < self._limit or not self._is_refilling()):
                following = self._waiting.popleft()
                if following.set_running_or_notify_cancel():
                    self._running += 1
                    following.set_result(None)


def _no_turn(timeout_seconds: float | None) -> LoaderTimeoutError:
    return LoaderTimeoutError(
        f"the value was not loaded within {timeout_seconds} s: so many loads were under way, while"
        " this host fills its memory anew; see refill_limit"
    )
