"""A service as it would be run with several workers; started by uvicorn and by gunicorn.

Which files it uses is in its environment. No ``from __future__ import annotations`` here: FastAPI
reads the annotations of the endpoints.
"""

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, HTTPException, Response
from truth import SqliteTruth

from velro_cache.authorization.models import GenerationPermissions
from velro_cache.config import OptimizedCacheConfig
from velro_cache.fastapi import AuthDep, CacheManagerDep, OptimizedAuthMiddleware, velro_lifespan
from velro_cache.manager import Id
from velro_cache.registry import get_cache_manager

FOLDER = Path(os.environ["CHAOS_FOLDER"])
PERMISSIONS = 8
TOKEN = "good"  # noqa: S105 (nobody's secret)


class Service:
    """Decides by the database, slowly: most of the time passes with the answer in hand."""

    def __init__(self) -> None:
        self._truth = SqliteTruth(FOLDER / "truth.sqlite3")

    async def validate_generation_media_access(
        self,
        generation_id: Id,
        user_id: Id,
        auth_token: str,
        client_ip: str | None = None,
        expires_in: int = 3600,
    ) -> GenerationPermissions:
        granted, _ = self._truth.read(int(str(user_id)))
        await asyncio.sleep(0.005)
        if not granted or auth_token != TOKEN:
            return GenerationPermissions.denied(generation_id, user_id)
        return GenerationPermissions(generation_id, user_id, granted=True, can_view=True)

    def change(self, user: int, *, granted: bool) -> None:
        self._truth.commit(user, granted)


service = Service()
config = OptimizedCacheConfig(shared_memory_directory=str(FOLDER))
velro = velro_lifespan(config, authorization=service)

if os.environ.get("CHAOS_FILL"):
    # With preloading, this is before the workers are forked: they begin with what is cached here.
    _checks = OptimizedAuthMiddleware(
        authorization=service, cache_manager=get_cache_manager(config), namespace="chaos"
    )
    for _user in range(PERMISSIONS):
        asyncio.run(_checks.check_generation_access_cached("g", str(_user), TOKEN))


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncGenerator[dict[str, Any]]:
    async with velro(app) as state:
        yield dict(state)


app = FastAPI(lifespan=lifespan)
app.add_middleware(OptimizedAuthMiddleware, namespace="chaos")


@app.get("/users/{user}")
async def check(user: int, auth: AuthDep, response: Response) -> dict[str, int]:
    """Allowed or not, by which worker, and how often that has asked its service."""
    permissions = await auth.check_generation_access_cached("g", str(user), TOKEN)
    figures = auth.get_performance_stats()["middleware_stats"]
    headers = {"worker": str(os.getpid()), "service-calls": str(figures["service_calls"])}
    if not permissions.granted:
        raise HTTPException(403, "Access denied", headers)
    response.headers.update(headers)
    return {}


@app.post("/users/{user}/{change}")
async def change(user: int, change: str, cache: CacheManagerDep, response: Response) -> int:
    """Grant or revoke."""
    response.headers["worker"] = str(os.getpid())
    service.change(user, granted=change == "grant")
    return await cache.invalidate_user_authorization_cache(user)
