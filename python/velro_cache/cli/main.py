"""Reads the command line and calls the command."""

import argparse
from collections.abc import Sequence

from velro_cache._engine import __version__
from velro_cache.cli import init, outbox, performance
from velro_cache.exceptions import VelroCacheError

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: Words after the name of the program; None: those of this process.

    Returns:
        The exit status: 0 if all went well, 1 if the command says no, 2 if it was not understood.
    """
    parser = argparse.ArgumentParser(
        prog="velro-cache", description="Configure and check the velro-cache authorization cache."
    )
    parser.add_argument("--version", action="version", version=f"velro-cache {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    init.add_to(commands)
    performance.add_to(commands)
    outbox.add_to(commands)
    options = parser.parse_args(arguments)
    try:
        return int(options.run(options))
    except VelroCacheError as error:
        parser.exit(1, f"velro-cache: {error}\n")
