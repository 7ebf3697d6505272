"""What all admin routes have in common, around what FastAPI does for them."""

from collections.abc import Callable, Coroutine
from typing import Any, Final

from fastapi import HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException as AnyHTTPException

from velro_cache.fastapi.admin.cross_site import refuse_other_sites

__all__ = ["ReadingRoute", "changing_route", "checked_prefix"]

_MOST_BODY_BYTES: Final = 64 * 1024
"""Longest body that is read; the longest sensible one is a list of a hundred tags."""

_NO_STORE: Final = {"Cache-Control": "no-store"}

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


def checked_prefix(prefix: str, example: str) -> str:
    """Refuse what routes cannot lie at, when the router is made.

    Args:
        prefix: Where they are to lie.
        example: One that can be used.

    Raises:
        ValueError: It cannot be used.
    """
    if not prefix.startswith("/") or prefix.endswith("/") or set(prefix) & set("{}?#"):
        raise ValueError(f"prefix must be like {example}, not {prefix!r:.80}")
    return prefix


class ReadingRoute(APIRoute):
    """Nobody on the way may keep an answer, and no answer repeats what it could not understand."""

    def get_route_handler(self) -> Handler:
        """Wrap what FastAPI makes of the endpoint."""
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                response = await handle(request)
            except RequestValidationError as error:
                response = _not_understood(error)
            except AnyHTTPException as error:
                # Guards raise these; the handlers of the application make answers of them.
                error.headers = {**(error.headers or {}), **_NO_STORE}
                raise
            response.headers.update(_NO_STORE)
            return response

        return answer


def changing_route(trusted_origins: frozenset[str]) -> type[ReadingRoute]:
    """Make the class of routes that change something.

    They also look where a request comes from, and read no more than 64 KiB of it: FastAPI reads
    bodies before it asks guards.

    Args:
        trusted_origins: Other origins whose pages may send such requests.
    """

    class ChangingRoute(ReadingRoute):
        """Refuses pages of other sites, and bodies that are too large."""

        def get_route_handler(self) -> Handler:
            """Wrap what FastAPI makes of the endpoint."""
            handle = super().get_route_handler()

            async def answer(request: Request) -> Response:
                try:
                    refuse_other_sites(request, trusted_origins)
                    limited = _limited(request)
                except HTTPException as error:
                    error.headers = {**(error.headers or {}), **_NO_STORE}
                    raise
                return await handle(limited)

            return answer

    return ChangingRoute


def _limited(request: Request) -> Request:
    length = request.headers.get("content-length", "0")
    if not length.isdecimal() or len(length) > 12 or int(length) > _MOST_BODY_BYTES:
        raise _too_large()
    received_bytes = 0

    async def receive() -> Any:
        nonlocal received_bytes
        message = await request.receive()
        received_bytes += len(message.get("body", b""))
        if received_bytes > _MOST_BODY_BYTES:
            raise _too_large()
        return message

    return Request(request.scope, receive)


def _too_large() -> HTTPException:
    # The rest is not read, so the connection is of no further use.
    headers = {"Connection": "close"}
    return HTTPException(413, f"Bodies have at most {_MOST_BODY_BYTES} bytes", headers)


def _not_understood(error: RequestValidationError) -> Response:
    # FastAPI's own answer repeats the input, whatever it holds; and pydantic's context may. What
    # comes after the field are the names of types here.
    problems = [
        {"loc": [str(part)[:80] for part in problem["loc"][:2]], "msg": str(problem["msg"])[:200]}
        for problem in error.errors()[:10]
    ]
    return JSONResponse({"detail": problems}, 422)
