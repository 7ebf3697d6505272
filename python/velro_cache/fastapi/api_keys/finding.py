"""Where the API key of a request stands: in which header, and nowhere by accident."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from velro_cache.exceptions import KeyMalformed

__all__ = ["KeyFinder"]

_FIELD_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_PARAMETER: Final = re.compile(r"[A-Za-z0-9._-]+")

_MOST_BYTES: Final = 1024
"""A longer credential is no key in any format; nobody looks at it."""


class KeyFinder:
    """Finds the one API key of a request.

    ``Authorization`` is read as ``Bearer <key>``, the scheme in any case; other schemes are not
    credentials of this kind. Every other header holds the key alone.

    Args:
        headers: Names of headers, in any case; one of them or several.
        query_parameter: A parameter of the query that may hold the key. None: none. Addresses end
            up in logs, in the history of browsers and in ``Referer``: only for clients that cannot
            set headers, such as WebSockets of browsers.

    Raises:
        TypeError: ``headers`` is a single text.
        ValueError: A name is none, or there are none.
    """

    __slots__ = ("_names", "_query_parameter", "headers", "reads_bearer")

    def __init__(self, headers: Sequence[str], query_parameter: str | None = None) -> None:
        if isinstance(headers, str):
            raise TypeError("headers must be several names, not one text")
        if not headers or not all(_FIELD_NAME.fullmatch(name) for name in headers):
            raise ValueError("headers must be names of headers, at least one")
        if query_parameter is not None and not _PARAMETER.fullmatch(query_parameter):
            raise ValueError("query_parameter must be letters, digits, dots, '_' and '-'")
        self.headers: Final = tuple(headers)
        self._names = frozenset(name.lower().encode("ascii") for name in headers)
        self._query_parameter = (
            None if query_parameter is None else query_parameter.encode("ascii") + b"="
        )
        self.reads_bearer: Final = b"authorization" in self._names

    def find(self, scope: Mapping[str, Any]) -> bytes | None:
        """The key of a request or WebSocket.

        Args:
            scope: The ASGI scope.

        Returns:
            What stands where a key belongs, whatever it is. None: nothing stands there.

        Raises:
            KeyMalformed: A header comes twice, there are two different keys, or what stands there
                is far too long: one program might look at the first, the next at the last.
        """
        found: bytes | None = None
        seen: tuple[bytes, ...] = ()
        names = self._names
        for name, value in scope["headers"]:
            if name not in names:
                continue
            if name in seen:
                raise KeyMalformed("a header with an API key comes twice")
            seen += (name,)
            if name == b"authorization":
                if value[:7].lower() != b"bearer ":
                    continue
                value = value[7:]
            if len(value) > _MOST_BYTES:
                raise KeyMalformed("this is no API key")
            value = value.strip(b" \t")
            if found is not None and found != value:
                raise KeyMalformed("more than one API key")
            found = value
        if self._query_parameter is not None and scope.get("query_string"):
            return self._in_query(scope["query_string"], found)
        return found

    def _in_query(self, query: bytes, found: bytes | None) -> bytes | None:
        start = self._query_parameter
        assert start is not None  # noqa: S101 (so it was called)
        count = 0
        for part in query.split(b"&"):
            if not part.startswith(start):
                continue
            count += 1
            value = part[len(start) :]
            if count > 1 or len(value) > _MOST_BYTES:
                raise KeyMalformed("more than one API key, or none that can be one")
            value = unquote_to_bytes(value)
            if found is not None and found != value:
                raise KeyMalformed("more than one API key")
            found = value
        return found
