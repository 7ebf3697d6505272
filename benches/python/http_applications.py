"""The applications that ``make bench-http`` asks: one route, with and without a guard.

Each is the same for all that has to do with the network: :mod:`http_guards` asks them in its own
process, :mod:`http_load` in processes of their own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import uuid4

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute

from velro_cache import (
    AuthorizationResult,
    GenerationPermissions,
    OptimizedCacheConfig,
    OptimizedCacheManager,
)
from velro_cache.fastapi import (
    AuthorizeGeneration,
    GuardedRoute,
    Identity,
    OptimizedAuthMiddleware,
    ReadableGeneration,
)

USER: Final = str(uuid4())
SOURCE_SECONDS: Final = 0.02
"""What the slow source needs for an answer."""

ROUTE: Final = "route without a guard"
NO_OP: Final = "ASGI middleware that does nothing"
DOOR: Final = "`OptimizedAuthMiddleware`, token and decision"
GUARD: Final = "`ReadableGeneration`: token and decision"
GUARDED_ROUTE: Final = "included `GuardedRoute`: token and decision"


class Service:
    """Grants everything, for an hour; its answers are what is cached."""

    async def validate_generation_media_access(
        self, generation_id: Any, user_id: Any, auth_token: str, **_more: Any
    ) -> GenerationPermissions:
        """Grant it, unless the user is nobody."""
        if user_id == "nobody":
            return GenerationPermissions.denied(generation_id, user_id)
        end = datetime.now(UTC) + timedelta(hours=1)
        return GenerationPermissions(
            generation_id, user_id, granted=True, can_view=True, expires_at=end
        )

    async def validate_project_access(self, **_asked: Any) -> AuthorizationResult:
        """Grant it."""
        return AuthorizationResult(True)


async def verify(token: str) -> Identity | None:
    """Verify a token of this run, in no time."""
    if not token.startswith("ey"):
        return None
    user_id = "nobody" if token.endswith("-nobody") else USER
    return Identity(user_id, expires_at=datetime.now(UTC) + timedelta(hours=1))


TOKEN: Final = "ey" + "x" * 300 + "." + "y" * 43
NOBODY: Final = TOKEN + "-nobody"


def cache() -> OptimizedCacheManager:
    """Make a cache as a service has it: sharing its table with other workers."""
    return OptimizedCacheManager(OptimizedCacheConfig(name="bench-http"))


def application() -> FastAPI:
    """Make an application with one route, not guarded."""
    app = FastAPI()

    @app.get("/generations/{generation_id}")
    async def read(generation_id: str) -> dict[str, str]:
        return {"id": generation_id}

    return app


def with_guard(annotation: Any) -> FastAPI:
    """Make the same application with one more parameter of the route."""
    app = FastAPI()

    async def read(generation_id: str, guard: Any) -> dict[str, str]:
        return {"id": generation_id}

    read.__annotations__["guard"] = annotation
    app.get("/generations/{generation_id}")(read)
    return app


def included(annotation: Any = None) -> FastAPI:
    """Make the same application with its route in a router, whose guards ask for themselves."""
    router = APIRouter(route_class=APIRoute if annotation is None else GuardedRoute)

    async def read(generation_id: str, guard: Any = None) -> dict[str, str]:
        return {"id": generation_id}

    async def unguarded(generation_id: str) -> dict[str, str]:
        return {"id": generation_id}

    read.__annotations__["guard"] = annotation
    router.get("/generations/{generation_id}")(unguarded if annotation is None else read)
    app = FastAPI()
    app.include_router(router)
    return app


def with_state(app: Any, auth: OptimizedAuthMiddleware | None = None) -> Any:
    """What a server adds to a scope: the state of the lifespan."""
    state = {} if auth is None else {"velro_auth": auth, **_parts(auth)}

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        scope["state"] = state.copy()
        await app(scope, receive, send)

    return serve


def _parts(auth: OptimizedAuthMiddleware) -> dict[str, Any]:
    return {
        "velro_cache": auth._cache_manager,
        "velro_authorization": auth._authorization,
        "velro_tokens": auth._authenticate,
    }


class NoOp:
    """The least a middleware can be."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Hand the request on."""
        if scope["type"] == "http":
            scope.setdefault("state", {})["nothing"] = None
        await self.app(scope, receive, send)


def generation_of(scope: Any) -> str | None:
    """The generation in the path."""
    return scope["path"].rpartition("/")[2] or None


async def authorize(
    auth: OptimizedAuthMiddleware, scope: Any, identity: Identity, token: str
) -> bool:
    """Check the generation in the path, through the cache."""
    decision = await auth.check_generation_access_cached(
        scope["path"].rpartition("/")[2], identity.user_id, token
    )
    return decision.granted


class SlowService(Service):
    """Needs 20 ms for an answer, as a database in trouble might; counts how often it was asked."""

    def __init__(self) -> None:
        self.loads = 0

    async def validate_generation_media_access(
        self, generation_id: Any, user_id: Any, auth_token: str, **more: Any
    ) -> GenerationPermissions:
        """Grant it, later."""
        self.loads += 1
        await asyncio.sleep(SOURCE_SECONDS)
        return await super().validate_generation_media_access(
            generation_id, user_id, auth_token, **more
        )


def served_ways() -> dict[str, Callable[[], FastAPI]]:
    """What makes the applications that are served over TCP, each in a process of its own."""

    def no_op() -> FastAPI:
        app = application()
        app.add_middleware(NoOp)
        return app

    return {
        ROUTE: application,
        NO_OP: no_op,
        DOOR: lambda: behind(application(), authorize=AuthorizeGeneration(generation_of)),
        GUARD: lambda: behind(with_guard(ReadableGeneration), enforce=False),
        GUARDED_ROUTE: lambda: behind(included(ReadableGeneration), enforce=False),
    }


def before_slow_source() -> FastAPI:
    """Make a guarded application before a slow source; ``/loads`` says how often that was asked."""
    service = SlowService()
    app = with_guard(ReadableGeneration)

    @app.get("/loads")
    async def loads() -> int:
        return service.loads

    return behind(app, service, enforce=False)


def behind(app: FastAPI, service: Service | None = None, **options: Any) -> FastAPI:
    """Put the middleware before an application."""
    app.add_middleware(
        OptimizedAuthMiddleware,
        authorization=Service() if service is None else service,
        cache_manager=cache(),
        authenticate=verify,
        **options,
    )
    return app
