"""Who may do what: decisions, the service that makes them, and the check that caches them."""

from velro_cache.authorization.batched_checks import BatchedAnswers, BatchedChecks
from velro_cache.authorization.cached_check import CachedGenerationAccess
from velro_cache.authorization.current import (
    current_authorization_service,
    register_authorization_service,
    unregister_authorization_service,
)
from velro_cache.authorization.high_performance import HighPerformanceAuthorizationService
from velro_cache.authorization.identity import Identity
from velro_cache.authorization.models import (
    AccessFlags,
    AccessType,
    AuthorizationMethod,
    AuthorizationResult,
    GenerationPermissions,
    SecurityLevel,
    TeamRole,
)
from velro_cache.authorization.service import AuthorizationService, GenerationAccessService
from velro_cache.authorization.verified_tokens import VerifiedTokens

__all__ = [
    "AccessFlags",
    "AccessType",
    "AuthorizationMethod",
    "AuthorizationResult",
    "AuthorizationService",
    "BatchedAnswers",
    "BatchedChecks",
    "CachedGenerationAccess",
    "GenerationAccessService",
    "GenerationPermissions",
    "HighPerformanceAuthorizationService",
    "Identity",
    "SecurityLevel",
    "TeamRole",
    "VerifiedTokens",
    "current_authorization_service",
    "register_authorization_service",
    "unregister_authorization_service",
]
