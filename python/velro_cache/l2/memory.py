"""Shared values in the memory of this process: for tests, and as an example of a backend."""

import time
from collections import OrderedDict
from collections.abc import Callable

from velro_cache.fork_safety import ForkSafeLock
from velro_cache.l2.contract import LockAnswer

__all__ = ["MemoryL2"]


class MemoryL2:
    """An :class:`~velro_cache.l2.L2Backend` that several managers of one process may share.

    Args:
        max_entries: Bound on what is kept; what was set first goes first.
        now: A clock in seconds, which tests may move by hand.
    """

    def __init__(
        self, max_entries: int = 10_000, *, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._max_entries = max_entries
        self._now = now
        self._lock = ForkSafeLock()
        self._entries: OrderedDict[str, tuple[bytes, float]] = OrderedDict()
        self._locks: dict[str, tuple[str, float]] = {}

    def get(self, key: str, /) -> bytes | None:
        """See :meth:`velro_cache.l2.L2Backend.get`."""
        with self._lock:
            value, end = self._entries.get(key, (None, 0.0))
            return value if self._now() < end else None

    def set(self, key: str, value: bytes, ttl_seconds: float, /) -> None:
        """See :meth:`velro_cache.l2.L2Backend.set`."""
        with self._lock:
            self._entries[key] = (value, self._now() + ttl_seconds)
            self._entries.move_to_end(key)
            if len(self._entries) > self._max_entries:
                self._entries.popitem(last=False)

    def delete(self, key: str, /) -> None:
        """See :meth:`velro_cache.l2.L2Backend.delete`."""
        with self._lock:
            self._entries.pop(key, None)

    async def aget(self, key: str, /) -> bytes | None:
        """Do what :meth:`get` does; it takes no time worth a thread."""
        return self.get(key)

    async def aset(self, key: str, value: bytes, ttl_seconds: float, /) -> None:
        """Do what :meth:`set` does."""
        self.set(key, value, ttl_seconds)

    async def adelete(self, key: str, /) -> None:
        """Do what :meth:`delete` does."""
        self.delete(key)

    def try_lock(self, key: str, owner: str, ttl_seconds: float, /) -> LockAnswer:
        """See :meth:`velro_cache.l2.L2Locks.try_lock`."""
        with self._lock:
            holder, end = self._locks.get(key, ("", 0.0))
            if self._now() < end:
                return "taken" if holder else "useless"
            self._locks[key] = (owner, self._now() + ttl_seconds)
            return "mine"

    def unlock(self, key: str, owner: str, useless_seconds: float, /) -> None:
        """See :meth:`velro_cache.l2.L2Locks.unlock`."""
        with self._lock:
            holder, end = self._locks.get(key, ("", 0.0))
            if holder != owner or self._now() >= end:
                return
            if useless_seconds > 0:
                self._locks[key] = ("", self._now() + useless_seconds)
            else:
                del self._locks[key]

    async def atry_lock(self, key: str, owner: str, ttl_seconds: float, /) -> LockAnswer:
        """Do what :meth:`try_lock` does."""
        return self.try_lock(key, owner, ttl_seconds)

    async def aunlock(self, key: str, owner: str, useless_seconds: float, /) -> None:
        """Do what :meth:`unlock` does."""
        self.unlock(key, owner, useless_seconds)

    def __len__(self) -> int:
        """How many entries are kept, those that have ended included."""
        return len(self._entries)
