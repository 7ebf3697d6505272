"""Entries by what they are about: profiles, permissions, access, roles, sessions ...

The getters are compiled (they are what a service calls on every request); the setters are here.
"""

import asyncio
from collections.abc import Iterable
from typing import Any, Final, Literal
from uuid import UUID

from velro_cache._engine import generate_auth_key, key_kinds
from velro_cache.configured import ConfiguredCache

__all__ = ["Id", "TypedEntries", "Wait"]

Id = str | UUID | int
"""What names a user, a generation, a project or a team."""

Wait = Literal["host", "bus", "fleet"]
"""What an invalidation waits for; see ``invalidate_by_tags``."""

_WAITS: Final = ("host", "bus", "fleet")

_KINDS: Final = {name: number for number, (name, _, _) in enumerate(key_kinds())}


class TypedEntries(ConfiguredCache):
    """A store with a setter for each of the eight kinds of keys."""

    __slots__ = ()

    def generate_auth_key(self, key_type: str, **params: Id) -> str:
        """Build the key of one of the eight kinds; see :func:`velro_cache.generate_auth_key`."""
        return generate_auth_key(key_type, **params)

    def set_user_profile(
        self,
        user_id: Id,
        data: Any,
        ttl: float | None = None,
        *,
        stamp: int | None = None,
        permissive: bool = True,
    ) -> bool:
        """Store a user's profile for ``auth_ttl_seconds``, tagged with the user."""
        return self._set_typed(_KINDS["user_profile"], (user_id,), data, ttl, stamp, permissive)

    def set_user_permissions(
        self,
        user_id: Id,
        data: Any,
        ttl: float | None = None,
        *,
        stamp: int | None = None,
        permissive: bool = True,
    ) -> bool:
        """Store a user's permissions for ``auth_ttl_seconds``, tagged with the user."""
        return self._set_typed(_KINDS["user_permissions"], (user_id,), data, ttl, stamp, permissive)

    def set_generation_access(
        self,
        generation_id: Id,
        user_id: Id,
        data: Any,
        ttl: float | None = None,
        *,
        stamp: int | None = None,
        permissive: bool = True,
    ) -> bool:
        """Store what a user may do with a generation, tagged with both."""
        ids = (generation_id, user_id)
        return self._set_typed(_KINDS["generation_access"], ids, data, ttl, stamp, permissive)

    def set_project_access(
        self,
        project_id: Id,
        user_id: Id,
        data: Any,
        ttl: float | None = None,
        *,
        stamp: int | None = None,
        permissive: bool = True,
    ) -> bool:
        """Store what a user may do in a project, tagged with both."""
        return self._set_typed(
            _KINDS["project_access"], (project_id, user_id), data, ttl, stamp, permissive
        )

    def set_team_role(
        self,
        team_id: Id,
        user_id: Id,
        data: Any,
        ttl: float | None = None,
        *,
        stamp: int | None = None,
        permissive: bool = True,
    ) -> bool:
        """Store a user's role in a team, tagged with both."""
        return self._set_typed(
            _KINDS["team_role"], (team_id, user_id), data, ttl, stamp, permissive
        )

    def set_uuid_validation(
        self,
        uuid_str: str | UUID,
        context: Id,
        data: Any,
        ttl: float | None = None,
        *,
        stamp: int | None = None,
        permissive: bool = True,
    ) -> bool:
        """Store the result of validating a UUID for ``uuid_validation_ttl_seconds``."""
        return self._set_typed(
            _KINDS["uuid_validation"], (uuid_str, context), data, ttl, stamp, permissive
        )

    def set_session_data(
        self,
        user_id: Id,
        data: Any,
        ttl: float | None = None,
        *,
        stamp: int | None = None,
        permissive: bool = True,
    ) -> bool:
        """Store a user's session for ``default_ttl_seconds``, tagged with the user."""
        return self._set_typed(_KINDS["session_data"], (user_id,), data, ttl, stamp, permissive)

    def set_rate_limit(
        self,
        user_id: Id,
        window: Id,
        data: Any,
        ttl: float | None = None,
        *,
        stamp: int | None = None,
        permissive: bool = True,
    ) -> bool:
        """Store a user's rate limit state in a window, tagged with the user."""
        return self._set_typed(
            _KINDS["rate_limit"], (user_id, window), data, ttl, stamp, permissive
        )

    async def invalidate_user_authorization_cache(
        self, user_id: Id, *, wait: Wait | None = None
    ) -> int:
        """Do what :meth:`invalidate_user_data` does, for callers that await.

        It holds on this host before anything is awaited; what other hosts do is waited for
        without keeping the event loop busy.
        """
        return await self._ainvalidate(wait, users=(user_id,))

    async def invalidate_generation_authorization_cache(
        self, generation_id: Id, *, wait: Wait | None = None
    ) -> int:
        """Do what :meth:`invalidate_generation_data` does, for callers that await.

        It holds on this host before anything is awaited; what other hosts do is waited for
        without keeping the event loop busy.
        """
        return await self._ainvalidate(wait, generations=(generation_id,))

    async def _ainvalidate(
        self,
        wait: Wait | None,
        *,
        users: Iterable[Id] = (),
        generations: Iterable[Id] = (),
        tags: Iterable[str] = (),
    ) -> int:
        wait = wait or self._config.invalidation_wait
        if wait not in _WAITS:
            raise ValueError(f"wait must be one of {', '.join(_WAITS)}, not {wait!r:.80}")
        dropped, ticket = self._invalidate(tags, (), (), users, generations)
        if wait != "host" and ticket:
            await asyncio.to_thread(self._wait_published, ticket, wait)
        return dropped
