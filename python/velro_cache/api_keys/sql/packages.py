"""Third-party packages that API keys in a database need, and what to do where one is missing."""

import importlib.util
from typing import Final

from velro_cache.exceptions import ConfigError

__all__ = ["require"]

_WHAT_FOR: Final = {
    "sqlalchemy": ("SQLAlchemy 2", "api-keys"),
    "aiosqlite": ("aiosqlite, the driver for SQLite", "api-keys"),
    "alembic": ("Alembic, which makes the tables", "api-keys"),
    "asyncpg": ("asyncpg, the driver for PostgreSQL", "api-keys-postgres"),
}


def require(package: str) -> None:
    """Make sure that a package is installed.

    Args:
        package: The name it is imported by.

    Raises:
        ConfigError: It is not installed; says how to get it.
    """
    if importlib.util.find_spec(package) is None:
        what, extra = _WHAT_FOR[package]
        raise ConfigError(f"this needs {what}: pip install 'velro-cache[{extra}]'")


require("sqlalchemy")
