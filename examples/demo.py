"""See what the cache does for a real service.

Starts the example service (FastAPI on uvicorn, SQLite through SQLAlchemy) in a process of its
own, sends it the same load over HTTP without and with velro-cache, then revokes memberships
while their users keep asking. Every answer is checked against the database.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

sys.path.insert(0, str(Path(__file__).resolve().parent))

from velro_service.database import create_and_fill
from velro_service.load import (
    Connection,
    LoadResult,
    Request,
    RevocationResult,
    plan_load,
    run_load,
    run_revocation,
)
from velro_service.report import Progress, heading, milliseconds, note, percentile, table
from velro_service.truth import Truth

NAMES = {"none": "no cache", "plain-ttl": "plain TTL dict", "velro": "velro-cache"}
HAMMERS = 8
"""Connections over which the user of a membership keeps asking while it is revoked."""


@dataclass(frozen=True, slots=True)
class LoadFigures:
    """A load as seen from both sides."""

    client: LoadResult
    check_seconds: list[float]
    statements: int
    cached_checks: int
    cache_hits: int


def main() -> int:
    """Run the demonstration.

    Returns:
        Exit status: 0 if every answer was right and no revoked access was allowed.
    """
    options = _options()
    with tempfile.TemporaryDirectory(prefix="velro-demo-") as folder:
        database = Path(folder) / "velro.db"
        create_and_fill(
            database, users=options.users, generations=options.generations, seed=options.seed
        )
        return _runner()(_run(options, database))


def _runner() -> Callable[[Coroutine[Any, Any, int]], int]:
    try:
        import uvloop
    except ImportError:
        return asyncio.run
    run: Callable[[Coroutine[Any, Any, int]], int] = uvloop.run
    return run


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--users", type=int, default=500, help="users (default 500)")
    parser.add_argument("--generations", type=int, default=2000, help="generations (default 2000)")
    parser.add_argument(
        "--requests", type=int, default=8_000, help="requests of each load (default 8000)"
    )
    parser.add_argument(
        "--concurrency", type=int, default=16, help="keep-alive connections (default 16)"
    )
    parser.add_argument("--seed", type=int, default=1, help="seed of data and load (default 1)")
    parser.add_argument(
        "--db-latency-ms",
        type=float,
        default=0.0,
        help="milliseconds to wait before each SQL statement, standing for the way to a database"
        " elsewhere (default 0: none, the embedded database as it is)",
    )
    parser.add_argument("--quick", action="store_true", help="a small run of a few seconds")
    options = parser.parse_args()
    if options.quick:
        options.users, options.generations = 100, 300
        options.requests, options.concurrency = 1_000, 8
    for name, lowest in {"users": 20, "generations": 20, "requests": 100, "concurrency": 1}.items():
        if getattr(options, name) < lowest:
            parser.error(f"--{name} must be at least {lowest}")
    if not 0 <= options.db_latency_ms <= 1000:
        parser.error("--db-latency-ms must be from 0 to 1000")
    return options


async def _run(options: argparse.Namespace, database: Path) -> int:
    truth = Truth(database)
    requests = plan_load(truth, options.requests, options.seed)
    latency = options.db_latency_ms
    heading("velro-cache demonstration")
    note(
        f"{options.users:,} users, {options.generations:,} generations, SQLite"
        + (f" + {latency:g} ms artificial latency per statement" if latency else " (embedded)")
        + f"; {options.requests:,} requests over {options.concurrency} connections, seed"
        f" {options.seed}"
    )
    with _service(database, "none", latency) as port:
        without = await _load(port, requests, options, "Load, no cache")
    with _service(database, "velro", latency) as port:
        cold = await _load(port, requests, options, "Load, velro-cache, empty")
        warm = await _load(port, requests, options, "Load, velro-cache, filled")
    revocations = await _revocations(options, database, truth)
    heading(f"The same {options.requests:,} requests over HTTP")
    _load_table(without, cold, warm)
    heading("Taking access away while its holder keeps asking")
    _revocation_table(revocations)
    wrong = sum(load.client.wrong for load in (without, cold, warm))
    stale = revocations["velro"].allowed_after
    refused = sum(seen.denied_before for seen in revocations.values())
    print(
        f"\n{wrong} of {3 * options.requests:,} answers differ from the database;"
        f" {stale} allowed by velro-cache after a revocation."
    )
    return 1 if wrong or stale or refused else 0


async def _load(
    port: int, requests: list[Request], options: argparse.Namespace, label: str
) -> LoadFigures:
    """Send the load; tell what it cost the client and the service."""
    before = await _figures(port)
    progress = Progress(label, len(requests))
    client = await run_load(port, requests, options.concurrency, progress)
    progress.finish()
    after = await _figures(port)
    return LoadFigures(
        client=client,
        check_seconds=after["check_seconds"][len(before["check_seconds"]) :],
        statements=after["statements"] - before["statements"],
        cached_checks=after["cached_checks"] - before["cached_checks"],
        cache_hits=after["cache_hits"] - before["cache_hits"],
    )


async def _revocations(
    options: argparse.Namespace, database: Path, truth: Truth
) -> dict[str, RevocationResult]:
    """Revoke different memberships in each mode; one that is gone cannot be revoked again."""
    each = 3 if options.quick else 8
    found = truth.revocations(3 * each, random.Random(options.seed))
    each = len(found) // 3
    results = {}
    for number, mode in enumerate(NAMES):
        progress = Progress(f"Revocations, {NAMES[mode]}", each)
        total = RevocationResult()
        with _service(database, mode, options.db_latency_ms) as port:
            for done, revocation in enumerate(found[number * each : (number + 1) * each], start=1):
                total.add(await run_revocation(port, revocation, hammers=HAMMERS, rounds=15))
                progress(done)
        progress.finish()
        results[mode] = total
    return results


@contextmanager
def _service(database: Path, mode: str, latency_ms: float) -> Iterator[int]:
    """Run the service in a process of its own; give its port."""
    command = [sys.executable, "-m", "velro_service.app", "--database", str(database)]
    command += ["--mode", mode, "--db-latency-ms", str(latency_ms)]
    folders = [str(Path(__file__).resolve().parent), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, folders))}
    with subprocess.Popen(  # noqa: S603 (this interpreter, arguments of our own)
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        stdin, stdout = cast(IO[str], process.stdin), cast(IO[str], process.stdout)
        try:
            line = stdout.readline()
            if not line:
                raise RuntimeError(f"the service did not start; its status is {process.wait()}")
            yield int(json.loads(line)["port"])
        finally:
            # Closing its standard input asks it to stop.
            stdin.close()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()


async def _figures(port: int) -> dict[str, Any]:
    connection = await Connection.open(port)
    figures: dict[str, Any] = await connection.call("GET", "/figures")
    connection.close()
    return figures


def _load_table(without: LoadFigures, cold: LoadFigures, warm: LoadFigures) -> None:
    loads = (without, cold, warm)
    rows = []

    def row(name: str, cells: list[str], ratio: float | None = None) -> None:
        rows.append((name, *cells, f"{ratio:,.1f} x" if ratio is not None else ""))

    rates = [len(load.client.request_seconds) / load.client.seconds for load in loads]
    row("requests/s", [f"{rate:,.0f}" for rate in rates], rates[2] / rates[0])
    for percent in (50, 99):
        times = [percentile(load.client.request_seconds, percent) for load in loads]
        row(f"request p{percent}, client", [milliseconds(t) for t in times], times[0] / times[2])
    for percent in (50, 99):
        times = [percentile(load.check_seconds, percent) for load in loads]
        row(f"check p{percent}, service", [milliseconds(t) for t in times], times[0] / times[2])
    row("SQL queries", [f"{load.statements:,}" for load in loads])
    row("hit rate", ["-", *(f"{_hit_rate(load):.1f} %" for load in (cold, warm))])
    row("wrong answers", [f"{load.client.wrong}" for load in loads])
    columns = ["", "no cache", "velro-cache, empty", "velro-cache, filled", "filled : none"]
    table(columns, rows, best=3)


def _hit_rate(load: LoadFigures) -> float:
    return 100 * load.cache_hits / max(1, load.cached_checks)


def _revocation_table(seen: dict[str, RevocationResult]) -> None:
    def last(result: RevocationResult) -> str:
        if not result.revocations:
            return "-"
        if result.allowed_after:
            return "still allowed at the end"
        return f"{result.last_allow_ms:+.2f} ms"

    rows = [
        ("revocations", *(f"{result.revocations}" for result in seen.values())),
        (
            "requests sent after the answer to the revoke",
            *(f"{result.sent_after:,}" for result in seen.values()),
        ),
        ("... of these still allowed", *(f"{r.allowed_after:,}" for r in seen.values())),
        ("last allow, from the answer to the revoke", *(last(r) for r in seen.values())),
    ]
    table(["", *(NAMES[mode] for mode in seen)], rows, best=3)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
