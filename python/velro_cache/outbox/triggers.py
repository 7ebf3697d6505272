"""Triggers that write invalidations, so that changes by any program are heard of.

In PostgreSQL once per statement: a change of a million rows writes one entry, with the tags of the
old and of the new rows, each once; "everything" where they are too many for one. In SQLite, which
has no such triggers, once per row.

A row from which no tag can be made (its columns are NULL) stands for everything.
"""

import hashlib
import re
from collections.abc import Sequence

from velro_cache.exceptions import ConfigError
from velro_cache.outbox.names import (
    channel_of,
    check_cache_name,
    check_dialect,
    literal,
    qualified,
    quoted,
)

__all__ = ["drop_trigger_ddl", "trigger_ddl"]

_MOST_BODY_BYTES = 256 * 1024
_EVERYTHING = '{"v":1,"all":true}'
_PIECE = re.compile(r"\{\{|\}\}|\{([^{}]+)\}|[{}]")
_EVENTS = {
    "insert": ("INSERT", " REFERENCING NEW TABLE AS velro_new"),
    "update": ("UPDATE", " REFERENCING OLD TABLE AS velro_old NEW TABLE AS velro_new"),
    "delete": ("DELETE", " REFERENCING OLD TABLE AS velro_old"),
    "truncate": ("TRUNCATE", ""),
}


def trigger_ddl(
    dialect: str,
    table: str,
    tags: Sequence[str],
    *,
    name: str = "default",
    schema: str | None = None,
    outbox_schema: str | None = None,
) -> str:
    """Return the SQL of triggers by which changes of a table invalidate; to run again is harmless.

    Args:
        dialect: ``"postgresql"`` or ``"sqlite"``.
        table: Name of the table, exactly as it is written.
        tags: What a row's change invalidates, such as ``"user:{user_id}"``: a column of the table
            in braces stands for its value. For a brace itself write two.
        name: Name of the cache.
        schema: Schema of the table; None: where the database looks for it.
        outbox_schema: Schema of the outbox; None: where the database looks for it.

    Raises:
        ConfigError: A name or a tag cannot be used.
    """
    check_cache_name(name)
    if not tags:
        raise ConfigError('name a tag, such as --tag "user:{user_id}"')
    if check_dialect(dialect) == "postgresql":
        return _postgresql(table, tags, name, schema, outbox_schema)
    if schema is not None or outbox_schema is not None:
        raise ConfigError("SQLite has no schemas")
    return _sqlite(table, tags, name)


def drop_trigger_ddl(
    dialect: str,
    table: str,
    *,
    name: str = "default",
    schema: str | None = None,
    outbox_schema: str | None = None,
) -> str:
    """Return the SQL that drops the triggers of :func:`trigger_ddl`.

    Args:
        dialect: As there.
        table: As there.
        name: As there.
        schema: As there.
        outbox_schema: As there.

    Raises:
        ConfigError: A name cannot be used.
    """
    check_cache_name(name)
    base = _base_name(table, name, schema)
    if check_dialect(dialect) == "sqlite":
        return "".join(
            f"DROP TRIGGER IF EXISTS {quoted(f'{base}_{event}')};\n"
            for event in _EVENTS
            if event != "truncate"
        )
    target = qualified(table, schema)
    drops = "".join(
        f"DROP TRIGGER IF EXISTS {quoted(f'{base}_{event}')} ON {target};\n" for event in _EVENTS
    )
    return drops + f"DROP FUNCTION IF EXISTS {qualified(base, outbox_schema)}();\n"


def _base_name(table: str, name: str, schema: str | None) -> str:
    """A name for the triggers of one table and one cache, short enough for PostgreSQL."""
    digest = hashlib.sha256("\0".join([schema or "", table, name]).encode()).hexdigest()[:8]
    plain = re.sub(r"[^a-z0-9_]", "_", table.lower())[:30]
    return f"velro_{plain}_{digest}"


def _tag(template: str, column: str) -> str:
    """SQL for a tag; ``column`` says how a column is written, with ``{}`` for its name."""
    parts: list[str] = []
    text = ""
    at = 0
    for piece in _PIECE.finditer(template):
        text += template[at : piece.start()]
        at = piece.end()
        if piece[1] is not None:
            parts += [literal(text)] if text else []
            parts.append(column.replace("{}", quoted(piece[1])))
            text = ""
        elif len(piece[0]) == 2:
            text += piece[0][0]
        else:
            raise ConfigError(f"a brace without its other half in the tag {template!r:.80}")
    text += template[at:]
    parts += [literal(text)] if text else []
    if not parts:
        raise ConfigError("a tag must not be empty")
    return " || ".join(parts)


