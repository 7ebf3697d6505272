"""``velro-cache top``: a running service's cache, live."""

import argparse
import contextlib
import math
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from velro_cache.cli.admin.client import (
    AdminClient,
    add_connection_options,
    client_for,
    printable,
    read_figures,
)
from velro_cache.cli.admin.rates import Rates

__all__ = ["add_to"]


def add_to(commands: Any) -> None:
    """Add the command to a parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "top",
        help="watch the cache of a running service",
        description=(
            "Show the figures of a running service, and what happens per second, until Ctrl+C."
            " With several workers, whichever answers is shown."
        ),
    )
    add_connection_options(parser)
    parser.add_argument(
        "--interval", type=_interval, default=1.0, metavar="SECONDS", help="between looks (1)"
    )
    parser.add_argument("--once", action="store_true", help="print once and end")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    client = client_for(options)
    screens = _screens(client, Rates(), options.interval)
    if options.once:
        sys.stdout.write(next(screens) + "\n")
        return 0
    # Ctrl+C is how it ends.
    with contextlib.suppress(KeyboardInterrupt), _shower() as show:
        for screen in screens:
            show(screen)
    return 0


def _screens(client: AdminClient, rates: Rates, interval_seconds: float) -> Iterator[str]:
    while True:
        stats = read_figures(client)
        yield printable(as_text(stats, rates.since_last(stats, time.monotonic())))
        time.sleep(interval_seconds)


def as_text(stats: dict[str, Any], rates: dict[str, float]) -> str:
    """Write one screen.

    Args:
        stats: The figures of a worker.
        rates: What :class:`Rates` makes of them.
    """
    log = stats["log"]
    lines = [
        f"{stats['cache']}   worker {stats['process_id']}   table {stats['sharing']['state']}"
        + ("" if log is None else f"   lease {'yes' if log['has_lease'] else 'NO'}"),
        "",
        f"{'lookups/s':<14}{_number(rates['lookups_per_second'], ',.0f'):>12}",
        f"{'hit rate now':<14}{_number(rates['hit_rate_percent'], '.1f'):>12} %",
        f"{'hit rate':<14}{stats['hit_rate_percent']:>12.1f} %   target"
        f" {stats['target_hit_rate_percent']:g} %",
        f"{'p50 / p99':<14}{stats['latency']['p50_ns']:>12,.0f} /"
        f" {stats['latency']['p99_ns']:,.0f} ns",
        f"{'entries':<14}{stats['total_entries']:>12,} of {stats['max_entries']:,}",
        f"{'memory':<14}{stats['total_size_mb']:>12.1f} of {stats['max_size_mb']:,} MiB",
        f"{'evicted':<14}{stats['evicted_entries']:>12,}",
        f"{'expired':<14}{stats['expired_entries']:>12,}",
        f"{'invalidated':<14}{stats['invalidated_entries']:>12,}",
    ]
    if stats["families"]:
        lines += ["", f"{'kind':<18}{'lookups':>12}{'hit rate':>12}"]
        busiest = sorted(stats["families"].items(), key=lambda item: -item[1]["requests"])
        lines += [
            f"{name:<18}{family['requests']:>12,}{family['hit_rate_percent']:>10.1f} %"
            for name, family in busiest
        ]
    return "\n".join(lines)


def _number(value: float, how: str) -> str:
    return "-" if math.isnan(value) else format(value, how)


@contextlib.contextmanager
def _shower() -> Iterator[Callable[[str], object]]:
    """What shows a screen: in place with rich on a terminal, else one below the other."""
    try:
        from rich.live import Live
        from rich.text import Text
    except ImportError:
        yield _below
        return
    if not sys.stdout.isatty():
        yield _below
        return
    with Live(screen=True, auto_refresh=False) as live:
        # A text, not markup: names of caches and keys are nobody's commands.
        yield lambda screen: live.update(Text(screen), refresh=True)


def _below(screen: str) -> None:
    sys.stdout.write(screen + "\n\n")
    sys.stdout.flush()


def _interval(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.1 <= seconds <= 3600:
        raise argparse.ArgumentTypeError(f"must be a number from 0.1 to 3600: {text!r:.40}")
    return seconds
