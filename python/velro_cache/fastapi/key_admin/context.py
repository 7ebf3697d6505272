"""What the routes of one router have in common, and what they ask of a store of keys."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from velro_cache.api_keys.administration import KeyAdministration
from velro_cache.api_keys.models import KeyLimits
from velro_cache.api_keys.refresh import RefreshManager
from velro_cache.fastapi.admin.rate_limit import TokenBucket
from velro_cache.fastapi.key_admin.change_log import ChangeLog

if TYPE_CHECKING:
    # Needs SQLAlchemy, which a store of one's own may do without.
    from velro_cache.api_keys.sql import KeyPage, Organization, OrganizationPage

__all__ = ["KeyAdminContext", "KeyDirectory", "Usage"]

Usage = Callable[[str | None, int], Awaitable[Sequence[tuple[float, float, float]]]]


class KeyDirectory(Protocol):
    """What is asked of a store besides what :class:`KeyAdministration` changes."""

    async def create_organization(
        self,
        name: str = "",
        *,
        organization_id: str | None = None,
        plan: str = "",
        limits: KeyLimits | None = None,
    ) -> Organization:
        """Make an organization."""
        ...

    async def list_organizations(
        self, *, after: str | None = None, limit: int = 100
    ) -> OrganizationPage:
        """List organizations."""
        ...

    async def list_keys(
        self, organization_id: str | None = None, *, after: str | None = None, limit: int = 100
    ) -> KeyPage:
        """List keys."""
        ...


@dataclass(frozen=True, slots=True)
class KeyAdminContext:
    """What the routes of one router have in common.

    Attributes:
        administration: Changes keys in the database and in memory.
        store: The keys in the database.
        refresh: What reads all keys again and again. None: nothing does.
        usage: Tells how many requests there were. None: nobody knows.
        changes: Where changes are written down.
        turns: How often they may come.
        now: The wall clock, with a time zone.
        running: Changes that go on, whatever becomes of who asked for them.
    """

    administration: KeyAdministration[Any]
    store: KeyDirectory
    refresh: RefreshManager | None
    usage: Usage | None
    changes: ChangeLog
    turns: TokenBucket
    now: Callable[[], datetime]
    running: set[asyncio.Task[Any]] = field(default_factory=set)
