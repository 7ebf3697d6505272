"""What the workers of a server run: a cache of their own each, and its admin routes."""

from __future__ import annotations

import os
import time
from pathlib import Path

from operated import operated

from velro_cache.config import OptimizedCacheConfig
from velro_cache.fastapi import CacheManagerDep, velro_lifespan

app = operated(None)
app.router.lifespan_context = velro_lifespan(OptimizedCacheConfig(name="two-workers"))

LIMIT_SECONDS = 60


@app.post("/fill")
async def fill(cache: CacheManagerDep) -> dict[str, object]:
    cache.set_user_profile("ada", {"role": "editor"})
    return {"process_id": os.getpid(), "hit": cache.get_user_profile("ada")[1]}


def keep_busy(folder: Path) -> None:
    """Hold up the event loop."""
    (folder / "held").touch()
    end = time.monotonic() + LIMIT_SECONDS
    while not (folder / "released").exists() and time.monotonic() < end:
        time.sleep(0.01)


@app.post("/hold")
async def hold(folder: str, cache: CacheManagerDep) -> dict[str, object]:
    """Fill the cache, then keep the whole worker busy, so that the other one gets all requests."""
    cache.set_user_profile("ada", {"role": "editor"})
    knew = cache.get_user_profile("ada")[1]
    keep_busy(Path(folder))
    knows = cache.get_user_profile("ada")[1]
    return {"process_id": os.getpid(), "knew": knew, "knows": knows}
