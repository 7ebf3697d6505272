"""The authorization service against a plain model: roles, lives and invalidations in any order.

The model is a table of who holds which role until when, and a plain dict of answers with the
second they end. Changes are sometimes followed by an invalidation and sometimes not, so the service
must not only forget what it should, but also know what it may.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from velro_cache._engine import ManualClock
from velro_cache.authorization.high_performance import HighPerformanceAuthorizationService
from velro_cache.authorization.models import AuthorizationResult, GenerationPermissions, TeamRole
from velro_cache.config import OptimizedCacheConfig
from velro_cache.manager import Id, OptimizedCacheManager

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
GRANT_SECONDS, DENY_SECONDS = 300, 30
KINDS = st.sampled_from(["media", "ownership", "team", "project"])
RESOURCES = st.sampled_from(["r:1", "r*"])
USERS = st.sampled_from(["ada", "b:*"])
ROLES = st.sampled_from(list(TeamRole))


@dataclass
class Holding:
    """What somebody holds."""

    role: TeamRole
    ends: int | None


@dataclass(frozen=True)
class Question:
    """What was asked; where roles mean nothing, ``required`` is the lowest."""

    kind: str
    resource: str
    user: str
    required: TeamRole


class Answers(RuleBasedStateMachine):
    """Grants, revocations, invalidations, time and questions."""

    @initialize()
    def start(self) -> None:
        """Begin with nobody holding anything."""
        self.runner = asyncio.Runner()
        self.clock = ManualClock()
        self.seconds = 0
        config = OptimizedCacheConfig(auth_ttl_seconds=GRANT_SECONDS)
        self.cache = OptimizedCacheManager(config, clock=self.clock)
        self.service = HighPerformanceAuthorizationService(
            self, self.cache, deny_ttl_seconds=DENY_SECONDS, now=self.now
        )
        self.held: dict[tuple[str, str, str], Holding] = {}
        self.known: dict[Question, tuple[bool, int]] = {}

    def teardown(self) -> None:
        """Close the loop."""
        if hasattr(self, "runner"):
            self.runner.close()

    def now(self) -> datetime:
        """The wall clock."""
        return NOON + timedelta(seconds=self.seconds)

    def end_of(self, holding: Holding | None) -> datetime | None:
        """Its end as the service says it."""
        if holding is None or holding.ends is None:
            return None
        return NOON + timedelta(seconds=holding.ends)

    def holding(self, kind: str, resource: Id, user: Id) -> Holding | None:
        """What is held at this moment."""
        held = self.held.get((kind, str(resource), str(user)))
        return None if held is None or (held.ends or self.seconds + 1) <= self.seconds else held

    async def validate_generation_media_access(
        self,
        generation_id: Id,
        user_id: Id,
        auth_token: str,
        client_ip: str | None = None,
        expires_in: int = 3600,
    ) -> GenerationPermissions:
        """Decide by the table."""
        held = self.holding("media", generation_id, user_id)
        ends = self.end_of(held)
        return GenerationPermissions(generation_id, user_id, held is not None, expires_at=ends)

    async def validate_direct_ownership(
        self, generation_id: Id, user_id: Id
    ) -> AuthorizationResult:
        """Decide by the table."""
        held = self.holding("ownership", generation_id, user_id)
        return AuthorizationResult(held is not None, expires_at=self.end_of(held))

    async def validate_team_access(
        self, team_id: Id, user_id: Id, required_role: TeamRole = TeamRole.VIEWER
    ) -> AuthorizationResult:
        """Decide by the table."""
        return self.by_role(self.holding("team", team_id, user_id), required_role)

    async def validate_project_access(
        self, project_id: Id, user_id: Id, required_role: TeamRole = TeamRole.VIEWER
    ) -> AuthorizationResult:
        """Decide by the table."""
        return self.by_role(self.holding("project", project_id, user_id), required_role)

    def by_role(self, held: Holding | None, required: TeamRole) -> AuthorizationResult:
        """Decide by the ladder."""
        if held is None or not held.role.includes(required):
            return AuthorizationResult(False)
        return AuthorizationResult(True, role=held.role, expires_at=self.end_of(held))

    @rule(
        kind=KINDS,
        resource=RESOURCES,
        user=USERS,
        role=st.none() | ROLES,
        life=st.sampled_from([None, 20, 100]),
        tell=st.sampled_from(["", "user", "resource", "kind", "all"]),
    )
    def change(
        self,
        kind: str,
        resource: str,
        user: str,
        role: TeamRole | None,
        life: int | None,
        tell: str,
    ) -> None:
        """Give or take a role, and tell the cache or not."""
        place = (kind, resource, user)
        if role is None:
            self.held.pop(place, None)
        else:
            self.held[place] = Holding(role, None if life is None else self.seconds + life)
        by_kind = "generation" if kind in ("media", "ownership") else kind
        service = self.service
        alive = {q for q, (_, ends) in self.known.items() if ends > self.seconds}
        gone: set[Question] = set()
        dropped = 0
        if tell == "user":
            gone = {q for q in self.known if q.user == user}
            dropped = self.runner.run(service.invalidate_user_permissions(user))
        elif tell == "resource":
            gone = {q for q in self.known if q.resource == resource}
            dropped = self.runner.run(service.invalidate_resource_permissions(resource))
        elif tell == "kind":
            kinds = {"media", "ownership"} if by_kind == "generation" else {kind}
            gone = {q for q in self.known if q.resource == resource and q.kind in kinds}
            invalidate = getattr(service, f"invalidate_{by_kind}_permissions")
            dropped = self.runner.run(invalidate(resource))
        elif tell == "all":
            gone = set(self.known)
            self.runner.run(service.clear_all_caches())
            dropped = len(gone & alive)
        assert dropped == len(gone & alive)
        for question in gone:
            del self.known[question]

    @rule(seconds=st.sampled_from([1, 19, 20, 29, 30, 100, 299, 300]))
    def pass_time(self, seconds: int) -> None:
        """Let time pass on both clocks."""
        self.seconds += seconds
        self.clock.advance(seconds)

    @rule(kind=KINDS, resource=RESOURCES, user=USERS, required=ROLES)
    def ask(self, kind: str, resource: str, user: str, required: TeamRole) -> None:
        """Ask; the answer is what is known and still good, or what the table says."""
        service = self.service
        if kind == "media":
            answer = service.validate_generation_media_access(resource, user, "credential")
        elif kind == "ownership":
            answer = service.validate_direct_ownership(resource, user)
        elif kind == "team":
            answer = service.validate_team_access(resource, user, required)
        else:
            answer = service.validate_project_access(resource, user, required)
        granted = self.runner.run(answer).granted
        question = Question(kind, resource, user, self.step(kind, required))
        known, ends = self.known.get(question, (False, 0))
        if ends <= self.seconds:
            held = self.holding(kind, resource, user)
            known = held is not None and held.role.includes(question.required)
            ends = self.seconds + (GRANT_SECONDS if known else DENY_SECONDS)
            if known and held is not None and held.ends is not None:
                ends = min(ends, held.ends)
            self.known[question] = (known, ends)
        assert granted is known

    @staticmethod
    def step(kind: str, required: TeamRole) -> TeamRole:
        """The role that takes part in a question."""
        return required if kind in ("team", "project") else TeamRole.VIEWER


Answers.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestAnswers = Answers.TestCase
