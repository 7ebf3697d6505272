"""Transactions that say what they have changed."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy.ext.asyncio import AsyncConnection

from velro_cache.api_keys.sql.checks import check_id
from velro_cache.api_keys.sql.database import Database
from velro_cache.api_keys.sql.reading import Clock
from velro_cache.outbox.record import arecord_invalidation

__all__ = ["Changes", "tag_of_one"]


class Changes:
    """Changes a database, and writes into its outbox what is no longer true.

    Args:
        database: Where organizations and keys are.
        outbox_name: Name of the cache into whose outbox invalidations are written. None: into none.
        clock: Tells seconds since 1970.
    """

    def __init__(self, database: Database, outbox_name: str | None, clock: Clock) -> None:
        self._database = database
        self._outbox_name = outbox_name
        self._clock = clock

    @asynccontextmanager
    async def changing(self, tags: list[str]) -> AsyncIterator[AsyncConnection]:
        """A transaction that invalidates tags at its end, where there is an outbox for it.

        Args:
            tags: What the transaction changes.
        """
        async with self._database.writing() as connection:
            yield connection
            # As late as possible: from here on others wait for this transaction to end.
            if self._outbox_name is not None and tags:
                await arecord_invalidation(connection, name=self._outbox_name, tags=tags)


def tag_of_one(organization_id: str | None, key_id: str | None) -> str:
    """Return the tag of an organization or of a key, whichever is named.

    Args:
        organization_id: Names an organization.
        key_id: Names a key.

    Raises:
        ValueError: Not exactly one of them is given.
        InvalidKeyError: The id is none.
    """
    if organization_id is not None and key_id is None:
        return f"organization:{check_id(organization_id)}"
    if key_id is not None and organization_id is None:
        return f"api_key:{check_id(key_id)}"
    raise ValueError("name either an organization_id or a key_id")
