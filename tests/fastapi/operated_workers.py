"""What the workers of a server run: a cache of their own each, and its admin routes."""

from __future__ import annotations

import os

from operated import operated

from velro_cache.config import OptimizedCacheConfig
from velro_cache.fastapi import CacheManagerDep, velro_lifespan

app = operated(None)
app.router.lifespan_context = velro_lifespan(OptimizedCacheConfig(name="two-workers"))


@app.get("/look")
async def look(cache: CacheManagerDep) -> dict[str, object]:
    return {"pid": os.getpid(), "hit": cache.get_user_profile("ada")[1]}


@app.post("/fill")
async def fill(cache: CacheManagerDep) -> int:
    cache.set_user_profile("ada", {"role": "editor"})
    return os.getpid()
