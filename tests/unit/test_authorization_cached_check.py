"""The cached check: which answers may come from the cache, and which must not."""

from __future__ import annotations

import asyncio
import gc
import traceback
from collections.abc import AsyncGenerator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from velro_cache._engine import ManualClock
from velro_cache.authorization.cached_check import CachedGenerationAccess
from velro_cache.authorization.models import AccessType, GenerationPermissions, TeamRole
from velro_cache.config import OptimizedCacheConfig
from velro_cache.manager import Id, OptimizedCacheManager

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
GENERATION = UUID("0f8fad5b-d9cb-469f-a165-70867728950e")
USER = UUID("7c9e6679-7425-40de-944b-e07fc1f90ae7")
READ_ONLY: dict[str, Any] = {"can_view": True, "media_urls": ("https://media.example/1",)}


class Service:
    """Answers from a table of grants, by token; counts calls and can be held up."""

    def __init__(self) -> None:
        self.grants: dict[tuple[str, str], dict[str, Any]] = {}
        self.calls: list[dict[str, Any]] = []
        self.error: Exception | None = None
        self.gate: asyncio.Event | None = None
        self.entered = asyncio.Event()

    def grant(self, credential: str = "good", client_ip: str | None = None, **fields: Any) -> None:
        self.grants[credential, str(client_ip)] = fields

    async def validate_generation_media_access(
        self,
        generation_id: Id,
        user_id: Id,
        auth_token: str,
        client_ip: str | None = None,
        expires_in: int = 3600,
    ) -> GenerationPermissions:
        self.calls.append({"credential": auth_token, "ip": client_ip, "expires_in": expires_in})
        fields = self.grants.get((auth_token, str(client_ip)))
        error = self.error
        self.entered.set()
        if self.gate is not None:
            # What was read before the gate is what is answered after it, like a slow database.
            await self.gate.wait()
        if error is not None:
            raise error
        if fields is None:
            return GenerationPermissions.denied(generation_id, user_id)
        return GenerationPermissions(generation_id, user_id, True, **fields)


class Bench:
    """A check on a cache of its own, with both clocks in hand."""

    def __init__(self, **options: Any) -> None:
        self.clock = ManualClock()
        config = OptimizedCacheConfig(auth_ttl_seconds=600, max_ttl_seconds=3600)
        self.cache = OptimizedCacheManager(config, clock=self.clock)
        self.wall = NOON
        self.service = Service()
        self.access = CachedGenerationAccess(
            self.service, self.cache, now=lambda: self.wall, **options
        )

    def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.wall += timedelta(seconds=seconds)

    async def check(
        self, access: AccessType = AccessType.READ, credential: str = "good", **options: Any
    ) -> GenerationPermissions:
        return await self.access.check(GENERATION, USER, credential, access, **options)


@pytest.fixture
async def bench() -> AsyncGenerator[Bench]:
    yield Bench()


async def test_the_second_check_does_not_ask_the_service(bench: Bench) -> None:
    bench.service.grant(**READ_ONLY)
    first, second = await bench.check(), await bench.check()
    assert first.granted
    assert second == first
    assert len(bench.service.calls) == 1


async def test_all_that_the_caller_knows_reaches_the_service(bench: Bench) -> None:
    await bench.check(client_ip="10.0.0.1", expires_in=60)
    assert bench.service.calls == [{"credential": "good", "ip": "10.0.0.1", "expires_in": 60}]


@pytest.mark.parametrize("first", list(AccessType))
@pytest.mark.parametrize("second", list(AccessType))
@pytest.mark.parametrize("role", list(TeamRole))
async def test_each_answer_is_for_the_access_asked_for_on_a_hit_as_on_a_miss(
    bench: Bench, first: AccessType, second: AccessType, role: TeamRole
) -> None:
    bench.service.grant(**role.flags)
    decision = GenerationPermissions(GENERATION, USER, True, **role.flags)
    assert (await bench.check(first)).granted is decision.allows(first)
    assert (await bench.check(second)).granted is decision.allows(second)
    assert (await bench.check(first)).granted is decision.allows(first)
    assert len(bench.service.calls) == 1