def _postgresql(
    table: str, tags: Sequence[str], name: str, schema: str | None, outbox_schema: str | None
) -> str:
    base = _base_name(table, name, schema)
    target = qualified(table, schema)
    # Cast, because `||` of other types means something else.
    values = ", ".join(f"({_tag(tag, 'CAST({} AS pg_catalog.text)')})" for tag in tags)
    row = f"SELECT ARRAY[{values}]::pg_catalog.text[] AS tags FROM"
    sources = {
        "INSERT": f"{row} velro_new",
        "DELETE": f"{row} velro_old",
        "UPDATE": f"{row} velro_old UNION ALL {row} velro_new",
    }
    branches = "".join(
        f"""
    {"IF" if operation == "INSERT" else "ELSIF"} TG_OP = '{operation}' THEN
        WITH changed AS ({source})
        SELECT EXISTS (SELECT FROM changed WHERE array_remove(tags, NULL) = '{{}}'),
               (SELECT json_agg(DISTINCT tag) FROM changed, unnest(tags) AS tag
                WHERE tag IS NOT NULL)
        INTO velro_all, velro_tags;"""
        for operation, source in sources.items()
    )
    body = f"""
DECLARE
    velro_all boolean;
    velro_tags json;
    velro_body bytea;
    velro_seq bigint;
BEGIN{branches}
    ELSE
        velro_all := true;
    END IF;
    IF NOT velro_all AND velro_tags IS NULL THEN
        RETURN NULL;  -- The statement changed no row.
    END IF;
    velro_body := convert_to(json_build_object('v', 1, 'tags', velro_tags)::text, 'UTF8');
    IF velro_all OR octet_length(velro_body) > {_MOST_BODY_BYTES} THEN
        velro_body := convert_to('{_EVERYTHING}', 'UTF8');
    END IF;
    INSERT INTO velro_counter AS c (name, seq) VALUES ({literal(name)}, 1)
    ON CONFLICT (name) DO UPDATE SET seq = c.seq + 1 RETURNING c.seq INTO velro_seq;
    INSERT INTO velro_invalidations (name, seq, body)
    VALUES ({literal(name)}, velro_seq, velro_body);
    PERFORM pg_notify('{channel_of(name)}', velro_seq::text);
    RETURN NULL;
END"""
    counter = literal(qualified("velro_counter", outbox_schema))
    # All of it goes through format(), for which a percent sign is written twice.
    function = f"%1$I.{quoted(base)}()"
    escaped_target = target.replace("%", "%%")
    triggers = "".join(
        f"""
CREATE OR REPLACE TRIGGER {quoted(f"{base}_{event}")}
    AFTER {operation} ON {escaped_target}{rows}
    FOR EACH STATEMENT EXECUTE FUNCTION {function};
ALTER TABLE {escaped_target} ENABLE ALWAYS TRIGGER {quoted(f"{base}_{event}")};
"""
        for event, (operation, rows) in _EVENTS.items()
    )
    return f"""\
-- Changes of {_comment(table)} invalidate in the cache {name}, whoever makes them. PostgreSQL 14 or
-- newer. Run it as the owner of the table who may write to the outbox, too: the function does so
-- with the rights of its owner. Not seen are statements about a partition or an inheriting table by
-- its own name, partitions that are attached or detached, and what logical replication brings.
DO $velro_do$
DECLARE
    outbox text;
BEGIN
    SELECT n.nspname INTO STRICT outbox FROM pg_catalog.pg_class AS t
    JOIN pg_catalog.pg_namespace AS n ON n.oid = t.relnamespace
    WHERE t.oid = {counter}::pg_catalog.regclass;
    EXECUTE format($velro_sql$
CREATE OR REPLACE FUNCTION {function} RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, %1$I, pg_temp
AS $velro_body${body.replace("%", "%%")}
$velro_body$;
{triggers}$velro_sql$, outbox);
END
$velro_do$;
"""


def _sqlite(table: str, tags: Sequence[str], name: str) -> str:
    base = _base_name(table, name, None)
    rows = {"insert": ["NEW"], "update": ["OLD", "NEW"], "delete": ["OLD"]}
    triggers = "".join(_sqlite_trigger(table, tags, name, base, *item) for item in rows.items())
    return f"""\
-- Changes of {_comment(table)} invalidate in the cache {name}, whoever makes them. Not seen are
-- rows that REPLACE takes out on its way, but with PRAGMA recursive_triggers = on; write
-- ON CONFLICT ... DO UPDATE instead.
BEGIN IMMEDIATE;
{triggers}COMMIT;
"""


def _sqlite_trigger(
    table: str, tags: Sequence[str], name: str, base: str, event: str, rows: list[str]
) -> str:
    trigger = quoted(f"{base}_{event}")
    found = {row: [_tag(tag, f"CAST({row}.{{}} AS TEXT)") for tag in tags] for row in rows}
    union = " UNION ".join(f"SELECT {tag} AS tag" for row in rows for tag in found[row])
    names = f"(SELECT json_group_array(tag) FROM ({union}) WHERE tag IS NOT NULL)"
    body = f"json_object('v', 1, 'tags', json({names}))"
    # One row without any tag, or too many bytes: everything.
    nameless = " OR ".join(
        "(" + " AND ".join(f"({tag}) IS NULL" for tag in found[row]) + ")" for row in rows
    )
    return f"""\
DROP TRIGGER IF EXISTS {trigger};
CREATE TRIGGER {trigger} AFTER {event.upper()} ON {quoted(table)} FOR EACH ROW BEGIN
    SELECT RAISE(ABORT, 'velro_counter has no row for this cache')
    WHERE NOT EXISTS (SELECT 1 FROM velro_counter WHERE name = {literal(name)});
    UPDATE velro_counter SET seq = seq + 1 WHERE name = {literal(name)};
    INSERT INTO velro_invalidations (name, seq, body)
    SELECT c.name, c.seq, CAST(
        CASE WHEN {nameless} OR length(CAST(b.body AS BLOB)) > {_MOST_BODY_BYTES}
        THEN '{_EVERYTHING}' ELSE b.body END AS BLOB)
    FROM velro_counter AS c, (SELECT {body} AS body) AS b WHERE c.name = {literal(name)};
END;
"""


def _comment(text: str) -> str:
    """A text in a comment, which ends with the line."""
    return re.sub(r"[^\w. -]", "?", text)
