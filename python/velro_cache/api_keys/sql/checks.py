"""What may be written into the database; everything else is refused before anything is asked."""

import json
import math
import re
from collections.abc import Iterable
from typing import Final

from velro_cache.exceptions import InvalidKeyError

__all__ = [
    "LONGEST_ID",
    "check_id",
    "check_moment",
    "check_new_id",
    "check_scopes",
    "check_text",
    "scopes_as_json",
]

LONGEST_ID: Final = 256
"""Characters of an id of something that is there."""

_NEW_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SCOPE: Final = re.compile(r"[!-~]{1,128}")
_MOST_SCOPES: Final = 256
_LATEST: Final = 253_402_300_800.0
"""The year 10000. Milliseconds instead of seconds are beyond it."""


def check_new_id(text: object) -> str:
    """Return an id that is to be given to something.

    Args:
        text: 1 to 64 letters, digits, ``.``, ``_`` and ``-``, a letter or digit first: the same in
            a tag, in a URL and on a command line.

    Raises:
        InvalidKeyError: It is something else.
    """
    if not isinstance(text, str) or not _NEW_ID.fullmatch(text):
        raise InvalidKeyError(
            "an id has 1 to 64 letters, digits, '.', '_' and '-', a letter or digit first"
        )
    return text


def check_id(text: object) -> str:
    """Return an id of something that may be there.

    More are taken than :func:`check_new_id` takes: rows of other programs have ids of their own,
    and have to be found, if only to be revoked.

    Args:
        text: 1 to 256 characters that a database can hold.

    Raises:
        InvalidKeyError: It is something else.
    """
    if not isinstance(text, str) or not 1 <= len(text) <= LONGEST_ID or not _is_storable(text):
        raise InvalidKeyError(f"an id is a text of 1 to {LONGEST_ID} characters")
    return text


def check_text(name: str, text: object, longest: int = 200) -> str:
    """Return a text for people, such as a name.

    Args:
        name: What it is, for the message.
        text: At most ``longest`` characters, none of them a control character.
        longest: See there.

    Raises:
        ValueError: It is something else.
    """
    if not isinstance(text, str) or len(text) > longest or not _is_storable(text):
        raise ValueError(f"{name} is a text of at most {longest} characters")
    if any(ord(character) < 32 or ord(character) == 127 for character in text):
        raise ValueError(f"{name} must not have control characters")
    return text


def check_moment(name: str, moment: object) -> float:
    """Return a moment in seconds since 1970.

    Args:
        name: What it is, for the message.
        moment: A number above 0 and before the year 10000.

    Raises:
        ValueError: It is something else.
    """
    if isinstance(moment, bool) or not isinstance(moment, (int, float)):
        raise ValueError(f"{name} is a number of seconds since 1970")
    # Compared as it is: an integer may be too large for a float.
    if not 0 < moment < _LATEST or not math.isfinite(moment):
        raise ValueError(f"{name} is a number of seconds since 1970, before the year 10000")
    return float(moment)


def check_scopes(scopes: Iterable[str]) -> frozenset[str]:
    """Return scopes.

    Args:
        scopes: At most 256, each of 1 to 128 visible ASCII characters.

    Raises:
        TypeError: They are one text, or not texts.
        ValueError: They are too many, or one is none.
    """
    if isinstance(scopes, str):
        raise TypeError("scopes must be several texts, not one")
    found = set()
    for scope in scopes:
        if not isinstance(scope, str):
            raise TypeError("scopes are texts")
        if not _SCOPE.fullmatch(scope):
            raise ValueError("a scope has 1 to 128 visible ASCII characters")
        found.add(scope)
        if len(found) > _MOST_SCOPES:
            raise ValueError(f"a key has at most {_MOST_SCOPES} scopes")
    return frozenset(found)


def scopes_as_json(scopes: Iterable[str]) -> str:
    """Write scopes as the table has them.

    Args:
        scopes: Checked ones.
    """
    return json.dumps(sorted(scopes), separators=(",", ":"))


def _is_storable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text
