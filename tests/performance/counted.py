"""Instructions that the calls of `hot_calls.py` take, counted by valgrind's callgrind.

Counts do not depend on what else a machine is doing. `python tests/performance/counted.py` prints
them, and with ``--record`` writes them down as what is allowed from now on.
"""

from __future__ import annotations

import json
import platform
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
RECORD: Final = HERE / "instructions.json"

CALLS: Final = 20_000
"""So many that what happens once does not count."""

FUNCTIONS: Final = {
    "get, a text asked for before": "velro_cache::python::hot::get",
    "get_value, a text built for the call": "velro_cache::python::hot::get_value",
    "get_generation_access(str, str)": "velro_cache::python::hot::get_typed",
    "set over a value": "velro_cache::python::hot::set",
    "decorated function (str, str)": "velro_cache::python::vectorcall::call",
    "decorated async function (UUID, UUID)": "velro_cache::python::hot::probe",
}
"""The compiled function behind each kind of call."""


def platform_name() -> str:
    """Name what a count depends on besides the code: interpreter and processor."""
    implementation = platform.python_implementation()
    return f"{implementation} {sys.version_info[0]}.{sys.version_info[1]} {platform.machine()}"


def recorded() -> dict[str, int] | None:
    """Return what was written down for this platform; None: nothing."""
    found: dict[str, int] | None = json.loads(RECORD.read_text()).get(platform_name())
    return found


def count() -> dict[str, int]:
    """Count instructions per call, callees included."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "callgrind.out"
        collect = [f"--toggle-collect={function}" for function in FUNCTIONS.values()]
        command = [
            "valgrind",
            "--tool=callgrind",
            f"--callgrind-out-file={out}",
            *collect,
            sys.executable,
            str(HERE / "hot_calls.py"),
            str(CALLS),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        if done.returncode:
            raise RuntimeError(f"valgrind failed:\n{done.stderr[-2000:]}")
        costs = _inclusive(out.read_text())
    return {name: costs[function] // CALLS for name, function in FUNCTIONS.items()}


def _inclusive(profile: str) -> dict[str, int]:
    """Sum up instructions by function, from callgrind's format.

    A line of a function is a position and a cost; after a line ``calls=``, the cost is that of
    the function called. Names are written once, and then referred to by number.
    """
    names: dict[str, str] = {}
    costs: dict[str, int] = {}
    function = ""
    for line in profile.splitlines():
        if named := re.match(r"fn=\((\d+)\)(?: (.*))?", line):
            number, name = named.groups()
            names.setdefault(number, name)
            function = names[number]
        elif named := re.match(r"cfn=\((\d+)\)(?: (.*))?", line):
            names.setdefault(*named.groups())
        elif cost := re.match(r"[+\-*\d]\S* (\d+)$", line):
            costs[function] = costs.get(function, 0) + int(cost[1])
    return costs


def main() -> None:
    """Print the counts, and write them down if asked to."""
    counts = count()
    for name, instructions in counts.items():
        print(f"{instructions:6}  {name}")
    if "--record" in sys.argv[1:]:
        everything = json.loads(RECORD.read_text()) if RECORD.exists() else {}
        everything[platform_name()] = counts
        RECORD.write_text(json.dumps(everything, indent=2) + "\n")


if __name__ == "__main__":
    main()
