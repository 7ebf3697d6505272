"""API keys in PostgreSQL or SQLite, through SQLAlchemy 2: tables, migrations, management.

::

    keys = SqlApiKeys("sqlite:///keys.db", peppers=Peppers.one(secret))
    await keys.migrate()
    owner = await keys.create_organization("Example Ltd")
    made = await keys.create_key(owner.id, scopes=["read"])
    made.plain.reveal()  # Shown this once.
"""

import velro_cache.api_keys.sql.packages  # noqa: F401 - says what to install, before others fail
from velro_cache.api_keys.sql.database import create_engine
from velro_cache.api_keys.sql.imported import ImportedKey
from velro_cache.api_keys.sql.migrating import current, downgrade, upgrade
from velro_cache.api_keys.sql.organizations import Organization, OrganizationPage
from velro_cache.api_keys.sql.reading import KeyPage
from velro_cache.api_keys.sql.secret_key import CreatedKey, SecretKey
from velro_cache.api_keys.sql.store import SqlApiKeys
from velro_cache.api_keys.sql.tables import metadata

__all__ = [
    "CreatedKey",
    "ImportedKey",
    "KeyPage",
    "Organization",
    "OrganizationPage",
    "SecretKey",
    "SqlApiKeys",
    "create_engine",
    "current",
    "downgrade",
    "metadata",
    "upgrade",
]
