"""SQLite through SQLAlchemy: the engine, a counter of statements, and data to play with."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import Executable, Row, create_engine, event, insert
from sqlalchemy.ext.asyncio import create_async_engine

from velro_cache.authorization.models import TeamRole
from velro_service.models import (
    Base,
    Generation,
    Project,
    ProjectMember,
    Team,
    TeamMember,
    User,
)

__all__ = ["Database", "create_and_fill"]


class Database:
    """The service's way to its data. Every statement that reaches SQLite is counted.

    Args:
        path: The database file.
        latency_ms: Milliseconds to wait before each statement, to stand for the network to a
            database elsewhere. 0: none, the plain speed of the embedded database.
    """

    def __init__(self, path: Path, latency_ms: float = 0.0) -> None:
        self.statements = 0
        self._latency_seconds = latency_ms / 1000
        # Every statement here is a transaction of its own. Saying so spares a COMMIT or ROLLBACK
        # after each, which with SQLite is a trip to another thread.
        self._engine = create_async_engine(
            f"sqlite+aiosqlite:///{path}",
            isolation_level="AUTOCOMMIT",
            pool_reset_on_return=None,
            pool_size=8,
        )
        event.listen(self._engine.sync_engine, "connect", _set_up_connection)
        event.listen(self._engine.sync_engine, "before_cursor_execute", self._count)

    def _count(self, *_details: object) -> None:
        self.statements += 1

    async def rows(self, query: Executable) -> Sequence[Row[Any]]:
        """Run a query and return all its rows."""
        if self._latency_seconds:
            await asyncio.sleep(self._latency_seconds)
        async with self._engine.connect() as connection:
            return (await connection.execute(query)).all()

    async def change(self, statement: Executable) -> int:
        """Run one change in a transaction of its own; committed when this returns.

        Returns:
            Number of rows changed.
        """
        if self._latency_seconds:
            await asyncio.sleep(self._latency_seconds)
        async with self._engine.begin() as connection:
            return int((await connection.execute(statement)).rowcount)

    async def close(self) -> None:
        """Close all connections."""
        await self._engine.dispose()


def _set_up_connection(connection: Any, _record: object) -> None:
    # Readers and the writer do not wait for each other in WAL mode. NORMAL is what SQLite's own
    # documentation recommends with it: a power cut may lose the last commit, never the database.
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def create_and_fill(path: Path, *, users: int, generations: int, seed: int) -> None:
    """Make a database with random but repeatable content.

    Every user is in one or two of the teams (one for each ten users); there is a project for
    each five users, every second one open to a team, each with a handful of invited members; a
    generation belongs to a project and usually to that project's owner or one of its members.

    Args:
        path: Where; the file must not exist.
        users: How many users.
        generations: How many generations.
        seed: The same seed gives the same content.
    """
    chance = random.Random(seed)

    def new_id() -> str:
        return str(UUID(int=chance.getrandbits(128), version=4))

    user_ids = [new_id() for _ in range(users)]
    team_ids = [new_id() for _ in range(max(2, users // 10))]
    project_ids = [new_id() for _ in range(max(2, users // 5))]
    roles = list(TeamRole)

    team_members = [
        {"team_id": team, "user_id": user, "role": chance.choice(roles)}
        for user in user_ids
        for team in chance.sample(team_ids, chance.randint(1, 2))
    ]
    projects = [
        {
            "id": project,
            "owner_id": chance.choice(user_ids),
            "team_id": chance.choice(team_ids) if number % 2 else None,
        }
        for number, project in enumerate(project_ids)
    ]
    invited = {
        project: chance.sample(user_ids, min(users, chance.randint(2, 6)))
        for project in project_ids
    }
    project_members = [
        {"project_id": project, "user_id": user, "role": chance.choice(roles)}
        for project, members in invited.items()
        for user in members
    ]
    owners = {project["id"]: project["owner_id"] for project in projects}
    made = []
    for _ in range(generations):
        generation, project = new_id(), chance.choice(project_ids)
        made.append(
            {
                "id": generation,
                "project_id": project,
                "owner_id": chance.choice([str(owners[project]), *invited[project]]),
                "media_url": f"https://media.example/{generation}.webp",
            }
        )

    with sqlite3.connect(path) as raw:
        raw.execute("PRAGMA journal_mode=WAL")
    engine = create_engine(f"sqlite:///{path}")
    Base.metadata.create_all(engine)
    with engine.begin() as connection:
        named = [{"id": user, "name": f"user {n}"} for n, user in enumerate(user_ids)]
        teams = [{"id": team, "name": f"team {n}"} for n, team in enumerate(team_ids)]
        connection.execute(insert(User), named)
        connection.execute(insert(Team), teams)
        connection.execute(insert(TeamMember), team_members)
        connection.execute(insert(Project), projects)
        connection.execute(insert(ProjectMember), project_members)
        connection.execute(insert(Generation), made)
    engine.dispose()
