"""The types users see: code that must pass a strict checker, and mistakes it must find."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
EXPECTED = re.compile(r"# E: (?P<code>[a-z-]+)$")
FOUND = re.compile(r"^(?P<file>[^:]+):(?P<line>\d+): error: .*\[(?P<code>[a-z-]+)\]$")

pytest.importorskip("mypy", reason="the type checker is not installed")


def environment() -> dict[str, str]:
    # Where the package lies in the source tree, whether or not it is installed.
    sources = str(ROOT / "python")
    paths = [sources, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "MYPYPATH": sources, "PYTHONPATH": os.pathsep.join(paths)}


def mypy(*files: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mypy", "--strict", "--no-pretty", "--hide-error-context"]
    # Errors in the package itself are the business of another check.
    command += ["--follow-imports=silent", "--show-error-codes", "--no-color-output"]
    command += ["--config-file", str(ROOT / "pyproject.toml"), *map(str, files)]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env=environment(), check=False
    )


def test_what_users_write_passes_a_strict_checker() -> None:
    done = mypy(HERE / "api_pass.py")
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_mistake_is_found_and_nothing_else() -> None:
    source = HERE / "api_fail.py"
    lines = source.read_text(encoding="utf-8").splitlines()
    expected = {
        (number, match["code"])
        for number, line in enumerate(lines, 1)
        if (match := EXPECTED.search(line))
    }
    assert len(expected) > 50, "the file says what is expected"
    done = mypy(source)
    found = {
        (int(match["line"]), match["code"])
        for line in done.stdout.splitlines()
        if (match := FOUND.match(line))
    }
    unnoticed = [f"{number}: {lines[number - 1]}" for number, _ in sorted(expected - found)]
    assert not unnoticed, "not found:\n" + "\n".join(unnoticed) + "\n" + done.stdout
    assert found == expected, done.stdout


def test_the_stub_of_the_extension_says_what_is_there() -> None:
    command = [sys.executable, "-m", "mypy.stubtest", "velro_cache._engine"]
    command += ["--mypy-config-file", str(ROOT / "pyproject.toml")]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env=environment(), check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_package_says_that_it_is_typed() -> None:
    assert (ROOT / "python" / "velro_cache" / "py.typed").is_file()
