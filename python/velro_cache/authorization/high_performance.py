"""The authorization service with a cache in it: the same questions, the same answers, sooner.

It has the interface of the service it wraps, so it can stand wherever that one stands. What is
different from asking the service itself: an answer may be as old as its life, but never older than
the last invalidation of what it is about.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, Final, get_args

from velro_cache._engine import generate_auth_key
from velro_cache.authorization.cached_check import CachedGenerationAccess
from velro_cache.authorization.cached_steps import (
    DIRECT_OWNERSHIP,
    PROJECT_ACCESS,
    STEPS,
    TEAM_ACCESS,
    CachedSteps,
)
from velro_cache.authorization.check_statistics import CheckStatistics
from velro_cache.authorization.eager import EagerReloads
from velro_cache.authorization.kept_decisions import (
    DEFAULT_DENY_TTL_SECONDS,
    KeptDecisions,
    check_deny_limits,
)
from velro_cache.authorization.models import (
    AuthorizationResult,
    GenerationPermissions,
    TeamRole,
    utc_now,
)
from velro_cache.authorization.performance_metrics import MEDIA_ACCESS, performance_metrics
from velro_cache.authorization.service import AuthorizationService
from velro_cache.authorization.warm_user import Question, warm_questions
from velro_cache.exceptions import AuthorizationUnavailable
from velro_cache.manager import Id, OptimizedCacheManager
from velro_cache.registry import get_cache_manager
from velro_cache.typed_entries import Wait
from velro_cache.warming.limits import cancel_all, check_concurrency
from velro_cache.warming.refresh import Reload
from velro_cache.warming.report import Progress, WarmReport

__all__ = ["HighPerformanceAuthorizationService"]

_METHODS: Final = ("validate_generation_media_access", *(step.method for step in STEPS))


class HighPerformanceAuthorizationService:
    """Answers authorization questions from the cache, and asks the service it wraps for the rest.

    Args:
        inner: Who decides what is not cached.
        cache: Where decisions are kept. None: the cache manager of this process, looked up at the
            first use.
        deny_ttl_seconds: How long a denial is kept, in seconds, at most ``auth_ttl_seconds``.
            0: not at all.
        max_cached_denies: How many denials may be alive in the cache at once; what comes beyond
            is answered and not kept. 0: none. None: a tenth of the cache's ``max_entries``.
        namespace: Name shared by all services that would give the same answers. None: decisions
            belong to this very ``inner`` object.
        now: The wall clock, with a time zone.

    Raises:
        TypeError: ``inner`` lacks a method, or a limit is no number.
        ValueError: A limit is out of range.

    Consistency: an answer given after an invalidation has returned never comes from before it. An
    exception of ``inner`` reaches everybody who waited; it is neither kept nor an answer.
    Cost of a hit: two clock readings, one lookup; for media access also a digest of the token.
    """

    __slots__ = (
        "__weakref__",
        "_access",
        "_cache",
        "_deny_ttl_seconds",
        "_eager",
        "_inner",
        "_is_shut_down",
        "_kept",
        "_max_cached_denies",
        "_namespace",
        "_now",
        "_statistics",
        "_steps",
        "_warming",
    )

    def __init__(
        self,
        inner: AuthorizationService,
        cache: OptimizedCacheManager | None = None,
        *,
        deny_ttl_seconds: float = DEFAULT_DENY_TTL_SECONDS,
        max_cached_denies: int | None = None,
        namespace: str | None = None,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        missing = [name for name in _METHODS if not callable(getattr(inner, name, None))]
        if missing:
            raise TypeError(f"{type(inner).__name__} has no {', '.join(missing)}")
        if cache is not None and not isinstance(cache, OptimizedCacheManager):
            kind = type(cache).__name__
            raise TypeError(f"cache must be an OptimizedCacheManager or None, not {kind}")
        check_deny_limits(deny_ttl_seconds, max_cached_denies)
        self._inner = inner
        self._cache = cache
        self._deny_ttl_seconds = deny_ttl_seconds
        self._max_cached_denies = max_cached_denies
        self._namespace = namespace
        self._now = now
        self._statistics = {
            name: CheckStatistics() for name in (MEDIA_ACCESS, *(step.name for step in STEPS))
        }
        self._access: CachedGenerationAccess | None = None
        self._steps: CachedSteps | None = None
        self._eager: EagerReloads | None = None
        self._kept: KeptDecisions | None = None
        self._warming: set[asyncio.Task[Any]] = set()
        self._is_shut_down = False

    @property
    def cache(self) -> OptimizedCacheManager:
        """Where decisions are kept."""
        if self._cache is None:
            self._cache = get_cache_manager()
        return self._cache

    async def validate_generation_media_access(
        self,
        generation_id: Id,
        user_id: Id,
        auth_token: str,
        client_ip: str | None = None,
        expires_in: int = 3600,
    ) -> GenerationPermissions:
        """Decide what a user may do with a generation.

        Args:
            generation_id: The generation.
            user_id: The user.
            auth_token: Credential of the request. A decision made for one token never answers for
                another; the token itself is not kept.
            client_ip: Address of the client; binds the decision like the token. None: not known.
            expires_in: How long media URLs are to be valid, in seconds. A decision with media URLs
                is kept no longer than that.

        Returns:
            The whole decision, as ``inner`` made it; ``allows()`` answers for one access.

        Raises:
            AuthorizationUnavailable: The service was shut down.
            TypeError: The token is not a text, or ``inner`` returned no decision.
            ValueError: ``inner`` decided about somebody else.
            LoaderTimeoutError: ``inner`` did not answer within ``load_timeout_seconds``.
            Exception: Whatever ``inner`` raised; nothing was cached.
        """
        access = self._access
        if access is None:
            access = self._open_access()
        return await access.decide(
            generation_id, user_id, auth_token, client_ip, expires_in=expires_in
        )

    async def validate_direct_ownership(
        self, generation_id: Id, user_id: Id
    ) -> AuthorizationResult:
        """Decide whether a generation belongs to a user.

        Args:
            generation_id: The generation.
            user_id: The user.

        Returns:
            What ``inner`` said.

        Raises:
            AuthorizationUnavailable, TypeError, ValueError, LoaderTimeoutError, Exception: As for
                :meth:`validate_generation_media_access`.
        """
        return await self._open_steps().answer(DIRECT_OWNERSHIP, generation_id, user_id)

    async def validate_team_access(
        self, team_id: Id, user_id: Id, required_role: TeamRole = TeamRole.VIEWER
    ) -> AuthorizationResult:
        """Decide whether a user holds at least a role in a team.

        Args:
            team_id: The team.
            user_id: The user.
            required_role: Lowest role that will do, or its name. Each one is a question of its own.

        Returns:
            What ``inner`` said.

        Raises:
            ValueError: There is no such role; or ``inner`` granted it to somebody who, as it says
                itself, has a lower one.
            AuthorizationUnavailable, TypeError, LoaderTimeoutError, Exception: As for
                :meth:`validate_generation_media_access`.
        """
        return await self._open_steps().answer(TEAM_ACCESS, team_id, user_id, required_role)

    async def validate_project_access(
        self, project_id: Id, user_id: Id, required_role: TeamRole = TeamRole.VIEWER
    ) -> AuthorizationResult:
        """Decide whether a user may take part in a project with at least a role.

        Args:
            project_id: The project.
            user_id: The user.
            required_role: As for :meth:`validate_team_access`.

        Returns:
            What ``inner`` said.

        Raises:
            AuthorizationUnavailable, TypeError, ValueError, LoaderTimeoutError, Exception: As for
                :meth:`validate_team_access`.
        """
        return await self._open_steps().answer(PROJECT_ACCESS, project_id, user_id, required_role)

    async def invalidate_user_permissions(self, user_id: Id, *, wait: Wait | None = None) -> int:
        """Drop everything about a user, after a change of theirs was committed.

        Args:
            user_id: The user.
            wait: What to wait for: ``"host"``, ``"bus"`` or ``"fleet"``. None: as configured.

        Returns:
            How many live entries of this process were dropped.

        Raises:
            InvalidKeyError, TypeError, ValueError: The id is none, or there is no such ``wait``.
            InvalidationNotAcknowledged: It holds on this host, but the log or the other hosts did
                not answer in time.

        Consistency: holds on this host before anything is awaited.
        """
        return await self.cache._ainvalidate(wait, users=(user_id,))

    async def invalidate_generation_permissions(
        self, generation_id: Id, *, wait: Wait | None = None
    ) -> int:
        """Drop everything about a generation; otherwise as :meth:`invalidate_user_permissions`."""
        return await self.cache._ainvalidate(wait, generations=(generation_id,))

    async def invalidate_project_permissions(
        self, project_id: Id, *, wait: Wait | None = None
    ) -> int:
        """Drop everything about a project, and all that was granted through it.

        Decisions about generations are among those if they name it as ``project_context``.
        Otherwise as :meth:`invalidate_user_permissions`.
        """
        return await self.cache._ainvalidate(wait, tags=(_tag("project", project_id),))

    async def invalidate_team_permissions(self, team_id: Id, *, wait: Wait | None = None) -> int:
        """Drop everything about a team, and all that was granted through it.

        Decisions about generations are among those if they name it as ``team_context``.
        Otherwise as :meth:`invalidate_user_permissions`.
        """
        return await self.cache._ainvalidate(wait, tags=(_tag("team", team_id),))

    async def invalidate_resource_permissions(
        self, resource_id: Id, *, wait: Wait | None = None
    ) -> int:
        """Drop everything about the generation, project and team of that id.

        For callers that do not know which of them it is. Otherwise as
        :meth:`invalidate_user_permissions`.
        """
        tags = (_tag("project", resource_id), _tag("team", resource_id))
        return await self.cache._ainvalidate(wait, generations=(resource_id,), tags=tags)

    async def warm_cache_for_user(
        self,
        user_id: Id,
        resource_ids: Iterable[Id],
        *,
        auth_token: str | None = None,
        client_ip: str | None = None,
        expires_in: int = 3600,
        team_ids: Iterable[Id] = (),
        project_ids: Iterable[Id] = (),
        required_role: TeamRole = TeamRole.VIEWER,
        concurrency: int = 8,
        on_progress: Progress | None = None,
    ) -> WarmReport:
        """Ask ahead what a user is going to ask.

        Args:
            user_id: The user.
            resource_ids: Generations. With ``auth_token`` their media access is decided, otherwise
                their ownership.
            auth_token: Credential that the user's requests will carry. None: none is known.
            client_ip: As for :meth:`validate_generation_media_access`.
            expires_in: As for :meth:`validate_generation_media_access`.
            team_ids: Teams, to be asked for ``required_role``.
            project_ids: Projects, likewise.
            required_role: Lowest role that will do.
            concurrency: How many questions are asked at once; 1 or more.
            on_progress: Told after each answer. None: nobody is.

        Returns:
            How many were granted (``loaded``), denied, and failed, and the seconds it took. What
            is cached already is not asked again, and counted all the same. A failure ends nothing
            and is cached nowhere. Nothing is asked if ``warming_enabled`` is off.

        Raises:
            AuthorizationUnavailable: The service was shut down, before or meanwhile.
            TypeError: ``resource_ids`` is a bare text, or ``concurrency`` no integer.
            ValueError: ``concurrency`` is below 1, or there is no such role.

        Consistency: as for any answer; what is invalidated while it is asked is not stored.
        """
        self._check_open()
        check_concurrency(concurrency)
        role = TeamRole(required_role)
        generations = _ids("resource_ids", resource_ids)
        teams = _ids("team_ids", team_ids)
        projects = _ids("project_ids", project_ids)
        report = WarmReport("user")
        if not self.cache.config.warming_enabled:
            return report

        async def about_generation(generation_id: Id) -> bool:
            if auth_token is None:
                return (await self.validate_direct_ownership(generation_id, user_id)).granted
            decision = await self.validate_generation_media_access(
                generation_id, user_id, auth_token, client_ip, expires_in
            )
            return decision.granted

        async def about_team(team_id: Id) -> bool:
            return (await self.validate_team_access(team_id, user_id, role)).granted

        async def about_project(project_id: Id) -> bool:
            return (await self.validate_project_access(project_id, user_id, role)).granted

        questions: list[Question] = [
            *((about_generation, id) for id in generations),
            *((about_team, id) for id in teams),
            *((about_project, id) for id in projects),
        ]
        work = asyncio.ensure_future(warm_questions(questions, report, concurrency, on_progress))
        self._warming.add(work)
        work.add_done_callback(self._warming.discard)
        try:
            return await work
        except asyncio.CancelledError:
            work.cancel()
            caller = asyncio.current_task()
            if self._is_shut_down and not (caller is not None and caller.cancelling()):
                raise _shut_down() from None
            raise

    def keep_warm(self) -> None:
        """Take part in the warming of the cache.

        From now on granted answers about ownership, teams and projects are noted as used, so that
        ``cache.warmers`` can keep the hottest alive and name them in its journal; and this service
        loads them anew for it. Media access rests on a token, and tokens are not kept: there, the
        request that finds a grant near its end is answered, and begins a load with its own token.

        Raises:
            AuthorizationUnavailable: The service was shut down.
        """
        self._check_open()
        warmers = self.cache.warmers
        for kind, reload in self._reloads().items():
            warmers.register_reload(kind, reload)
        self._open_steps().note_in(warmers.hot_keys)
        if self._eager is None:
            self._eager = EagerReloads(self._now)
        (self._access or self._open_access()).reload_eagerly(self._eager)

    def get_performance_metrics(self) -> dict[str, Any]:
        """How long answers take, those from the cache and the others apart.

        Returns:
            ``operations``: for each of the four questions what was counted and timed; ``total``:
            all of them together. ``improvement_ms`` is the mean time of an answer for which
            ``inner`` was asked, less the mean time of one from the cache, both measured here;
            None until there is one of each. ``saved_seconds``: that times the hits.
            ``timestamp``: when this was read (ISO 8601, UTC).
        """
        return performance_metrics(self._statistics, self._now())

    def get_detailed_cache_metrics(self) -> dict[str, Any]:
        """What the cache does for this service.

        Returns:
            ``cache``: the manager's own statistics. ``denies``: what became of denials (``limit``,
            ``alive_at_most``, ``ttl_seconds``, ``kept``, ``not_kept``). ``service``: as
            :meth:`get_performance_metrics`. ``warming``: warm-ups under way. ``eager``: decisions
            loaded anew near their end (``begun``, ``failed``).
        """
        return {
            "cache": self.cache.get_stats(),
            "denies": self._keeping().deny_figures(),
            "service": self.get_performance_metrics(),
            "warming": len(self._warming),
            "eager": {
                "begun": 0 if self._eager is None else self._eager.begun,
                "failed": 0 if self._eager is None else self._eager.failed,
            },
        }

    async def clear_all_caches(self, *, wait: Wait | None = None) -> int:
        """Drop every entry of the cache, whoever has set it.

        Args:
            wait: As for :meth:`invalidate_user_permissions`.

        Returns:
            How many entries there were in this process.

        Raises:
            ValueError: There is no such ``wait``; nothing was dropped.
            InvalidationNotAcknowledged: As for :meth:`invalidate_user_permissions`.

        Consistency: holds on this host before anything is awaited.
        """
        if wait is not None and wait not in get_args(Wait):
            raise ValueError(f"wait must be one of {', '.join(get_args(Wait))}, not {wait!r:.80}")
        cache = self.cache
        dropped = len(cache)
        # First on this host, in this thread; then whoever has to be waited for.
        cache.clear(wait="host")
        if (wait or cache.config.invalidation_wait) != "host":
            await asyncio.to_thread(cache.clear, wait=wait)
        return dropped

    async def shutdown(self) -> None:
        """End what is under way here, and answer no more. May be called again.

        Afterwards every question raises ``AuthorizationUnavailable``: neither allow nor deny. The
        cache is not stopped; it may be in use elsewhere. Invalidations still work.
        """
        self._is_shut_down = True
        self._access = None
        if self._steps is not None:
            for kind, reload in self._reloads().items():
                self.cache.warmers.unregister_reload(kind, reload)
        self._steps = None
        if self._eager is not None:
            await self._eager.end()
        await cancel_all(self._warming)

    def _keeping(self) -> KeptDecisions:
        if self._kept is None:
            self._kept = KeptDecisions(
                self.cache, self._deny_ttl_seconds, self._max_cached_denies, self._now
            )
        return self._kept

    def _open_access(self) -> CachedGenerationAccess:
        self._check_open()
        self._access = CachedGenerationAccess(
            self._inner,
            self.cache,
            deny_ttl_seconds=self._deny_ttl_seconds,
            namespace=self._namespace,
            now=self._now,
            max_cached_denies=self._max_cached_denies,
            statistics=self._statistics[MEDIA_ACCESS],
        )
        if self._eager is not None:
            self._access.reload_eagerly(self._eager)
        return self._access

    def _open_steps(self) -> CachedSteps:
        steps = self._steps
        if steps is None:
            self._check_open()
            steps = self._steps = CachedSteps(
                self._inner, self._keeping(), self._namespace, self._statistics
            )
        return steps

    def _reloads(self) -> dict[str, Reload]:
        return {
            DIRECT_OWNERSHIP.name: self._reload_ownership,
            TEAM_ACCESS.name: self._reload_team,
            PROJECT_ACCESS.name: self._reload_project,
        }

    async def _reload_ownership(self, generation_id: str, user_id: str) -> float | None:
        return await self._open_steps().reload(DIRECT_OWNERSHIP, generation_id, user_id)

    async def _reload_team(self, team_id: str, user_id: str, role: str) -> float | None:
        return await self._open_steps().reload(TEAM_ACCESS, team_id, user_id, TeamRole(role))

    async def _reload_project(self, project_id: str, user_id: str, role: str) -> float | None:
        return await self._open_steps().reload(PROJECT_ACCESS, project_id, user_id, TeamRole(role))

    def _check_open(self) -> None:
        if self._is_shut_down:
            raise _shut_down()


def _shut_down() -> AuthorizationUnavailable:
    return AuthorizationUnavailable("this authorization service was shut down")


def _tag(kind: str, id: Id) -> str:
    # Checked as an id is: an empty one, or something that is none, must not name another tag.
    place = {"project": "project_access", "team": "team_role"}[kind]
    generate_auth_key(place, **{f"{kind}_id": id, "user_id": "-"})
    return f"{kind}:{id}"


def _ids(name: str, ids: Iterable[Id]) -> list[Id]:
    # A bare text is an iterable of texts as well.
    if isinstance(ids, str):
        raise TypeError(f"{name} must be several ids, not one text")
    return list(ids)