async def test_a_refusal_made_from_a_grant_leaves_the_grant_as_it_was(bench: Bench) -> None:
    bench.service.grant(**READ_ONLY)
    assert (await bench.check()).media_urls == READ_ONLY["media_urls"]
    refusal = await bench.check(AccessType.DELETE)
    assert not refusal.granted
    assert refusal.media_urls == ()
    assert (await bench.check()).media_urls == READ_ONLY["media_urls"]


async def test_an_access_may_be_named_and_an_unknown_one_asks_nobody(bench: Bench) -> None:
    bench.service.grant(**READ_ONLY)
    assert (await bench.check("read")).granted  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="look"):
        await bench.check("look")  # type: ignore[arg-type]
    assert len(bench.service.calls) == 1


async def test_a_forged_token_never_gets_the_answer_of_a_good_one(bench: Bench) -> None:
    bench.service.grant(**READ_ONLY)
    assert (await bench.check()).granted
    assert not (await bench.check(credential="forged")).granted
    assert (await bench.check()).granted


async def test_the_deny_of_a_forged_token_does_not_lock_the_good_one_out(bench: Bench) -> None:
    assert not (await bench.check(credential="forged")).granted
    bench.service.grant(**READ_ONLY)
    assert (await bench.check()).granted


async def test_tokens_that_hide_what_they_are_stay_different(bench: Bench) -> None:
    class Masked(str):
        """A text that shows stars to whoever prints or formats it."""

        __slots__ = ()

        def __str__(self) -> str:
            return "***"

        __repr__ = __str__

        def __format__(self, _spec: str) -> str:
            return "***"

        def encode(self, *_how: str) -> bytes:
            return b"***"

    bench.service.grant(**READ_ONLY)
    assert (await bench.check(credential=Masked("good"))).granted
    assert not (await bench.check(credential=Masked("evil"))).granted
    assert (await bench.check()).granted
    assert len(bench.service.calls) == 2, "the masked and the plain one are the same token"


async def test_a_decision_holds_for_the_address_it_was_made_for(bench: Bench) -> None:
    bench.service.grant(client_ip="10.0.0.1", **READ_ONLY)
    assert (await bench.check(client_ip="10.0.0.1")).granted
    assert not (await bench.check(client_ip="10.0.0.2")).granted
    assert not (await bench.check()).granted
    assert not (await bench.check(client_ip="")).granted


# Parts that would read alike if they were merely strung together.
CONTEXTS = st.tuples(
    st.text("ab,=#1:\x00\ud800", max_size=4),
    st.none() | st.text("ab,=#1:\x00", max_size=4),
    st.sampled_from([1, 11, 3600]),
)


@settings(deadline=None)
@given(CONTEXTS, CONTEXTS)
@example(("a=b", None, 1), ("a", "b", 1))
@example(("a", "b=c", 1), ("a=b", "c", 1))
@example(("a", "", 1), ("a", None, 1))
@example(("1,a", None, 1), ("a", None, 11))
@example(("\ud800", None, 1), ("?", None, 1))
def test_two_contexts_share_an_answer_only_if_they_are_the_same(
    one: tuple[str, str | None, int], other: tuple[str, str | None, int]
) -> None:
    async def ask_twice() -> int:
        bench = Bench()
        for credential, client_ip, expires_in in (one, other):
            await bench.check(credential=credential, client_ip=client_ip, expires_in=expires_in)
        return len(bench.service.calls)

    assert asyncio.run(ask_twice()) == (1 if one == other else 2)


async def test_users_and_generations_do_not_mix(bench: Bench) -> None:
    bench.service.grant(**READ_ONLY)
    for generation, user in (("a", "b"), ("b", "a"), ("a:user:b", "c"), ("a", "b:user:c")):
        answer = await bench.access.check(generation, user, "good")
        assert (answer.generation_id, answer.user_id) == (generation, user)
    assert len(bench.service.calls) == 4


async def test_a_uuid_and_its_text_name_the_same_decision(bench: Bench) -> None:
    bench.service.grant(**READ_ONLY)
    await bench.check()
    await bench.access.check(str(GENERATION).upper(), str(USER), "good")
    assert len(bench.service.calls) == 1


async def test_each_caller_gets_ids_of_the_kind_it_has(bench: Bench) -> None:
    bench.service.grant(**READ_ONLY)
    await bench.check()
    for access in (AccessType.READ, AccessType.DELETE):
        answer = await bench.access.check(str(GENERATION), str(USER), "good", access)
        assert (answer.generation_id, answer.user_id) == (str(GENERATION), str(USER))
        answer = await bench.check(access)
        assert (answer.generation_id, answer.user_id) == (GENERATION, USER)
    assert len(bench.service.calls) == 1


