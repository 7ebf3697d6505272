"""``velro-cache warm``: have a running service load registered kinds again."""

import argparse
import json
import sys
import time
from typing import Any, Final

from velro_cache.cli.admin.client import (
    AdminError,
    add_connection_options,
    client_for,
    printable,
)

__all__ = ["add_to"]

_FAILED: Final = 1
_NOT_THE_ADMIN_ROUTES: Final = 3
_STILL_RUNNING: Final = 5
_LOOK_EVERY_SECONDS: Final = 0.5


def add_to(commands: Any) -> None:
    """Add the command to a parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "warm",
        help="have a running service load ahead what is asked for",
        description=(
            "Run the registered loaders of a running service again, in the worker that answers, and"
            " show how far they are. Exit status 1: something could not be loaded. Exit status 5:"
            " it has begun, and had not ended in time."
        ),
    )
    add_connection_options(parser)
    parser.add_argument("kinds", nargs="*", metavar="KIND", help="left out: all that are there")
    parser.add_argument("--list", action="store_true", help="begin nothing; say what there is")
    parser.add_argument("--reason", default="", help="why, for the log")
    parser.add_argument(
        "--wait", type=_seconds, default=60.0, metavar="SECONDS", help="for the end, at most (60)"
    )
    parser.add_argument("--json", action="store_true", help="print the last answer as JSON")
    parser.set_defaults(run=run, parser=parser)


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    if options.list and options.kinds:
        options.parser.error("--list takes no kinds")
    client = client_for(options)
    if options.list:
        return _show_all(client.get("/warming"), options.json)
    body = {"kinds": options.kinds or "all", "reason": options.reason, "wait_seconds": 0.2}
    begun_at = time.monotonic()
    _, answer = client.post("/warm", body)
    kinds = {one["kind"] for one in answer["kinds"]}
    while answer["is_running"] and time.monotonic() - begun_at < options.wait:
        _tell(answer)
        time.sleep(_LOOK_EVERY_SECONDS)
        now = client.get("/warming")
        # Of several workers any may answer; only one of them was asked to warm.
        if now.get("process_id") == answer["process_id"]:
            mine = [one for one in _kinds_of(now) if one["kind"] in kinds]
            answer = answer | {"kinds": mine, "is_running": now["is_running"]}
    _clear()
    if options.json:
        sys.stdout.write(json.dumps(answer, indent=2) + "\n")
    else:
        sys.stdout.write(printable(as_text(answer)) + "\n")
    if answer["is_running"]:
        return _STILL_RUNNING
    return _FAILED if any(one["failed"] for one in answer["kinds"]) else 0


def as_text(answer: dict[str, Any]) -> str:
    """Write reports for people to read.

    Args:
        answer: What the service said.
    """
    lines = [_line(one) for one in answer["kinds"]]
    return "\n".join(lines) if lines else "nothing is registered to be loaded"


def _line(one: dict[str, Any]) -> str:
    mark = "...." if one["is_running"] else "MISS" if one["failed"] else "OK  "
    errors = ", ".join(f"{count} {name}" for name, count in one["errors"].items())
    return (
        f"{mark} {one['kind']}: {one['loaded']:,} loaded, {one['denied']:,} denied,"
        f" {one['skipped']:,} skipped, {one['failed']:,} failed{f' ({errors})' if errors else ''},"
        f" in {one['seconds']:.1f} s"
    )


def _show_all(answer: dict[str, Any], as_json: bool) -> int:
    if as_json:
        sys.stdout.write(json.dumps(answer, indent=2) + "\n")
        return 0
    kinds = _kinds_of(answer)
    lines = [f"registered: {', '.join(answer['registered']) or 'nothing'}"]
    lines += [_line(one) for one in kinds]
    prediction = answer["prediction"]
    if prediction["enabled"]:
        rate = prediction["precision"]
        said = "not known yet" if rate is None else f"{100 * rate:.0f} %"
        state = "off, it did not pay" if prediction["switched_off"] else "on"
        lines.append(
            f"prediction {state}: {prediction['preloaded']:,} loaded ahead,"
            f" {prediction['used']:,} used, precision {said}"
        )
    sys.stdout.write(printable("\n".join(lines)) + "\n")
    return 0


def _kinds_of(answer: dict[str, Any]) -> list[dict[str, Any]]:
    if not {"kinds", "is_running", "registered", "prediction"} <= set(answer):
        raise AdminError("what answers there does not know of warming", _NOT_THE_ADMIN_ROUTES)
    return list(answer["kinds"])


def _tell(answer: dict[str, Any]) -> None:
    """Show how far it is, on a terminal alone: a file would get every step."""
    if sys.stderr.isatty():
        done = ", ".join(f"{one['kind']} {one['loaded']:,}" for one in answer["kinds"])
        sys.stderr.write(f"\r\x1b[K{printable(done)[:200]}")
        sys.stderr.flush()


def _clear() -> None:
    if sys.stderr.isatty():
        sys.stderr.write("\r\x1b[K")


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= 3600:
        raise argparse.ArgumentTypeError(f"must be a number from 0 to 3600: {text!r:.40}")
    return seconds
