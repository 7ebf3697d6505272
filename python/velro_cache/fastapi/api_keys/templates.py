"""Which route has served a request, as its template: without what a client wrote into the path."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

__all__ = ["UNMATCHED", "path_template"]

UNMATCHED: Final = "(unmatched)"
"""No route has served it, or an application that does not say which."""

_LONGEST: Final = 200


def path_template(scope: Mapping[str, Any]) -> str:
    """The template of the route that has served a request, such as ``/items/{item_id}``.

    Args:
        scope: The ASGI scope, after the request was served.

    Returns:
        The template, of at most 200 characters. Of an application that is mounted, it is that of
        its own route. :data:`UNMATCHED`: there is none.
    """
    # A router that is included has routes that do not know its prefix; FastAPI says what is meant.
    inner = scope.get("fastapi")
    context = inner.get("effective_route_context") if isinstance(inner, Mapping) else None
    route = scope.get("route")
    if context is not None and getattr(context, "original_route", None) is route:
        for place in (getattr(context, "starlette_route", None), context):
            path = getattr(place, "path_format", None)
            if isinstance(path, str):
                return path[:_LONGEST]
    path = getattr(route, "path_format", None) or getattr(route, "path", None)
    return path[:_LONGEST] if isinstance(path, str) and path else UNMATCHED
