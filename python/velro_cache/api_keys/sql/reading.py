"""Reads keys: one, all live ones in pages, those of an organization; and notes their uses."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, Double, Select, String, Text, cast, func, literal, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.dialects.postgresql import JSONB

from velro_cache.api_keys.key_rows import Rows
from velro_cache.api_keys.models import ApiKey
from velro_cache.api_keys.sql.checks import check_id, check_moment
from velro_cache.api_keys.sql.copying import RowCopier
from velro_cache.api_keys.sql.database import Database
from velro_cache.api_keys.sql.rows import as_key, changed, key_query, live
from velro_cache.api_keys.sql.tables import api_key_last_used, api_keys
from velro_cache.exceptions import AuthorizationUnavailable, KeyNotFound

__all__ = ["Clock", "KeyPage", "KeyReader"]

Clock = Callable[[], float]

_logger: Final = logging.getLogger("velro_cache.api_keys")

_MOST_ROWS: Final = 500
"""Of one statement: the driver takes apart so many without letting others have the event loop."""

_ROWS_AT_ONCE: Final = 100
"""Made into keys before others have the event loop; about half a millisecond."""

_MOST_USES: Final = 1000
"""Written in one statement."""

_MOST_LISTED: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPage:
    """Some keys of a list.

    Attributes:
        keys: In the order of their ids.
        after: What to ask for the next page with. None: this is the last.
    """

    keys: tuple[ApiKey, ...]
    after: str | None = None


class KeyReader:
    """Reads keys. What it raises when it cannot is what SQLAlchemy and the driver raise.

    Args:
        database: Where they are.
        clock: Tells seconds since 1970.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._copier = RowCopier(database) if RowCopier.can_read(database) else None

    async def get(self, digest: bytes) -> ApiKey | None:
        """Find one key, live or not, by its stored digest.

        Args:
            digest: 32 bytes.

        Returns:
            The key; its ``last_used_at`` is not looked up. None: there is none.

        Raises:
            AuthorizationUnavailable: What is there is no key.
            sqlalchemy.exc.SQLAlchemyError: The database cannot tell; or the driver's own error.

        Consistency: as committed when it was read. Cost: one statement, by unique index.
        """
        query = key_query().where(api_keys.c.key_digest == digest)
        async with self._database.reading() as connection:
            row = (await connection.execute(query)).first()
        return None if row is None else as_key(row)

    async def fetch_live(
        self, *, changed_since: float | None = None, page_size: int = 1000
    ) -> AsyncIterator[Sequence[ApiKey]]:
        """Stream all keys that are active, not revoked, and not expired, in pages.

        Args:
            changed_since: Only those that changed at or after this, by themselves, in their limits
                or in their organization, in seconds since 1970, and then those too that are live no
                more. Ask with an overlap: the longest transaction, and what clocks of hosts
                differ by. Deleted rows are not seen. None: all live ones.
            page_size: Keys of one page, at the most; 1 to 100,000.

        Yields:
            Pages, none of them empty, in the order of ids.

        Raises:
            ValueError: An argument is out of range.

        Consistency: each page as committed when it was read, so that late pages are as fresh as
        early ones. A key that was there all the time is seen once, whatever comes and goes in
        between; one that came or went meanwhile, once or not at all. A row that is no key is left
        out, and logged by its id. Cost: between pages no connection is held; the event loop is
        given up every 100 keys.
        """
        if type(page_size) is not int or not 1 <= page_size <= 100_000:
            raise ValueError("page_size must be an integer from 1 to 100,000")
        query = key_query().order_by(api_keys.c.id)
        if changed_since is None:
            query = live(query, self._clock())
        else:
            if not isinstance(changed_since, (int, float)) or changed_since != changed_since:
                raise ValueError("changed_since must be a number of seconds since 1970")
            query = changed(query, float(changed_since))
        after: str | None = None
        more = True
        while more:
            page: list[ApiKey] = []
            while more and len(page) < page_size:
                wanted = min(page_size - len(page), _MOST_ROWS)
                rows = await self._rows_after(query, after, wanted)
                more = len(rows) == wanted
                if rows:
                    after = rows[-1][0]
                await _append_keys(page, rows)
                # Given back before the next ones are read.
                del rows
            if page:
                yield page

    def fetch_live_rows(self) -> AsyncIterator[Rows] | None:
        """Stream all keys that are active, not revoked, and not expired, as the server sends them.

        Yields:
            Rows; see :mod:`velro_cache.api_keys.key_rows`. None: only PostgreSQL with
            asyncpg can; :meth:`fetch_live` reads from all.

        Consistency: as for :meth:`fetch_live`.
        """
        copier = self._copier
        return None if copier is None else copier.live_rows(self._clock())

    async def list_keys(
        self, organization_id: str | None = None, *, after: str | None = None, limit: int = 100
    ) -> KeyPage:
        """List keys, live or not, with their last use.

        Args:
            organization_id: Only those of this organization; None: all.
            after: ``after`` of the page before; None: the first page.
            limit: Keys of one page; 1 to 1000.

        Raises:
            InvalidKeyError: An id is none.
            ValueError: ``limit`` is out of range.
        """
        if type(limit) is not int or not 1 <= limit <= _MOST_LISTED:
            raise ValueError(f"limit must be an integer from 1 to {_MOST_LISTED}")
        query = key_query(with_last_use=True).order_by(api_keys.c.id)
        if organization_id is not None:
            query = query.where(api_keys.c.organization_id == check_id(organization_id))
        rows = await self._rows_after(query, None if after is None else check_id(after), limit)
        keys: list[ApiKey] = []
        await _append_keys(keys, rows)
        return KeyPage(keys=tuple(keys), after=rows[-1][0] if len(rows) == limit else None)

    async def find_key(self, key_id: str) -> ApiKey:
        """Find a key, live or not, by its id, with its last use.

        Args:
            key_id: Names the key.

        Raises:
            KeyNotFound: There is none.
            InvalidKeyError: The id is none.
        """
        query = key_query(with_last_use=True).where(api_keys.c.id == check_id(key_id))
        async with self._database.reading() as connection:
            row = (await connection.execute(query)).first()
        if row is None:
            raise KeyNotFound(f"there is no API key {key_id!r:.80}")
        return as_key(row)

    async def touch(self, uses: dict[str, float]) -> None:
        """Take note of when keys were used last.

        Args:
            uses: By id of the key, seconds since 1970. Never moves a moment back; ids of keys that
                are not there are passed over.

        Raises:
            InvalidKeyError: An id is none; nothing was written.
            ValueError: A moment is none; nothing was written.

        Consistency: of 1000 uses all are written, or none. Writes no invalidation.
        """
        checked = sorted(
            (check_id(key_id), check_moment("a use", moment)) for key_id, moment in uses.items()
        )
        # In the order of ids, so that two who write at once do not wait for each other.
        for start in range(0, len(checked), _MOST_USES):
            some = dict(checked[start : start + _MOST_USES])
            statement = _noted(json.dumps(some), self._database.dialect)
            async with self._database.writing() as connection:
                await connection.execute(statement)

    async def _rows_after(
        self, query: Select[Any], after: str | None, wanted: int
    ) -> Sequence[Any]:
        if after is not None:
            query = query.where(api_keys.c.id > after)
        async with self._database.reading() as connection:
            rows: Sequence[Any] = (await connection.execute(query.limit(wanted))).all()
        return rows


