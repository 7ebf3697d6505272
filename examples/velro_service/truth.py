"""What the database says, worked out a second time and in another way, to check answers with."""

from __future__ import annotations

import random
import sqlite3
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Revocation", "Truth"]

_MAY = {
    "viewer": {"read"},
    "contributor": {"read"},
    "editor": {"read", "write"},
    "admin": {"read", "write", "delete", "share", "admin"},
    "owner": {"read", "write", "delete", "share", "admin"},
}


@dataclass(frozen=True, slots=True)
class Revocation:
    """A membership whose end takes one user's access to one generation away."""

    project_id: str
    owner_id: str
    user_id: str
    generation_id: str


class Truth:
    """All the rows, in memory, with the rules spelled out as sets.

    Args:
        path: The database file.
    """

    def __init__(self, path: Path) -> None:
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as rows:
            self.users = [user for (user,) in rows.execute("SELECT id FROM users ORDER BY id")]
            self._generations = {
                generation: (owner, project, url)
                for generation, owner, project, url in rows.execute(
                    "SELECT id, owner_id, project_id, media_url FROM generations ORDER BY id"
                )
            }
            self._projects = {
                project: (owner, team)
                for project, owner, team in rows.execute(
                    "SELECT id, owner_id, team_id FROM projects"
                )
            }
            self._invited = {
                (project, user): role
                for project, user, role in rows.execute(
                    "SELECT project_id, user_id, role FROM project_members"
                )
            }
            self._in_team = {
                (team, user): role
                for team, user, role in rows.execute(
                    "SELECT team_id, user_id, role FROM team_members"
                )
            }
        rows.close()
        self.generations = list(self._generations)

    def allows(self, user: str, generation: str, access: str) -> bool:
        """Whether the rules allow an access."""
        owner, project, _ = self._generations[generation]
        project_owner, team = self._projects[project]
        if user in (owner, project_owner):
            return True
        roles = (self._invited.get((project, user)), self._in_team.get((team, user)))
        return any(access in _MAY[role] for role in roles if role is not None)

    def media_url(self, generation: str) -> str:
        """Where the media of a generation is."""
        return str(self._generations[generation][2])

    def with_access(self, generation: str) -> list[str]:
        """All users who may at least look at a generation."""
        return [user for user in self.users if self.allows(user, generation, "read")]

    def revocations(self, count: int, chance: random.Random) -> list[Revocation]:
        """Memberships that are the only thing that gives a user access to a generation.

        Args:
            count: How many, at most one for each user.
            chance: What picks them.

        Returns:
            Up to ``count`` of them.
        """
        found: dict[str, Revocation] = {}
        for generation in chance.sample(self.generations, len(self.generations)):
            owner, project, _ = self._generations[generation]
            project_owner, team = self._projects[project]
            for user in self.users:
                only_invited = (
                    (project, user) in self._invited
                    and user not in (owner, project_owner)
                    and (team, user) not in self._in_team
                )
                if only_invited and user not in found:
                    found[user] = Revocation(project, project_owner, user, generation)
            if len(found) >= count:
                break
        return list(found.values())[:count]
