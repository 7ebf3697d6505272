"""``velro-cache keys``: makes the tables; makes, lists, rotates and revokes keys."""

import argparse
import json
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from velro_cache.api_keys.key_format import holds_key
from velro_cache.cli.keys import importing
from velro_cache.cli.keys.connection import (
    add_action,
    add_database_options,
    add_format_options,
    key_format_of,
    peppers_of,
    with_keys,
)
from velro_cache.cli.keys.showing import as_fields, as_line, as_moment

if TYPE_CHECKING:
    from velro_cache.api_keys.sql import CreatedKey, SqlApiKeys

__all__ = ["add_to"]

_LISTED_AT_ONCE = 1000
_SECONDS_OF_A_DAY = 86_400.0


def add_to(commands: Any) -> None:
    """Add the command to a parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "keys",
        help="manage API keys in PostgreSQL or SQLite",
        description="API keys in a database of their own or of the service.",
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    _add_migrate(actions)
    _add_create(actions)
    _add_list(actions)
    _add_rotate(actions)
    _add_revoke(actions)
    importing.add_to(actions)


def _add_migrate(actions: Any) -> None:
    parser = add_action(actions, "migrate", help="make the tables, or bring them up to date")
    add_database_options(parser)
    parser.add_argument(
        "--triggers",
        metavar="NAME",
        help="have the database tell the cache of this name of every change, by any program",
    )
    parser.add_argument("--json", action="store_true", help="print the version as JSON")
    parser.set_defaults(run=migrate)


def migrate(options: argparse.Namespace) -> int:
    """Make the tables."""

    async def work(keys: "SqlApiKeys") -> int:
        version = await keys.migrate()
        if options.triggers is not None:
            await keys.install_triggers(options.triggers)
        text = json.dumps({"version": version}) if options.json else f"tables: {version}"
        sys.stdout.write(text + "\n")
        return 0

    return with_keys(options, work)


def _add_create(actions: Any) -> None:
    parser = add_action(
        actions,
        "create",
        help="make a key, and print it this once",
        description="Make a key. The key itself is printed to standard output, now and never again;"
        " what there is to say about it, to standard error.",
    )
    add_database_options(parser, writes=True)
    add_format_options(parser)
    parser.add_argument("--organization", required=True, metavar="ID", help="whose it is")
    parser.add_argument(
        "--new-organization", metavar="NAME", help="make the organization first, with this name"
    )
    parser.add_argument("--plan", default="", help="of the new organization")
    parser.add_argument("--name", default="", help="what people call the key")
    parser.add_argument(
        "--scope", action="append", default=[], help="what it is good for; may be repeated"
    )
    when = parser.add_mutually_exclusive_group()
    when.add_argument("--expires-in-days", type=_days, metavar="DAYS", help="when it ends")
    when.add_argument(
        "--expires-at", type=_moment, metavar="TIME", help="the same, such as 2031-01-31T12:00:00Z"
    )
    parser.add_argument("--json", action="store_true", help="print it as JSON, with the key in it")
    parser.set_defaults(run=create)


def create(options: argparse.Namespace) -> int:
    """Make a key."""

    async def work(keys: "SqlApiKeys") -> int:
        ends = options.expires_at
        if options.expires_in_days is not None:
            ends = time.time() + options.expires_in_days * _SECONDS_OF_A_DAY
        if options.new_organization is not None:
            await keys.create_organization(
                options.new_organization, organization_id=options.organization, plan=options.plan
            )
        made = await keys.create_key(
            options.organization, scopes=options.scope, name=options.name, expires_at=ends
        )
        _print_created(made, options)
        return 0

    return with_keys(
        options, _checked(work), key_format=key_format_of(options), peppers=peppers_of(options)
    )


def _add_list(actions: Any) -> None:
    parser = add_action(actions, "list", help="list keys, good ones and others")
    add_database_options(parser)
    parser.add_argument("--organization", metavar="ID", help="only those of this organization")
    parser.add_argument("--limit", type=_count, metavar="N", help="at most so many")
    parser.add_argument("--after", metavar="ID", help="only those after this id")
    parser.add_argument("--json", action="store_true", help="one JSON object per line")
    parser.set_defaults(run=list_keys)


def list_keys(options: argparse.Namespace) -> int:
    """List keys, in the order of their ids."""

    async def work(keys: "SqlApiKeys") -> int:
        now = time.time()
        left = options.limit
        after = options.after
        while left is None or left > 0:
            most = _LISTED_AT_ONCE if left is None else min(left, _LISTED_AT_ONCE)
            page = await keys.list_keys(options.organization, after=after, limit=most)
            for key in page.keys:
                text = json.dumps(as_fields(key, now)) if options.json else as_line(key, now)
                sys.stdout.write(text + "\n")
            after = page.after
            if after is None:
                break
            left = None if left is None else left - len(page.keys)
        return 0

    return with_keys(options, work)


def _add_rotate(actions: Any) -> None:
    parser = add_action(
        actions,
        "rotate",
        help="make a key in the place of another one, and print it this once",
        description="Make a key like another one, which ends after the overlap.",
    )
    add_database_options(parser, writes=True)
    add_format_options(parser)
    parser.add_argument("key", type=_id, metavar="ID", help="id of the old key")
    parser.add_argument(
        "--overlap",
        type=_overlap,
        default=0.0,
        metavar="SECONDS",
        help="how long the old key is still good (0)",
    )
    parser.add_argument("--json", action="store_true", help="print it as JSON, with the key in it")
    parser.set_defaults(run=rotate)


def rotate(options: argparse.Namespace) -> int:
    """Rotate a key."""

    async def work(keys: "SqlApiKeys") -> int:
        made = await keys.rotate_key(options.key, overlap_seconds=options.overlap)
        _print_created(made, options)
        old = await keys.find_key(options.key)
        _note(f"the old key {old.id} is good until {as_moment(old.expires_at)}")
        _note_who_hears(options)
        return 0

    return with_keys(
        options, _checked(work), key_format=key_format_of(options), peppers=peppers_of(options)
    )


def _add_revoke(actions: Any) -> None:
    parser = add_action(actions, "revoke", help="end a key for good")
    add_database_options(parser, writes=True)
    parser.add_argument("key", type=_id, metavar="ID", help="id of the key")
    parser.add_argument("--json", action="store_true", help="print the key as JSON")
    parser.set_defaults(run=revoke)


def revoke(options: argparse.Namespace) -> int:
    """Revoke a key."""

    async def work(keys: "SqlApiKeys") -> int:
        key = await keys.revoke_key(options.key)
        now = time.time()
        text = json.dumps(as_fields(key, now)) if options.json else as_line(key, now)
        sys.stdout.write(text + "\n")
        _note_who_hears(options)
        return 0

    return with_keys(options, _checked(work))


def _print_created(made: "CreatedKey", options: argparse.Namespace) -> None:
    if options.json:
        fields = as_fields(made.key, time.time()) | {"key": made.plain.reveal()}
        sys.stdout.write(json.dumps(fields) + "\n")
    else:
        sys.stdout.write(made.plain.reveal() + "\n")
    sys.stdout.flush()
    _note(as_line(made.key, time.time()))
    _note("the key is shown this once; nobody can tell it later")


def _note_who_hears(options: argparse.Namespace) -> None:
    if options.outbox is None:
        _note(
            "services hear of it at once through triggers (velro-cache keys migrate --triggers) or"
            " --outbox; without either, when they next read all keys"
        )


def _note(text: str) -> None:
    sys.stderr.write(text + "\n")


_checked = importing.as_config_errors


def _id(text: str) -> str:
    if holds_key(text):
        # Without it: what is said here ends up in logs.
        raise argparse.ArgumentTypeError(
            "this is a key, not the id of one (velro-cache keys list tells ids); it is in the"
            " history of your shell now, so have it revoked"
        )
    return text


def _days(text: str) -> float:
    return _number(text, 0.0001, 36_525, "days")


def _overlap(text: str) -> float:
    return _number(text, 0, 366 * _SECONDS_OF_A_DAY, "seconds")


def _number(text: str, least: float, most: float, unit: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not least <= number <= most:
        raise argparse.ArgumentTypeError(f"must be a number of {unit} from {least} to {most:.0f}")
    return number


def _count(text: str) -> int:
    return int(_number(text, 1, 1_000_000_000, "keys"))


def _moment(text: str) -> float:
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(
            f"must be a moment such as 2031-01-31T12:00:00Z: {text!r:.40}"
        ) from None