async def _append_keys(keys: list[ApiKey], rows: Sequence[Any]) -> None:
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        for row in rows[start : start + _ROWS_AT_ONCE]:
            try:
                keys.append(as_key(row))
            except AuthorizationUnavailable as error:
                _logger.warning("%s; it lets nobody in", error)
        await asyncio.sleep(0)


def _noted(uses: str, dialect: str) -> Any:
    """The statement that notes uses, given as a JSON object; of keys that are there alone."""
    key: ColumnElement[str]
    if dialect == "postgresql":
        given = func.jsonb_each_text(cast(literal(uses, Text), JSONB)).table_valued("key", "value")
        insert: Any = postgresql.insert(api_key_last_used)
    else:
        given = func.json_each(literal(uses, Text)).table_valued("key", "value")
        insert = sqlite.insert(api_key_last_used)
    key = cast(given.c.key, String)
    there = (
        select(api_keys.c.id, cast(given.c.value, Double))
        .select_from(api_keys, given)
        .where(api_keys.c.id == key)
        .order_by(api_keys.c.id)
    )
    writing = insert.from_select(["key_id", "last_used_at"], there)
    return writing.on_conflict_do_update(
        index_elements=["key_id"],
        set_={"last_used_at": writing.excluded.last_used_at},
        where=api_key_last_used.c.last_used_at < writing.excluded.last_used_at,
    )
