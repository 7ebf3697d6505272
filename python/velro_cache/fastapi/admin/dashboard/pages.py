"""Routes that give the page and its files to browsers.

No ``from __future__ import annotations`` here: FastAPI reads these annotations.
"""

from collections.abc import Callable, Coroutine
from typing import Any, Final

from fastapi import APIRouter, HTTPException, Request, Response, params
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException as AnyHTTPException

from velro_cache.fastapi.admin.dashboard.files import PageFiles, read_files

__all__ = ["add_dashboard", "add_page"]

_HEADERS: Final = {
    # Nothing but files of this very folder, no code or style within the page, nobody's frame.
    "Content-Security-Policy": "; ".join(
        [
            "default-src 'none'",
            *("script-src 'self'", "style-src 'self'", "connect-src 'self'", "img-src 'self'"),
            *("frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'"),
        ]
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}

_NO_STORE: Final = {"Cache-Control": "no-store"}

# The address has the digest of the content in it. Private: there is a guard before it.
_FOR_EVER: Final = {"Cache-Control": "private, max-age=31536000, immutable"}

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class _PageRoute(APIRoute):
    """Every answer of these routes tells browsers what the page may do, refusals included."""

    def get_route_handler(self) -> Handler:
        """Wrap what FastAPI makes of the endpoint."""
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                response = await handle(request)
            except AnyHTTPException as error:
                # Guards raise these; the handlers of the application make answers of them.
                error.headers = {**(error.headers or {}), **_HEADERS, **_NO_STORE}
                raise
            response.headers.update(_HEADERS)
            return response

        return answer


def add_dashboard(router: APIRouter, guard: params.Depends, *, read_only: bool) -> None:
    """Add the dashboard, at the prefix of a router.

    Args:
        router: That of the admin routes, with its prefix.
        guard: Of the page and its files, which hold no data.
        read_only: Whether the page is made without the form that invalidates.

    Raises:
        OSError: The package is not complete.
    """
    add_page(router, guard, read_files(read_only=read_only))


def add_page(router: APIRouter, guard: params.Depends, files: PageFiles) -> None:
    """Add a page, at the prefix of a router.

    Args:
        router: With its prefix.
        guard: Of the page and its files, which hold no data.
        files: What browsers get.
    """
    # Relative, so it is right below any prefix and behind any proxy.
    folder = {"Location": router.prefix.rpartition("/")[2] + "/"}

    async def to_folder() -> Response:
        return Response(status_code=307, headers=folder | _NO_STORE)

    async def page() -> Response:
        return Response(files.page, media_type="text/html", headers=_NO_STORE)

    async def asset(version: str, name: str) -> Response:
        content, content_type = files.assets.get(name, (None, ""))
        if content is None or version != files.version:
            raise HTTPException(404, "There is no such file")
        return Response(content, headers={"Content-Type": content_type} | _FOR_EVER)

    # Not by the decorators of a part: FastAPI includes no route with an empty path.
    for path, endpoint in (
        ("", to_folder),
        ("/", page),
        ("/assets/{version}/{name:path}", asset),
    ):
        router.add_api_route(
            path,
            endpoint,
            methods=["GET"],
            dependencies=[guard],
            include_in_schema=False,
            response_model=None,
            route_class_override=_PageRoute,
        )
