"""The names a client may watch, and what of the cache they stand for."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from fastapi import HTTPException

from velro_cache._engine import generate_auth_key
from velro_cache.exceptions import VelroCacheError
from velro_cache.fastapi.feed.listener import Listener
from velro_cache.manager import Id

__all__ = ["OWN", "MayWatch", "Name", "Watch", "names_of", "watch_of"]

MayWatch: TypeAlias = Callable[[Id, str, str], Awaitable[bool]]
"""Whether a user may watch a resource: user, kind, id."""

OWN: Final = "user"
"""What a client calls everything about its own user."""

_NAME: Final = re.compile(r"([a-z][a-z0-9_]{0,31}):(.{1,256})")
_ABOUT_USERS: Final = frozenset({"user", "session", "auth", "rate_limit"})
"""Kinds that would name other users; nobody may watch these, whatever the application says."""

_KINDS_OF_KEYS: Final = {
    "generation": ("generation_access", "generation_id"),
    "project": ("project_access", "project_id"),
    "team": ("team_role", "team_id"),
}


@dataclass(frozen=True, slots=True)
class Name:
    """A resource, as a client names it.

    Attributes:
        text: All of it, such as ``generation:g1``.
        kind: What stands before the colon.
        id: What stands after it.
    """

    text: str
    kind: str
    id: str


@dataclass(frozen=True, slots=True)
class Watch:
    """What of the cache a name stands for.

    Attributes:
        keys: What invalidates one of these concerns the name.
        tags: And what invalidates one of these.
    """

    keys: tuple[str, ...]
    tags: tuple[str, ...]


def names_of(texts: Sequence[str], most: int) -> tuple[Name, ...]:
    """Read the names that a client asks for.

    Args:
        texts: As the client wrote them.
        most: So many at most.

    Raises:
        HTTPException: 422: too many, or one is none. The answer does not repeat it.
    """
    if len(texts) > most:
        raise HTTPException(422, f"At most {most} names can be watched")
    names = []
    for text in dict.fromkeys(texts):
        found = _NAME.fullmatch(text)
        if found is None or not text.isprintable() or found[1] in _ABOUT_USERS:
            raise HTTPException(422, "A name to watch is like generation:<id>")
        names.append(Name(text, found[1], found[2]))
    return tuple(names)


def watch_of(listener: Listener, name: Name | None) -> Watch:
    """Say what of the cache a name stands for.

    Args:
        listener: Who watches.
        name: A resource; None: everything about the user.

    Raises:
        HTTPException: 422: the id is none.
    """
    try:
        if name is None:
            kinds: tuple[Any, ...] = ("user_profile", "user_permissions")
            keys = [generate_auth_key(kind, user_id=listener.user_id) for kind in kinds]
            return Watch(tuple(keys), (f"user:{listener.user_id}",))
        tag = f"{name.kind}:{name.id}"
        if name.kind not in _KINDS_OF_KEYS:
            return Watch((), (tag,))
        kind, parameter = _KINDS_OF_KEYS[name.kind]
        ids: dict[str, Any] = {parameter: name.id, "user_id": listener.user_id}
        key = generate_auth_key(kind, **ids)
        # Decisions lie below that key, one for each token.
        return Watch((key, f"{key}:"), (tag,))
    except VelroCacheError:
        raise HTTPException(422, "A name to watch is like generation:<id>") from None
