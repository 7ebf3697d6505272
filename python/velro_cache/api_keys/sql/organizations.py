"""Organizations: what is known of one; making and changing them, each in one transaction."""

import logging
from dataclasses import dataclass
from typing import Any, Final
from uuid import uuid4

from sqlalchemy import Row, Select, select

from velro_cache.api_keys.models import KeyLimits
from velro_cache.api_keys.sql import writing
from velro_cache.api_keys.sql.changes import Changes, tag_of_one
from velro_cache.api_keys.sql.checks import check_id, check_new_id, check_text
from velro_cache.api_keys.sql.tables import organizations, rate_limit_configs
from velro_cache.exceptions import AuthorizationUnavailable, OrganizationNotFound

__all__ = ["Organization", "OrganizationManager", "OrganizationPage"]

_logger: Final = logging.getLogger("velro_cache.api_keys")

_LONGEST_PLAN: Final = 64
_MOST_LISTED: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Organization:
    """An organization as it was in the database when it was read.

    Attributes:
        id: Names it.
        name: What people call it.
        plan: What it has booked.
        is_active: False: none of its keys is good.
        limits: Of all its keys together. None: no limits.
        created_at: In seconds since 1970.
        updated_at: In seconds since 1970.
    """

    id: str
    name: str
    plan: str
    is_active: bool
    limits: KeyLimits | None
    created_at: float
    updated_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class OrganizationPage:
    """Some organizations of a list.

    Attributes:
        organizations: In the order of their ids.
        after: What to ask for the next page with. None: this is the last.
    """

    organizations: tuple[Organization, ...]
    after: str | None = None


