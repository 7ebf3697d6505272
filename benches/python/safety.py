"""Run short programs against several caches, each in a process of its own, and say how they ended.

    python benches/python/safety.py                       all of them; writes docs/safety.md
    python benches/python/safety.py --caches velro,moka --programs exit,fork

A run that leaves something out prints its table and writes nothing. Where a program hangs, what
its threads were doing goes to standard error, to be looked at. The exit status is 1 if velro-cache
hung, crashed or leaked, 0 otherwise.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import resource
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import machine
import report
from safety_caches import CACHES
from safety_programs import PROGRAMS

ROOT: Final = Path(__file__).resolve().parent.parent.parent

LIMIT_SECONDS: Final = 20
"""Each program takes less than three where it ends at all."""

WORDS: Final = """\
*fine*: it ended in order. *refused*: an exception said that this is not possible, and nothing else
happened. *leak*: what nobody can reach any more was not given back. *hang*: it stood still, waiting
for itself, and was ended after {limit} seconds. *busy*: it was still at work then. *crash*: the
process was ended by the operating system (the signal in parentheses). A dash: the cache has no such
operation.
"""


def main(arguments: list[str] | None = None) -> int:
    """Run what the command line asks for.

    Args:
        arguments: The command line; None stands for the process's own.

    Returns:
        The exit status.
    """
    options = _parser().parse_args(arguments)
    caches = _chosen(options.caches, CACHES)
    programs = _chosen(options.programs, PROGRAMS)
    ended = {program: [how_it_ended(cache, program) for cache in caches] for program in programs}
    head = ["", *(_heading(cache) for cache in caches)]
    rows = [[PROGRAMS[program].title, *outcomes] for program, outcomes in ended.items()]
    table = report.table(head, rows)
    print(table)
    if len(caches) == len(CACHES) and len(programs) == len(PROGRAMS):
        (ROOT / "docs" / "safety.md").write_text(_page(table), encoding="utf-8")
    bad = [
        outcomes[caches.index("velro")].startswith(("leak", "hang", "busy", "crash", "failed"))
        for outcomes in ended.values()
        if "velro" in caches
    ]
    return int(any(bad))


def how_it_ended(cache: str, program: str) -> str:
    """Run one program against one cache, and return the word for the table."""
    script = Path(__file__).parent / "safety_programs.py"
    before = _child_seconds()
    process = subprocess.Popen(  # noqa: S603 - this interpreter, with names from our own tables
        [sys.executable, str(script), cache, program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        output, errors = process.communicate(timeout=LIMIT_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        _, errors = process.communicate()
        print(f"--- {cache}, {program}\n{errors}", file=sys.stderr)
        # One that waits takes no time of the processor.
        return "busy" if _child_seconds() - before > LIMIT_SECONDS / 2 else "**hang**"
    if process.returncode < 0:
        print(f"--- {cache}, {program}\n{errors}", file=sys.stderr)
        return f"**crash** ({-process.returncode})"
    ended = output.strip().rpartition("\n")[2]
    if process.returncode or not ended:
        print(f"--- {cache}, {program}\n{errors}", file=sys.stderr)
        return "failed"
    if ended == "not offered":
        return "-"
    return ended if ended == "fine" or ended.startswith("refused") else f"**{ended}**"


def _child_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _heading(cache: str) -> str:
    member = CACHES[cache]
    version = importlib.metadata.version(member.package)
    return f"**{member.title}** {version}" if cache == "velro" else f"{member.title} {version}"


def _page(table: str) -> str:
    made = machine.describe(ROOT, "make bench-safety")
    facts = report.table(
        ["Made", ""],
        [
            ["on", f"{made.date}, commit `{made.commit}`"],
            ["machine", f"{made.processor}, {made.cores} cores, {made.system}"],
            ["Python", made.python],
            ["by", f"`{made.command}`"],
        ],
    )
    return f"""# Safety beside other caches

Short programs that do to a cache what Python lets them do: a value that uses the cache as it dies,
a fork while threads are inside, an exit with a daemon thread in the middle of a call. Each runs in
a process of its own. This page is written by the run itself: `make bench-safety`.

{facts}

{table}

{WORDS.format(limit=LIMIT_SECONDS)}
The programs are in `benches/python/safety_programs.py`. All caches keep the very object they are
given, velro-cache with `isolation="shared"`. Keys other than texts are refused by velro-cache, so
none can run code of its own. What velro-cache is held to beyond this is in `tests/safety`.
"""


def _chosen(names: str | None, known: Mapping[str, object]) -> list[str]:
    if names is None:
        return list(known)
    chosen = names.split(",")
    if unknown := [name for name in chosen if name not in known]:
        raise SystemExit(
            f"safety: no such name: {', '.join(unknown)}; there are {', '.join(known)}"
        )
    return chosen


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Compare how caches take what Python allows.")
    parser.add_argument("--caches", help=f"some of {', '.join(CACHES)}, with commas")
    parser.add_argument("--programs", help=f"some of {', '.join(PROGRAMS)}, with commas")
    return parser


if __name__ == "__main__":
    sys.exit(main())
