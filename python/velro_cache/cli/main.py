"""Reads the command line and calls the command."""

import argparse
from collections.abc import Sequence

from velro_cache._engine import __version__
from velro_cache.cli import check_config, init, outbox, performance
from velro_cache.cli.admin import invalidate, report, top, warm
from velro_cache.cli.admin.client import AdminError
from velro_cache.cli.keys import commands as keys
from velro_cache.exceptions import VelroCacheError

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: Words after the name of the program; None: those of this process.

    Returns:
        The exit status: 0 if all went well, 1 if the command says no, 2 if it was not understood;
        for commands that ask a service or a database also 3 to 5, see ``docs/cli.md``.
    """
    parser = argparse.ArgumentParser(
        prog="velro-cache", description="Configure and check the velro-cache authorization cache."
    )
    parser.add_argument("--version", action="version", version=f"velro-cache {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    init.add_to(commands)
    performance.add_to(commands)
    outbox.add_to(commands)
    keys.add_to(commands)
    check_config.add_to(commands)
    invalidate.add_to(commands)
    report.add_to(commands)
    top.add_to(commands)
    warm.add_to(commands)
    options = parser.parse_args(arguments)
    try:
        return int(options.run(options))
    except VelroCacheError as error:
        parser.exit(1, f"velro-cache: {error}\n")
    except AdminError as error:
        parser.exit(error.exit_status, f"velro-cache: {error}\n")
