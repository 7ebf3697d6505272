"""API keys for FastAPI and any other ASGI application: a middleware, and a dependency."""

from velro_cache.fastapi.api_keys.dependency import ApiKeyAuth
from velro_cache.fastapi.api_keys.limiting import AppliedLimits
from velro_cache.fastapi.api_keys.middleware import ApiKeyMiddleware
from velro_cache.fastapi.api_keys.refusals import ApiKeyRefused, RequestLimitExceeded
from velro_cache.fastapi.api_keys.responses import API_KEY_RESPONSES

__all__ = [
    "API_KEY_RESPONSES",
    "ApiKeyAuth",
    "ApiKeyMiddleware",
    "ApiKeyRefused",
    "AppliedLimits",
    "RequestLimitExceeded",
]
