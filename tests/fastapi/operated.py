"""An application with admin routes, and clients with and without credentials."""

from __future__ import annotations

import warnings
from typing import Any

from fastapi import FastAPI, Header, HTTPException

from velro_cache.fastapi import create_admin_router
from velro_cache.manager import OptimizedCacheManager

with warnings.catch_warnings():
    # Newer versions prefer another package for it.
    warnings.simplefilter("ignore")
    from fastapi.testclient import TestClient

PREFIX = "/admin/cache"
OPERATOR = {"authorization": "Bearer operator"}
SCRAPER = {"authorization": "Bearer scraper"}


async def require_operator(authorization: str = Header("")) -> str:
    """Let operators through, by name."""
    if not authorization:
        raise HTTPException(401, "Not authenticated", {"WWW-Authenticate": "Bearer"})
    if authorization != OPERATOR["authorization"]:
        raise HTTPException(403, "Access denied")
    return "ada"


async def require_scraper(authorization: str = Header("")) -> None:
    """Let scrapers through."""
    if authorization != SCRAPER["authorization"]:
        raise HTTPException(401, "Not authenticated")


def operated(cache: OptimizedCacheManager | None, **options: Any) -> FastAPI:
    """An application whose cache can be operated."""
    app = FastAPI()
    app.include_router(create_admin_router(require_operator, cache=cache, **options))
    return app


def client_of(app: FastAPI, headers: dict[str, str] = OPERATOR) -> TestClient:
    """A client within this process, an operator's unless told otherwise."""
    return TestClient(app, base_url="http://service.example", headers=headers)


def routes(app: FastAPI) -> list[tuple[str, str]]:
    """Every route of the interface, as its own description has it."""
    paths = app.openapi()["paths"]
    return [(method.upper(), path) for path, methods in paths.items() for method in methods]


BODIES: dict[str, dict[str, Any]] = {
    "/invalidate/user": {"user_id": "u"},
    "/invalidate/generation": {"generation_id": "g"},
    "/invalidate/tags": {"tags": ["user:u"]},
    "/invalidate/pattern": {"pattern": "auth:user:*"},
    "/invalidate/key": {"key": "auth:user:u:profile"},
    "/clear": {"confirm": "default"},
    "/warm": {"kinds": "all"},
}
"""A body that each changing route understands."""

QUERIES: dict[str, dict[str, str]] = {"/keys/explain": {"key": "auth:user:u:profile"}}
"""Parameters of the reading routes that need some."""
