"""What this package asks of the service that decides: yours, in front of your database.

Two protocols, since a check needs only one method of it. Any object with these methods will do;
nothing has to be inherited. Ids are of whatever kind the application has, text, UUID or int; they
are ``Any`` here so that a service may say which.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from velro_cache.authorization.models import (
    AuthorizationResult,
    GenerationPermissions,
    TeamRole,
)

__all__ = ["AuthorizationService", "GenerationAccessService"]


@runtime_checkable
class GenerationAccessService(Protocol):
    """Decides about generations. All that a cached check needs."""

    async def validate_generation_media_access(
        self,
        generation_id: Any,
        user_id: Any,
        auth_token: str,
        client_ip: str | None = None,
        expires_in: int = 3600,
    ) -> GenerationPermissions:
        """Decide what a user may do with a generation.

        Runs in a task of its own, since several requests may be waiting for it: it may outlive
        the request that caused it, and must not use what ends with that request.

        Args:
            generation_id: The generation.
            user_id: The user.
            auth_token: Credential of the request. The answer may depend on it.
            client_ip: Address the request came from, None if not known. The answer may depend
                on it.
            expires_in: How long media URLs are to be valid, in seconds.

        Returns:
            The decision; a deny is a decision. It must be about this generation and this user
            and hold for every access, by its ``can_...`` flags.

        Raises:
            Exception: Whatever it takes to say "I cannot tell". It is never cached and reaches
                whoever asked.
        """
        ...


@runtime_checkable
class AuthorizationService(GenerationAccessService, Protocol):
    """The whole authorization service, with the steps a decision is made of."""

    async def validate_direct_ownership(
        self, generation_id: Any, user_id: Any
    ) -> AuthorizationResult:
        """Decide whether a generation belongs to a user.

        Args:
            generation_id: The generation.
            user_id: The user.

        Returns:
            Granted if the user is its owner.
        """
        ...

    async def validate_team_access(
        self, team_id: Any, user_id: Any, required_role: TeamRole = TeamRole.VIEWER
    ) -> AuthorizationResult:
        """Decide whether a user holds at least a role in a team.

        Args:
            team_id: The team.
            user_id: The user.
            required_role: Lowest role that will do.

        Returns:
            Granted if the user's role includes the required one; ``role`` is the user's own.
        """
        ...

    async def validate_project_access(
        self, project_id: Any, user_id: Any, required_role: TeamRole = TeamRole.VIEWER
    ) -> AuthorizationResult:
        """Decide whether a user may take part in a project with at least a role.

        Args:
            project_id: The project.
            user_id: The user.
            required_role: Lowest role that will do.

        Returns:
            Granted to its owner and to members, by themselves or through a team.
        """
        ...
