"""Runs the migrations for Alembic, on a connection that is given or made from a URL.

:func:`velro_cache.api_keys.sql.upgrade` gives a connection. With a configuration of one's own
(``script_location = velro_cache.api_keys.sql:migrations``), ``sqlalchemy.url`` is used; then the
driver is whatever that names, an ordinary, not an asynchronous one.
"""

from alembic import context
from sqlalchemy import Connection, create_engine

from velro_cache.api_keys.sql.tables import metadata
from velro_cache.exceptions import ConfigError

VERSION_TABLE = "velro_api_keys_version"


def run(connection: Connection | None, schema: str | None, url: str | None = None) -> None:
    """Run what the command asks for.

    Args:
        connection: Where; None: only print the SQL.
        schema: Schema of PostgreSQL; None: where new tables are made.
        url: What the SQL is printed for, where there is no connection.
    """
    if connection is not None and schema is not None:
        connection = connection.execution_options(schema_translate_map={None: schema})
    context.configure(
        connection=connection,
        url=url,
        target_metadata=metadata,
        # Beside the migrations of the user's own tables, which have a table of their own.
        version_table=VERSION_TABLE,
        version_table_schema=schema,
        transactional_ddl=True,
        literal_binds=connection is None,
    )
    with context.begin_transaction():
        context.run_migrations()


attributes = context.config.attributes
given = attributes.get("connection")
address = context.config.get_main_option("sqlalchemy.url")
if given is not None:
    run(given, attributes.get("schema"))
elif context.is_offline_mode():
    run(None, attributes.get("schema"), address)
elif address:
    engine = create_engine(address)
    with engine.begin() as made:
        run(made, attributes.get("schema"))
    engine.dispose()
else:
    raise ConfigError("give a connection or set sqlalchemy.url")
