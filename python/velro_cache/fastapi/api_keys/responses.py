"""What routes behind API keys answer besides their own, for the OpenAPI document."""

from __future__ import annotations

import copy
from typing import Any, Final

from velro_cache.fastapi.problems import AUTH_RESPONSES

__all__ = ["API_KEY_RESPONSES"]


def _as(status: int, description: str, *headers: str) -> dict[str, Any]:
    documented = copy.deepcopy(AUTH_RESPONSES[status])
    documented["description"] = description
    if headers:
        documented["headers"] = {name: {"schema": {"type": "string"}} for name in headers}
    return documented


API_KEY_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    401: _as(401, "No API key, a malformed one, or several"),
    403: _as(403, "The API key is unknown, revoked or expired, or lacks a scope"),
    429: _as(503, "Too many requests", "Retry-After", "RateLimit", "RateLimit-Policy"),
    503: _as(503, "Whether the API key is good cannot be told now"),
}
"""For ``responses=`` of routes behind :class:`ApiKeyMiddleware` or :class:`ApiKeyAuth`."""
