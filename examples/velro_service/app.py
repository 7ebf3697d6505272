"""The web service: guarded generations, and the revoking of a project membership.

Run by itself (``python -m velro_service.app --database FILE``) it serves on a free port of
127.0.0.1, prints ``{"port": ...}`` as its first line and stops when its standard input closes.

No ``from __future__ import annotations`` here: FastAPI reads the annotations of the endpoints.
"""

import argparse
import asyncio
import json
import socket
import sys
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any, Protocol
from uuid import UUID

import uvicorn
from fastapi import APIRouter, Depends, FastAPI, HTTPException
from fastapi.requests import HTTPConnection
from sqlalchemy import delete, select

from velro_cache.authorization.models import AccessType, GenerationPermissions
from velro_cache.config import OptimizedCacheConfig
from velro_cache.fastapi import (
    AuthDep,
    CacheManagerDep,
    get_optimized_auth_middleware,
    velro_lifespan,
)
from velro_service.authorization import SqlAuthorizationService, user_of_token
from velro_service.baselines import NoCache, PlainTtlCache
from velro_service.database import Database
from velro_service.models import Project, ProjectMember

MODES = ("none", "plain-ttl", "velro")
PLAIN_TTL_SECONDS = 300.0


class Checker(Protocol):
    """What the endpoints check with: velro-cache's middleware object or a baseline."""

    async def check_generation_access_cached(
        self,
        generation_id: UUID,
        user_id: UUID,
        auth_token: str,
        required_access: AccessType = AccessType.READ,
    ) -> GenerationPermissions:
        """Say whether a user may access a generation."""
        ...


class Caller:
    """Who sent a request, as far as the request itself says. The service checks the token."""

    __slots__ = ("token", "user_id")

    def __init__(self, token: str) -> None:
        self.token = token
        self.user_id = UUID(token.partition(".")[0])


async def get_caller(connection: HTTPConnection) -> Caller:
    """Read the bearer token of the request."""
    scheme, _, token = connection.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        raise HTTPException(401, "Not authenticated", {"WWW-Authenticate": "Bearer"})
    try:
        return Caller(token)
    except ValueError:
        raise HTTPException(401, "Not authenticated", {"WWW-Authenticate": "Bearer"}) from None


CallerDep = Annotated[Caller, Depends(get_caller)]


def create_app(database: Database, mode: str) -> FastAPI:
    """Build the service.

    Args:
        database: Its data.
        mode: ``velro``, ``plain-ttl`` or ``none``: what stands between checks and database.

    Returns:
        The application.
    """
    service = SqlAuthorizationService(database)
    cache_lifespan = velro_lifespan(OptimizedCacheConfig.production(), authorization=service)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[dict[str, Any]]:
        async with cache_lifespan(app) as state:
            yield dict(state)
        await database.close()

    baselines: dict[str, Checker] = {
        "none": NoCache(service),
        "plain-ttl": PlainTtlCache(service, PLAIN_TTL_SECONDS),
    }

    async def get_baseline() -> Checker:
        return baselines[mode]

    app = FastAPI(title="Velro generations", lifespan=lifespan)
    get_checker = get_optimized_auth_middleware if mode == "velro" else get_baseline
    app.include_router(_generations(database, get_checker))
    app.include_router(_projects(database))
    return app


def _generations(database: Database, get_checker: Any) -> APIRouter:
    router = APIRouter()
    check_seconds: list[float] = []

    async def check(
        checker: Checker, generation_id: UUID, caller: Caller, access: AccessType
    ) -> GenerationPermissions:
        started = perf_counter()
        permissions = await checker.check_generation_access_cached(
            generation_id, caller.user_id, caller.token, required_access=access
        )
        check_seconds.append(perf_counter() - started)
        if not permissions.granted:
            raise HTTPException(status_code=403, detail="Access denied")
        return permissions

    @router.get("/generations/{generation_id}/media")
    async def get_media(
        generation_id: UUID, caller: CallerDep, checker: Annotated[Checker, Depends(get_checker)]
    ) -> dict[str, list[str]]:
        permissions = await check(checker, generation_id, caller, AccessType.READ)
        return {"media_urls": list(permissions.media_urls)}

    @router.get("/generations/{generation_id}/access/{access}")
    async def get_access(
        generation_id: UUID,
        access: AccessType,
        caller: CallerDep,
        checker: Annotated[Checker, Depends(get_checker)],
    ) -> dict[str, bool]:
        await check(checker, generation_id, caller, access)
        return {"allowed": True}

    @router.get("/figures")
    async def get_figures(auth: AuthDep) -> dict[str, Any]:
        checks = auth.get_performance_stats()["middleware_stats"]
        return {
            "statements": database.statements,
            "check_seconds": check_seconds,
            "cached_checks": checks["total_requests"],
            "cache_hits": checks["cache_hits"],
        }

    return router


def _projects(database: Database) -> APIRouter:
    router = APIRouter()

    @router.delete("/projects/{project_id}/members/{user_id}")
    async def revoke(
        project_id: UUID, user_id: UUID, caller: CallerDep, cache: CacheManagerDep
    ) -> dict[str, int]:
        owner = await database.rows(select(Project.owner_id).where(Project.id == str(project_id)))
        if not owner or owner[0].owner_id != user_of_token(caller.token):
            raise HTTPException(status_code=403, detail="Only the owner of the project may")
        removed = await database.change(
            delete(ProjectMember).where(
                ProjectMember.project_id == str(project_id), ProjectMember.user_id == str(user_id)
            )
        )
        # After the commit, never before: a check in between would load the old state again.
        await cache.invalidate_user_authorization_cache(user_id)
        return {"removed": removed}

    return router


def main() -> None:
    """Serve until standard input closes, so that no server outlives who started it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--database", type=Path, required=True)
    parser.add_argument("--mode", choices=MODES, default="velro")
    parser.add_argument("--db-latency-ms", type=float, default=0.0)
    options = parser.parse_args()
    app = create_app(Database(options.database, options.db_latency_ms), options.mode)
    # The access log costs more than the whole check.
    server = uvicorn.Server(
        uvicorn.Config(
            app, log_level="warning", access_log=False, timeout_graceful_shutdown=2, lifespan="on"
        )
    )
    listener = socket.create_server(("127.0.0.1", 0))
    # Accepted connections inherit it. The loop sets it only on sockets it made itself; without
    # it, each answer waits 40 ms for the client's delayed acknowledgement.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    print(json.dumps({"port": listener.getsockname()[1]}), flush=True)

    def stop_with_parent() -> None:
        sys.stdin.read()
        server.should_exit = True

    threading.Thread(target=stop_with_parent, daemon=True).start()
    asyncio.run(server.serve(sockets=[listener]))


if __name__ == "__main__":
    main()
