"""All live keys of a PostgreSQL as it sends them, by COPY: no object is made of a row.

A page is a statement of its own, so that none runs for long, and what late pages say is as fresh as
what early ones say.
"""

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator
from typing import Any, Final

from sqlalchemy import Double, Text, bindparam

from velro_cache._engine import last_key_id
from velro_cache.api_keys.key_rows import Rows
from velro_cache.api_keys.sql.database import Database
from velro_cache.api_keys.sql.rows import live, row_query
from velro_cache.api_keys.sql.tables import api_keys

__all__ = ["RowCopier"]

_ROWS_OF_A_PAGE: Final = 4000
"""A megabyte, or somewhat less."""

_HEAD: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_END: Final = struct.pack("!h", -1)


class RowCopier:
    """Reads the rows of a PostgreSQL with asyncpg.

    Args:
        database: Where they are.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        # Written out once: that takes longer than a step should.
        self._statement: tuple[str, tuple[str, ...], dict[str, Any]] | None = None

    @staticmethod
    def can_read(database: Database) -> bool:
        """Whether the driver of a database can do so."""
        return database.engine.dialect.driver == "asyncpg"

    async def live_rows(self, at: float) -> AsyncIterator[Rows]:
        """Stream the rows of all keys that are good at a moment.

        Args:
            at: Seconds since 1970.

        Yields:
            Rows, in the order of ids.

        Raises:
            sqlalchemy.exc.SQLAlchemyError, Exception: The database cannot tell; or the driver's
                own.
        """
        page = await self._page(at, "")
        while page:
            # The server gets the next one ready meanwhile.
            following = asyncio.create_task(self._page(at, last_key_id(page[-1])))
            try:
                yield page
                page = await following
            finally:
                if not following.done():
                    following.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await following
                elif not following.cancelled():
                    # Or it would be said that nobody looked.
                    following.exception()

    async def _page(self, at: float, after: str) -> Rows:
        """The rows that come after an id."""
        text, order, values = self._written()
        values |= {"at": at, "after": after}
        parts: list[bytes] = []

        async def take(part: bytes) -> None:
            parts.append(bytes(part))

        async with self._database.reading() as connection:
            driver: Any = (await connection.get_raw_connection()).driver_connection
            arguments = [values[name] for name in order]
            await driver.copy_from_query(text, *arguments, output=take, format="binary")
        if not parts or not parts[0].startswith(_HEAD) or not parts[-1].endswith(_END):
            raise ValueError("the server sent something else than rows")
        # Each of them ends where a row does.
        parts[0] = parts[0][len(_HEAD) :]
        parts[-1] = parts[-1][: -len(_END)]
        return [part for part in parts if part]

    def _written(self) -> tuple[str, tuple[str, ...], dict[str, Any]]:
        """The statement, the names of its parameters in their order, and values of some."""
        if self._statement is None:
            query = live(row_query(), bindparam("at", type_=Double))
            query = query.where(api_keys.c.id > bindparam("after", type_=Text))
            schema = self._database.schema
            # Which schema is the usual one, nobody knows before the first connection.
            names: dict[str, Any] = (
                {} if schema is None else {"schema_translate_map": {None: schema}}
            )
            compiled = (
                query.order_by(api_keys.c.id)
                .limit(_ROWS_OF_A_PAGE)
                .compile(
                    dialect=self._database.engine.dialect,
                    render_schema_translate=schema is not None,
                    compile_kwargs={"render_postcompile": True},
                    **names,
                )
            )
            order = tuple(compiled.positiontup or ())
            self._statement = (str(compiled), order, dict(compiled.params))
        text, order, values = self._statement
        return text, order, dict(values)
