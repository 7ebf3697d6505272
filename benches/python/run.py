"""Run the benchmark: velro-cache beside its peers, in one run.

    python benches/python/run.py                       everything; writes docs/benchmarks.*
    python benches/python/run.py --quick               a minute; prints, writes nothing
    python benches/python/run.py --only hit --contestants velro,cachebox-lru

A partial or quick run prints its tables and writes files only where `--out` says, so that it
never replaces the figures of a whole run. The exit status is 1 if a contestant gave a wrong
answer or a scenario could not be run, 0 otherwise, whether the goals are reached or not.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import chart
import goals
import machine
import report
from contestants import CONTESTANTS
from contestants.base import Contestant
from harness import ContestantError, Runner, WrongAnswerError
from results import Outcome, Results
from scenarios import SCENARIOS, Scenario, memory
from scenarios.context import FULL, QUICK, Context, Scale

ROOT = Path(__file__).resolve().parent.parent.parent

EXPLAINED = 3
"""Exit status of a scenario's process that has said what went wrong."""


def main(arguments: list[str] | None = None) -> int:
    """Run what the command line asks for.

    Args:
        arguments: The command line; None stands for the process's own.

    Returns:
        The exit status.
    """
    options = _parser().parse_args(arguments)
    if options.child_memory:
        return _fill_here(options.child_memory, options.entries)
    if options.render:
        record = json.loads(options.render.read_text(encoding="utf-8"))
        return _publish(Results.from_json(record), options.out or ROOT / "docs", raw=False)

    scale = QUICK if options.quick else FULL
    try:
        scenarios = _chosen_scenarios(options.only)
        members, versions, left_out = _chosen_contestants(options.contestants)
    except ValueError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    if options.child:
        return _run_here(scenarios[0], members, scale)

    whole = not (options.quick or options.only or options.contestants)
    if whole and "velro" in left_out:
        print(f"bench: velro-cache does not load: {left_out['velro']}", file=sys.stderr)
        return 1
    results = Results(
        machine=machine.describe(ROOT, _command(arguments)),
        outcomes=[],
        versions=versions,
        left_out={
            member.title: left_out[member.slug] for member in CONTESTANTS if member.slug in left_out
        },
    )
    failed = []
    begin = time.monotonic()
    for number, scenario in enumerate(scenarios, 1):
        _say(f"[{number}/{len(scenarios)}] {scenario.slug}")
        outcome = _run_in_child(scenario, options)
        if outcome is None:
            failed.append(scenario.slug)
        else:
            results.outcomes.append(outcome)
    _say(f"took {time.monotonic() - begin:.0f} s")
    if failed:
        print(report.tables(results))
        print(f"bench: FAILED: {', '.join(failed)} (see above)", file=sys.stderr)
        return 1
    if whole or options.out:
        return _publish(results, options.out or ROOT / "docs", raw=options.out is not None)
    print(report.tables(results))
    _print_goals(results)
    return 0


def _parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = argparse.ArgumentParser(
        description="Compare velro-cache with its peers.",
        epilog="Scenarios: " + ", ".join(scenario.slug for scenario in SCENARIOS) + ". "
        "Contestants: " + ", ".join(member.slug for member in CONTESTANTS) + ".",
    )
    parser.add_argument("--quick", action="store_true", help="short rounds, small sizes")
    parser.add_argument(
        "--only", action="append", metavar="SCENARIO", help="run only this one (may be repeated)"
    )
    parser.add_argument(
        "--contestants", metavar="A,B", help="only these; the dict and empty loop always run"
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="write benchmarks.md, .svg and .json there"
    )
    parser.add_argument(
        "--render", type=Path, metavar="JSON", help="only write the report of an earlier run"
    )
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--child-memory", metavar="SLUG", help=argparse.SUPPRESS)
    parser.add_argument("--entries", type=int, default=0, help=argparse.SUPPRESS)
    return parser


def _command(arguments: list[str] | None) -> str:
    """Return the command as the reader would type it."""
    given = sys.argv[1:] if arguments is None else arguments
    shown: list[str] = []
    skip = False
    for argument in given:
        if skip or argument == "--out" or argument.startswith("--out="):
            skip = argument == "--out"
            continue
        shown.append(argument)
    return " ".join(("python benches/python/run.py", *shown)) if shown else "make bench"


