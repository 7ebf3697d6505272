"""Mistakes a type checker must find: each line that ends in ``# E: code``, and no other.

Checked by mypy --strict, never run.
"""

from __future__ import annotations

from uuid import UUID

from velro_cache import (
    HighPerformanceAuthorizationService,
    OptimizedCacheConfig,
    OptimizedCacheManager,
    cached_authorization,
)
from velro_cache._engine import ManualClock
from velro_cache.authorization import Identity
from velro_cache.fastapi import (
    OptimizedAuthMiddleware,
    RequireGenerationAccess,
    VerifiedTokens,
    create_admin_router,
    velro_lifespan,
)
from velro_cache.rate_limit import OnErrorByBucket, RateLimit, RateLimiter, Rule

OptimizedCacheConfig(64)  # E: call-arg
OptimizedCacheConfig(max_entrys=5)  # E: call-arg
OptimizedCacheConfig(max_entries="5")  # E: arg-type
OptimizedCacheConfig(max_entries=1.5)  # E: arg-type
OptimizedCacheConfig(eviction_policy="fifo")  # E: arg-type
OptimizedCacheConfig(isolation="deep")  # E: arg-type
OptimizedCacheConfig().max_entries = 5  # E: misc
OptimizedCacheManager({"max_entries": 5})  # E: arg-type
OptimizedCacheManager(OptimizedCacheConfig(), ManualClock())  # E: call-arg
OptimizedCacheManager(clock=5)  # E: arg-type

cache = OptimizedCacheManager()
cache.get()  # E: call-arg
cache.get(5)  # E: arg-type
cache.get("k", ttl=5)  # E: call-arg
cache.get(b"k")  # E: arg-type
cache.set("k")  # E: call-arg
cache.set(5, "v")  # E: arg-type
cache.set("k", "v", ttl="5")  # E: arg-type
cache.set("k", "v", tags=[1])  # E: list-item
cache.set("k", "v", tags=5)  # E: arg-type
cache.set("k", "v", priority=1.5)  # E: arg-type
cache.set("k", "v", 60, ["t"], 1, 5)  # E: call-arg
cache.set("k", "v", stamp="5")  # E: arg-type
cache.set_many([("k", 1)])  # E: arg-type
cache.get_many(5)  # E: arg-type
cache.delete()  # E: call-arg
cache.invalidate_by_tags(None)  # E: arg-type
cache.invalidate_by_pattern(["auth:*"])  # E: arg-type
cache.invalidate_user_data(None)  # E: arg-type
cache.invalidate_user_data(1.5)  # E: arg-type
cache.get_user_profile(b"u")  # E: arg-type
cache.get_generation_access("g")  # E: call-arg
cache.get_generation_access("g", user="u")  # E: call-arg
cache.set_generation_access("g", "u")  # E: call-arg
cache.get_uuid_validation(5, "api")  # E: arg-type
cache.generate_auth_key("user_profile", user_id=None)  # E: arg-type
cache.no_such_method()  # E: attr-defined
cache["k"]  # E: index
cache["k"] = 1  # E: index
cache.config = OptimizedCacheConfig()  # E: misc


def load(key: str) -> int:
    return 1


async def aload() -> int:
    return 1


cache.get_or_load("k", load)  # E: arg-type
cache.get_or_load("k")  # E: call-arg
wrong: str = cache.get_or_load("k", lambda: 1)  # E: assignment
cache.get_or_load("k", lambda: 1, ttl="5")  # E: arg-type


async def awaited() -> None:
    wrong: str = await cache.aget_or_load("k", aload)  # E: arg-type
    await cache.warm(5)  # E: arg-type
    cache.aget_or_load("k", aload)  # E: unused-coroutine
    cache.invalidate_user_authorization_cache("u")  # E: unused-coroutine
    service = HighPerformanceAuthorizationService(5)  # E: arg-type
    service.invalidate_user_permissions("u")  # E: unused-coroutine
    await service.invalidate_team_permissions("t", wait="soon")  # E: arg-type
    await service.validate_team_access("t", "u", "editor")  # E: arg-type
    await service.validate_generation_media_access("g", "u")  # E: call-arg
    HighPerformanceAuthorizationService(service, cache, 30)  # E: call-arg


cache.warmers.register("k", [("k", 1)])  # E: arg-type
cache.warmers.register_reload("k", 5)  # E: arg-type


@cached_authorization()
def check(user_id: UUID, depth: int = 1) -> bool:
    return True


check("u")  # E: arg-type
check()  # E: call-arg
check(UUID(int=1), deep=2)  # E: call-arg
number: str = check(UUID(int=1))  # E: assignment
check.no_such_attribute  # E: attr-defined
cached_authorization("600")  # E: arg-type
cached_authorization(tags=[1])  # E: list-item
cached_authorization(cache="default")  # E: arg-type
cached_authorization(l2_name=5)  # E: arg-type


create_admin_router()  # E: call-arg
create_admin_router(None)  # E: arg-type
create_admin_router(str, read_only="yes")  # E: arg-type


class Service:
    @cached_authorization()
    def check(self, user_id: str) -> bool:
        return True


Service().check()  # E: call-arg
Service().check(5)  # E: arg-type


def verify(token: str) -> str:
    return token


Identity()  # E: call-arg
Identity("ada", expires_at=5)  # E: arg-type
Identity("ada").user_id = "bob"  # E: misc
VerifiedTokens(verify)  # E: arg-type
VerifiedTokens("ada")  # E: arg-type
velro_lifespan(authenticate=verify)  # E: arg-type
OptimizedAuthMiddleware(authenticate=5)  # E: arg-type
OptimizedAuthMiddleware(authorize=verify)  # E: arg-type
RequireGenerationAccess("read", "id")  # E: call-arg
RequireGenerationAccess(5)  # E: arg-type

Rule("key", RateLimit(), "open")  # E: arg-type
Rule("key")  # E: call-arg
OnErrorByBucket(minute="open")  # E: arg-type
RateLimiter(on_error="open")  # E: arg-type
RateLimiter().check_all([("key", RateLimit(), "deny")])  # E: list-item