async def test_services_with_different_answers_do_not_mix_in_one_cache(bench: Bench) -> None:
    bench.service.grant(**READ_ONLY)
    stranger = CachedGenerationAccess(Service(), bench.cache)
    assert (await bench.check()).granted
    assert not (await stranger.check(GENERATION, USER, "good")).granted


async def test_the_number_of_a_service_that_is_gone_is_not_used_again(bench: Bench) -> None:
    for _ in range(50):
        service = Service()
        service.grant(**READ_ONLY)
        assert (
            await CachedGenerationAccess(service, bench.cache).check(GENERATION, USER, "good")
        ).granted
        del service
        gc.collect()
        stranger = CachedGenerationAccess(Service(), bench.cache)
        assert not (await stranger.check(GENERATION, USER, "good")).granted


async def test_services_that_are_said_to_agree_share_their_decisions(bench: Bench) -> None:
    bench.service.grant(**READ_ONLY)
    one = CachedGenerationAccess(bench.service, bench.cache, namespace="tenant 1")
    same = CachedGenerationAccess(Service(), bench.cache, namespace="tenant 1")
    other = CachedGenerationAccess(Service(), bench.cache, namespace="tenant 2")
    assert (await one.check(GENERATION, USER, "good")).granted
    assert (await same.check(GENERATION, USER, "good")).granted
    assert not (await other.check(GENERATION, USER, "good")).granted


async def test_a_service_that_nothing_can_refer_to_weakly_works_too(bench: Bench) -> None:
    class Slotted:
        __slots__ = ("validate_generation_media_access",)

        def __init__(self, inner: Service) -> None:
            self.validate_generation_media_access = inner.validate_generation_media_access

    bench.service.grant(**READ_ONLY)
    services = [Slotted(bench.service) for _ in range(100)]
    for service in services:
        for _ in range(2):
            access = CachedGenerationAccess(service, bench.cache)
            assert (await access.check(GENERATION, USER, "good")).granted
    assert len(bench.service.calls) == len(services)


# --- the end of a grant ---------------------------------------------------------------------


async def test_a_grant_is_not_served_past_its_own_end(bench: Bench) -> None:
    bench.service.grant(expires_at=NOON + timedelta(seconds=60), **READ_ONLY)
    assert (await bench.check()).granted
    bench.pass_time(59.999)
    assert (await bench.check()).granted
    assert len(bench.service.calls) == 1
    bench.pass_time(0.001)
    gone = await bench.check()
    assert not gone.granted
    assert gone.media_urls == ()
    assert not gone.can_view
    assert len(bench.service.calls) == 2


async def test_the_wall_clock_ends_a_grant_even_if_the_cache_saw_no_time_pass(
    bench: Bench,
) -> None:
    bench.service.grant(expires_at=NOON + timedelta(seconds=60), **READ_ONLY)
    assert (await bench.check()).granted
    bench.wall += timedelta(seconds=60)
    assert not (await bench.check()).granted
    assert bench.access.statistics.as_dict()["expired_hits"] == 1


async def test_a_renewed_grant_replaces_the_one_that_ended(bench: Bench) -> None:
    bench.service.grant(expires_at=NOON + timedelta(seconds=60), **READ_ONLY)
    await bench.check()
    bench.wall += timedelta(seconds=60)
    bench.service.grant(expires_at=NOON + timedelta(seconds=600), **READ_ONLY)
    answers = await asyncio.gather(*(bench.check() for _ in range(10)))
    assert all(answer.granted for answer in answers)
    assert (await bench.check()).granted
    assert len(bench.service.calls) == 2


async def test_a_grant_that_ended_already_allows_nothing_and_is_not_kept(bench: Bench) -> None:
    bench.service.grant(expires_at=NOON, **READ_ONLY)
    assert not (await bench.check()).granted
    assert len(bench.cache) == 0
    bench.service.grant(**READ_ONLY)
    assert (await bench.check()).granted


