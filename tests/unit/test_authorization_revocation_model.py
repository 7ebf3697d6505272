"""Checks against a plain model: whatever happens in whatever order, nobody is told the past.

The model knows who may do what right now. A check that is not disturbed must say exactly that. A
check that is held up while permissions change may say what held at any moment since it was
asked, and nothing older.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from velro_cache._engine import ManualClock
from velro_cache.authorization.cached_check import CachedGenerationAccess
from velro_cache.authorization.models import (
    AccessFlags,
    AccessType,
    GenerationPermissions,
    TeamRole,
)
from velro_cache.config import OptimizedCacheConfig
from velro_cache.manager import Id, OptimizedCacheManager

Pair = tuple[str, str]
# Few of everything, so that what happens meets what happened before.
PAIRS = st.sampled_from([("g:1", "u*"), ("g:2", "u*")])
ROLES = st.sampled_from([None, TeamRole.VIEWER, TeamRole.OWNER])
Questions = list[tuple[str, AccessType, bool]]
QUESTIONS = st.lists(
    st.tuples(
        st.sampled_from(["good", "good", "good", "evil"]),
        st.sampled_from([AccessType.READ, AccessType.READ, AccessType.DELETE]),
        st.sampled_from([False, False, False, True]),
    ),
    min_size=1,
    max_size=4,
)
NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)

INVALIDATIONS: dict[str, Callable[[OptimizedCacheManager, Pair], int]] = {
    "user": lambda cache, pair: cache.invalidate_user_data(pair[1]),
    "generation": lambda cache, pair: cache.invalidate_generation_data(pair[0]),
    "tags": lambda cache, pair: cache.invalidate_by_tags([f"user:{pair[1]}"]),
    "pattern": lambda cache, pair: cache.invalidate_by_pattern("auth:gen:*"),
}
WAYS = st.sampled_from(sorted(INVALIDATIONS))


class Grant:
    """What the database holds about one user and one generation."""

    def __init__(self, flags: AccessFlags, expires_at: datetime | None) -> None:
        self.flags = flags
        self.expires_at = expires_at


class Revocations(RuleBasedStateMachine):
    """Grants, revocations, checks, slow checks and time, in any order."""

    @initialize()
    def start(self) -> None:
        """Begin with an empty database and an empty cache."""
        self.runner = asyncio.Runner()
        self.clock = ManualClock()
        self.wall = NOON
        config = OptimizedCacheConfig(auth_ttl_seconds=300)
        self.cache = OptimizedCacheManager(config, clock=self.clock)
        self.access = CachedGenerationAccess(self, self.cache, now=lambda: self.wall)
        self.grants: dict[Pair, Grant] = {}
        self.gates: dict[Pair, asyncio.Event] = {}
        self.slow: list[tuple[Pair, str, AccessType, asyncio.Task[Any], set[bool]]] = []

    def teardown(self) -> None:
        """Let nobody wait for ever."""
        if hasattr(self, "runner"):
            self.let_go()
            self.runner.close()

    async def validate_generation_media_access(
        self,
        generation_id: Id,
        user_id: Id,
        auth_token: str,
        client_ip: str | None = None,
        expires_in: int = 3600,
    ) -> GenerationPermissions:
        """Decide from the database as it was when asked, however long the answer takes."""
        pair = (str(generation_id), str(user_id))
        grant = self.grants.get(pair)
        if pair in self.gates:
            await self.gates[pair].wait()
        if grant is None or auth_token != "good":  # noqa: S105
            return GenerationPermissions.denied(generation_id, user_id)
        return GenerationPermissions(
            generation_id, user_id, True, expires_at=grant.expires_at, **grant.flags
        )

    def truth(self, pair: Pair, credential: str, access: AccessType) -> bool:
        """What is right at this moment."""
        grant = self.grants.get(pair)
        if grant is None or credential != "good":
            return False
        decision = GenerationPermissions(*pair, True, expires_at=grant.expires_at, **grant.flags)
        return decision.allows(access) and not decision.is_expired(self.wall)

    def note_truth(self) -> None:
        """Add what is right now to what checks under way may say."""
        for pair, credential, access, _, acceptable in self.slow:
            acceptable.add(self.truth(pair, credential, access))

    @rule(
        pair=PAIRS,
        role=ROLES,
        life=st.sampled_from([None, 30, 300]),
        way=WAYS,
    )
    def change(self, pair: Pair, role: TeamRole | None, life: int | None, way: str) -> None:
        """Grant or revoke; then tell the cache, as after a commit."""
        if role is None:
            self.grants.pop(pair, None)
        else:
            ends = None if life is None else self.wall + timedelta(seconds=life)
            self.grants[pair] = Grant(role.flags, ends)
        INVALIDATIONS[way](self.cache, pair)
        self.note_truth()

    @rule(seconds=st.sampled_from([1, 29, 30, 300]), both=st.booleans())
    def pass_time(self, seconds: int, both: bool) -> None:
        """Let time pass, on the wall alone or everywhere."""
        self.wall += timedelta(seconds=seconds)
        if both:
            self.clock.advance(seconds)
        self.note_truth()

    @rule(pair=PAIRS, questions=QUESTIONS)
    def check(self, pair: Pair, questions: Questions) -> None:
        """Ask, and wait for the answers; where the service is held up, ask and leave it at that."""
        for credential, access, refresh in questions:
            coroutine = self.access.check(*pair, credential, access, force_refresh=refresh)
            right = self.truth(pair, credential, access)
            if pair in self.gates:
                self.slow.append((pair, credential, access, self.begin(coroutine), {right}))
            else:
                assert self.runner.run(coroutine).granted is right

    def begin(self, coroutine: Coroutine[Any, Any, GenerationPermissions]) -> asyncio.Task[Any]:
        """Start a check and let it get as far as it can."""

        async def go() -> asyncio.Task[Any]:
            task = asyncio.get_running_loop().create_task(coroutine)
            for _ in range(5):
                await asyncio.sleep(0)
            return task

        return self.runner.run(go())

    @precondition(lambda self: not self.gates)
    @rule(pair=PAIRS, role=ROLES, way=WAYS, before=QUESTIONS, after=QUESTIONS)
    def change_during_slow_checks(
        self, pair: Pair, role: TeamRole | None, way: str, before: Questions, after: Questions
    ) -> None:
        """The order of things that matters most, made likely."""
        self.gates[pair] = asyncio.Event()
        self.check(pair, before)
        self.change(pair, role, None, way)
        self.check(pair, after)
        self.let_go()

    @precondition(lambda self: not self.gates)
    @rule(pair=PAIRS, both=st.booleans(), before=QUESTIONS, after=QUESTIONS)
    def end_of_a_grant(self, pair: Pair, both: bool, before: Questions, after: Questions) -> None:
        """A grant that ends by itself between two checks."""
        self.change(pair, TeamRole.OWNER, 30, "user")
        self.check(pair, before)
        self.pass_time(30, both)
        self.check(pair, after)

    @precondition(lambda self: not self.gates)
    @rule(pair=PAIRS, really=st.sampled_from([True, False, False]))
    def hold_up(self, pair: Pair, really: bool) -> None:
        """From now on the service is slow to answer about this pair."""
        if really:
            self.gates[pair] = asyncio.Event()

    @precondition(lambda self: self.gates)
    @rule()
    def let_go(self) -> None:
        """The service answers again; see what the checks that waited are told."""

        async def finish() -> None:
            gates, self.gates = self.gates, {}
            for gate in gates.values():
                gate.set()
            await asyncio.gather(*(task for _, _, _, task, _ in self.slow))

        self.runner.run(finish())
        slow, self.slow = self.slow, []
        for _, _, _, task, acceptable in slow:
            assert task.result().granted in acceptable

    @invariant()
    def every_check_is_counted_once(self) -> None:
        """The figures add up."""
        if not hasattr(self, "access"):
            return
        counted = self.access.statistics.as_dict()
        answered = counted["granted"] + counted["refused"]
        assert counted["errors"] == 0
        assert counted["total_requests"] == answered
        assert counted["cache_hits"] + counted["cache_misses"] == answered


Revocations.TestCase.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)
TestRevocations = Revocations.TestCase
