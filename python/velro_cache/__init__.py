"""velro-cache: authorization answers from memory, never with a permission that was taken away.

The everyday names are here; FastAPI wiring is in :mod:`velro_cache.fastapi`.
"""

from velro_cache._engine import __version__, escape_id, generate_auth_key
from velro_cache.authorization.high_performance import HighPerformanceAuthorizationService
from velro_cache.authorization.models import (
    AccessType,
    AuthorizationMethod,
    AuthorizationResult,
    GenerationPermissions,
    SecurityLevel,
    TeamRole,
)
from velro_cache.authorization.service import AuthorizationService
from velro_cache.config import EvictionPolicy, OptimizedCacheConfig
from velro_cache.decorators import CacheInfo, cached_authorization
from velro_cache.exceptions import (
    ApiKeyError,
    AuthorizationUnavailable,
    CacheStoppedError,
    ConfigError,
    InvalidationLogError,
    InvalidationLogRefused,
    InvalidationLogUnavailable,
    InvalidationNotAcknowledged,
    InvalidKeyError,
    InvalidTagError,
    InvalidTokenError,
    KeyConflict,
    KeyExpired,
    KeyMalformed,
    KeyNotFound,
    KeyRevoked,
    KeyUnknown,
    LoaderCancelledError,
    LoaderRecursionError,
    LoaderTimeoutError,
    MissBudgetExceeded,
    NotAnInvalidationLog,
    OrganizationNotFound,
    SerializationError,
    SharedTableError,
    UncacheableArgumentError,
    VelroCacheError,
)
from velro_cache.manager import OptimizedCacheManager
from velro_cache.performance import run_cache_performance_test
from velro_cache.registry import get_cache_manager, start_cache_manager, stop_cache_manager

__all__ = [
    "AccessType",
    "ApiKeyError",
    "AuthorizationMethod",
    "AuthorizationResult",
    "AuthorizationService",
    "AuthorizationUnavailable",
    "CacheInfo",
    "CacheStoppedError",
    "ConfigError",
    "EvictionPolicy",
    "GenerationPermissions",
    "HighPerformanceAuthorizationService",
    "InvalidKeyError",
    "InvalidTagError",
    "InvalidTokenError",
    "InvalidationLogError",
    "InvalidationLogRefused",
    "InvalidationLogUnavailable",
    "InvalidationNotAcknowledged",
    "KeyConflict",
    "KeyExpired",
    "KeyMalformed",
    "KeyNotFound",
    "KeyRevoked",
    "KeyUnknown",
    "LoaderCancelledError",
    "LoaderRecursionError",
    "LoaderTimeoutError",
    "MissBudgetExceeded",
    "NotAnInvalidationLog",
    "OptimizedCacheConfig",
    "OptimizedCacheManager",
    "OrganizationNotFound",
    "SecurityLevel",
    "SerializationError",
    "SharedTableError",
    "TeamRole",
    "UncacheableArgumentError",
    "VelroCacheError",
    "__version__",
    "cached_authorization",
    "escape_id",
    "generate_auth_key",
    "get_cache_manager",
    "run_cache_performance_test",
    "start_cache_manager",
    "stop_cache_manager",
]
