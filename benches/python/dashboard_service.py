"""The service that benches/python/dashboard.py asks; a process of its own."""

from __future__ import annotations

import sys

import uvicorn
from fastapi import FastAPI

from velro_cache import OptimizedCacheConfig, OptimizedCacheManager
from velro_cache.fastapi import create_admin_router

KEYS = 5_000


async def operator() -> str:
    """Let everybody through."""
    return "ada"


def application() -> FastAPI:
    """A route that asks the cache, and the admin routes."""
    cache = OptimizedCacheManager(OptimizedCacheConfig(name="watched"))
    for number in range(KEYS):
        cache.set_user_profile(number, number)
    cache.start()
    app = FastAPI()
    app.include_router(create_admin_router(operator, cache=cache, metrics=False))

    @app.get("/profiles/{number}")
    async def profile(number: int) -> dict[str, int]:
        value, _ = cache.get_user_profile(number % KEYS)
        return {"profile": value}

    return app


if __name__ == "__main__":
    uvicorn.run(application(), port=int(sys.argv[1]), log_level="critical", access_log=False)
