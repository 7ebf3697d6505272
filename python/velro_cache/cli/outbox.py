"""``velro-cache outbox ddl``: the SQL of the outbox, for migrations and psql."""

import argparse
import sys
from typing import Any

from velro_cache.exceptions import ConfigError
from velro_cache.outbox.names import DIALECTS
from velro_cache.outbox.tables import drop_ddl, outbox_ddl
from velro_cache.outbox.triggers import drop_trigger_ddl, trigger_ddl

__all__ = ["add_to"]


def add_to(commands: Any) -> None:
    """Add the command to a parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "outbox",
        help="print the SQL of the outbox in PostgreSQL or SQLite",
        description="Invalidations in the database of the permissions.",
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    ddl: argparse.ArgumentParser = actions.add_parser(
        "ddl",
        help="print the SQL that creates the tables, or triggers",
        description=(
            "Print the SQL that creates the tables of the outbox; with --table, triggers by which"
            " every change of that table invalidates, whichever program makes it. To run it again"
            " does no harm."
        ),
    )
    ddl.add_argument("--dialect", choices=DIALECTS, default="postgresql")
    ddl.add_argument("--name", default="default", help="name of the cache")
    ddl.add_argument("--table", help="print triggers on this table")
    ddl.add_argument(
        "--tag",
        action="append",
        default=[],
        metavar="TAG",
        help="what a changed row invalidates, such as 'user:{user_id}'; may be repeated",
    )
    ddl.add_argument("--schema", help="schema of the table (PostgreSQL)")
    ddl.add_argument("--outbox-schema", help="schema of the outbox (PostgreSQL)")
    ddl.add_argument("--drop", action="store_true", help="print the SQL that removes it again")
    ddl.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    sys.stdout.write(_sql(options))
    return 0


def _sql(options: argparse.Namespace) -> str:
    dialect, outbox_schema = options.dialect, options.outbox_schema
    if options.table is None:
        if options.tag or options.schema is not None:
            raise ConfigError("--tag and --schema are about a --table")
        if options.drop:
            return drop_ddl(dialect, schema=outbox_schema)
        return outbox_ddl(dialect, name=options.name, schema=outbox_schema)
    where = {"name": options.name, "schema": options.schema, "outbox_schema": outbox_schema}
    if options.drop:
        return drop_trigger_ddl(dialect, options.table, **where)
    return trigger_ddl(dialect, options.table, options.tag, **where)
