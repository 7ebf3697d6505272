"""Bearer tokens in requests, and what a refusal says about them (RFC 6750)."""

from __future__ import annotations

import re
from collections.abc import Callable, MutableMapping
from typing import Any, Final, TypeAlias

from velro_cache.exceptions import InvalidTokenError

__all__ = ["DEFAULT_CHALLENGE", "BearerChallenge", "TokenFinder", "bearer_token", "quotable"]

TokenFinder: TypeAlias = Callable[[MutableMapping[str, Any]], bytes | str | None]
"""Says where in an ASGI scope the token stands; None: there is none."""

# quoted-string of RFC 9110 without what would have to be escaped in it.
_QUOTABLE: Final = re.compile(r"[ !#-\[\]-~]*")


def bearer_token(scope: MutableMapping[str, Any]) -> bytes | None:
    """The token of a request or WebSocket: ``Authorization: Bearer ...``.

    Args:
        scope: The ASGI scope.

    Returns:
        What stands after ``Bearer``, whatever it is; None without bearer credentials.

    Raises:
        InvalidTokenError: There are two ``Authorization`` headers: one program might look at the
            first, the next at the last.
    """
    found: bytes | None = None
    for name, value in scope["headers"]:
        if name == b"authorization":
            if found is not None:
                raise InvalidTokenError("more than one Authorization header")
            found = value
    if found is None or found[:7].lower() != b"bearer ":
        return None
    return found[7:].lstrip(b" ")


class BearerChallenge:
    """The ``WWW-Authenticate`` header of refusals.

    Args:
        realm: Name of what is protected, shown to clients.
        resource_metadata: Where clients find out how to get a token (RFC 9728). None: not said.

    Raises:
        ValueError: One of them holds quotes, backslashes, or more than plain ASCII.
    """

    __slots__ = ("_ending", "invalid_token", "realm", "required")

    def __init__(self, realm: str = "api", resource_metadata: str | None = None) -> None:
        self.realm = quotable("realm", realm)
        self._ending = ""
        if resource_metadata is not None:
            place = quotable("resource_metadata", resource_metadata)
            self._ending = f', resource_metadata="{place}"'
        self.required = f'Bearer realm="{realm}"{self._ending}'
        """Without credentials: nothing about an error, as there was no attempt."""
        self.invalid_token = f'Bearer realm="{realm}", error="invalid_token"{self._ending}'

    def insufficient_scope(self, scope: str | None) -> str:
        """The header of a refusal to somebody who is known.

        Args:
            scope: What would have been needed, already known to be quotable. None: not said.
        """
        needed = "" if scope is None else f', scope="{scope}"'
        return f'Bearer realm="{self.realm}", error="insufficient_scope"{needed}{self._ending}'


def quotable(name: str, text: str) -> str:
    """Check that a text can stand between quotes in a header.

    Args:
        name: What the text is, for the error.
        text: The text.

    Returns:
        The text.

    Raises:
        ValueError: It cannot.
    """
    if not _QUOTABLE.fullmatch(text):
        raise ValueError(f"{name} must be plain ASCII without quotes and backslashes")
    return text


DEFAULT_CHALLENGE: Final = BearerChallenge()
