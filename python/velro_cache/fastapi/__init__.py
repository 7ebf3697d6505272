"""velro-cache for FastAPI: lifespan, guards, middleware and dependencies.

::

    app = FastAPI(lifespan=velro_lifespan(authorization=my_service, authenticate=verify_token))

    @app.get("/generations/{generation_id}/media", responses=AUTH_RESPONSES)
    async def media(generation_id: UUID, permissions: ReadableGeneration): ...

Needs the extra ``fastapi``; the rest of the package does not.
"""

try:
    import fastapi as _fastapi  # noqa: F401  (only to see whether it is there)
except ImportError as error:
    raise ImportError(
        "velro_cache.fastapi needs FastAPI: pip install velro-cache[fastapi]"
    ) from error

from velro_cache.authorization.identity import Identity
from velro_cache.authorization.verified_tokens import VerifiedTokens
from velro_cache.exceptions import InvalidTokenError
from velro_cache.fastapi.admin import create_admin_router
from velro_cache.fastapi.api_keys import (
    API_KEY_RESPONSES,
    ApiKeyAuth,
    ApiKeyMiddleware,
    ApiKeyRefused,
    AppliedLimits,
    RequestLimitExceeded,
)
from velro_cache.fastapi.authorize_generation import AuthorizeGeneration
from velro_cache.fastapi.bearer import bearer_token
from velro_cache.fastapi.dependencies import (
    AuthDep,
    CacheManagerDep,
    get_cache,
    get_optimized_auth_middleware,
)
from velro_cache.fastapi.feed import create_invalidation_feed_router
from velro_cache.fastapi.guarded_route import GuardedRoute
from velro_cache.fastapi.guards import (
    DeletableGeneration,
    IdentityDep,
    ProjectAdmin,
    ProjectEditor,
    ProjectViewer,
    ReadableGeneration,
    RequireGenerationAccess,
    RequireIdentity,
    RequireProjectAccess,
    RequireTeamRole,
    ShareableGeneration,
    TeamAdmin,
    TeamEditor,
    TeamViewer,
    WritableGeneration,
)
from velro_cache.fastapi.key_admin import create_key_admin_router
from velro_cache.fastapi.lifespan import velro_lifespan
from velro_cache.fastapi.middleware import OptimizedAuthMiddleware
from velro_cache.fastapi.problems import AUTH_RESPONSES, install_problem_handlers
from velro_cache.fastapi.refusals import (
    AccessDenied,
    AuthenticationRequired,
    InvalidBearerToken,
    Refusal,
)
from velro_cache.fastapi.request_ids import RequestIdMiddleware

__all__ = [
    "API_KEY_RESPONSES",
    "AUTH_RESPONSES",
    "AccessDenied",
    "ApiKeyAuth",
    "ApiKeyMiddleware",
    "ApiKeyRefused",
    "AppliedLimits",
    "AuthDep",
    "AuthenticationRequired",
    "AuthorizeGeneration",
    "CacheManagerDep",
    "DeletableGeneration",
    "GuardedRoute",
    "Identity",
    "IdentityDep",
    "InvalidBearerToken",
    "InvalidTokenError",
    "OptimizedAuthMiddleware",
    "ProjectAdmin",
    "ProjectEditor",
    "ProjectViewer",
    "ReadableGeneration",
    "Refusal",
    "RequestIdMiddleware",
    "RequestLimitExceeded",
    "RequireGenerationAccess",
    "RequireIdentity",
    "RequireProjectAccess",
    "RequireTeamRole",
    "ShareableGeneration",
    "TeamAdmin",
    "TeamEditor",
    "TeamViewer",
    "VerifiedTokens",
    "WritableGeneration",
    "bearer_token",
    "create_admin_router",
    "create_invalidation_feed_router",
    "create_key_admin_router",
    "get_cache",
    "get_optimized_auth_middleware",
    "install_problem_handlers",
    "velro_lifespan",
]