def _chosen_scenarios(names: list[str] | None) -> list[Scenario]:
    """Return the scenarios that were asked for, in the report's order.

    Raises:
        ValueError: There is no such scenario.
    """
    known = {scenario.slug for scenario in SCENARIOS}
    unknown = [name for name in names or () if name not in known]
    if unknown:
        raise ValueError(f"no scenario {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    return [scenario for scenario in SCENARIOS if not names or scenario.slug in names]


def _chosen_contestants(
    names: str | None,
) -> tuple[tuple[type[Contestant], ...], dict[str, str], dict[str, str]]:
    """Return the contestants that were asked for and load, their versions, and who does not.

    Raises:
        ValueError: There is no such contestant.
    """
    wanted = {name.strip() for name in names.split(",")} if names else None
    known = {member.slug for member in CONTESTANTS}
    if wanted and not wanted <= known:
        raise ValueError(
            f"no contestant {', '.join(sorted(wanted - known))}; "
            f"there are {', '.join(member.slug for member in CONTESTANTS)}"
        )
    members: list[type[Contestant]] = []
    versions: dict[str, str] = {}
    left_out: dict[str, str] = {}
    for member in CONTESTANTS:
        if wanted and member.slug not in wanted and member.slug != "dict":
            continue
        try:
            member.load_library()
            version = member.version()
        except ImportError as error:
            left_out[member.slug] = str(error)
            continue
        members.append(member)
        if version is not None:
            versions[member.package or "velro-cache"] = version
    return tuple(members), versions, left_out


def _run_in_child(scenario: Scenario, options: argparse.Namespace) -> Outcome | None:
    """Run one scenario in a fresh process; None if it failed, the reason was printed then."""
    command = [sys.executable, str(Path(__file__).resolve()), "--child", "--only", scenario.slug]
    if options.quick:
        command.append("--quick")
    if options.contestants:
        command += ["--contestants", options.contestants]
    finished = subprocess.run(  # noqa: S603 - this very script
        command,
        check=False,
        stdout=subprocess.PIPE,
        text=True,
        # One hash seed for all: which keys collide in a table is the same in every run.
        env=os.environ | {"PYTHONHASHSEED": "0"},
    )
    if finished.returncode != 0:
        if finished.returncode != EXPLAINED:
            _say(f"    {scenario.slug}: the process ended with status {finished.returncode}")
        return None
    return Outcome.from_json(json.loads(finished.stdout))


def _run_here(scenario: Scenario, members: tuple[type[Contestant], ...], scale: Scale) -> int:
    """Run one scenario in this process and print its outcome as JSON."""
    runner = Runner()
    try:
        outcome = scenario.run(Context(runner, scale, members, _Progress()))
    except WrongAnswerError as error:
        _say(f"\n    WRONG ANSWER in {scenario.slug}: {error}")
        return EXPLAINED
    except ContestantError as error:
        _say(f"\n    FAILURE in {scenario.slug}: {error}")
        return EXPLAINED
    finally:
        runner.close()
    json.dump(outcome.as_json(), sys.stdout)
    return 0


def _fill_here(slug: str, entries: int) -> int:
    """Fill one contestant in this process and print what it took as JSON."""
    try:
        figures = memory.measure(slug, entries)
    except WrongAnswerError as error:
        _say(f"\n    WRONG ANSWER in memory: {error}")
        return EXPLAINED
    json.dump(figures, sys.stdout)
    return 0


class _Progress:
    """Shows a scenario's progress: one line that changes on a terminal, two lines elsewhere."""

    def __init__(self) -> None:
        self._shown = -1.0

    def __call__(self, done: int, total: int) -> None:
        """Show that so many of so many steps are done."""
        part = done / total if total else 1.0
        if sys.stderr.isatty():
            if part - self._shown >= 0.01 or part >= 1.0:
                self._shown = part
                end = "\n" if part >= 1.0 else ""
                print(f"\r    {100 * part:3.0f} %", end=end, file=sys.stderr, flush=True)
        elif part - self._shown >= 0.5:
            self._shown = part
            _say(f"    {done} of {total}")


def _say(text: str) -> None:
    """Print a line of progress."""
    print(text, file=sys.stderr, flush=True)


def _publish(results: Results, directory: Path, *, raw: bool) -> int:
    """Write the report and its chart, and say where; with ``raw`` the figures as JSON too."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "benchmarks.md").write_text(report.page(results), encoding="utf-8")
    (directory / "benchmarks.svg").write_text(chart.draw(results), encoding="utf-8")
    if raw:
        (directory / "benchmarks.json").write_text(
            json.dumps(results.as_json(), indent=1) + "\n", encoding="utf-8"
        )
    _print_goals(results)
    print(f"wrote {directory / 'benchmarks.md'} and benchmarks.svg")
    return 0


def _print_goals(results: Results) -> None:
    """Print each goal with its figure."""
    for verdict in goals.verdicts(results):
        print(verdict.line())


if __name__ == "__main__":
    sys.exit(main())
