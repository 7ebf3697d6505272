"""Names in SQL: of caches, tables, columns and channels; never taken as code."""

import hashlib
import re
from typing import Literal

from velro_cache.exceptions import ConfigError

__all__ = [
    "DIALECTS",
    "Dialect",
    "channel_of",
    "check_cache_name",
    "check_dialect",
    "literal",
    "qualified",
    "quoted",
]

Dialect = Literal["postgresql", "sqlite"]
DIALECTS: tuple[Dialect, ...] = ("postgresql", "sqlite")

_CACHE_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_MOST_IDENTIFIER_BYTES = 63
"""PostgreSQL cuts longer ones in silence, and would then mean something else."""


def check_dialect(dialect: str) -> Dialect:
    """Return a dialect that is known.

    Args:
        dialect: Name of a database system, as SQLAlchemy has it.

    Raises:
        ConfigError: It is not known.
    """
    for known in DIALECTS:
        if dialect == known:
            return known
    raise ConfigError(f"the outbox works with {' and '.join(DIALECTS)}, not with {dialect!r:.40}")


def check_cache_name(name: object) -> str:
    """Return the name of a cache, as :class:`OptimizedCacheConfig` takes it.

    Args:
        name: The name.

    Raises:
        ConfigError: No cache can have it.
    """
    is_one = isinstance(name, str) and _CACHE_NAME.fullmatch(name) and name not in {".", ".."}
    if not isinstance(name, str) or not is_one:
        raise ConfigError(
            "the name of a cache has 1 to 64 letters, digits, '-', '_' and '.', and is neither '.'"
            f" nor '..': {name!r:.80}"
        )
    return name


def channel_of(name: str) -> str:
    """Return the channel on which PostgreSQL tells of entries of a cache; the engine has it too.

    Args:
        name: Name of a cache.
    """
    return f"velro_{hashlib.sha256(name.encode()).hexdigest()[:32]}"


def quoted(identifier: str) -> str:
    """Return an identifier for SQL, exactly as it is written.

    Args:
        identifier: Name of a table, a column or a schema.

    Raises:
        ConfigError: No table or column can be called so.
    """
    size = len(identifier.encode("utf-8", "surrogatepass"))
    if not 1 <= size <= _MOST_IDENTIFIER_BYTES or "\0" in identifier or "$velro" in identifier:
        raise ConfigError(
            f"a name in SQL has 1 to {_MOST_IDENTIFIER_BYTES} bytes: {identifier!r:.80}"
        )
    doubled = identifier.replace('"', '""')
    return f'"{doubled}"'


def qualified(name: str, schema: str | None) -> str:
    """Return the name of a table for SQL.

    Args:
        name: Name of the table.
        schema: Where it is; None: where the database looks for it.

    Raises:
        ConfigError: Nothing can be called so.
    """
    return quoted(name) if schema is None else f"{quoted(schema)}.{quoted(name)}"


def literal(text: str) -> str:
    """Return a text for SQL.

    Args:
        text: What the text is to be.

    Raises:
        ConfigError: A database cannot hold it.
    """
    if "\0" in text or "$velro" in text:
        raise ConfigError(f"a text in SQL cannot hold this: {text!r:.80}")
    doubled = text.replace("'", "''")
    # With a backslash it would depend on a setting of PostgreSQL what the text is.
    return f" E'{doubled.replace(chr(92), chr(92) * 2)}'" if "\\" in text else f"'{doubled}'"
