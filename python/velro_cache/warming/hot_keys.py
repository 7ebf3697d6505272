"""Which names are used most, in bounded memory.

A count for each name; when there are twice as many names as may be remembered, the less used half
is forgotten and all counts are halved. What is used often therefore stays, however many names are
used once, and what is not used any more fades. A name is noted only where something was granted or
found, so whoever makes up ids does not get into it.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Final

from velro_cache.fork_safety import ForkSafeLock

__all__ = ["DEFAULT_HOT_KEYS", "HotKey", "HotKeys"]

HotKey = tuple[str, ...]
"""A kind, and the ids it is about: texts that mean the same in another process."""

DEFAULT_HOT_KEYS: Final = 1000

_LONGEST_CHARACTERS: Final = 1024
"""Longer names are not worth remembering."""


class HotKeys:
    """Counts uses of names.

    Args:
        capacity: How many names are remembered at least, if there are as many; never more than
            twice that.

    Attributes:
        heard: Called with each name that is noted, and whether it had to be loaded; must be as
            quick as appending to a deque. None: nobody listens.

    Raises:
        ValueError: ``capacity`` is below 1.
    """

    __slots__ = ("_capacity", "_lock", "_uses", "heard")

    def __init__(self, capacity: int = DEFAULT_HOT_KEYS) -> None:
        if capacity < 1:
            raise ValueError(f"capacity must be 1 or more, not {capacity}")
        self._capacity = capacity
        self._lock = ForkSafeLock()
        self._uses: dict[HotKey, int] = {}
        self.heard: Callable[[tuple[HotKey, bool]], object] | None = None

    def note(self, kind: str, *ids: object, loaded: bool = False) -> None:
        """Count one use.

        Args:
            kind: Kind of the name.
            *ids: Ids it is about: texts, UUIDs, numbers.
            loaded: Whether it was not cached, and had to be loaded for this use. What is loaded
                ahead is bounded by how often that happens.
        """
        name = (kind, *map(str, ids))
        if sum(map(len, name)) > _LONGEST_CHARACTERS:
            return
        with self._lock:
            self._uses[name] = self._uses.get(name, 0) + 1
            if len(self._uses) >= 2 * self._capacity:
                self._halve(self._capacity)
        heard = self.heard
        if heard is not None:
            heard((name, loaded))

    def hottest(self, count: int) -> list[HotKey]:
        """The names used most.

        Args:
            count: How many at the most.

        Returns:
            The most used first.
        """
        with self._lock:
            return heapq.nlargest(count, self._uses, key=self._uses.__getitem__)

    def age(self) -> None:
        """Halve all counts, and forget what comes to nothing."""
        with self._lock:
            self._halve(2 * self._capacity)

    def forget(self, name: HotKey) -> None:
        """Forget one name.

        Args:
            name: Kind and ids, as :meth:`hottest` returned them.
        """
        with self._lock:
            self._uses.pop(name, None)

    def __len__(self) -> int:
        return len(self._uses)

    def _halve(self, keep: int) -> None:
        kept = heapq.nlargest(keep, self._uses.items(), key=lambda item: item[1])
        self._uses = {name: uses // 2 for name, uses in kept if uses > 1}
