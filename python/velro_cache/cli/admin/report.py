"""``velro-cache report``: how a running service's cache is doing, and what to do about it."""

import argparse
import json
import sys
from typing import Any

from velro_cache.cli.admin.advice import recommendations
from velro_cache.cli.admin.client import add_connection_options, client_for, printable, read_figures
from velro_cache.cli.output import show

__all__ = ["add_to"]


def add_to(commands: Any) -> None:
    """Add the command to a parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "report",
        help="how the cache of a running service is doing, and what to do about it",
        description=(
            "Print a summary of the figures of one worker of a running service, with"
            " recommendations. Exit status 0 whatever the figures say."
        ),
    )
    add_connection_options(parser)
    parser.add_argument("--json", action="store_true", help="print figures and advice as JSON")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    stats = read_figures(client_for(options))
    advice = recommendations(stats)
    if options.json:
        report = {"stats": stats, "recommendations": advice}
        sys.stdout.write(json.dumps(report, indent=2) + "\n")
    else:
        show(printable(as_text(stats, advice)))
    return 0


def as_text(stats: dict[str, Any], advice: list[str]) -> str:
    """Write a report for people to read.

    Args:
        stats: The figures.
        advice: What they suggest.
    """
    latency, log = stats["latency"], stats["log"]
    lines = [
        f"Cache {stats['cache']}, worker {stats['process_id']}",
        "",
        f"{_mark(stats['meeting_hit_rate_target'])} hit rate {stats['hit_rate_percent']:.1f} %"
        f" of {stats['total_requests']:,} lookups (target {stats['target_hit_rate_percent']:g} %)",
        f"{_mark(stats['meeting_access_time_target'])} mean lookup {latency['mean_ns']:,.0f} ns,"
        f" p99 {latency['p99_ns']:,.0f} ns (target {stats['target_access_time_ms']:g} ms)",
        f"     entries {stats['total_entries']:,} of {stats['max_entries']:,},"
        f" memory {stats['total_size_mb']:.1f} of {stats['max_size_mb']:,} MiB",
        f"     left: {stats['evicted_entries']:,} evicted, {stats['expired_entries']:,} expired,"
        f" {stats['invalidated_entries']:,} invalidated",
        f"{_mark(stats['sharing']['state'] == 'shared')} table {stats['sharing']['state']}",
    ]
    if log is not None:
        lines.append(
            f"{_mark(log['has_lease'])} log: lag {log['lag_entries']:,} entries,"
            f" {log['unpublished_invalidations']:,} invalidations not sent"
        )
    if stats["families"]:
        lines += ["", "Kind of key           lookups   hit rate"]
        busiest = sorted(stats["families"].items(), key=lambda item: -item[1]["requests"])
        lines += [
            f"{name:<18} {family['requests']:>10,}   {family['hit_rate_percent']:>6.1f} %"
            for name, family in busiest
        ]
    lines += ["", "Recommendations"]
    lines += [f"- {sentence}" for sentence in advice] or ["- Nothing to be done."]
    return "\n".join(lines)


def _mark(good: bool) -> str:
    return "OK  " if good else "MISS"