async def test_a_grant_that_ends_while_it_is_being_made_allows_nothing(bench: Bench) -> None:
    bench.service.grant(expires_at=NOON + timedelta(seconds=60), **READ_ONLY)
    bench.service.gate = asyncio.Event()
    check = asyncio.create_task(bench.check())
    await bench.service.entered.wait()
    bench.pass_time(60)
    bench.service.gate.set()
    assert not (await check).granted
    assert len(bench.cache) == 0


async def test_the_entry_goes_with_the_grant(bench: Bench) -> None:
    bench.service.grant(expires_at=NOON + timedelta(seconds=60), **READ_ONLY)
    await bench.check()
    assert len(bench.cache.keys()) == 1
    bench.clock.advance(60)
    assert bench.cache.keys() == []


async def test_without_an_end_of_its_own_a_grant_lives_as_long_as_configured(
    bench: Bench,
) -> None:
    bench.service.grant(**READ_ONLY)
    await bench.check()
    bench.pass_time(599.9)
    await bench.check()
    assert len(bench.service.calls) == 1
    bench.pass_time(0.1)
    await bench.check()
    assert len(bench.service.calls) == 2


async def test_an_end_far_away_does_not_lengthen_the_life(bench: Bench) -> None:
    bench.service.grant(expires_at=NOON + timedelta(days=365), **READ_ONLY)
    await bench.check()
    bench.pass_time(600)
    await bench.check()
    assert len(bench.service.calls) == 2


async def test_a_deny_is_kept_but_not_for_long(bench: Bench) -> None:
    await bench.check()
    bench.pass_time(29.9)
    await bench.check()
    assert len(bench.service.calls) == 1
    bench.pass_time(0.1)
    await bench.check()
    assert len(bench.service.calls) == 2


async def test_keeping_denies_can_be_turned_off() -> None:
    bench = Bench(deny_ttl_seconds=0)
    await bench.check()
    await bench.check()
    assert len(bench.service.calls) == 2
    assert len(bench.cache) == 0


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf")])
def test_a_senseless_life_of_denies_is_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match="deny_ttl_seconds"):
        Bench(deny_ttl_seconds=seconds)


# --- taking access away ---------------------------------------------------------------------

REVOKE: dict[str, Callable[[OptimizedCacheManager], int]] = {
    "user": lambda cache: cache.invalidate_user_data(USER),
    "generation": lambda cache: cache.invalidate_generation_data(str(GENERATION)),
    "tag auth": lambda cache: cache.invalidate_by_tags({"auth"}),
    "tag of the kind": lambda cache: cache.invalidate_by_tags({"generation_access"}),
    "tag of the user": lambda cache: cache.invalidate_by_tags({f"user:{USER}"}),
    "tag of the generation": lambda cache: cache.invalidate_by_tags({f"generation:{GENERATION}"}),
    "pattern": lambda cache: cache.invalidate_by_pattern(f"auth:gen:{GENERATION}:*"),
    "pattern in the middle": lambda cache: cache.invalidate_by_pattern(f"auth:*:user:{USER}:*"),
}


@pytest.mark.parametrize("way", REVOKE)
async def test_every_way_to_invalidate_reaches_the_decision(bench: Bench, way: str) -> None:
    bench.service.grant(**READ_ONLY)
    assert (await bench.check()).granted
    bench.service.grants.clear()
    assert (await bench.check()).granted, "or the test shows nothing"
    assert REVOKE[way](bench.cache) == 1
    assert not (await bench.check()).granted


@pytest.mark.parametrize("way", REVOKE)
async def test_a_load_that_began_before_the_revocation_is_neither_kept_nor_joined(
    bench: Bench, way: str
) -> None:
    bench.service.grant(**READ_ONLY)
    bench.service.gate = asyncio.Event()
    early = asyncio.create_task(bench.check())
    await bench.service.entered.wait()
    # The service has read the grant by now. It is taken away, and everybody told so.
    bench.service.grants.clear()
    REVOKE[way](bench.cache)
    late = asyncio.create_task(bench.check())
    await asyncio.sleep(0)
    bench.service.gate.set()
    assert not (await late).granted
    # This one was asked before the revocation; either answer was right then.
    await early
    assert not (await bench.check()).granted
    assert len(bench.service.calls) == 2


