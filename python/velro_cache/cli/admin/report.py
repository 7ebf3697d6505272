"""``velro-cache report``: how a running service's cache is doing, and what to do about it."""

import argparse
import json
import sys
from typing import Any

from velro_cache.cli.admin.client import (
    add_connection_options,
    client_for,
    printable,
    read_figures,
    read_recommendations,
)
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
    client = client_for(options)
    stats, advice = read_figures(client), read_recommendations(client)
    if options.json:
        report = {"stats": stats, **advice}
        sys.stdout.write(json.dumps(report, indent=2) + "\n")
    else:
        show(printable(as_text(stats, advice)))
    return 0


def as_text(stats: dict[str, Any], advice: dict[str, Any]) -> str:
    """Write a report for people to read.

    Args:
        stats: The figures.
        advice: The answer of ``/recommendations``.
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
    lines += _lives(stats["lives"])
    if advice["what_if"] is not None:
        lines += ["", *_what_if(advice["what_if"])]
    lines += ["", "Recommendations"]
    lines += [
        f"- {finding['severity']}: {finding['title']}. {finding['detail']} {finding['action']}"
        for finding in advice["recommendations"]
    ] or ["- Nothing to be done."]
    return "\n".join(lines)


def _lives(lives: list[dict[str, Any]]) -> list[str]:
    lines = []
    for life in lives:
        rate, longest = life["estimated_hit_rate_percent"], life["ttl_at_most_seconds"]
        if rate is not None:
            told = "longer" if longest is None else f"up to {longest:,} s"
            lines.append(f"{told:<18} {life['sets']:>10,}  ≈{rate:>6.1f} %")
    return ["", "Life given              stored   hit rate", *lines] if lines else []


def _what_if(what_if: dict[str, Any]) -> list[str]:
    measured = 100.0 * what_if["measured_hit_rate"]
    lines = [f"What if                estimated hit rate   (measured now: {measured:.1f} %)"]
    for one in what_if["estimates"]:
        rate = one["estimated_hit_rate"]
        told = "not known" if rate is None else f"{100.0 * rate:.1f} %"
        change = "size" if one["change"] == "size" else "lives"
        lines.append(f"{change + ' times ' + format(one['factor'], 'g'):<18} {told:>17}")
    return lines


def _mark(good: bool) -> str:
    return "OK  " if good else "MISS"
