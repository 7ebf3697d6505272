"""Locks that a forked child does not inherit locked.

A process that forks while another thread holds a lock leaves the child with a lock nobody will
ever release. Every lock of this package that is held across more than one bytecode is therefore
one of these.
"""

import os
import threading
import weakref
from types import TracebackType

__all__ = ["ForkSafeLock"]


class ForkSafeLock:
    """A ``threading.RLock`` for ``with``; free in a forked child.

    Re-entrant, because a finalizer may run at any point, and may want the lock its thread holds.

    Attributes:
        lock: The lock of now, for ``with`` where every nanosecond counts; not to be kept.
    """

    __slots__ = ("__weakref__", "lock")

    def __init__(self) -> None:
        self.lock = threading.RLock()
        _all_locks.add(self)

    def __enter__(self) -> None:
        self.lock.acquire()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.lock.release()

    def renew(self) -> None:
        """Become free, whoever held the lock: in a child, that thread does not exist."""
        self.lock = threading.RLock()


_all_locks: "weakref.WeakSet[ForkSafeLock]" = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for lock in list(_all_locks):
        lock.renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