async def test_ids_with_special_characters_are_invalidated_like_any_other(bench: Bench) -> None:
    bench.service.grant(**READ_ONLY)
    for generation, user in (("g:*", "u?[1]"), ("g%3A", "u\x00"), ("1", "2"), (1, 3)):
        await bench.access.check(generation, user, "good")
        assert bench.cache.invalidate_user_data(user) == 1
        await bench.access.check(generation, user, "good")
        assert bench.cache.invalidate_generation_data(generation) == 1


async def test_invalidating_one_user_leaves_the_others_alone(bench: Bench) -> None:
    bench.service.grant(**READ_ONLY)
    await bench.check()
    bench.cache.invalidate_user_data(uuid4())
    bench.cache.invalidate_generation_data(uuid4())
    await bench.check()
    assert len(bench.service.calls) == 1


async def test_force_refresh_asks_again_and_what_it_hears_is_kept(bench: Bench) -> None:
    bench.service.grant(**READ_ONLY)
    assert (await bench.check()).granted
    bench.service.grants.clear()
    assert not (await bench.check(force_refresh=True)).granted
    assert not (await bench.check()).granted
    assert len(bench.service.calls) == 2


async def test_force_refresh_does_not_settle_for_a_load_that_began_before(bench: Bench) -> None:
    bench.service.grant(**READ_ONLY)
    bench.service.gate = asyncio.Event()
    early = asyncio.create_task(bench.check())
    await bench.service.entered.wait()
    bench.service.grants.clear()
    refresh = asyncio.create_task(bench.check(force_refresh=True))
    await asyncio.sleep(0)
    bench.service.gate.set()
    assert not (await refresh).granted
    await early
    assert not (await bench.check()).granted, "the older answer must not replace the newer one"


async def test_a_refresh_that_began_before_the_revocation_is_not_kept(bench: Bench) -> None:
    bench.service.grant(**READ_ONLY)
    bench.service.gate = asyncio.Event()
    refresh = asyncio.create_task(bench.check(force_refresh=True))
    await bench.service.entered.wait()
    bench.service.grants.clear()
    bench.cache.invalidate_user_data(USER)
    bench.service.gate.set()
    await refresh
    assert not (await bench.check()).granted


# --- many at once, and errors ---------------------------------------------------------------


async def test_a_hundred_checks_at_once_ask_the_service_once(bench: Bench) -> None:
    bench.service.grant(**READ_ONLY)
    accesses = [AccessType.READ, AccessType.DELETE] * 50
    answers = await asyncio.gather(*(bench.check(access) for access in accesses))
    assert [answer.granted for answer in answers] == [True, False] * 50
    assert len(bench.service.calls) == 1
    assert bench.access.statistics.as_dict()["shared_loads"] == 99


async def test_a_cancelled_check_harms_no_other(bench: Bench) -> None:
    bench.service.grant(**READ_ONLY)
    bench.service.gate = asyncio.Event()
    checks = [asyncio.create_task(bench.check()) for _ in range(3)]
    await bench.service.entered.wait()
    checks[0].cancel()
    with pytest.raises(asyncio.CancelledError):
        await checks[0]
    bench.service.gate.set()
    assert [(await check).granted for check in checks[1:]] == [True, True]
    assert len(bench.service.calls) == 1


class TryLaterError(Exception):
    """An error that cannot be made from its arguments alone, like many a framework's."""

    def __init__(self, *, after_seconds: int) -> None:
        super().__init__("try later")
        self.after_seconds = after_seconds


async def test_an_error_reaches_all_who_wait_and_is_not_kept(bench: Bench) -> None:
    bench.service.error = TryLaterError(after_seconds=5)
    bench.service.gate = asyncio.Event()
    checks = [asyncio.create_task(bench.check()) for _ in range(5)]
    await bench.service.entered.wait()
    bench.service.gate.set()
    outcomes = await asyncio.gather(*checks, return_exceptions=True)
    for outcome in outcomes:
        assert isinstance(outcome, TryLaterError)
        assert (outcome.args, outcome.after_seconds) == (("try later",), 5)
    assert len(bench.service.calls) == 1
    assert len(bench.cache) == 0
    bench.service.error = None
    bench.service.grant(**READ_ONLY)
    assert (await bench.check()).granted


async def test_an_error_does_not_undo_what_is_known(bench: Bench) -> None:
    bench.service.grant(**READ_ONLY)
    await bench.check()
    bench.service.error = ConnectionError("the database is away")
    with pytest.raises(ConnectionError):
        await bench.check(force_refresh=True)
    assert bench.access.statistics.as_dict()["errors"] == 1


