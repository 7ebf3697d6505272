"""What a place for shared values must do: three methods, plain or asynchronous.

Such a place is trusted with nothing. Whatever it returns is checked before it is believed, whatever
it raises is counted and forgotten, and it is given ``l2_timeout_seconds`` and no longer. It may
forget what it likes, whenever it likes.
"""

from collections.abc import Awaitable
from typing import Literal, Protocol, runtime_checkable

__all__ = ["L2Backend", "L2Locks", "LockAnswer", "TwoSidedL2Backend"]


@runtime_checkable
class L2Backend(Protocol):
    """Keeps bytes under texts for a while, for all hosts.

    Write either three plain methods or three coroutine functions. Plain ones are called in threads
    of their own, so they may block; they are used by ``get_or_load`` and ``aget_or_load`` alike.
    Coroutine functions are used by ``aget_or_load`` alone, on the event loop of the caller, which
    may be another one each time.

    ``tests/contract/test_l2.py`` in the sources says all of this as tests.
    """

    def get(self, key: str, /) -> bytes | Awaitable[bytes | None] | None:
        """Return what was set last, or None.

        Args:
            key: Letters, digits and ``:-_.`` only where a signing or encryption key is
                configured; any text otherwise.

        Returns:
            The very bytes that were set. None: nothing, or no longer.

        Raises:
            Exception: Anything; it counts as an error and costs the request nothing.
        """
        ...

    def set(self, key: str, value: bytes, ttl_seconds: float, /) -> Awaitable[None] | None:
        """Keep some bytes, in the place of what was there.

        Args:
            key: As for :meth:`get`.
            value: At most 1 MiB.
            ttl_seconds: Above 0. They need not be kept so long, and should not be kept longer.

        Raises:
            Exception: As for :meth:`get`.
        """
        ...

    def delete(self, key: str, /) -> Awaitable[None] | None:
        """Forget what is kept under a key, if there is anything.

        Args:
            key: As for :meth:`get`.

        Raises:
            Exception: As for :meth:`get`.
        """
        ...


class TwoSidedL2Backend(Protocol):
    """An :class:`L2Backend` that has both: plain methods, and the same as coroutine functions.

    The plain ones are then used by ``get_or_load`` and the others by ``aget_or_load``.
    """

    def get(self, key: str, /) -> bytes | None:
        """See :meth:`L2Backend.get`."""
        ...

    def set(self, key: str, value: bytes, ttl_seconds: float, /) -> None:
        """See :meth:`L2Backend.set`."""
        ...

    def delete(self, key: str, /) -> None:
        """See :meth:`L2Backend.delete`."""
        ...

    async def aget(self, key: str, /) -> bytes | None:
        """See :meth:`L2Backend.get`."""
        ...

    async def aset(self, key: str, value: bytes, ttl_seconds: float, /) -> None:
        """See :meth:`L2Backend.set`."""
        ...

    async def adelete(self, key: str, /) -> None:
        """See :meth:`L2Backend.delete`."""
        ...


LockAnswer = Literal["mine", "taken", "useless"]
"""``mine``: it is held now by whoever asked. ``taken``: somebody else holds it. ``useless``:
whoever held it last found that the value cannot be shared; waiting for it would be in vain."""


@runtime_checkable
class L2Locks(Protocol):
    """What a backend has besides, for ``l2_single_flight``: locks that end by themselves.

    Plain or asynchronous like the rest; a two-sided backend has ``atry_lock`` and ``aunlock`` too.
    """

    def try_lock(
        self, key: str, owner: str, ttl_seconds: float, /
    ) -> LockAnswer | Awaitable[LockAnswer]:
        """Take a lock if nobody holds it.

        Args:
            key: Names the lock; no value is ever kept under the same text.
            owner: Names the holder; random.
            ttl_seconds: After which it is free again, whatever became of the holder.

        Returns:
            What became of it.
        """
        ...

    def unlock(self, key: str, owner: str, useless_seconds: float, /) -> Awaitable[None] | None:
        """Give a lock back, if it is still held by this owner.

        Args:
            key: As for :meth:`try_lock`.
            owner: As for :meth:`try_lock`.
            useless_seconds: Above 0: for so long, tell others that it is ``useless``.
        """
        ...
