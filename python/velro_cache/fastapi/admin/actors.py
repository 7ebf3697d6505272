"""Who did it, as a text for the audit log."""

from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

__all__ = ["actor_text"]

_NAMES: Final = ("user_id", "sub", "username", "id")
"""What user objects and claims call the one they are about, the first that is there."""

_MOST_CHARACTERS: Final = 200


def actor_text(answer: object) -> str:
    """Name the one a guard has let through.

    A user object is never written out as a whole: it may hold a password's hash, claims a token.

    Args:
        answer: What the guard returned.

    Returns:
        A text, a number or a UUID as it is; of an object or a mapping its ``user_id``, ``sub``,
        ``username`` or ``id``; otherwise ``"unknown"``. At most 200 characters, all printable.
    """
    found = _plain(answer)
    if found is None and answer is not None:
        found = next(filter(None, (_plain(_named(answer, name)) for name in _NAMES)), None)
    if not found:
        return "unknown"
    shown = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in found)
    return shown[:_MOST_CHARACTERS]


def _plain(answer: object) -> str | None:
    if isinstance(answer, bool):
        return None
    if isinstance(answer, int):
        # Python refuses to write very long ones out.
        return str(answer) if abs(answer) < 10**30 else None
    return str(answer) if isinstance(answer, str | UUID) else None


def _named(answer: object, name: str) -> Any:
    if isinstance(answer, Mapping):
        return answer.get(name)
    return getattr(answer, name, None)
