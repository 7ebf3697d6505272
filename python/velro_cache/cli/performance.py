"""``velro-cache test``: does a cache meet its targets on this machine?"""

import argparse
import asyncio
import json
import sys
from typing import Any

from velro_cache.cli.output import show
from velro_cache.cli.presets import PRESETS
from velro_cache.manager import OptimizedCacheManager
from velro_cache.performance import run_cache_performance_test

__all__ = ["add_to"]


def add_to(commands: Any) -> None:
    """Add the command to a parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "test",
        help="measure lookups and compare them with the targets",
        description=(
            "Make authorization lookups as a service does, check every answer, and compare time"
            " and hit rate with the targets of a preset. Exit status 1 if one is missed."
        ),
    )
    parser.add_argument("--iterations", type=_count, default=1000, metavar="N")
    parser.add_argument("--config", choices=sorted(PRESETS), default="production")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    with OptimizedCacheManager(PRESETS[options.config]()) as manager:
        result = asyncio.run(run_cache_performance_test(manager, options.iterations))
    if options.json:
        sys.stdout.write(json.dumps(result, indent=2) + "\n")
    else:
        show(as_text(result))
    return 0 if result["all_targets_met"] else 1


def as_text(result: dict[str, Any]) -> str:
    """Write a result for people to read.

    Args:
        result: What ``run_cache_performance_test`` returned.

    Returns:
        A few lines, one for each target and a verdict.
    """

    def mark(met: bool) -> str:
        return "OK  " if met else "MISS"

    lines = [
        f"{mark(result['meeting_access_time_target'])} average response time:"
        f" {result['avg_response_time_ms']:.6f} ms"
        f" (target: at most {result['target_access_time_ms']:g} ms;"
        f" p99 {result['p99_response_time_ms']:.6f} ms)",
        f"{mark(result['meeting_hit_rate_target'])} cache hit rate:"
        f" {result['cache_hit_rate_percent']:.1f} %"
        f" (target: at least {result['target_hit_rate_percent']:g} %)",
        f"{mark(not result['wrong_answers'])} wrong answers:"
        f" {result['wrong_answers']} of {result['iterations']}",
        "all targets met" if result["all_targets_met"] else "not all targets met",
    ]
    return "\n".join(lines)


def _count(text: str) -> int:
    try:
        count = int(text)
    except ValueError:
        count = 0
    if not 1 <= count <= 10_000_000:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 to 10,000,000: {text!r}")
    return count
