"""The authorization service with a cache in it: whose answers are whose, and how long they hold."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from velro_cache._engine import ManualClock
from velro_cache.authorization.high_performance import HighPerformanceAuthorizationService
from velro_cache.authorization.models import (
    AuthorizationResult,
    GenerationPermissions,
    TeamRole,
)
from velro_cache.authorization.service import AuthorizationService
from velro_cache.config import OptimizedCacheConfig
from velro_cache.exceptions import AuthorizationUnavailable, LoaderTimeoutError
from velro_cache.manager import Id, OptimizedCacheManager
from velro_cache.registry import get_cache_manager

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
TEXT = "0f8fad5b-d9cb-469f-a165-70867728950e"
OPERATIONS = ["media", "ownership", "team", "project"]
EVERY = pytest.mark.parametrize("operation", OPERATIONS)


class Inner:
    """Answers from what a test says it should; counts calls and can be held up."""

    def __init__(self) -> None:
        self.granted = True
        self.fields: dict[str, Any] = {}
        self.instead: Any = self
        self.error: Exception | None = None
        self.gate: asyncio.Event | None = None
        self.calls: list[dict[str, Any]] = []
        self.entered = asyncio.Event()
        self.running = self.most_running = 0

    async def _answer(self, make: Callable[[bool], Any], **asked: Any) -> Any:
        self.calls.append(asked)
        self.entered.set()
        # What was read before the gate is what is answered after it, like a slow database.
        granted, error, instead = self.granted, self.error, self.instead
        self.running += 1
        self.most_running = max(self.running, self.most_running)
        try:
            await (asyncio.sleep(0) if self.gate is None else self.gate.wait())
        finally:
            self.running -= 1
        if error is not None:
            raise error
        return make(granted) if instead is self else instead

    async def validate_generation_media_access(
        self,
        generation_id: Id,
        user_id: Id,
        auth_token: str,
        client_ip: str | None = None,
        expires_in: int = 3600,
    ) -> GenerationPermissions:
        def make(granted: bool) -> GenerationPermissions:
            ids = {"generation_id": generation_id, "user_id": user_id}
            return GenerationPermissions(**{**ids, "granted": granted, **self.fields})

        about = {"generation_id": generation_id, "credential": auth_token, "ip": client_ip}
        return await self._answer(make, **about, expires_in=expires_in)  # type: ignore[no-any-return]

    async def validate_direct_ownership(
        self, generation_id: Id, user_id: Id
    ) -> AuthorizationResult:
        return await self._step(generation_id=generation_id, user_id=user_id)

    async def validate_team_access(
        self, team_id: Id, user_id: Id, required_role: TeamRole = TeamRole.VIEWER
    ) -> AuthorizationResult:
        return await self._step(team_id=team_id, user_id=user_id, role=required_role)

    async def validate_project_access(
        self, project_id: Id, user_id: Id, required_role: TeamRole = TeamRole.VIEWER
    ) -> AuthorizationResult:
        return await self._step(project_id=project_id, user_id=user_id, role=required_role)

    async def _step(self, **asked: Any) -> AuthorizationResult:
        def make(granted: bool) -> AuthorizationResult:
            return AuthorizationResult(granted, **self.fields)

        return await self._answer(make, **asked)  # type: ignore[no-any-return]


class Bench:
    """A service on a cache of its own, with both clocks in hand."""

    def __init__(self, settings: dict[str, Any] | None = None, **options: Any) -> None:
        self.clock = ManualClock()
        config = OptimizedCacheConfig(**{"auth_ttl_seconds": 600, **(settings or {})})
        self.cache = OptimizedCacheManager(config, clock=self.clock)
        self.wall = NOON
        self.inner = Inner()
        self.options = options
        self.service = self.another(self.inner)

    def another(self, inner: Inner, **options: Any) -> HighPerformanceAuthorizationService:
        return HighPerformanceAuthorizationService(
            inner, self.cache, now=lambda: self.wall, **self.options, **options
        )

    def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.wall += timedelta(seconds=seconds)

    def ask(
        self, operation: str, resource: Id = "r", user: Id = "u", **more: Any
    ) -> Awaitable[Any]:
        service = more.pop("service", self.service)
        if operation == "media":
            credential = more.pop("credential", "good")
            return service.validate_generation_media_access(resource, user, credential, **more)  # type: ignore[no-any-return]
        method = {
            "ownership": service.validate_direct_ownership,
            "team": service.validate_team_access,
            "project": service.validate_project_access,
        }[operation]
        return method(resource, user, **more)  # type: ignore[no-any-return]

    @property
    def asked(self) -> int:
        return len(self.inner.calls)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_it_has_the_interface_of_what_it_wraps(bench: Bench) -> None:
    assert isinstance(bench.service, AuthorizationService)
    # So it may be wrapped again; results made of others keep what they depend on.
    HighPerformanceAuthorizationService(bench.service, bench.cache)


async def test_without_a_cache_it_uses_the_one_of_the_process() -> None:
    service = HighPerformanceAuthorizationService(Inner())
    await service.validate_direct_ownership("g", "u")
    assert service.cache is get_cache_manager()
    assert len(get_cache_manager()) == 1


@pytest.mark.parametrize("missing", ["validate_team_access", "validate_direct_ownership"])
def test_what_cannot_answer_is_refused(bench: Bench, missing: str) -> None:
    class Half(Inner):
        pass

    setattr(Half, missing, None)
    with pytest.raises(TypeError, match=missing):
        HighPerformanceAuthorizationService(Half(), bench.cache)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"deny_ttl_seconds": -1}, ValueError),
        ({"deny_ttl_seconds": float("nan")}, ValueError),
        ({"max_cached_denies": -1}, ValueError),
        ({"max_cached_denies": True}, TypeError),
        ({"max_cached_denies": 1.5}, TypeError),
        ({"cache": {}}, TypeError),
    ],
)
def test_limits_that_make_no_sense_are_refused(
    options: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        HighPerformanceAuthorizationService(Inner(), **options)


@EVERY
async def test_the_second_answer_comes_from_the_cache(bench: Bench, operation: str) -> None:
    first = await bench.ask(operation)
    second = await bench.ask(operation)
    assert first.granted
    assert second == first
    assert bench.asked == 1


async def test_the_whole_decision_comes_back_not_the_answer_about_reading(bench: Bench) -> None:
    bench.inner.fields = {"can_delete": True}
    for _ in range(2):
        decision = await bench.ask("media")
        assert decision.granted
        assert not decision.can_view


@EVERY
async def test_ids_may_be_uuids_or_their_texts(bench: Bench, operation: str) -> None:
    await bench.ask(operation, UUID(TEXT), UUID(TEXT))
    answer = await bench.ask(operation, TEXT.upper(), TEXT)
    assert bench.asked == 1
    if operation == "media":
        assert answer.generation_id == TEXT.upper()


REACHED: dict[str, list[Callable[[Bench], Awaitable[int]]]] = {
    "media": [
        lambda b: b.service.invalidate_generation_permissions("r"),
        lambda b: b.cache.invalidate_generation_authorization_cache("r"),
    ],
    "ownership": [lambda b: b.service.invalidate_generation_permissions("r")],
    "team": [lambda b: b.service.invalidate_team_permissions("r")],
    "project": [lambda b: b.service.invalidate_project_permissions("r")],
}
FOR_ALL: list[Callable[[Bench], Awaitable[int]]] = [
    lambda b: b.service.invalidate_user_permissions("u"),
    lambda b: b.service.invalidate_resource_permissions("r"),
    lambda b: b.cache.invalidate_user_authorization_cache("u"),
    lambda b: b.service.clear_all_caches(),
]


@EVERY
async def test_each_kind_of_answer_is_reached_by_what_it_is_about(
    bench: Bench, operation: str
) -> None:
    for invalidate in [*REACHED[operation], *FOR_ALL]:
        await bench.ask(operation)
        bench.inner.granted = False
        assert await invalidate(bench) == 1
        assert not (await bench.ask(operation)).granted
        bench.inner.granted = True
        await bench.service.invalidate_user_permissions("u")


@EVERY
async def test_and_by_nothing_else(bench: Bench, operation: str) -> None:
    await bench.ask(operation)
    assert await bench.service.invalidate_user_permissions("other") == 0
    assert await bench.service.invalidate_resource_permissions("other") == 0
    others = {"media": "team", "ownership": "team", "team": "generation", "project": "team"}
    assert await getattr(bench.service, f"invalidate_{others[operation]}_permissions")("r") == 0
    await bench.ask(operation)
    assert bench.asked == 1


@pytest.mark.parametrize("operation", ["media", "ownership", "project"])
@pytest.mark.parametrize("through", ["team", "project"])
async def test_a_grant_goes_with_the_team_or_project_it_came_through(
    bench: Bench, operation: str, through: str
) -> None:
    bench.inner.fields = {f"{through}_context": "t:*"}
    await bench.ask(operation)
    assert await getattr(bench.service, f"invalidate_{through}_permissions")("t") == 0
    bench.inner.granted = False
    assert await getattr(bench.service, f"invalidate_{through}_permissions")("t:*") == 1
    assert not (await bench.ask(operation)).granted


async def test_a_team_that_is_taken_away_while_its_grant_is_loaded_is_noticed(
    bench: Bench,
) -> None:
    bench.inner.fields = {"team_context": "t"}
    bench.inner.gate = asyncio.Event()
    waiting = asyncio.ensure_future(bench.ask("media"))
    await bench.inner.entered.wait()
    await bench.service.invalidate_team_permissions("t")
    bench.inner.gate.set()
    await waiting
    assert len(bench.cache) == 0


@EVERY
async def test_an_invalidation_checks_its_arguments_before_it_does_anything(
    bench: Bench, operation: str
) -> None:
    await bench.ask(operation)
    for what in ("user", "generation", "project", "team", "resource"):
        invalidate = getattr(bench.service, f"invalidate_{what}_permissions")
        with pytest.raises(ValueError):
            await invalidate("")
        with pytest.raises(TypeError):
            await invalidate(None)
        with pytest.raises(ValueError, match="wait"):
            await invalidate("u", wait="soon")
        assert await invalidate("nobody", wait="host") == 0
    with pytest.raises(ValueError, match="wait"):
        await bench.service.clear_all_caches(wait="soon")  # type: ignore[arg-type]
    assert len(bench.cache) == 1


@EVERY
async def test_grants_and_denials_live_apart(bench: Bench, operation: str) -> None:
    await bench.ask(operation, "yes")
    bench.inner.granted = False
    await bench.ask(operation, "no")
    bench.pass_time(29)
    await bench.ask(operation, "no")
    assert bench.asked == 2
    bench.pass_time(1)
    await bench.ask(operation, "no")
    await bench.ask(operation, "yes")
    assert bench.asked == 3
    bench.pass_time(570)
    await bench.ask(operation, "yes")
    assert bench.asked == 4


@EVERY
async def test_no_grant_outlives_its_own_end(bench: Bench, operation: str) -> None:
    bench.inner.fields = {"expires_at": NOON + timedelta(seconds=40)}
    assert (await bench.ask(operation)).granted
    # The wall clock alone: somebody has set it.
    bench.wall += timedelta(seconds=40)
    answer = await bench.ask(operation)
    assert not answer.granted
    assert bench.asked == 2
    assert len(bench.cache) == 0


async def test_media_urls_are_not_handed_out_longer_than_they_are_good(bench: Bench) -> None:
    bench.inner.fields = {"media_urls": ("https://media.example/1",)}
    await bench.ask("media", expires_in=60)
    bench.pass_time(60)
    await bench.ask("media", expires_in=60)
    assert bench.asked == 2


async def test_each_role_is_a_question_of_its_own(bench: Bench) -> None:
    for operation in ("team", "project"):
        for own in TeamRole:
            bench.inner.fields = {"role": own}
            for _ in range(2):
                for required in TeamRole:
                    bench.inner.granted = own >= required
                    answer = await bench.ask(operation, required_role=required)
                    assert answer.granted is (own >= required)
            await bench.service.invalidate_user_permissions("u")
    assert bench.asked == 2 * 5 * 5


async def test_a_role_may_be_named_and_an_unknown_one_asks_nobody(bench: Bench) -> None:
    await bench.ask("team", required_role="editor")
    await bench.ask("team", required_role=TeamRole.EDITOR)
    assert bench.asked == 1
    assert bench.inner.calls[0]["role"] is TeamRole.EDITOR
    for wrong in ("king", None, 3):
        with pytest.raises(ValueError):
            await bench.ask("team", required_role=wrong)
    assert bench.asked == 1


@pytest.mark.parametrize("operation", ["team", "project"])
async def test_a_grant_that_contradicts_its_own_role_is_no_answer(
    bench: Bench, operation: str
) -> None:
    bench.inner.fields = {"role": TeamRole.VIEWER}
    with pytest.raises(ValueError, match="lower"):
        await bench.ask(operation, required_role=TeamRole.ADMIN)
    assert len(bench.cache) == 0


@EVERY
@pytest.mark.parametrize("instead", [None, True, {"granted": True}, "granted", object])
async def test_what_is_no_decision_is_no_answer(
    bench: Bench, operation: str, instead: object
) -> None:
    bench.inner.instead = instead
    with pytest.raises(TypeError, match="returned"):
        await bench.ask(operation)
    assert len(bench.cache) == 0
    bench.inner.instead = bench.inner
    assert (await bench.ask(operation)).granted


@EVERY
async def test_the_decision_of_the_other_kind_is_no_answer_either(
    bench: Bench, operation: str
) -> None:
    if operation == "media":
        bench.inner.instead = AuthorizationResult(True)
    else:
        bench.inner.instead = GenerationPermissions("r", "u", True)
    with pytest.raises(TypeError):
        await bench.ask(operation)
    assert len(bench.cache) == 0


@EVERY
async def test_a_decision_about_somebody_else_is_no_answer(bench: Bench, operation: str) -> None:
    other: dict[str, Any]
    resource = "generation_id" if operation == "media" else "resource_id"
    for other in ({"user_id": "eve"}, {resource: "other"}):
        bench.inner.fields = other
        with pytest.raises(ValueError, match="decided about"):
            await bench.ask(operation)
    assert len(bench.cache) == 0
    bench.inner.fields = {"user_id": "u", resource: "r"}
    assert (await bench.ask(operation)).granted


@EVERY
async def test_an_error_is_neither_kept_nor_an_answer(bench: Bench, operation: str) -> None:
    bench.inner.error = ConnectionError("no database")
    for _ in range(2):
        with pytest.raises(ConnectionError):
            await bench.ask(operation)
    assert len(bench.cache) == 0
    assert bench.asked == 2
    bench.inner.error = None
    assert (await bench.ask(operation)).granted


@EVERY
async def test_an_error_at_a_refresh_does_not_prolong_the_old_answer(
    bench: Bench, operation: str
) -> None:
    await bench.ask(operation)
    bench.pass_time(600)
    bench.inner.error = ConnectionError("no database")
    with pytest.raises(ConnectionError):
        await bench.ask(operation)


@EVERY
async def test_a_service_that_hangs_is_given_up(operation: str) -> None:
    bench = Bench({"load_timeout_seconds": 0.02})
    bench.inner.gate = asyncio.Event()
    with pytest.raises(LoaderTimeoutError):
        await bench.ask(operation)
    assert len(bench.cache) == 0


@EVERY
async def test_many_who_ask_at_once_cause_one_question(bench: Bench, operation: str) -> None:
    answers = await asyncio.gather(*(bench.ask(operation) for _ in range(50)))
    assert all(answer.granted for answer in answers)
    assert bench.asked == 1


@EVERY
async def test_a_revocation_overtakes_a_load(bench: Bench, operation: str) -> None:
    bench.inner.gate = asyncio.Event()
    early = asyncio.ensure_future(bench.ask(operation))
    await bench.inner.entered.wait()
    bench.inner.granted = False
    await bench.service.invalidate_user_permissions("u")
    late = asyncio.ensure_future(bench.ask(operation))
    await asyncio.sleep(0)
    bench.inner.gate.set()
    assert (await early).granted
    assert not (await late).granted
    assert not (await bench.ask(operation)).granted


async def test_media_access_is_bound_to_token_address_and_service(bench: Bench) -> None:
    await bench.ask("media")
    bench.inner.granted = False
    assert not (await bench.ask("media", credential="forged")).granted
    assert not (await bench.ask("media", client_ip="10.0.0.1")).granted
    assert (await bench.ask("media")).granted
    keys = bench.cache.keys()
    assert not any("good" in key or "forged" in key for key in keys)


@EVERY
async def test_services_do_not_share_answers_unless_they_say_so(
    bench: Bench, operation: str
) -> None:
    await bench.ask(operation)
    other = Inner()
    other.granted = False
    assert not (await bench.ask(operation, service=bench.another(other))).granted
    # The same inner object decides alike.
    assert (await bench.ask(operation, service=bench.another(bench.inner))).granted
    assert bench.asked == 1
    named = bench.another(bench.inner, namespace="main")
    await bench.ask(operation, service=named)
    assert (await bench.ask(operation, service=bench.another(other, namespace="main"))).granted
    assert (bench.asked, len(other.calls)) == (2, 1)


async def test_cached_and_uncached_times_are_kept_apart(bench: Bench) -> None:
    async def slowly(generation_id: Id, user_id: Id) -> AuthorizationResult:
        await asyncio.sleep(0.02)
        return AuthorizationResult(True)

    bench.inner.validate_direct_ownership = slowly  # type: ignore[method-assign]
    before = bench.service.get_performance_metrics()["operations"]["direct_ownership"]
    assert before["improvement_ms"] is None
    assert before["saved_seconds"] is None
    for _ in range(5):
        await bench.ask("ownership")
    metrics = bench.service.get_performance_metrics()
    figures = metrics["operations"]["direct_ownership"]
    assert (figures["cache_hits"], figures["service_calls"]) == (4, 1)
    assert figures["average_uncached_ms"] >= 19
    assert figures["improvement_ms"] == pytest.approx(
        figures["average_uncached_ms"] - figures["average_cached_ms"]
    )
    assert figures["saved_seconds"] == pytest.approx(4 * figures["improvement_ms"] / 1000)
    assert set(metrics["operations"]) == {
        "generation_media_access",
        "direct_ownership",
        "team_access",
        "project_access",
    }
    assert metrics["total"] == pytest.approx(figures)
    assert metrics["timestamp"] == NOON.isoformat()


async def test_errors_and_waits_are_no_times_of_answers(bench: Bench) -> None:
    bench.inner.error = ConnectionError()
    with pytest.raises(ConnectionError):
        await bench.ask("team")
    figures = bench.service.get_performance_metrics()["operations"]["team_access"]
    assert (figures["errors"], figures["average_uncached_ms"]) == (1, None)
    bench.inner.error = None
    await asyncio.gather(bench.ask("project"), bench.ask("project"))
    figures = bench.service.get_performance_metrics()["operations"]["project_access"]
    assert (figures["service_calls"], figures["shared_loads"]) == (1, 1)
    total = bench.service.get_performance_metrics()["total"]
    assert (total["total_requests"], total["errors"]) == (3, 1)


async def test_after_shutdown_there_is_no_answer(bench: Bench) -> None:
    await bench.ask("team")
    await bench.service.shutdown()
    await bench.service.shutdown()
    for operation in OPERATIONS:
        with pytest.raises(AuthorizationUnavailable):
            await bench.ask(operation)
    with pytest.raises(AuthorizationUnavailable):
        await bench.service.warm_cache_for_user("u", ["g"])
    assert await bench.service.invalidate_user_permissions("u") == 1
    assert bench.cache.set("k", 1), "the cache goes on"


async def test_the_metrics_of_the_cache_have_everything(bench: Bench) -> None:
    await bench.ask("team")
    metrics = bench.service.get_detailed_cache_metrics()
    assert metrics["cache"]["total_entries"] == 1
    assert metrics["denies"]["limit"] == bench.cache.config.max_entries // 10
    assert metrics["service"]["total"]["service_calls"] == 1
    assert metrics["warming"] == 0
