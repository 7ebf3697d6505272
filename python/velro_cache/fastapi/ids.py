"""What may stand for an id in a request."""

from typing import Final

from velro_cache._engine import escape_id
from velro_cache.exceptions import InvalidKeyError

__all__ = ["is_readable", "may_be_id"]

_MAX_ID_CHARACTERS: Final = 256
"""Longest id of a path that is looked at."""


def is_readable(given: str) -> bool:
    """Whether a text may be an id at all.

    Not printable are control characters, halves of surrogate pairs, marks that turn text around.

    Args:
        given: What stands in the path.
    """
    return 0 < len(given) <= _MAX_ID_CHARACTERS and given.isprintable()


def may_be_id(given: object) -> bool:
    """Whether something may name a resource: a readable text, a UUID, an integer.

    Args:
        given: What somebody found in a request.
    """
    if isinstance(given, str) and not is_readable(given):
        return False
    try:
        escape_id(given)  # type: ignore[arg-type]
    except (InvalidKeyError, TypeError):
        return False
    return True
