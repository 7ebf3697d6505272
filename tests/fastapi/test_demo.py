"""The demonstration, run as a user runs it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

DEMO = Path(__file__).parents[2] / "examples" / "demo.py"


def run_demo(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(DEMO), *options],
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=280,
        check=False,
    )


def tables(output: str) -> list[dict[str, list[str]]]:
    """The rows of each table by their names; also checks that the lines of a table align."""
    found = []
    for block in re.findall(r"^┌.*?^└.*?$", output, re.DOTALL | re.MULTILINE):
        lines = block.splitlines()
        assert len({len(line) for line in lines}) == 1
        cells = [
            [cell.strip() for cell in line.strip("│").split("│")]
            for line in lines
            if line.startswith("│")
        ]
        found.append({name or "columns": rest for name, *rest in cells})
    return found


def numbers(cells: list[str]) -> list[float]:
    return [float(re.sub(r"[^\d.+-]", "", cell)) for cell in cells]


@pytest.mark.timeout(300)
def test_a_quick_demonstration_keeps_its_promises() -> None:
    done = run_demo("--quick")
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout, "colours are for terminals"
    assert "100% after" in done.stderr, "progress is shown"
    load, revocations = tables(done.stdout)

    assert load["columns"][:3] == ["no cache", "velro-cache, empty", "velro-cache, filled"]
    assert load["wrong answers"][:3] == ["0", "0", "0"]
    without, cold, warm = numbers(load["SQL queries"][:3])
    assert without > 1000, "each of the 1,000 requests asks the database at least once"
    assert cold < without / 2
    assert warm == 0
    assert load["hit rate"][0] == "-"
    cold_rate, warm_rate = numbers(load["hit rate"][1:3])
    assert 50 < cold_rate < 100
    assert warm_rate == 100
    for name in ("request p50, client", "check p50, service"):
        times = numbers(load[name][:3])
        assert 0 < times[2] < times[0]
        assert numbers(load[name][3:4])[0] == pytest.approx(times[0] / times[2], rel=0.2)
    rates = numbers(load["requests/s"][:3])
    assert rates[2] > rates[0] > 0

    assert revocations["columns"] == ["no cache", "plain TTL dict", "velro-cache"]
    assert revocations["revocations"] == ["3", "3", "3"]
    asked = numbers(revocations["requests sent after the answer to the revoke"])
    allowed = numbers(revocations["... of these still allowed"])
    assert min(asked) >= 300
    assert allowed == [0, asked[1], 0]
    last = revocations["last allow, from the answer to the revoke"]
    assert last[1] == "still allowed at the end"
    assert re.fullmatch(r"[+-]\d+\.\d\d ms", last[2])
    assert "0 of 3,000 answers differ from the database" in done.stdout
    assert "0 allowed by velro-cache after a revocation" in done.stdout


@pytest.mark.timeout(300)
def test_artificial_latency_is_there_and_is_called_so() -> None:
    done = run_demo(
        "--users=20", "--generations=20", "--requests=100", "--concurrency=1", "--db-latency-ms=5"
    )
    assert done.returncode == 0, done.stderr
    assert "5 ms artificial latency per statement" in done.stdout
    load = tables(done.stdout)[0]
    assert numbers(load["check p50, service"][:1])[0] >= 5
    assert numbers(load["check p50, service"][2:3])[0] < 5


@pytest.mark.parametrize("options", [["--users=1"], ["--db-latency-ms=-1"], ["--requests=many"]])
def test_senseless_options_are_refused_with_a_reason(options: list[str]) -> None:
    done = run_demo(*options)
    assert done.returncode == 2
    assert options[0].split("=")[0] in done.stderr
    assert done.stdout == ""
