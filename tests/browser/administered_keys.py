"""A service whose API keys are administered in a browser."""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Header, HTTPException

from velro_cache.api_keys import (
    ApiKeyCache,
    ApiKeyError,
    KeyAdministration,
    KeyLimits,
    Peppers,
    RefreshManager,
)
from velro_cache.api_keys.sql import CreatedKey, SqlApiKeys
from velro_cache.fastapi import create_key_admin_router
from velro_cache.manager import OptimizedCacheManager

KEYS = "/admin/keys"


async def operator() -> str:
    """Whoever comes."""
    return "ada"


async def usage(organization_id: str | None, seconds: int) -> Sequence[tuple[float, float, float]]:
    """A wave, and a few errors."""
    step, now = seconds / 120, time.time()
    share = 1.0 if organization_id is None else 0.3
    return [
        (
            now - seconds + number * step,
            round(share * (900 + 500 * math.sin(number / 9))),
            round(share * (40 if 70 < number < 78 else 3)),
        )
        for number in range(120)
    ]


def keys_app(
    cache: OptimizedCacheManager, path: Path, guard: Any = operator, **options: Any
) -> FastAPI:
    """An application with the page, and a route at which keys are tried."""
    peppers = Peppers.one(b"a pepper of the tests, long enough")
    store = SqlApiKeys(f"sqlite:///{path}", peppers=peppers)
    keys = ApiKeyCache(store, peppers=peppers, cache_manager=cache)
    refresh = RefreshManager(keys, share_on_host=False)
    administration: KeyAdministration[CreatedKey] = KeyAdministration(keys, store)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with store:
            await store.migrate()
            limits = KeyLimits(requests_per_minute=600, requests_per_day=None)
            for name, plan in (("Acme Photos", "pro"), ("Birch & Sons", "free"), ("Citrus", "")):
                await store.create_organization(
                    name,
                    organization_id=name.split()[0].lower(),
                    plan=plan,
                    limits=limits if plan else None,
                )
            made = [
                await store.create_key("acme", name=name, scopes=scopes)
                for name, scopes in (
                    ("website", ["read"]),
                    ("mobile app", ["read", "write"]),
                    ("old import", ["write"]),
                )
            ]
            await store.touch({made[0].key.id: time.time() - 60})
            await store.revoke_key(made[2].key.id)
            await refresh.refresh_now()
            yield

    app = FastAPI(lifespan=lifespan)
    app.include_router(
        create_key_admin_router(
            guard,
            **{
                "administration": administration,
                "store": store,
                "refresh": refresh,
                "usage": usage,
            }
            | options,
        )
    )

    @app.get("/try")
    async def try_key(x_api_key: str = Header("")) -> str:
        try:
            return (await keys.verify(x_api_key)).organization_id
        except ApiKeyError as error:
            raise HTTPException(401, type(error).__name__) from None

    return app
