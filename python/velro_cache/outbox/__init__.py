"""Invalidations in the database of the permissions, in the transaction that changes them.

A service that has this database as its invalidation log hears of every change that was committed,
and of none that was rolled back::

    from velro_cache.outbox import record_invalidation

    with session.begin():
        session.execute(delete(Permission).where(Permission.user_id == user_id))
        record_invalidation(session, user_id=user_id)

Works with PostgreSQL and SQLite through SQLAlchemy 2. A trigger does the same for changes by any
other program; ``velro-cache outbox ddl --table`` prints one.
"""

from velro_cache.outbox.record import arecord_invalidation, record_invalidation
from velro_cache.outbox.tables import create_outbox, drop_ddl, outbox_ddl
from velro_cache.outbox.triggers import drop_trigger_ddl, trigger_ddl

__all__ = [
    "arecord_invalidation",
    "create_outbox",
    "drop_ddl",
    "drop_trigger_ddl",
    "outbox_ddl",
    "record_invalidation",
    "trigger_ddl",
]
