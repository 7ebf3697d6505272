"""What users write, as a type checker must see it. Checked by mypy --strict, never run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Literal, assert_type
from uuid import UUID

from fastapi import FastAPI, HTTPException

import velro_cache
from velro_cache import (
    AuthorizationResult,
    AuthorizationService,
    CacheInfo,
    CacheStoppedError,
    ConfigError,
    EvictionPolicy,
    GenerationPermissions,
    HighPerformanceAuthorizationService,
    LoaderTimeoutError,
    OptimizedCacheConfig,
    OptimizedCacheManager,
    VelroCacheError,
    cached_authorization,
    escape_id,
    generate_auth_key,
    get_cache_manager,
    run_cache_performance_test,
    start_cache_manager,
    stop_cache_manager,
)
from velro_cache.authorization import Identity
from velro_cache.fastapi import (
    AUTH_RESPONSES,
    AuthenticationRequired,
    IdentityDep,
    OptimizedAuthMiddleware,
    ProjectEditor,
    ReadableGeneration,
    RequireGenerationAccess,
    RequireTeamRole,
    VerifiedTokens,
    create_admin_router,
    get_optimized_auth_middleware,
    install_problem_handlers,
    velro_lifespan,
)
from velro_cache.l2 import L2Backend, MemoryL2, RedisL2, register_type
from velro_cache.prometheus import RateLimitCollector
from velro_cache.rate_limit import Decision, OnErrorByBucket, RateLimit, RateLimiter, Rule
from velro_cache.testing import AllowAll, FrozenClock
from velro_cache.warming import HotKeyJournal, Refresher, Warmers, WarmReport


@dataclass
class Permissions:
    roles: list[str]


def settings() -> None:
    config = OptimizedCacheConfig(
        max_size_mb=64,
        default_ttl_seconds=1.5,
        eviction_policy="lfu",
        isolation="shared",
        load_timeout_seconds=None,
    )
    assert_type(config, OptimizedCacheConfig)
    assert_type(OptimizedCacheConfig.production(), OptimizedCacheConfig)
    assert_type(OptimizedCacheConfig.development(), OptimizedCacheConfig)
    assert_type(OptimizedCacheConfig.from_env("MY_"), OptimizedCacheConfig)
    assert_type(config.replace(eviction_policy=EvictionPolicy.TTL), OptimizedCacheConfig)
    assert_type(config.isolation, Literal["copy", "shared"])
    assert_type(config.max_entries, int)
    assert_type(config.load_timeout_seconds, float | None)


def everyday(cache: OptimizedCacheManager, user_id: UUID) -> None:
    assert_type(cache.get("k"), tuple[Any, bool])
    assert_type(cache.get("k", default=0), tuple[Any, bool])
    assert_type(cache.get_value("k", None), Any)
    assert_type(cache.set("k", {"a": 1}, ttl=60, tags=["t"], priority=3), bool)
    assert_type(cache.set("k", 1, 0.5, ("t",), 1, stamp=cache.snapshot()), bool)
    assert_type(cache.delete("k"), bool)
    assert_type(cache.get_many({"a", "b"}), dict[str, Any])
    assert_type(cache.set_many({"a": 1}, tags={"t"}), int)
    assert_type(cache.invalidate_by_tags(["t"]), int)
    assert_type(cache.invalidate_by_pattern("auth:*"), int)
    assert_type(cache.invalidate_user_data(user_id), int)
    assert_type(cache.invalidate_generation_data("g"), int)
    assert_type(cache.invalidate_user_data(5), int)
    assert_type(cache.keys("auth:*", limit=5), list[str])
    assert_type(len(cache), int)
    assert_type("k" in cache, bool)
    assert_type(cache.snapshot(), int)
    assert_type(cache.get_stats(), dict[str, Any])
    assert_type(cache.config, OptimizedCacheConfig)
    assert_type(cache.is_stopped, bool)


def typed_helpers(cache: OptimizedCacheManager, user_id: UUID) -> None:
    assert_type(cache.get_user_profile(user_id), tuple[Any, bool])
    assert_type(cache.set_user_profile(user_id, {}, ttl=5), bool)
    assert_type(cache.get_user_permissions("u"), tuple[Any, bool])
    assert_type(cache.set_user_permissions("u", []), bool)
    assert_type(cache.get_generation_access("g", user_id), tuple[Any, bool])
    assert_type(cache.set_generation_access(1, user_id, True, stamp=1), bool)
    assert_type(cache.get_project_access(project_id="p", user_id="u"), tuple[Any, bool])
    assert_type(cache.set_project_access("p", "u", True), bool)
    assert_type(cache.get_team_role("t", "u"), tuple[Any, bool])
    assert_type(cache.set_team_role("t", "u", "admin"), bool)
    assert_type(cache.get_uuid_validation("not a uuid", "api"), tuple[Any, bool])
    assert_type(cache.set_uuid_validation(user_id, "api", True), bool)
    assert_type(cache.get_session_data("u"), tuple[Any, bool])
    assert_type(cache.set_session_data("u", {}), bool)
    assert_type(cache.get_rate_limit("u", 60), tuple[Any, bool])
    assert_type(cache.set_rate_limit("u", "60", {"left": 5}), bool)
    assert_type(cache.generate_auth_key("user_profile", user_id=user_id), str)
    assert_type(generate_auth_key("session_data", user_id="u"), str)
    assert_type(escape_id(user_id), str)


def load() -> Permissions:
    return Permissions([])


async def aload() -> Permissions:
    return Permissions([])


def life(permissions: Permissions) -> float | None:
    return 5.0 if permissions.roles else None


async def loading(cache: OptimizedCacheManager) -> None:
    assert_type(cache.get_or_load("k", load), Permissions)
    assert_type(cache.get_or_load("k", load, ttl=5, tags=["t"], refresh=True), Permissions)
    assert_type(cache.get_or_load("k", load, ttl=life, load_timeout_seconds=None), Permissions)
    assert_type(await cache.aget_or_load("k", aload, ttl=life), Permissions)
    assert_type(await cache.aget_or_load("k", load), Permissions)
    assert_type(await cache.aget_or_load("k", aload, load_timeout_seconds=1.5), Permissions)
    assert_type(await cache.warm({"a": 1}, ttl=5), int)
    assert_type(await cache.warm([("a", 1)], tags=["t"]), int)
    assert_type(await cache.invalidate_user_authorization_cache("u"), int)
    assert_type(await cache.invalidate_generation_authorization_cache("g"), int)


async def authorizing(inner: AuthorizationService, cache: OptimizedCacheManager) -> None:
    service = HighPerformanceAuthorizationService(inner, cache, max_cached_denies=5)
    same: AuthorizationService = HighPerformanceAuthorizationService(service)
    decision = await service.validate_generation_media_access("g", UUID(int=1), "token")
    assert_type(decision, GenerationPermissions)
    assert_type(await same.validate_team_access("t", "u"), AuthorizationResult)
    assert_type(await service.validate_direct_ownership("g", 5), AuthorizationResult)
    assert_type(await service.invalidate_team_permissions("t", wait="fleet"), int)
    assert_type(await service.clear_all_caches(), int)
    assert_type(await service.warm_cache_for_user("u", ["g"], team_ids={1, 2}), WarmReport)
    assert_type(service.get_performance_metrics(), dict[str, Any])
    await service.shutdown()


async def roles() -> AsyncIterator[tuple[tuple[str, str], str]]:
    yield ("t", "u"), "editor"


async def profiles() -> dict[str, Permissions]:
    return {}


async def reload(user_id: str) -> float | None:
    return 60


def warming(cache: OptimizedCacheManager) -> None:
    assert_type(cache.warmers, Warmers)
    cache.warmers.register("team_role", roles, only_hot=True)
    cache.warmers.register("user_profile", profiles, ttl=lambda value: 5)
    cache.warmers.register_reload("user_profile", reload)
    cache.warmers.use_journal(HotKeyJournal("hot.json"))
    assert_type(cache.warmers.keep_hot(hottest=5), Refresher)
    assert_type(cache.warmers.is_ready, bool)
    assert_type(cache.warmers.reports, dict[str, WarmReport])


async def life_cycle(cache: OptimizedCacheManager) -> None:
    await cache.start()
    cache.start()
    await cache.stop()
    cache.stop()
    async with cache as entered:
        assert_type(entered, OptimizedCacheManager)
    with cache as entered_too:
        assert_type(entered_too, OptimizedCacheManager)
    assert_type(get_cache_manager(), OptimizedCacheManager)
    assert_type(await start_cache_manager(OptimizedCacheConfig()), OptimizedCacheManager)
    await stop_cache_manager()
    assert_type(await run_cache_performance_test(cache, iterations=5), dict[str, Any])
    assert_type(velro_cache.__version__, str)


@cached_authorization()
def check(user_id: UUID, depth: int = 1) -> Permissions:
    return Permissions([])


@cached_authorization(ttl_seconds=60, tags=["org:{org}"], key=lambda org: org)
async def check_later(org: str) -> bool:
    return True


@cached_authorization(l2_name="permissions.can_read.v1")
async def check_everywhere(user_id: UUID, project: str = "p1") -> bool:
    return True


class Service:
    @cached_authorization()
    def check(self, user_id: str) -> bool:
        return True

    @cached_authorization()
    async def check_later(self, user_id: str) -> bool:
        return True

    @staticmethod
    @cached_authorization()
    def static(user_id: str) -> bool:
        return True

    @classmethod
    @cached_authorization()
    def of_class(cls, user_id: str) -> bool:
        return True


async def decorated(service: Service, user_id: UUID) -> None:
    assert_type(check(user_id), Permissions)
    assert_type(check(user_id=user_id, depth=2), Permissions)
    assert_type(await check_later("acme"), bool)
    assert_type(await check_everywhere(user_id, project="p2"), bool)
    check_everywhere.invalidate(user_id)
    pending: Coroutine[Any, Any, bool] = check_later("acme")
    await pending
    assert_type(check.cache_info(), CacheInfo)
    assert_type(check.cache_info().hits, int)
    assert_type(check.cache_clear(), int)
    assert_type(check_later.invalidate("acme"), int)
    assert_type(check.__wrapped__, Callable[..., Any])
    assert_type(service.check("u"), bool)
    assert_type(service.check(user_id="u"), bool)
    assert_type(Service.check(service, "u"), bool)
    assert_type(await service.check_later("u"), bool)
    assert_type(service.check.invalidate(service, "u"), int)
    assert_type(Service.static("u"), bool)


class PlainPlace:
    def get(self, key: str, /) -> bytes | None: ...
    def set(self, key: str, value: bytes, ttl_seconds: float, /) -> None: ...
    def delete(self, key: str, /) -> None: ...


class AsynchronousPlace:
    async def get(self, key: str, /) -> bytes | None: ...
    async def set(self, key: str, value: bytes, ttl_seconds: float, /) -> None: ...
    async def delete(self, key: str, /) -> None: ...


def shared_values() -> None:
    plain: L2Backend = PlainPlace()
    asynchronous: L2Backend = AsynchronousPlace()
    for place in (plain, asynchronous, MemoryL2(), RedisL2("redis://x")):
        OptimizedCacheManager(OptimizedCacheConfig(redis_url="redis://x"), l2=place)
    OptimizedCacheManager(l2=MemoryL2())
    register_type("Permissions/1", Permissions, lambda it: (it.roles,), Permissions)


async def operator() -> str:
    return "ada"


def operating() -> None:
    router = create_admin_router(operator)
    assert_type(router.prefix, str)
    create_admin_router(
        guard=operator,
        metrics_guard=operator,
        prefix="/ops",
        read_only=True,
        trusted_origins=["https://ops.example"],
        is_warm=lambda: True,
        collectors=[RateLimitCollector(RateLimiter())],
    )


async def limits() -> None:
    limiter = RateLimiter(on_error=OnErrorByBucket(day="allow"))
    pairs = [("org", RateLimit(600, 100, None)), ("key", RateLimit())]
    assert_type(limiter.check_all(pairs), Decision)
    rules = [Rule("org", RateLimit(), "allow"), Rule("key", RateLimit(), OnErrorByBucket())]
    assert_type(await limiter.acheck_all(rules), Decision)
    assert_type(await limiter.acheck_all([("org", RateLimit()), *rules], 2), Decision)
    assert_type(await limiter.acheck("org", RateLimit(), on_error="deny"), Decision)


def errors() -> None:
    try:
        raise LoaderTimeoutError("late")
    except TimeoutError as error:
        assert_type(error, TimeoutError)
    except (ConfigError, CacheStoppedError) as error_too:
        assert_type(error_too, ConfigError | CacheStoppedError)
    except VelroCacheError as any_of_ours:
        assert_type(any_of_ours, VelroCacheError)


def verify(token: str) -> Identity | None:
    return Identity.from_claims({"sub": token}, tags=["session:1"])


async def verify_by_asking(token: str) -> Identity:
    return Identity(token, scopes=frozenset({"read"}))


async def may(auth: OptimizedAuthMiddleware, scope: object, identity: Identity, token: str) -> bool:
    answer = await auth.check_team_role_cached("t", identity.user_id)
    assert_type(answer, AuthorizationResult)
    return answer.granted


async def guards(
    permissions: ReadableGeneration, access: ProjectEditor, identity: IdentityDep
) -> None:
    assert_type(permissions, GenerationPermissions)
    assert_type(access, AuthorizationResult)
    assert_type(identity, Identity)
    tokens = VerifiedTokens(verify_by_asking, invalid_token_errors=(KeyError,), ttl_seconds=60)
    assert_type(await tokens.identify("token"), Identity)
    RequireGenerationAccess("write", parameter="id", id_type=UUID)
    RequireTeamRole("admin")


def applications() -> None:
    app = FastAPI(lifespan=velro_lifespan(authenticate=verify))
    app.add_middleware(OptimizedAuthMiddleware, authenticate=verify_by_asking, authorize=may)
    app.get("/", responses=AUTH_RESPONSES)(guards)
    install_problem_handlers(app)
    app.dependency_overrides[get_optimized_auth_middleware] = AllowAll()
    refused: HTTPException = AuthenticationRequired()
    assert_type(refused.status_code, int)
    OptimizedCacheManager(clock=FrozenClock().engine)


class ServiceWithTextIds:
    """A service that says of which kind its ids are."""

    async def validate_generation_media_access(
        self,
        generation_id: str,
        user_id: str,
        auth_token: str,
        client_ip: str | None = None,
        expires_in: int = 3600,
    ) -> GenerationPermissions:
        return GenerationPermissions.denied(generation_id, user_id)


def services_with_ids_of_one_kind() -> None:
    velro_lifespan(authorization=ServiceWithTextIds())
    OptimizedAuthMiddleware(authorization=ServiceWithTextIds())
