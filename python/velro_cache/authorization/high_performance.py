"""The authorization service with a cache in it: the same questions, the same answers, sooner.

It has the interface of the service it wraps, so it can stand wherever that one stands. What is
different from asking the service itself: an answer may be as old as its life, but never older than
the last invalidation of what it is about. Here is what is asked ahead, and how long answers take;
the answers themselves are in :mod:`velro_cache.authorization.cached_answers`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from velro_cache.authorization.ahead import USER_AT, predictable
from velro_cache.authorization.cached_answers import CachedAnswers, shut_down_error
from velro_cache.authorization.cached_steps import (
    DIRECT_OWNERSHIP,
    PROJECT_ACCESS,
    STEPS,
    TEAM_ACCESS,
)
from velro_cache.authorization.eager import EagerReloads
from velro_cache.authorization.models import TeamRole
from velro_cache.authorization.performance_metrics import performance_metrics
from velro_cache.authorization.warm_user import Question, warm_questions
from velro_cache.manager import Id
from velro_cache.warming.limits import check_concurrency
from velro_cache.warming.prediction import Predictor
from velro_cache.warming.prediction_limits import PredictionLimits
from velro_cache.warming.refresh import Reload
from velro_cache.warming.report import Progress, WarmReport

__all__ = ["HighPerformanceAuthorizationService"]


class HighPerformanceAuthorizationService(CachedAnswers):
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

    __slots__ = ()

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
                raise shut_down_error() from None
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
        reloads = self._reloads()
        for step in STEPS:
            ahead = predictable(step, self._open_steps)
            warmers.register_reload(
                step.name, reloads[step.name], is_cached=ahead.is_cached, preload=ahead.load
            )
        self._open_steps().note_in(warmers.hot_keys)
        if self._eager is None:
            self._eager = EagerReloads(self._now)
        (self._access or self._open_access()).reload_eagerly(self._eager)

    def predict_next(
        self,
        limits: PredictionLimits | None = None,
        *,
        group_of: Callable[[str], str | None] | None = None,
    ) -> Predictor:
        """Load ahead what users are likely to ask next, from the next start of the cache on.

        Does what :meth:`keep_warm` does, too. It learns from granted answers about ownership, teams
        and projects, and asks ``inner`` the same questions for the same user; a denial is not kept.
        Media access rests on a token, and is not predicted.

        Args:
            limits: How much of it there may be. None: the defaults.
            group_of: From a user's id to the group whose habits count for him, such as his role.
                None: each user has habits of his own.

        Returns:
            What does it; its ``figures()`` say whether it pays.

        Raises:
            AuthorizationUnavailable: The service was shut down.
        """
        self.keep_warm()
        return self.cache.warmers.predict(USER_AT, limits, group_of=group_of)

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

    async def shutdown(self) -> None:
        """End what is under way here, and answer no more. May be called again.

        Afterwards every question raises ``AuthorizationUnavailable``: neither allow nor deny. The
        cache is not stopped; it may be in use elsewhere. Invalidations still work.
        """
        if self._steps is not None:
            for kind, reload in self._reloads().items():
                self.cache.warmers.unregister_reload(kind, reload)
        await super().shutdown()

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


def _ids(name: str, ids: Iterable[Id]) -> list[Id]:
    # A bare text is an iterable of texts as well.
    if isinstance(ids, str):
        raise TypeError(f"{name} must be several ids, not one text")
    return list(ids)
