"""``cache.revoking(...)``: commit, then invalidate, then tell the others, in this order.

The block goes around the transaction that takes something away. Whatever becomes of the
transaction, what was named is invalidated when the block is left: an exception does not tell
whether the commit came through, and an invalidation too many costs a load, one too few an answer
that is wrong.
"""

import asyncio
from collections.abc import Iterable
from typing import Final, Self, get_args
from uuid import UUID

from velro_cache._engine import CacheCore, RevocationCore
from velro_cache.typed_entries import Wait

__all__ = ["Revocation"]

_WAITS: Final = get_args(Wait)


class Revocation(RevocationCore):
    """What is invalidated when a block is left. Made by ``OptimizedCacheManager.revoking()``.

    Args:
        cache: Where to invalidate.
        wait: What to wait for if the block succeeds.
        reason: Why, for ``get_recent_invalidations``.
        actor: Who asks for it.

    Raises:
        ValueError: There is no such ``wait``.
    """

    __slots__ = ("_cache", "_dropped", "_wait")

    _cache: CacheCore
    _dropped: int
    _wait: Wait

    def __new__(
        cls, cache: CacheCore, wait: Wait, reason: str | None = None, actor: str | None = None
    ) -> Self:
        """Build the compiled half."""
        return super().__new__(cls, cache, reason, actor)

    def __init__(
        self, cache: CacheCore, wait: Wait, reason: str | None = None, actor: str | None = None
    ) -> None:
        if wait not in _WAITS:
            raise ValueError(f"wait must be one of {', '.join(_WAITS)}, not {wait!r:.80}")
        self._cache = cache
        self._wait = wait
        self._dropped = 0

    def add(
        self,
        *,
        tags: Iterable[str] | None = None,
        user_id: str | UUID | int | None = None,
        generation_id: str | UUID | int | None = None,
        keys: Iterable[str] | None = None,
        patterns: Iterable[str] | None = None,
    ) -> Self:
        """Name more, as it becomes known within the block.

        Args:
            tags: Tags, as for ``invalidate_by_tags``, any number.
            user_id: A user, as for ``invalidate_user_data``.
            generation_id: A generation, as for ``invalidate_generation_data``.
            keys: Keys, as for ``delete``.
            patterns: Wildcards, as for ``invalidate_by_pattern``.

        Returns:
            This revocation.

        Raises:
            InvalidTagError, InvalidKeyError, TypeError: What was given names nothing; none of it
                was added.
            RuntimeError: The block has ended.
        """
        self._name(tags, user_id, generation_id, keys, patterns)
        return self

    @property
    def dropped(self) -> int:
        """Live entries of this process that were dropped; 0 until the block has ended."""
        return self._dropped

    async def __aenter__(self) -> Self:
        return self.__enter__()

    def _left(
        self,
        error: BaseException | None,
        was_told: bool,
        dropped: int,
        ticket: int,
        failure: BaseException | None,
    ) -> None:
        if self._must_wait(error, was_told, dropped, ticket, failure):
            self._cache._wait_published(ticket, self._wait)

    async def _aleft(
        self,
        error: BaseException | None,
        was_told: bool,
        dropped: int,
        ticket: int,
        failure: BaseException | None,
    ) -> None:
        if self._must_wait(error, was_told, dropped, ticket, failure):
            await asyncio.to_thread(self._cache._wait_published, ticket, self._wait)

    def _must_wait(
        self,
        error: BaseException | None,
        was_told: bool,
        dropped: int,
        ticket: int,
        failure: BaseException | None,
    ) -> bool:
        """Take note of what the compiled half has done, which is all but waiting."""
        self._dropped = dropped
        if error is not None:
            # It goes on as it is; whoever handles it must not take the revocation for done.
            if failure is not None:
                error.add_note(
                    f"nor could be invalidated what revoking() was told: {failure!r:.200}"
                )
            return False
        if failure is not None:
            raise failure
        if not was_told:
            raise ValueError(
                "revoking() was not told what to invalidate: name it there or with add(); tags=[]"
                " says that there is nothing"
            )
        return self._wait != "host" and ticket != 0
