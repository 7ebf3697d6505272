"""Which paths of an application need no credentials."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, Final

__all__ = ["PublicPaths"]

_LEADS_AWAY: Final = re.compile(
    r"""
    (?:^|[/\\]) \.\.? (?:;[^/\\]*)? (?:[/\\]|$)  # a step up or on the spot, also as `..;x=1`
    | %(?:25)*(?:2e|2f|5c)                       # or what becomes one where it is decoded again
    """,
    re.VERBOSE | re.IGNORECASE,
)


class PublicPaths:
    """Paths, and beginnings of paths, that anybody may ask for.

    Args:
        paths: As the routes of the wrapped application have them, without the path it is mounted
            or served under: ``/health`` is not ``/health/``.
        prefixes: What such paths begin with, as ``/static/``; each begins and ends with a slash.
            A path with a step such as ``/../`` in it is under none of them: what lies behind this
            application may take the step, and then it leads somewhere else.

    Raises:
        TypeError: One of them is a single text.
        ValueError: A prefix lacks a slash.
    """

    __slots__ = ("_paths", "_prefixes", "is_empty")

    def __init__(self, paths: Collection[str] = (), prefixes: Collection[str] = ()) -> None:
        if isinstance(paths, str) or isinstance(prefixes, str):
            raise TypeError("public_paths and public_prefixes must be several texts, not one")
        if any(not (one[:1] == "/" == one[-1:] and len(one) > 1) for one in prefixes):
            raise ValueError("each of public_prefixes must begin and end with a slash")
        self._paths = frozenset(paths)
        self._prefixes = tuple(prefixes)
        self.is_empty = not self._paths and not self._prefixes

    def includes(self, scope: Mapping[str, Any]) -> bool:
        """Whether a request is for one of them.

        Args:
            scope: The ASGI scope.
        """
        if self.is_empty:
            return False
        path, root = scope["path"], scope.get("root_path", "")
        if root and path.startswith(root) and path[len(root) : len(root) + 1] in ("", "/"):
            path = path[len(root) :]
        if path in self._paths:
            return True
        is_under = bool(self._prefixes) and path.startswith(self._prefixes)
        return is_under and _LEADS_AWAY.search(path) is None
