"""``velro-cache invalidate``: revoke what a running service knows."""

import argparse
import json
import sys
from typing import Any, Final

from velro_cache.cli.admin.client import add_connection_options, client_for, printable

__all__ = ["add_to"]

_NOT_ACKNOWLEDGED: Final = 5


def add_to(commands: Any) -> None:
    """Add the command to a parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "invalidate",
        help="invalidate in a running service",
        description=(
            "Invalidate by user, generation, tags, pattern or key in a running service. Exit"
            " status 5: it was done, but others may not know yet."
        ),
    )
    add_connection_options(parser)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--user", metavar="ID", help="everything about a user")
    what.add_argument("--generation", metavar="ID", help="everything about a generation")
    what.add_argument(
        "--tag", action="append", metavar="TAG", help="what carries a tag; may be repeated"
    )
    what.add_argument("--pattern", metavar="WILDCARD", help="keys that fit a wildcard")
    what.add_argument("--key", metavar="KEY", help="one entry")
    what.add_argument("--all", action="store_true", help="everything; needs --confirm")
    parser.add_argument("--reason", default="", help="why, for the audit log")
    parser.add_argument("--wait", choices=("host", "bus", "fleet"), help="what to wait for")
    parser.add_argument("--dry-run", action="store_true", help="change nothing, check and count")
    parser.add_argument(
        "--confirm", metavar="NAME", help="name of the cache, for --all and very wide patterns"
    )
    parser.add_argument("--json", action="store_true", help="print the answer as JSON")
    parser.set_defaults(run=run, parser=parser)


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    if options.all and (options.dry_run or options.confirm is None):
        options.parser.error("--all needs --confirm with the name of the cache, and has no dry run")
    status, answer = client_for(options).post(*_request(options))
    text = json.dumps(answer, indent=2) if options.json else printable(as_text(answer))
    sys.stdout.write(text + "\n")
    return 0 if status == 200 else _NOT_ACKNOWLEDGED


def _request(options: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    body: dict[str, Any] = {"reason": options.reason}
    if options.wait is not None:
        body["wait"] = options.wait
    if options.all:
        return "/clear", body | {"confirm": options.confirm}
    body["dry_run"] = options.dry_run
    if options.user is not None:
        return "/invalidate/user", body | {"user_id": options.user}
    if options.generation is not None:
        return "/invalidate/generation", body | {"generation_id": options.generation}
    if options.tag is not None:
        return "/invalidate/tags", body | {"tags": options.tag}
    if options.key is not None:
        return "/invalidate/key", body | {"key": options.key}
    confirm = {} if options.confirm is None else {"confirm": options.confirm}
    return "/invalidate/pattern", body | {"pattern": options.pattern} | confirm


def as_text(answer: dict[str, Any]) -> str:
    """Write an answer for people to read.

    Args:
        answer: What the service said.
    """
    if answer.get("wanted") is not None:
        reach = f"holds on: {answer.get('holds')}, wanted: {answer['wanted']}"
        return f"MISS {reach}. {answer.get('detail')}"
    if answer.get("dry_run"):
        count = answer.get("would_drop_entries")
        if count is None:
            return "dry run: how many entries it would drop is not known"
        return f"dry run: would drop {count:,} entries of the worker that answered"
    return (
        f"OK   dropped {answer.get('dropped_entries', 0):,} entries of the worker that answered;"
        f" it holds on: {answer.get('holds')}"
    )
