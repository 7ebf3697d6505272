"""Refusals and failures as ``application/problem+json`` (RFC 9457), and in the OpenAPI document."""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI
from fastapi.requests import HTTPConnection
from fastapi.responses import Response
from fastapi.websockets import WebSocket
from starlette.exceptions import HTTPException

from velro_cache.exceptions import AuthorizationUnavailable, CacheStoppedError, LoaderTimeoutError
from velro_cache.fastapi.refusals import Refusal

__all__ = ["AUTH_RESPONSES", "UNAVAILABLE", "install_problem_handlers", "problem", "unavailable"]

UNAVAILABLE: Final = (AuthorizationUnavailable, LoaderTimeoutError, CacheStoppedError)
"""Exceptions that mean "nobody can tell now": 503, never an allow."""

_TRY_AGAIN_LATER: Final = 1013


def problem(error: HTTPException) -> bytes:
    """The problem document of an exception.

    Args:
        error: A refusal, or another exception of FastAPI.

    Returns:
        The JSON text: ``type`` "about:blank", ``title``, ``status``, ``detail``, and for refusals
        ``error`` and ``scope`` as RFC 6750 has them.
    """
    members = error.members if isinstance(error, Refusal) else {}
    return json.dumps(
        {
            "type": "about:blank",
            "title": HTTPStatus(error.status_code).phrase,
            "status": error.status_code,
            "detail": error.detail,
            **members,
        },
        separators=(",", ":"),
    ).encode()


def unavailable() -> HTTPException:
    """503: whether the request may go on is not known. Says nothing about why."""
    headers = {"Retry-After": "1", "Cache-Control": "no-store"}
    return HTTPException(503, "Authorization is not available", headers)


def install_problem_handlers(app: FastAPI) -> None:
    """Answer refusals and failures of authorization with problem documents.

    401 and 403 of the guards keep their headers; ``AuthorizationUnavailable``,
    ``LoaderTimeoutError`` and ``CacheStoppedError`` become 503 with ``Retry-After`` instead of
    500. Other exceptions of the application are left alone.

    Args:
        app: The application; handlers it already has for these exceptions are replaced.

    Raises:
        RuntimeError: The application has started, and looks at no further handlers.
    """
    if app.middleware_stack is not None:
        raise RuntimeError("problem handlers must be installed before the application has started")
    app.add_exception_handler(Refusal, _refused)
    for error in UNAVAILABLE:
        app.add_exception_handler(error, _failed)  # type: ignore[arg-type]


async def _refused(_connection: HTTPConnection, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 (so it was registered)
    return _response(error)


async def _failed(connection: HTTPConnection, _error: Exception) -> Response | None:
    if isinstance(connection, WebSocket):
        await connection.close(_TRY_AGAIN_LATER)
        return None
    return _response(unavailable())


def _response(error: HTTPException) -> Response:
    return Response(
        problem(error),
        status_code=error.status_code,
        headers=error.headers,
        media_type="application/problem+json",
    )


_DETAIL: Final = {
    "type": "object",
    "title": "Refusal",
    "required": ["detail"],
    "properties": {"detail": {"type": "string"}},
}
_PROBLEM: Final = {
    "type": "object",
    "title": "Problem",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "error": {"type": "string"},
        "scope": {"type": "string"},
    },
}


def _documented(description: str, header: str) -> dict[str, Any]:
    return {
        "description": description,
        "headers": {header: {"schema": {"type": "string"}}},
        "content": {
            "application/json": {"schema": _DETAIL},
            "application/problem+json": {"schema": _PROBLEM},
        },
    }


AUTH_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    401: _documented("No valid bearer token", "WWW-Authenticate"),
    403: _documented("The user may not do this", "WWW-Authenticate"),
    503: _documented("Authorization is not available", "Retry-After"),
}
"""For ``responses=`` of guarded routes: what they answer besides their own."""