class OrganizationManager(Changes):
    """Makes and changes organizations, and the limits of them and of their keys."""

    async def create_organization(
        self,
        name: str = "",
        *,
        organization_id: str | None = None,
        plan: str = "",
        limits: KeyLimits | None = None,
    ) -> Organization:
        """Make an organization.

        Args:
            name: What people call it; at most 200 characters.
            organization_id: Names it; None: a random UUID.
            plan: What it has booked; at most 64 characters.
            limits: Of all its keys together. None: no limits.

        Raises:
            InvalidKeyError: The id cannot be one.
            KeyConflict: The id is taken.
            ValueError: A text is too long or has control characters.
        """
        own_id = str(uuid4()) if organization_id is None else check_new_id(organization_id)
        check_text("name", name)
        check_text("plan", plan, _LONGEST_PLAN)
        now = self._clock()
        async with self.changing([f"organization:{own_id}"]) as connection:
            row = {"id": own_id, "name": name, "plan": plan, "is_active": True}
            row |= {"created_at": now, "updated_at": now}
            await writing.add_organization(connection, row)
            if limits is not None:
                await writing.write_limits(connection, own_id, None, limits, now)
        return Organization(
            id=own_id,
            name=name,
            plan=plan,
            is_active=True,
            limits=limits,
            created_at=now,
            updated_at=now,
        )

    async def find_organization(self, organization_id: str) -> Organization:
        """Find an organization.

        Args:
            organization_id: Names it.

        Raises:
            OrganizationNotFound: There is none.
            InvalidKeyError: The id is none.
            AuthorizationUnavailable: What is there is no organization.
        """
        query = _query().where(organizations.c.id == check_id(organization_id))
        async with self._database.reading() as connection:
            row = (await connection.execute(query)).first()
        if row is None:
            raise OrganizationNotFound(f"there is no organization {organization_id!r:.80}")
        return _as_organization(row)

    async def list_organizations(
        self, *, after: str | None = None, limit: int = 100
    ) -> OrganizationPage:
        """List organizations, active or not.

        Args:
            after: ``after`` of the page before; None: the first page.
            limit: Organizations of one page; 1 to 1000.

        Raises:
            InvalidKeyError: ``after`` is no id.
            ValueError: ``limit`` is out of range.

        Consistency: as committed when the page was read. A row that is no organization is left
        out, and logged by its id. Cost: one statement, by primary key.
        """
        if type(limit) is not int or not 1 <= limit <= _MOST_LISTED:
            raise ValueError(f"limit must be an integer from 1 to {_MOST_LISTED}")
        query = _query().order_by(organizations.c.id).limit(limit)
        if after is not None:
            query = query.where(organizations.c.id > check_id(after))
        async with self._database.reading() as connection:
            rows = (await connection.execute(query)).all()
        found = []
        for row in rows:
            try:
                found.append(_as_organization(row))
            except AuthorizationUnavailable as error:
                _logger.warning("%s", error)
        return OrganizationPage(
            organizations=tuple(found), after=rows[-1].id if len(rows) == limit else None
        )

    async def set_plan(self, organization_id: str, plan: str) -> None:
        """Change what an organization has booked.

        Args:
            organization_id: Names it.
            plan: At most 64 characters.

        Raises:
            OrganizationNotFound: There is none.
            ValueError: The plan is no such text.
        """
        check_text("plan", plan, _LONGEST_PLAN)
        check_id(organization_id)
        async with self.changing([f"organization:{organization_id}"]) as connection:
            now = self._clock()
            await writing.change_organization(connection, organization_id, now, plan=plan)

    async def set_active(
        self, is_active: bool, *, organization_id: str | None = None, key_id: str | None = None
    ) -> None:
        """Switch an organization with all its keys, or one key, on or off.

        Args:
            is_active: Off, a key is not good; on, it is what it was.
            organization_id: Names the organization; this or ``key_id``.
            key_id: Names the key.

        Raises:
            OrganizationNotFound: There is none.
            KeyNotFound: There is none.
            ValueError: Not exactly one of the two is named.
        """
        if type(is_active) is not bool:
            raise TypeError("is_active must be True or False")
        tag = tag_of_one(organization_id, key_id)
        async with self.changing([tag]) as connection:
            now = self._clock()
            if key_id is not None:
                await writing.change_key(connection, key_id, now, is_active=is_active)
            elif organization_id is not None:
                await writing.change_organization(
                    connection, organization_id, now, is_active=is_active
                )

    async def set_limits(
        self,
        limits: KeyLimits | None,
        *,
        organization_id: str | None = None,
        key_id: str | None = None,
    ) -> None:
        """Change how many requests an organization, or one key, may make.

        Args:
            limits: The new ones. None: no limits.
            organization_id: Names the organization, all of whose keys share them; this or
                ``key_id``.
            key_id: Names the key.

        Raises:
            OrganizationNotFound: There is none.
            KeyNotFound: There is none.
            ValueError: Not exactly one of the two is named.
        """
        tag = tag_of_one(organization_id, key_id)
        async with self.changing([tag]) as connection:
            now = self._clock()
            # Locks the owner; and says when, also where limits are removed.
            if key_id is not None:
                await writing.change_key(connection, key_id, now)
                owner = (await writing.locked_key(connection, key_id)).organization_id
            else:
                assert organization_id is not None  # noqa: S101 - checked above
                await writing.change_organization(connection, organization_id, now)
                owner = organization_id
            if limits is None:
                await writing.remove_limits(connection, owner, key_id)
            else:
                await writing.write_limits(connection, owner, key_id, limits, now)


def _query() -> Select[Any]:
    """Organizations with their limits."""
    limits = rate_limit_configs
    source = organizations.outerjoin(
        limits, (limits.c.organization_id == organizations.c.id) & limits.c.key_id.is_(None)
    )
    columns = (limits.c.requests_per_minute, limits.c.requests_per_day, limits.c.burst_size)
    return select(organizations, *columns).select_from(source)


def _as_organization(row: Row[Any]) -> Organization:
    try:
        # SQLite keeps whatever it is given, such as bytes where a text belongs.
        if not all(type(text) is str for text in (row.id, row.name, row.plan)):
            raise TypeError
        return Organization(
            id=row.id,
            name=row.name,
            plan=row.plan,
            is_active=row.is_active,
            limits=None
            if row.burst_size is None
            else KeyLimits(
                requests_per_minute=row.requests_per_minute,
                requests_per_day=row.requests_per_day,
                burst_size=row.burst_size,
            ),
            created_at=float(row.created_at),
            updated_at=float(row.updated_at),
        )
    except (TypeError, ValueError):
        raise AuthorizationUnavailable(
            f"the row of the organization {str(row.id)!r:.80} is not one"
        ) from None
