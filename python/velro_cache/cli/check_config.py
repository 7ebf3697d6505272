"""``velro-cache check-config``: what the environment says, what it means, what can be reached."""

import argparse
import dataclasses
import inspect
import re
import sys
from typing import Any

from velro_cache.cli.output import show
from velro_cache.cli.reachable import Finding, check_log, check_redis, check_table
from velro_cache.config import OptimizedCacheConfig
from velro_cache.exceptions import ConfigError

__all__ = ["add_to"]


def add_to(commands: Any) -> None:
    """Add the command to a parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "check-config",
        help="explain the settings of the environment, and see what can be reached",
        description=(
            "Read the settings as OptimizedCacheConfig.from_env() does, say what each means, and"
            " see whether table, log and Redis can be used from here. Exit status 1 if not."
            " Changes nothing that a running service uses."
        ),
    )
    parser.add_argument("--prefix", default="VELRO_CACHE_", help="what the variables begin with")
    parser.add_argument(
        "--timeout",
        type=_seconds,
        default=5.0,
        metavar="SECONDS",
        help="longest wait for each check (5)",
    )
    parser.add_argument("--quiet", action="store_true", help="print the checks alone")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    try:
        config = OptimizedCacheConfig.from_env(options.prefix)
    except ConfigError as error:
        sys.stdout.write(f"MISS settings: {error}\n")
        return 1
    if not options.quiet:
        sys.stdout.write(explained(config, options.prefix) + "\n\n")
    findings = [
        Finding("settings", True, "can be read and are in range"),
        check_table(config, options.timeout),
        check_log(config, options.timeout),
        check_redis(config, options.timeout),
    ]
    show("\n".join(finding.as_text() for finding in findings))
    return 0 if all(finding.is_good for finding in findings) else 1


def explained(config: OptimizedCacheConfig, prefix: str) -> str:
    """Say what each setting is and means.

    Args:
        config: The settings.
        prefix: What the names of the variables begin with.

    Returns:
        Two lines and an empty one for each; of addresses and keys only whether they are set.
    """
    meanings = _meanings()
    blocks = []
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        shown = str(value) if field.repr or value is None else "set, and not shown"
        origin = "" if value != field.default else " (default)"
        meaning = meanings.get(field.name, "")
        blocks.append(f"{prefix}{field.name.upper()} = {shown}{origin}\n    {meaning}".rstrip())
    return "\n\n".join(blocks)


def _meanings() -> dict[str, str]:
    """What the docstring of the settings says of each; nothing where docstrings are left out."""
    text = inspect.getdoc(OptimizedCacheConfig) or ""
    text = text.partition("Attributes:\n")[2].partition("\nRaises:")[0]
    entries = re.findall(r"^    (\w+): (.*(?:\n {5,}.*)*)", text, re.MULTILINE)
    return {name: re.sub(r"\s+", " ", meaning).replace("``", "") for name, meaning in entries}


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.05 <= seconds <= 60:
        raise argparse.ArgumentTypeError(f"must be a number from 0.05 to 60: {text!r:.40}")
    return seconds
