"""Which database, under which pepper; and what becomes of its errors.

The pepper comes from the environment, never from the command line, where every user of the machine
could read it. So does the address, if it holds a password.
"""

import argparse
import asyncio
import contextlib
import os
import re
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

from velro_cache.api_keys.digests import Peppers
from velro_cache.api_keys.key_format import KeyFormat
from velro_cache.cli.admin.client import AdminError, printable
from velro_cache.exceptions import ConfigError

if TYPE_CHECKING:
    from velro_cache.api_keys.sql import SqlApiKeys

__all__ = [
    "PEPPER_VARIABLE",
    "URL_VARIABLE",
    "add_action",
    "add_database_options",
    "add_format_options",
    "key_format_of",
    "peppers_of",
    "with_keys",
]

URL_VARIABLE: Final = "VELRO_CACHE_DATABASE_URL"
PEPPER_VARIABLE: Final = "VELRO_CACHE_PEPPER"

_REFUSED: Final = 1
_NOT_REACHED: Final = 3
_NO_CREDENTIAL: Final = 4
_MISSING_TABLE: Final = re.compile(
    r"no such (table|column)|relation .* does not exist|column .* does not exist"
)


def add_action(actions: Any, name: str, **options: Any) -> argparse.ArgumentParser:
    """Add an action to the command.

    Args:
        actions: Those of the command.
        name: What it is called.
        **options: For the parser.
    """
    # `--pepper SECRET` must not be taken for `--pepper-id`, and be written down.
    parser: argparse.ArgumentParser = actions.add_parser(name, allow_abbrev=False, **options)
    return parser


def add_database_options(parser: argparse.ArgumentParser, *, writes: bool = False) -> None:
    """Add the options that say which database.

    Args:
        parser: Of a command.
        writes: Whether it changes keys.
    """
    parser.add_argument(
        "--database-url",
        metavar="URL",
        help=f"sqlite:///FILE or postgresql://...; left out, the variable {URL_VARIABLE}, which is"
        " the place for a password",
    )
    parser.add_argument("--schema", help="schema of the tables (PostgreSQL)")
    if writes:
        parser.add_argument(
            "--outbox",
            metavar="NAME",
            help="name of the cache to tell through the outbox; not needed with triggers",
        )


def add_format_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what keys look like, and under which pepper they are.

    Args:
        parser: Of a command that makes keys.
    """
    parser.add_argument("--prefix", default="vk", help="what keys begin with (vk)")
    parser.add_argument("--environment", default="live", help="where they are for (live)")
    parser.add_argument(
        "--pepper-id", default="1", help=f"name of the pepper in {PEPPER_VARIABLE} (1)"
    )


def key_format_of(options: argparse.Namespace) -> KeyFormat:
    """Return what keys look like.

    Args:
        options: Of :func:`add_format_options`.

    Raises:
        ConfigError: They say nothing that a key can look like.
    """
    return KeyFormat(prefix=options.prefix, environment=options.environment)


def peppers_of(options: argparse.Namespace) -> Peppers:
    """Return the pepper of the environment.

    Args:
        options: Of :func:`add_format_options`.

    Raises:
        AdminError: There is none.
        ConfigError: It is too short, or its name is none.
    """
    secret = os.environ.get(PEPPER_VARIABLE, "")
    if not secret:
        raise AdminError(
            f"set {PEPPER_VARIABLE} to the pepper of the service; a new one is made with:"
            " python -c 'import secrets; print(secrets.token_hex(32))'",
            _NO_CREDENTIAL,
        )
    name = options.pepper_id
    return Peppers(name, {name: secret.encode()}, accept_plain_sha256=True)


def with_keys(
    options: argparse.Namespace,
    work: "Callable[[SqlApiKeys], Awaitable[int]]",
    **arguments: Any,
) -> int:
    """Open the database, do something, and close it.

    Args:
        options: Of :func:`add_database_options`.
        work: What to do; returns the exit status.
        **arguments: More for :class:`SqlApiKeys`.

    Raises:
        AdminError: The database was not reached, or did not do it.
        VelroCacheError: What ``work`` raised.
    """
    url = options.database_url or os.environ.get(URL_VARIABLE, "")
    if not url:
        raise ConfigError(f"name the database: set {URL_VARIABLE}, or give --database-url")
    # Not at the top: SQLAlchemy is optional.
    from velro_cache.api_keys.sql import SqlApiKeys

    keys = SqlApiKeys(
        url, schema=options.schema, outbox_name=getattr(options, "outbox", None), **arguments
    )

    async def run() -> int:
        async with keys:
            return await work(keys)

    with _explained():
        return asyncio.run(run())


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """Turns errors of the database into a line for people, without values of rows."""
    from velro_cache.api_keys.sql.database import as_database_error

    try:
        yield
    except Exception as error:
        found = as_database_error(error)
        if found is None:
            raise
        message = printable(found.message)
        if _MISSING_TABLE.search(found.message):
            message += "; the tables are made with: velro-cache keys migrate"
        status = _NOT_REACHED if found.is_unreachable else _REFUSED
        raise AdminError(f"the database: {message}", status) from None
