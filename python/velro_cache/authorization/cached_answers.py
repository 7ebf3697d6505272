"""The four questions, answered from the cache or by the service that is wrapped; invalidations.

What is warmed on top of it, and how long answers take, is in
:mod:`velro_cache.authorization.high_performance`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
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
from velro_cache.authorization.performance_metrics import MEDIA_ACCESS
from velro_cache.authorization.service import AuthorizationService
from velro_cache.exceptions import AuthorizationUnavailable
from velro_cache.manager import Id, OptimizedCacheManager
from velro_cache.registry import get_cache_manager
from velro_cache.typed_entries import Wait
from velro_cache.warming.limits import cancel_all

__all__ = ["CachedAnswers", "shut_down_error"]

_METHODS: Final = ("validate_generation_media_access", *(step.method for step in STEPS))


class CachedAnswers:
    """What :class:`HighPerformanceAuthorizationService` answers and invalidates; made as that."""

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
        """End what is under way; from now on every question raises, and answers nothing."""
        self._is_shut_down = True
        self._access = None
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

    def _check_open(self) -> None:
        if self._is_shut_down:
            raise shut_down_error()


def shut_down_error() -> AuthorizationUnavailable:
    """What every question raises after :meth:`CachedAnswers.shutdown`."""
    return AuthorizationUnavailable("this authorization service was shut down")


def _tag(kind: str, id: Id) -> str:
    # Checked as an id is: an empty one, or something that is none, must not name another tag.
    place = {"project": "project_access", "team": "team_role"}[kind]
    generate_auth_key(place, **{f"{kind}_id": id, "user_id": "-"})
    return f"{kind}:{id}"