@pytest.mark.parametrize("nonsense", [None, True, {"granted": True}, "yes"])
async def test_what_is_no_decision_is_no_answer(bench: Bench, nonsense: object) -> None:
    class Sloppy:
        async def validate_generation_media_access(self, **_asked: object) -> object:
            return nonsense

    access = CachedGenerationAccess(Sloppy(), bench.cache)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="GenerationPermissions"):
        await access.check(GENERATION, USER, "good")
    assert len(bench.cache) == 0


@pytest.mark.parametrize("about", [(GENERATION, "somebody else"), ("something else", USER)])
async def test_a_decision_about_somebody_else_is_no_answer(
    bench: Bench, about: tuple[Id, Id]
) -> None:
    class Confused:
        async def validate_generation_media_access(self, **_asked: object) -> GenerationPermissions:
            return GenerationPermissions(*about, granted=True, can_view=True)

    access = CachedGenerationAccess(Confused(), bench.cache)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="another"):
        await access.check(GENERATION, USER, "good")
    assert len(bench.cache) == 0


async def test_a_value_of_somebody_else_under_the_key_is_not_taken_for_a_decision(
    bench: Bench,
) -> None:
    bench.service.grant(**READ_ONLY)
    await bench.check()
    (key,) = bench.cache.keys()
    bench.service.grants.clear()
    bench.cache.set(key, {"granted": True, "can_view": True})
    assert not (await bench.check()).granted


# --- secrets and figures --------------------------------------------------------------------


async def test_the_token_is_nowhere_to_be_seen(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    credential = "s3cr3t-token-value"
    bench.service.grant(credential=credential, **READ_ONLY)
    caplog.set_level(0)
    answer = await bench.check(credential=credential)
    assert answer.granted
    (key,) = bench.cache.keys()
    assert key.startswith(f"auth:gen:{GENERATION}:user:{USER}:access:")
    values = bench.cache.get_many([key])
    bench.service.error = ConnectionError("the database is away")
    with pytest.raises(ConnectionError) as caught:
        await bench.check(credential=credential, force_refresh=True)
    shown = "".join(traceback.format_exception(caught.value))
    for text in (key, repr(values), repr(bench.access), shown, caplog.text):
        assert credential not in text


@pytest.mark.parametrize("not_a_text", [b"s3cr3t", None, 12345, ["s3cr3t"]])
async def test_a_token_of_the_wrong_kind_is_refused_without_being_shown(
    bench: Bench, not_a_text: Any
) -> None:
    with pytest.raises(TypeError, match="auth_token") as caught:
        await bench.check(credential=not_a_text)
    assert "s3cr3t" not in str(caught.value)
    assert bench.service.calls == []


async def test_checks_are_counted_per_cache_whoever_makes_them(bench: Bench) -> None:
    bench.service.grant(**READ_ONLY)
    await bench.check()
    again = CachedGenerationAccess(bench.service, bench.cache, now=lambda: bench.wall)
    await again.check(GENERATION, USER, "good", AccessType.DELETE)
    await again.check(GENERATION, USER, "good", force_refresh=True)
    assert again.statistics is bench.access.statistics
    counted = again.statistics.as_dict()
    expected = {
        "total_requests": 3,
        "cache_hits": 1,
        "cache_misses": 2,
        "service_calls": 2,
        "shared_loads": 0,
        "refreshes": 1,
        "expired_hits": 0,
        "granted": 2,
        "refused": 1,
        "errors": 0,
    }
    assert {name: counted[name] for name in expected} == expected
    assert counted["hit_rate_percent"] == pytest.approx(100 / 3)
    assert 0 < counted["fastest_response_ms"] <= counted["average_response_time_ms"]
    assert counted["average_response_time_ms"] <= counted["slowest_response_ms"]
    assert Bench().access.statistics.as_dict()["total_requests"] == 0


async def test_the_account_of_a_cache_goes_with_the_cache() -> None:
    bench = Bench()
    await bench.check()
    account = bench.access.statistics
    assert len(gc.get_referrers(account)) > 0
    before = account.as_dict()["total_requests"]
    del bench
    gc.collect()
    assert Bench().access.statistics is not account
    assert before == 1
