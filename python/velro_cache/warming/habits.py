"""What is likely to be asked for next: the last accesses of each user, and what followed them.

A *habit* is that of a user, or of a group of users who do alike. An item is a name without the
user's id in it: what one member of a group does foretells what another one will ask for, each for
himself.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any, Final

from velro_cache.warming.hot_keys import HotKey
from velro_cache.warming.successors import Successors

__all__ = ["Habits", "item_of", "name_of"]

Item = HotKey
"""A kind, and all ids but the user's."""

_LEAST_SUPPORT: Final = 2.0
"""What followed once is no habit."""


class Habits:
    """Learns from accesses, and says what is likely to follow.

    Args:
        sources: Items of which followers are remembered; see :class:`Successors`.
        width: Followers of each.
        lookahead: Within how many accesses of a user something follows.
        session_seconds: Longest pause between two accesses of which one follows the other.
        users: Users whose last accesses are remembered.
        hash_ids: Keep digests in the place of users and of the items they come from. What follows
            must be loaded, and a digest cannot: it stays as it is, without the user.
    """

    __slots__ = (
        "_digest",
        "_lookahead",
        "_recent",
        "_session_seconds",
        "_users",
        "successors",
    )

    def __init__(
        self,
        sources: int,
        width: int,
        lookahead: int,
        session_seconds: float,
        users: int,
        hash_ids: bool,
    ) -> None:
        self.successors: Successors[Any, Item] = Successors(sources, width)
        self._lookahead = lookahead
        self._session_seconds = session_seconds
        self._users = users
        self._digest: Callable[[object], Any] = _Digest() if hash_ids else _as_it_is
        self._recent: OrderedDict[Any, _Trail] = OrderedDict()

    def learn(self, group: str, user: str, item: Item, now: float) -> None:
        """Count one access.

        Args:
            group: Whose habit it is.
            user: Who asked.
            item: For what.
            now: When, in seconds on a clock that only goes forward.
        """
        source = self._digest((group, *item))
        who = self._digest((user,))
        trail = self._recent.get(who)
        if trail is None or now - trail.at > self._session_seconds:
            trail = self._recent[who] = _Trail(self._lookahead)
        trail.at = now
        self._recent.move_to_end(who)
        if len(self._recent) > self._users:
            self._recent.popitem(last=False)
        successors = self.successors
        if trail.steps and trail.steps[-1][0] == source:
            # Once more the same: nothing has followed.
            return
        for before, followed in trail.steps:
            if before != source and source not in followed:
                followed.add(source)
                successors.follow(before, item)
        successors.see(source)
        trail.steps.append((source, set()))

    def likely(self, group: str, item: Item, least_probability: float) -> list[Item]:
        """Say what is likely to follow an item.

        Args:
            group: Whose habit is looked at.
            item: What was asked for.
            least_probability: How likely, at the least, from 0 to 1; estimates count with what is
                certain of them.

        Returns:
            The likeliest first.
        """
        source = self._digest((group, *item))
        return self.successors.surest(source, _LEAST_SUPPORT, least_probability)


def item_of(name: HotKey, user_at: int) -> Item:
    """Take the user's id out of a name.

    Args:
        name: Kind and ids.
        user_at: Which of the ids it is, from 0.
    """
    return name[: user_at + 1] + name[user_at + 2 :]


def name_of(item: Item, user_at: int, user: str) -> HotKey:
    """Put a user's id into an item; see :func:`item_of`."""
    return (*item[: user_at + 1], user, *item[user_at + 1 :])


class _Trail:
    """The last accesses of a user: each with what has followed it already."""

    __slots__ = ("at", "steps")

    def __init__(self, lookahead: int) -> None:
        self.at = 0.0
        self.steps: deque[tuple[Any, set[Any]]] = deque(maxlen=lookahead)


class _Digest:
    """Digests with a key of this object alone."""

    __slots__ = ("_key",)

    def __init__(self) -> None:
        self._key = os.urandom(32)

    def __call__(self, parts: object) -> bytes:
        # JSON keeps the parts apart: no id can end in the next one.
        text = json.dumps(parts).encode()
        return hashlib.blake2b(text, key=self._key, digest_size=16).digest()


def _as_it_is(parts: object) -> Any:
    return parts
