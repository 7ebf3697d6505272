"""The service that decides, by SQL: by ownership, by project, by team. It caches nothing."""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

from sqlalchemy import Executable, Row, and_, select

from velro_cache.authorization.models import (
    AuthorizationMethod,
    AuthorizationResult,
    GenerationPermissions,
    SecurityLevel,
    TeamRole,
)
from velro_cache.manager import Id
from velro_service.database import Database
from velro_service.models import Generation, Project, ProjectMember, TeamMember

__all__ = ["SqlAuthorizationService", "sign_token", "user_of_token"]

_SECRET = b"only for this demonstration"


def sign_token(user_id: str) -> str:
    """Make the credential of a user: the id and a signature over it."""
    signature = hmac.new(_SECRET, user_id.encode(), hashlib.sha256).hexdigest()
    return f"{user_id}.{signature}"


def user_of_token(token: str) -> str | None:
    """Return whose credential this is, None if the signature is not ours."""
    user_id = token.partition(".")[0]
    return user_id if hmac.compare_digest(sign_token(user_id).encode(), token.encode()) else None


class SqlAuthorizationService:
    """Answers from the database: one to three statements for each decision."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def validate_generation_media_access(
        self,
        generation_id: Id,
        user_id: Id,
        auth_token: str,
        client_ip: str | None = None,
        expires_in: int = 3600,
    ) -> GenerationPermissions:
        """Decide by ownership, or by the higher of the roles in the project and in its team.

        A token that is not this user's own gets a deny, as does a generation nobody has.
        """
        if user_of_token(auth_token) != str(user_id):
            return GenerationPermissions.denied(generation_id, user_id)
        found = await self._one(
            select(
                Generation.owner_id, Generation.project_id, Generation.media_url, Project.team_id
            )
            .join(Project, Project.id == Generation.project_id)
            .where(Generation.id == str(generation_id))
        )
        if found is None:
            return GenerationPermissions.denied(generation_id, user_id)
        if found.owner_id == str(user_id):
            best = _granted(TeamRole.OWNER, AuthorizationMethod.DIRECT_OWNERSHIP)
        else:
            best = await self.validate_project_access(found.project_id, user_id)
        if found.team_id is not None and best.role is not TeamRole.OWNER:
            best = _higher(best, await self.validate_team_access(found.team_id, user_id))
        if best.role is None:
            return GenerationPermissions.denied(generation_id, user_id)
        owned = best.role is TeamRole.OWNER
        by_team = best.access_method is AuthorizationMethod.TEAM_MEMBERSHIP
        return GenerationPermissions(
            generation_id,
            user_id,
            granted=True,
            access_method=best.access_method,
            team_context=found.team_id if by_team else None,
            project_context=found.project_id,
            security_level=SecurityLevel.OWNER if owned else SecurityLevel.TEAM_MEMBER,
            media_urls=(found.media_url,),
            **best.role.flags,
        )

    async def validate_direct_ownership(
        self, generation_id: Id, user_id: Id
    ) -> AuthorizationResult:
        """Granted if the generation belongs to the user."""
        found = await self._one(
            select(Generation.owner_id).where(Generation.id == str(generation_id))
        )
        if found is None or found.owner_id != str(user_id):
            return AuthorizationResult(granted=False, denial_reason="not the owner")
        return _granted(TeamRole.OWNER, AuthorizationMethod.DIRECT_OWNERSHIP)

    async def validate_team_access(
        self, team_id: Id, user_id: Id, required_role: TeamRole = TeamRole.VIEWER
    ) -> AuthorizationResult:
        """Granted if the user's role in the team includes the required one."""
        found = await self._one(
            select(TeamMember.role).where(
                TeamMember.team_id == str(team_id), TeamMember.user_id == str(user_id)
            )
        )
        role = found.role if found is not None else None
        return _by_role(role, required_role, AuthorizationMethod.TEAM_MEMBERSHIP)

    async def validate_project_access(
        self, project_id: Id, user_id: Id, required_role: TeamRole = TeamRole.VIEWER
    ) -> AuthorizationResult:
        """Granted to the owner of the project, and to who was invited with such a role."""
        membership = and_(
            ProjectMember.project_id == Project.id, ProjectMember.user_id == str(user_id)
        )
        found = await self._one(
            select(Project.owner_id, ProjectMember.role)
            .outerjoin(ProjectMember, membership)
            .where(Project.id == str(project_id))
        )
        if found is not None and found.owner_id == str(user_id):
            return _granted(TeamRole.OWNER, AuthorizationMethod.PROJECT_OWNERSHIP)
        role = found.role if found is not None else None
        return _by_role(role, required_role, AuthorizationMethod.PROJECT_COLLABORATION)

    async def _one(self, query: Executable) -> Row[Any] | None:
        rows = await self._database.rows(query)
        return rows[0] if rows else None


def _granted(role: TeamRole, method: AuthorizationMethod) -> AuthorizationResult:
    return AuthorizationResult(granted=True, access_method=method, role=role)


def _by_role(
    name: str | None, required_role: TeamRole, method: AuthorizationMethod
) -> AuthorizationResult:
    if name is None:
        return AuthorizationResult(granted=False, denial_reason="not a member")
    role = TeamRole(name)
    if not role.includes(required_role):
        return AuthorizationResult(granted=False, denial_reason=f"only {role.value}")
    return _granted(role, method)


def _higher(one: AuthorizationResult, other: AuthorizationResult) -> AuthorizationResult:
    if one.role is None or other.role is None:
        return one if other.role is None else other
    return one if one.role.includes(other.role) else other
