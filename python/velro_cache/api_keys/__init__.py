"""API keys for a gateway: checked in memory, revoked at once."""

from importlib import import_module
from typing import Any

from velro_cache.api_keys.administration import KeyAdministration, KeyStore
from velro_cache.api_keys.cache import ApiKeyCache
from velro_cache.api_keys.digests import PLAIN_SHA256, Peppers
from velro_cache.api_keys.key_format import KeyFormat
from velro_cache.api_keys.last_used import LastUsedStatistics, LastUsedWriter
from velro_cache.api_keys.models import ApiKey, KeyLimits
from velro_cache.api_keys.refresh import RefreshManager, RefreshReport
from velro_cache.api_keys.repository import ApiKeyRepository
from velro_cache.exceptions import (
    ApiKeyError,
    KeyExpired,
    KeyMalformed,
    KeyRevoked,
    KeyUnknown,
    MissBudgetExceeded,
)

__all__ = [
    "PLAIN_SHA256",
    "ApiKey",
    "ApiKeyCache",
    "ApiKeyError",
    "ApiKeyRepository",
    "KeyAdministration",
    "KeyExpired",
    "KeyFormat",
    "KeyLimits",
    "KeyMalformed",
    "KeyRevoked",
    "KeyStore",
    "KeyUnknown",
    "LastUsedStatistics",
    "LastUsedWriter",
    "MissBudgetExceeded",
    "Peppers",
    "RefreshManager",
    "RefreshReport",
]

_OF_FASTAPI = ("API_KEY_RESPONSES", "ApiKeyAuth", "ApiKeyMiddleware")


def __getattr__(name: str) -> Any:
    # Looked for here, too; only when asked for, since this package needs no FastAPI.
    if name in _OF_FASTAPI:
        try:
            return getattr(import_module("velro_cache.fastapi"), name)
        except ImportError as error:
            raise ImportError(
                f"{name} needs FastAPI: pip install 'velro-cache[fastapi]'"
            ) from error
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
