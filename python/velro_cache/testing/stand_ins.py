"""Objects that check nothing, for ``app.dependency_overrides``."""

from __future__ import annotations

from typing import Any

from velro_cache.authorization.identity import Identity
from velro_cache.authorization.models import (
    AuthorizationMethod,
    AuthorizationResult,
    GenerationPermissions,
    TeamRole,
)
from velro_cache.manager import Id

__all__ = ["AllowAll", "DenyAll"]


class _StandIn:
    """Answers all guards and checks alike, with or without credentials.

    Args:
        user_id: Whom all requests come from.
    """

    _granted: bool

    def __init__(self, user_id: Id = "test-user") -> None:
        self.identity = Identity(user_id)

    async def __call__(self) -> _StandIn:
        """Be the dependency and its result in one."""
        return self

    async def authenticate(self, _scope: Any) -> tuple[Identity, str]:
        """Say that it was the user of this object."""
        return self.identity, ""

    async def check_generation_access_cached(
        self, generation_id: Id, user_id: Id, *_asked: Any, **_more: Any
    ) -> GenerationPermissions:
        """Answer without looking."""
        if not self._granted:
            return GenerationPermissions.denied(generation_id, user_id)
        return GenerationPermissions(
            generation_id,
            user_id,
            granted=True,
            access_method=AuthorizationMethod.DIRECT_OWNERSHIP,
            **TeamRole.OWNER.flags,
        )

    async def check_project_access_cached(self, *_asked: Any, **_more: Any) -> AuthorizationResult:
        """Answer without looking."""
        return self._answer()

    async def check_team_role_cached(self, *_asked: Any, **_more: Any) -> AuthorizationResult:
        """Answer without looking."""
        return self._answer()

    def _answer(self) -> AuthorizationResult:
        if not self._granted:
            return AuthorizationResult(False)
        return AuthorizationResult(True, AuthorizationMethod.DIRECT_OWNERSHIP, TeamRole.OWNER)


class AllowAll(_StandIn):
    """Lets everybody do everything.

    ::

        app.dependency_overrides[get_optimized_auth_middleware] = AllowAll()

    Args:
        user_id: Whom all requests come from.
    """

    _granted = True


class DenyAll(_StandIn):
    """Knows everybody, and lets nobody do anything: guards answer 403.

    Args:
        user_id: Whom all requests come from.
    """

    _granted = False
