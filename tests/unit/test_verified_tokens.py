"""Verified bearer tokens: remembered for as long as they hold, and never longer."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import math
import pickle
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from velro_cache.authorization.identity import Identity
from velro_cache.authorization.verified_tokens import MAX_TOKEN_BYTES, VerifiedTokens
from velro_cache.config import OptimizedCacheConfig
from velro_cache.exceptions import InvalidTokenError, LoaderTimeoutError
from velro_cache.manager import OptimizedCacheManager
from velro_cache.testing import FrozenClock

TOKEN = "eyJhbGciOi.eyJzdWIi.c2lnbmF0dXJl"  # noqa: S105 (of nobody)


class Verifier:
    """Knows one user; counts how often it was asked."""

    def __init__(self, **fields: Any) -> None:
        self.fields = fields
        self.calls = 0
        self.answer: Any = ...
        self.before_answer: Callable[[], Any] | None = None

    async def __call__(self, token: str) -> Any:
        self.calls += 1
        answer = self.answer
        if self.before_answer is not None:
            await self.before_answer()
        if isinstance(answer, BaseException):
            raise answer
        return Identity("ada", **self.fields) if answer is ... else answer


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock()


@pytest.fixture
def cache(clock: FrozenClock) -> OptimizedCacheManager:
    return OptimizedCacheManager(OptimizedCacheConfig(), clock=clock.engine)


def tokens_of(
    verifier: Any, cache: OptimizedCacheManager, clock: FrozenClock, **options: Any
) -> VerifiedTokens:
    return VerifiedTokens(verifier, cache_manager=cache, now=clock.seconds, **options)


async def refused(tokens: VerifiedTokens, token: Any = TOKEN) -> str:
    with pytest.raises(InvalidTokenError) as error:
        await tokens.identify(token)
    return str(error.value)


# --- what is remembered ---------------------------------------------------------------------


async def test_a_token_is_verified_once(cache: OptimizedCacheManager, clock: FrozenClock) -> None:
    verifier = Verifier(claims={"plan": ["free"]}, scopes=["read"])
    tokens = tokens_of(verifier, cache, clock)
    first = await tokens.identify(TOKEN)
    assert await tokens.identify(TOKEN) is first
    assert await tokens.identify(TOKEN.encode()) is first
    assert (first.user_id, first.claims, first.scopes) == ("ada", {"plan": ("free",)}, {"read"})
    assert verifier.calls == 1


async def test_a_plain_function_will_do(cache: OptimizedCacheManager, clock: FrozenClock) -> None:
    calls: list[str] = []

    def verify(token: str) -> Identity:
        calls.append(token)
        return Identity(7)

    tokens = tokens_of(verify, cache, clock)
    assert [(await tokens.identify(TOKEN)).user_id for _ in range(2)] == [7, 7]
    assert calls == [TOKEN]


async def test_no_key_and_no_value_holds_the_token(
    cache: OptimizedCacheManager, clock: FrozenClock
) -> None:
    await tokens_of(Verifier(), cache, clock).identify(TOKEN)
    for key in cache.keys("*"):
        assert TOKEN not in key
        assert TOKEN not in repr(cache.get_value(key))


async def test_tokens_and_verifiers_are_kept_apart(
    cache: OptimizedCacheManager, clock: FrozenClock
) -> None:
    def verify(token: str) -> Identity:
        return Identity(token)

    one, other = tokens_of(verify, cache, clock), tokens_of(Verifier(), cache, clock)
    for _ in range(2):
        assert (await one.identify("a")).user_id == "a"
        assert (await one.identify("b")).user_id == "b"
        assert (await other.identify("a")).user_id == "ada"


async def test_a_name_is_shared_by_those_that_have_it(
    cache: OptimizedCacheManager, clock: FrozenClock
) -> None:
    verifiers = [Verifier() for _ in range(3)]
    for verifier, name in zip(verifiers, ("x", "x", "y"), strict=True):
        await tokens_of(verifier, cache, clock, namespace=name).identify(TOKEN)
        gc.collect()
    assert [verifier.calls for verifier in verifiers] == [1, 0, 1]


async def test_many_who_ask_at_once_share_one_verification(
    cache: OptimizedCacheManager, clock: FrozenClock
) -> None:
    verifier, gate = Verifier(), asyncio.Event()
    verifier.before_answer = gate.wait
    tokens = tokens_of(verifier, cache, clock)
    asking = [asyncio.create_task(tokens.identify(TOKEN)) for _ in range(20)]
    await asyncio.sleep(0)
    gate.set()
    assert {identity.user_id for identity in await asyncio.gather(*asking)} == {"ada"}
    assert verifier.calls == 1


# --- time -----------------------------------------------------------------------------------


async def test_never_past_its_own_end(cache: OptimizedCacheManager, clock: FrozenClock) -> None:
    verifier = Verifier(expires_at=clock.now() + timedelta(seconds=60))
    tokens = tokens_of(verifier, cache, clock)
    await tokens.identify(TOKEN)
    clock.advance(59.5)
    await tokens.identify(TOKEN)
    assert verifier.calls == 1
    clock.advance(0.5)
    assert "hold" in await refused(tokens)
    assert verifier.calls == 2


async def test_not_before_its_beginning(cache: OptimizedCacheManager, clock: FrozenClock) -> None:
    verifier = Verifier(not_before=clock.now() + timedelta(seconds=60))
    tokens = tokens_of(verifier, cache, clock)
    await refused(tokens)
    assert cache.keys() == []
    clock.advance(60)
    await tokens.identify(TOKEN)
    # Somebody sets the clock back.
    clock.set_wall_clock(clock.now() - timedelta(seconds=1))
    await refused(tokens)


async def test_a_wall_clock_that_jumps_ends_it(
    cache: OptimizedCacheManager, clock: FrozenClock
) -> None:
    verifier = Verifier(expires_at=clock.now() + timedelta(seconds=60))
    tokens = tokens_of(verifier, cache, clock)
    await tokens.identify(TOKEN)
    clock.set_wall_clock(clock.now() + timedelta(seconds=60))
    await refused(tokens)
    # Back again: it was forgotten meanwhile.
    clock.set_wall_clock(clock.now() - timedelta(seconds=60))
    await tokens.identify(TOKEN)
    assert verifier.calls == 3


async def test_a_wall_clock_set_back_does_not_prolong_it(
    cache: OptimizedCacheManager, clock: FrozenClock
) -> None:
    verifier = Verifier(expires_at=clock.now() + timedelta(seconds=60))
    tokens = tokens_of(verifier, cache, clock)
    await tokens.identify(TOKEN)
    clock.set_wall_clock(clock.now() - timedelta(hours=1))
    clock.engine.advance(60)
    await tokens.identify(TOKEN)
    assert verifier.calls == 2


async def test_one_that_ends_while_it_is_verified_is_refused(
    cache: OptimizedCacheManager, clock: FrozenClock
) -> None:
    verifier = Verifier(expires_at=clock.now() + timedelta(seconds=60))

    async def takes_long() -> None:
        clock.advance(60)

    verifier.before_answer = takes_long
    await refused(tokens_of(verifier, cache, clock))
    assert cache.keys() == []


@pytest.mark.parametrize(("ttl", "kept"), [(None, 700), (30, 30), (5000, 3600)])
async def test_kept_as_long_as_it_may(clock: FrozenClock, ttl: float | None, kept: float) -> None:
    cache = OptimizedCacheManager(
        OptimizedCacheConfig(auth_ttl_seconds=700, max_ttl_seconds=3600), clock=clock.engine
    )
    verifier = Verifier()
    tokens = tokens_of(verifier, cache, clock, ttl_seconds=ttl)
    await tokens.identify(TOKEN)
    clock.advance(kept - 1)
    await tokens.identify(TOKEN)
    assert verifier.calls == 1
    clock.advance(1)
    await tokens.identify(TOKEN)
    assert verifier.calls == 2


# --- revocation -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "revoke",
    [
        lambda cache: cache.invalidate_user_data("ada"),
        lambda cache: cache.invalidate_by_tags(["user:ada"]),
        lambda cache: cache.invalidate_by_tags(["session:1"]),
        lambda cache: cache.invalidate_by_pattern("auth:user:ada:*"),
        lambda cache: cache.invalidate_by_tags(["auth"]),
        lambda cache: cache.clear(),
    ],
)
async def test_a_revocation_is_seen(
    cache: OptimizedCacheManager, clock: FrozenClock, revoke: Callable[[Any], Any]
) -> None:
    verifier = Verifier(tags=["session:1"])
    tokens = tokens_of(verifier, cache, clock)
    await tokens.identify(TOKEN)
    cache.invalidate_user_data("somebody else")
    await tokens.identify(TOKEN)
    assert verifier.calls == 1
    revoke(cache)
    verifier.answer = None
    await refused(tokens)


async def test_a_verification_under_way_does_not_outlive_a_revocation(
    cache: OptimizedCacheManager, clock: FrozenClock
) -> None:
    verifier, reached, gate = Verifier(), asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        reached.set()
        await gate.wait()

    verifier.before_answer = wait
    tokens = tokens_of(verifier, cache, clock)
    before = asyncio.create_task(tokens.identify(TOKEN))
    await reached.wait()
    cache.invalidate_user_data("ada")
    verifier.answer = None
    after = asyncio.create_task(tokens.identify(TOKEN))
    await asyncio.sleep(0)
    gate.set()
    # Who asked before may be told what was true then; who asked afterwards may not.
    assert (await before).user_id == "ada"
    with pytest.raises(InvalidTokenError):
        await after
    await refused(tokens)


async def test_what_a_verification_rests_on_ends_it(
    cache: OptimizedCacheManager, clock: FrozenClock
) -> None:
    cache.set("tenant", "open", tags=["tenant:1"])
    calls = 0

    async def verify(_token: str) -> Identity | None:
        nonlocal calls
        calls += 1
        return Identity("ada") if cache.get_value("tenant") == "open" else None

    tokens = tokens_of(verify, cache, clock)
    await tokens.identify(TOKEN)
    await tokens.identify(TOKEN)
    assert calls == 1
    cache.invalidate_by_tags(["tenant:1"])
    await refused(tokens)


async def test_another_token_of_the_user_does_not_revive_one(
    cache: OptimizedCacheManager, clock: FrozenClock
) -> None:
    verifier = Verifier()
    tokens = tokens_of(verifier, cache, clock)
    await tokens.identify("one")
    cache.invalidate_user_data("ada")
    await tokens.identify("two")
    verifier.answer = None
    await refused(tokens, "one")


# --- what is refused, and what fails ---------------------------------------------------------


@pytest.mark.parametrize(
    "token",
    [
        "",
        "=",
        "a b",
        "a\0b",
        "a\nb",
        "tök",
        "\udcff",
        "a" * (MAX_TOKEN_BYTES + 1),
        "a" * 10_000_000,
        b"\xff\xfe",
        b"a\x00b",
        b"a" * 10_000_000,
    ],
    ids=lambda token: f"{token[:4]!r}x{len(token)}",
)
async def test_what_is_no_token_is_refused_before_anybody_is_asked(
    cache: OptimizedCacheManager, clock: FrozenClock, token: Any
) -> None:
    verifier = Verifier()
    await refused(tokens_of(verifier, cache, clock), token)
    assert verifier.calls == 0
    assert cache.keys() == []


async def test_a_token_of_another_kind_is_a_mistake(
    cache: OptimizedCacheManager, clock: FrozenClock
) -> None:
    with pytest.raises(TypeError, match="int") as error:
        await tokens_of(Verifier(), cache, clock).identify(12345678)  # type: ignore[arg-type]
    assert "12345678" not in str(error.value)


async def test_forged_tokens_take_no_room(cache: OptimizedCacheManager, clock: FrozenClock) -> None:
    verifier = Verifier()
    tokens = tokens_of(verifier, cache, clock)
    await tokens.identify(TOKEN)
    there = cache.keys()
    verifier.answer = None
    for number in range(200):
        await refused(tokens, f"forged-{number}")
    assert cache.keys() == there
    assert verifier.calls == 201


class OfALibrary(Exception):
    """What a library for tokens raises."""


async def test_exceptions_that_mean_invalid_hide_what_they_quote(
    cache: OptimizedCacheManager, clock: FrozenClock
) -> None:
    verifier = Verifier()
    verifier.answer = OfALibrary(f"bad signature of {TOKEN}")
    tokens = tokens_of(verifier, cache, clock, invalid_token_errors=(OfALibrary,))
    with pytest.raises(InvalidTokenError) as error:
        await tokens.identify(TOKEN)
    assert TOKEN not in str(error.value)
    assert error.value.__cause__ is None
    with pytest.raises(OfALibrary):
        await tokens_of(verifier, cache, clock).identify(TOKEN)
    assert cache.keys() == []


@pytest.mark.parametrize(
    ("answer", "raised"),
    [
        (ConnectionError("away"), ConnectionError),
        (True, TypeError),
        ("ada", TypeError),
        ({"sub": "ada"}, TypeError),
        (object(), TypeError),
    ],
    ids=str,
)
async def test_a_verifier_that_cannot_tell_is_no_answer(
    cache: OptimizedCacheManager, clock: FrozenClock, answer: Any, raised: type[Exception]
) -> None:
    verifier = Verifier()
    verifier.answer = answer
    tokens = tokens_of(verifier, cache, clock)
    for _ in range(2):
        with pytest.raises(raised):
            await tokens.identify(TOKEN)
    assert (verifier.calls, cache.keys()) == (2, [])
    verifier.answer = ...
    assert (await tokens.identify(TOKEN)).user_id == "ada"


async def test_a_verifier_that_hangs_is_given_up(clock: FrozenClock) -> None:
    cache = OptimizedCacheManager(OptimizedCacheConfig(load_timeout_seconds=0.01))
    verifier = Verifier()
    verifier.before_answer = asyncio.Event().wait
    with pytest.raises(LoaderTimeoutError):
        await tokens_of(verifier, cache, clock).identify(TOKEN)
    assert cache.keys() == []


@pytest.mark.parametrize(
    "options",
    [{"ttl_seconds": 0}, {"ttl_seconds": math.nan}, {"max_token_bytes": 0}],
    ids=str,
)
def test_limits_that_are_none_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        VerifiedTokens(Verifier(), **options)


def test_what_cannot_be_called_is_refused() -> None:
    with pytest.raises(TypeError, match="verify"):
        VerifiedTokens("ada")  # type: ignore[arg-type]


# --- identities -----------------------------------------------------------------------------


def test_an_identity_from_claims() -> None:
    claims = {"sub": "ada", "exp": 2_000_000_000, "nbf": 1.5, "scope": "read write"}
    identity = Identity.from_claims(claims, tags=["session:1"])
    assert identity.user_id == "ada"
    assert identity.expires_at == datetime(2033, 5, 18, 3, 33, 20, tzinfo=UTC)
    assert identity.scopes == {"read", "write"}
    assert identity.tags == ("session:1",)
    assert identity.holds_at(1.5)
    assert not identity.holds_at(1.4)
    assert not identity.holds_at(2_000_000_000)
    assert identity.claims["exp"] == 2_000_000_000
    assert "claims" not in repr(identity)
    with pytest.raises(TypeError):
        identity.claims["exp"] = 0  # type: ignore[index]


@pytest.mark.parametrize(
    "claims",
    [
        {},
        {"sub": None},
        {"sub": ""},
        {"sub": True},
        {"sub": 1.5},
        {"sub": ["ada"]},
        {"sub": "a", "exp": True},
        {"sub": "a", "exp": "soon"},
        {"sub": "a", "exp": math.nan},
        {"sub": "a", "exp": math.inf},
        {"sub": "a", "exp": 10**30},
        {"sub": "a", "nbf": []},
        {"sub": "a", "scope": [1]},
        {"sub": "a", "x": object()},
    ],
    ids=str,
)
def test_claims_that_make_no_sense_make_no_identity(claims: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError)):
        Identity.from_claims(claims)


def test_a_moment_without_a_time_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        Identity("ada", expires_at=datetime(2030, 1, 1))
    with pytest.raises(TypeError, match="scopes"):
        Identity("ada", scopes="read")  # type: ignore[arg-type]


def test_an_identity_is_shown_and_sent_without_what_is_only_there_for_speed() -> None:
    identity = Identity("ada", expires_at=datetime(2030, 1, 1, tzinfo=UTC), claims={"a": 1})
    again = pickle.loads(pickle.dumps(identity))  # noqa: S301 (its own dump)
    assert again == identity
    assert again.holds_at(0)
    assert not again.holds_at(identity.expires_at.timestamp() if identity.expires_at else 0)
    assert not [name for name in dataclasses.asdict(identity) if name.startswith("_")]
