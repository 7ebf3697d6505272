"""API keys in PostgreSQL or SQLite."""

import time
from typing import Any, Self

from sqlalchemy import URL
from sqlalchemy.ext.asyncio import AsyncEngine

from velro_cache.api_keys.digests import Peppers
from velro_cache.api_keys.key_format import KeyFormat
from velro_cache.api_keys.sql import triggers
from velro_cache.api_keys.sql.database import Database
from velro_cache.api_keys.sql.management import KeyManager
from velro_cache.api_keys.sql.migrating import current, upgrade
from velro_cache.api_keys.sql.reading import Clock, KeyReader
from velro_cache.exceptions import ConfigError
from velro_cache.outbox.names import check_cache_name

__all__ = ["SqlApiKeys"]


class SqlApiKeys(KeyReader, KeyManager):
    """The keys of a database: an :class:`ApiKeyRepository`, and what manages them.

    Args:
        engine_or_url: An ``AsyncEngine`` of the user's, which is used as it is (make it with
            ``hide_parameters=True``, or its errors show digests), or an address such as
            ``sqlite:///keys.db`` or ``postgresql://user:password@host/name``.
        key_format: What new keys look like.
        peppers: Under which new keys are digested. None: keys are read and ended, not made.
        outbox_name: Name of the cache that is to hear of what is changed here, through the outbox
            in this database; see :func:`velro_cache.outbox.create_outbox`. None: it is not told
            from here. Not needed where triggers are installed.
        schema: Schema of PostgreSQL the tables are in; None: where the database looks for them.
        clock: Tells seconds since 1970.
        **limits: With an address: ``pool_size``, ``pool_timeout_seconds``,
            ``connect_timeout_seconds``, ``statement_timeout_seconds``, ``busy_timeout_seconds``;
            see :func:`create_engine`.

    Raises:
        ConfigError: An argument is none, or a package is missing.
    """

    def __init__(
        self,
        engine_or_url: AsyncEngine | str | URL,
        *,
        key_format: KeyFormat | None = None,
        peppers: Peppers | None = None,
        outbox_name: str | None = None,
        schema: str | None = None,
        clock: Clock = time.time,
        **limits: Any,
    ) -> None:
        if outbox_name is not None:
            check_cache_name(outbox_name)
        database = Database(engine_or_url, schema=schema, **limits)
        KeyReader.__init__(self, database, clock)
        KeyManager.__init__(self, database, key_format or KeyFormat(), peppers, outbox_name, clock)

    @property
    def engine(self) -> AsyncEngine:
        """The engine, such as for :func:`upgrade`."""
        return self._database.engine

    async def migrate(self) -> str:
        """Create the tables, or bring them to the version of this package.

        Returns:
            The version they have now.

        Raises:
            ConfigError: Alembic is not installed.
        """
        await upgrade(self.engine, schema=self._database.schema)
        return str(await current(self.engine, schema=self._database.schema))

    async def install_triggers(self, name: str | None = None) -> None:
        """Have the database itself write an invalidation for every change, by any program.

        Creates the outbox where it is missing. To do so again is harmless. Uses (:meth:`touch`)
        write none.

        Args:
            name: Name of the cache; None: ``outbox_name``.

        Raises:
            ConfigError: Neither is given, or the name is none.
        """
        await triggers.install(self._database, self._name(name))

    async def uninstall_triggers(self, name: str | None = None) -> None:
        """Drop the triggers of :meth:`install_triggers`; the outbox stays.

        Args:
            name: As there.

        Raises:
            ConfigError: As there.
        """
        await triggers.uninstall(self._database, self._name(name))

    async def close(self) -> None:
        """Close the connections; an engine that was given stays open."""
        await self._database.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def _name(self, name: str | None) -> str:
        used = self._outbox_name if name is None else name
        if used is None:
            raise ConfigError("name the cache that is to hear of changes")
        return check_cache_name(used)
