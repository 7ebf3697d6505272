"""The steps of a decision, answered from the cache: ownership, role in a team, part in a project.

Services and guards ask here alike. The steps need no credential, so a key holds the user, the
resource, the role that was asked for, and a digest of the service that decided. Each role is a
question of its own: an answer about viewers never answers one about admins, in either direction.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Final

from velro_cache._engine import generate_auth_key
from velro_cache.authorization.check_statistics import CheckStatistics
from velro_cache.authorization.kept_decisions import KeptDecisions
from velro_cache.authorization.models import AuthorizationResult, TeamRole
from velro_cache.authorization.scope import digest_of, scope_of
from velro_cache.exceptions import AuthorizationUnavailable
from velro_cache.manager import Id
from velro_cache.warming.hot_keys import HotKeys

__all__ = ["DIRECT_OWNERSHIP", "PROJECT_ACCESS", "STEPS", "TEAM_ACCESS", "CachedSteps", "Step"]


@dataclass(frozen=True, slots=True)
class Step:
    """One kind of question.

    Attributes:
        name: What it is called in statistics.
        kind: Kind of key below which the answers lie.
        resource: What the resource is called in that key, and by the service.
        has_role: Whether a role is asked for.
    """

    name: str
    kind: str
    resource: str
    has_role: bool

    @property
    def method(self) -> str:
        """The method of the service that answers."""
        return f"validate_{self.name}"

    def place(self, resource_id: Id, user_id: Id) -> str:
        """The key below which the answers about a user and a resource lie.

        Args:
            resource_id: Generation, team or project.
            user_id: The user.

        Returns:
            The key of the documented kind.
        """
        return generate_auth_key(self.kind, **{self.resource: resource_id, "user_id": user_id})


DIRECT_OWNERSHIP: Final = Step("direct_ownership", "generation_access", "generation_id", False)
TEAM_ACCESS: Final = Step("team_access", "team_role", "team_id", True)
PROJECT_ACCESS: Final = Step("project_access", "project_access", "project_id", True)
STEPS: Final = (DIRECT_OWNERSHIP, TEAM_ACCESS, PROJECT_ACCESS)


class CachedSteps:
    """Answers the three questions through a cache.

    Args:
        service: Who decides what is not cached; an ``AuthorizationService``, or an object with
            those of its methods that are needed.
        kept: Where and how decisions are kept.
        namespace: As for ``HighPerformanceAuthorizationService``.
        statistics: For each step by its name, the account to count in.
    """

    __slots__ = ("_digest", "_hot_keys", "_kept", "_service", "_statistics")

    def __init__(
        self,
        service: object,
        kept: KeptDecisions,
        namespace: str | None,
        statistics: Mapping[str, CheckStatistics],
    ) -> None:
        self._service = service
        self._kept = kept
        self._digest = digest_of(b"step" + scope_of(service, namespace))
        self._statistics = statistics
        self._hot_keys: HotKeys | None = None

    def note_in(self, hot_keys: HotKeys) -> None:
        """Note from now on what is asked for and granted.

        Args:
            hot_keys: Where. Denials are not noted: anybody can get one for any id.
        """
        self._hot_keys = hot_keys

    async def reload(
        self, step: Step, resource_id: Id, user_id: Id, required_role: TeamRole | None = None
    ) -> float | None:
        """Ask a question anew, whatever is cached, and keep the answer.

        Args:
            step: The question.
            resource_id: As for :meth:`answer`.
            user_id: As for :meth:`answer`.
            required_role: As for :meth:`answer`.

        Returns:
            How long a grant is kept, in seconds. None: it was denied.

        Raises:
            Exception: As for :meth:`answer`. What is cached stays until its own end.
        """
        result = await self._load(step, resource_id, user_id, required_role, True, perf_counter())
        return self._kept.grant_seconds(result)

    async def preload(
        self, step: Step, resource_id: Id, user_id: Id, required_role: TeamRole | None = None
    ) -> float | None:
        """Ask a question that nobody has asked yet, and keep the answer if it is a grant.

        Args:
            step: The question.
            resource_id: As for :meth:`answer`.
            user_id: As for :meth:`answer`.
            required_role: As for :meth:`answer`.

        Returns:
            As :meth:`reload`. A denial is not kept: the room for denials belongs to requests.

        Raises:
            Exception: As for :meth:`answer`.
        """
        result = await self._load(
            step, resource_id, user_id, required_role, True, perf_counter(), ahead=True
        )
        return self._kept.grant_seconds(result)

    def is_kept(
        self, step: Step, resource_id: Id, user_id: Id, required_role: TeamRole | None = None
    ) -> bool:
        """Whether the answer to a question is there; looking counts as no use.

        Args:
            step: The question.
            resource_id: As for :meth:`answer`.
            user_id: As for :meth:`answer`.
            required_role: As for :meth:`answer`.
        """
        return self._key(step, resource_id, user_id, required_role) in self._kept.cache

    async def answer(
        self,
        step: Step,
        resource_id: Id,
        user_id: Id,
        required_role: TeamRole | None = None,
        refresh: bool = False,
    ) -> AuthorizationResult:
        """Answer one question.

        Args:
            step: The question.
            resource_id: Generation, team or project.
            user_id: The user.
            required_role: Lowest role that will do. None: the question knows no roles.
            refresh: Ask the service, whatever is cached.

        Returns:
            What the service said; a denial if that has expired by now.

        Raises:
            AuthorizationUnavailable: The service cannot answer such questions.
            TypeError: An id is none, or the service returned no result.
            ValueError: There is no such role; the service decided about somebody else; or it
                granted the role for which it was asked to somebody who has a lower one.
            LoaderTimeoutError: The service did not answer within ``load_timeout_seconds``.
            Exception: Whatever the service raised; nothing was cached.
        """
        started = perf_counter()
        if step.has_role and type(required_role) is not TeamRole:
            # None, too, is no role.
            required_role = TeamRole(str(required_role))
        key = self._key(step, resource_id, user_id, required_role)
        statistics = self._statistics[step.name]
        result = None if refresh else self._kept.found(key, AuthorizationResult, statistics)
        is_hit = result is not None
        if result is not None:
            statistics.hits.record(perf_counter() - started, result.granted)
        else:
            result = await self._load(step, resource_id, user_id, required_role, refresh, started)
        if self._hot_keys is not None and result.granted:
            role = () if required_role is None else (required_role.value,)
            self._hot_keys.note(step.name, resource_id, user_id, *role, loaded=not is_hit)
        return result

    async def _load(
        self,
        step: Step,
        resource_id: Id,
        user_id: Id,
        required_role: TeamRole | None,
        refresh: bool,
        started: float,
        ahead: bool = False,
    ) -> AuthorizationResult:
        asked = False

        async def ask() -> AuthorizationResult:
            nonlocal asked
            asked = True
            return await self._ask(step, resource_id, user_id, required_role)

        key = self._key(step, resource_id, user_id, required_role)
        granted: bool | None = None
        try:
            tags = ("auth", step.kind)
            # Ahead of a request, it joins the load of one that came first, or is joined by it.
            joins = ahead or not refresh
            longest = _not_at_all_if_denied if ahead else None
            result = await self._kept.load(key, ask, tags=tags, refresh=not joins, longest=longest)
            granted = result.granted
            return result
        finally:
            seconds = perf_counter() - started
            self._statistics[step.name].record_load(
                seconds, granted=granted, asked=asked, refresh=refresh
            )

    def _key(self, step: Step, resource_id: Id, user_id: Id, required_role: TeamRole | None) -> str:
        role = "any" if required_role is None else required_role.value
        return f"{step.place(resource_id, user_id)}:{role}:s{self._digest}"

    async def _ask(
        self, step: Step, resource_id: Id, user_id: Id, required_role: TeamRole | None
    ) -> AuthorizationResult:
        where = f"{type(self._service).__name__}.{step.method}"
        ask = getattr(self._service, step.method, None)
        if ask is None:
            raise AuthorizationUnavailable(f"there is no {where}")
        stamp = self._kept.cache.snapshot()
        about = {step.resource: resource_id, "user_id": user_id}
        if required_role is None:
            result = await ask(**about)
        else:
            result = await ask(**about, required_role=required_role)
        if not isinstance(result, AuthorizationResult):
            raise TypeError(f"{where} returned {type(result).__name__}, not AuthorizationResult")
        said_resource = resource_id if result.resource_id is None else result.resource_id
        said_user = user_id if result.user_id is None else result.user_id
        # Compared in the spelling of keys: a UUID and its text are the same id.
        if step.place(said_resource, said_user) != step.place(resource_id, user_id):
            raise ValueError(f"{where} decided about somebody or something else than asked for")
        if not result.granted:
            return result
        if (
            required_role is not None
            and result.role is not None
            and not result.role.includes(required_role)
        ):
            raise ValueError(f"{where} granted a role to somebody whose own role is lower")
        self._kept.rests_on(stamp, team=result.team_context, project=result.project_context)
        return result


def _not_at_all_if_denied(result: AuthorizationResult) -> float | None:
    return None if result.granted else 0.0
