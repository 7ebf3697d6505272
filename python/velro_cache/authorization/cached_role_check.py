"""Checks of roles in teams and projects, answered from the cache where that is safe.

One answer of the service is kept for each user, place and role that was asked for. As with
generations, an entry belongs to the service that decided, ends when the answer does, and stands
below a key by which everything that invalidates that user, team or project reaches it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from velro_cache._engine import escape_id, generate_auth_key
from velro_cache.authorization.cached_check import DEFAULT_DENY_TTL_SECONDS
from velro_cache.authorization.models import AuthorizationResult, TeamRole, utc_now
from velro_cache.authorization.serials import serial_of
from velro_cache.exceptions import AuthorizationUnavailable
from velro_cache.manager import Id, OptimizedCacheManager

__all__ = ["CachedRoleAccess"]

_PRIORITY: Final = 2


class CachedRoleAccess:
    """Checks roles through a cache. Cheap to make; keeps no state of its own.

    Args:
        service: Who decides what is not cached; an ``AuthorizationService``, or an object with
            one of ``validate_project_access`` and ``validate_team_access``.
        cache: Where answers are kept.
        deny_ttl_seconds: How long a deny is kept, in seconds, at most ``auth_ttl_seconds``.
            0: not at all.
        namespace: Name shared by all services that would give the same answers. None: only this
            very service object shares its answers with itself.
        now: The wall clock, with a time zone.

    Raises:
        ValueError: ``deny_ttl_seconds`` is negative or not finite.
    """

    __slots__ = ("_cache", "_deny_ttl_seconds", "_now", "_scope", "_service")

    def __init__(
        self,
        service: object,
        cache: OptimizedCacheManager,
        *,
        deny_ttl_seconds: float = DEFAULT_DENY_TTL_SECONDS,
        namespace: str | None = None,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        if not (math.isfinite(deny_ttl_seconds) and deny_ttl_seconds >= 0):
            raise ValueError(f"deny_ttl_seconds must be 0 or more seconds, not {deny_ttl_seconds}")
        self._service: Any = service
        self._cache = cache
        self._deny_ttl_seconds = deny_ttl_seconds
        self._now = now
        self._scope = f"s{serial_of(service)}" if namespace is None else f"n{escape_id(namespace)}"

    async def check_project(
        self,
        project_id: Id,
        user_id: Id,
        required_role: TeamRole = TeamRole.VIEWER,
        force_refresh: bool = False,
    ) -> AuthorizationResult:
        """Say whether a user takes part in a project with at least a role.

        Args:
            project_id: The project.
            user_id: The user.
            required_role: Lowest role that will do.
            force_refresh: Ask the service, whatever is cached and whoever is asking already.

        Returns:
            The answer, with ``granted`` saying whether it holds right now.

        Raises:
            AuthorizationUnavailable: The service cannot decide about projects.
            TypeError: The service returned something else.
            ValueError: There is no such role.
            LoaderTimeoutError: The service did not answer within ``load_timeout_seconds``.
            Exception: Whatever the service raised, to all who waited for it; nothing was cached.

        Consistency:
            A check that begins after an invalidation has returned is never answered by a
            decision from before it.
        """
        place = generate_auth_key("project_access", project_id=project_id, user_id=user_id)
        return await self._check(
            place, "validate_project_access", project_id, user_id, required_role, force_refresh
        )

    async def check_team(
        self,
        team_id: Id,
        user_id: Id,
        required_role: TeamRole = TeamRole.VIEWER,
        force_refresh: bool = False,
    ) -> AuthorizationResult:
        """Say whether a user holds at least a role in a team.

        Args:
            team_id: The team.
            user_id: The user.
            required_role: Lowest role that will do.
            force_refresh: Ask the service, whatever is cached and whoever is asking already.

        Returns:
            The answer, with ``granted`` saying whether it holds right now.

        Raises:
            AuthorizationUnavailable: The service cannot decide about teams.
            TypeError: The service returned something else.
            ValueError: There is no such role.
            LoaderTimeoutError: The service did not answer within ``load_timeout_seconds``.
            Exception: Whatever the service raised, to all who waited for it; nothing was cached.

        Consistency:
            A check that begins after an invalidation has returned is never answered by a
            decision from before it.
        """
        place = generate_auth_key("team_role", team_id=team_id, user_id=user_id)
        return await self._check(
            place, "validate_team_access", team_id, user_id, required_role, force_refresh
        )

    async def _check(
        self,
        place: str,
        method: str,
        place_id: Id,
        user_id: Id,
        required_role: TeamRole,
        force_refresh: bool,
    ) -> AuthorizationResult:
        role = TeamRole(required_role)
        key = f"{place}:{role.value}:{self._scope}"
        if not force_refresh:
            cached = self._cache.get_value(key)
            if cached is not None:
                if type(cached) is AuthorizationResult and not self._is_over(cached):
                    return cached
                # Over, or nothing of ours; whoever loads must not find it there.
                self._cache.delete(key)
        ask = getattr(self._service, method, None)
        if ask is None:
            raise AuthorizationUnavailable(f"{type(self._service).__name__} has no {method} method")

        async def load() -> AuthorizationResult:
            return _checked(await ask(place_id, user_id, role), method, role)

        answer = await self._cache.aload_missing(
            key,
            load,
            ttl=self._ttl_seconds,
            tags=("auth", "role_access"),
            priority=_PRIORITY,
            refresh=force_refresh,
            permissive=_allows,
            # A number for the service means nothing to another process.
            l2_key=None,
        )
        # Nothing may be awaited from here on: the clock has the last word.
        if self._is_over(answer):
            return AuthorizationResult(False, denial_reason="expired")
        return answer

    def _is_over(self, answer: AuthorizationResult) -> bool:
        return answer.expires_at is not None and self._now() >= answer.expires_at

    def _ttl_seconds(self, answer: AuthorizationResult) -> float:
        """How long an answer may be kept; 0 or less: not at all."""
        longest = self._cache.config.auth_ttl_seconds
        if not answer.granted:
            longest = min(longest, self._deny_ttl_seconds)
        if answer.expires_at is None:
            return longest
        return min(longest, (answer.expires_at - self._now()).total_seconds())


def _allows(answer: AuthorizationResult) -> bool:
    return answer.granted


def _checked(answer: Any, method: str, role: TeamRole) -> AuthorizationResult:
    """The answer, once it is known to be one.

    Raises:
        TypeError: It is something else, or says something else than yes or no.
        ValueError: It contradicts itself.
    """
    if type(answer) is not AuthorizationResult:
        raise TypeError(f"{method} returned {type(answer).__name__}, not AuthorizationResult")
    # A truth value will not do: "false" from some JSON is one.
    if type(answer.granted) is not bool:
        raise TypeError(f"{method} returned granted={type(answer.granted).__name__}, not a bool")
    if answer.expires_at is not None and answer.expires_at.utcoffset() is None:
        raise ValueError(f"{method} returned an expires_at without a time zone")
    if answer.granted and answer.role is not None and not TeamRole(answer.role).includes(role):
        raise ValueError(f"{method} granted {role.value} to somebody whose role is below that")
    return answer
