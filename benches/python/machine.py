"""Where and when a run is made."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

from results import Machine


def describe(root: Path, command: str) -> Machine:
    """Describe this machine, now.

    Args:
        root: The source tree, whose commit is named.
        command: The command that makes the figures.
    """
    return Machine(
        processor=_processor(),
        cores=len(os.sched_getaffinity(0)),
        system=" ".join((platform.system(), platform.release(), *platform.libc_ver())),
        python=f"{platform.python_implementation()} {platform.python_version()}",
        commit=_commit(root),
        date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        load_average=os.getloadavg()[0],
        command=command,
    )


def _processor() -> str:
    """Return the processor's model name, as far as the system tells."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _commit(root: Path) -> str:
    """Return the short commit of the source tree, with ``+`` if files differ from it."""
    git = shutil.which("git")
    if git is None:
        return "unknown"

    def ask(*arguments: str) -> str:
        return subprocess.run(  # noqa: S603 - git with fixed arguments
            [git, "-C", str(root), *arguments],
            check=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ).stdout.strip()

    try:
        commit = ask("rev-parse", "--short", "HEAD")
        # What the run itself writes does not make the code another one.
        changed = ask("status", "--porcelain", "--", "src", "python", "benches/python")
    except subprocess.CalledProcessError:
        return "unknown"
    return f"{commit}+" if changed else commit
