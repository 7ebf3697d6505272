"""What an open dashboard costs the service it looks at.

    python benches/python/dashboard.py [--write] [--quick]

A service under uvicorn, one worker, is asked by a process with keep-alive connections. In every
second round, another process asks what an open page asks: the same questions in the same rhythm.
The browser itself is left out, since it runs on the machine of whoever looks. Rounds with and
without it take turns, and it is the median round that counts.

Two figures: requests per second at an offered rate of 1,000, and the processor time of the server,
for a request and for one turn of the page. ``--write`` writes them into docs/dashboard.md.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import Event, Process, Queue
from pathlib import Path
from typing import Any, Final

import machine
from report import table

ROOT: Final = Path(__file__).resolve().parents[2]
PAGE: Final = ROOT / "docs" / "dashboard.md"
ADMIN: Final = "/admin/cache"
OFFERED: Final = 1_000
CONNECTIONS: Final = 8
SLOW_EVERY: Final = 5
ADVICE_EVERY: Final = 30
TICKS_PER_SECOND: Final = os.sysconf("SC_CLK_TCK")


def processor_seconds(pid: int) -> float:
    """Processor time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND


async def _ask(reader: Any, writer: Any, path: str) -> None:
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head
    length = re.search(rb"content-length: (\d+)", head.lower())
    assert length is not None
    await reader.readexactly(int(length[1]))


async def _load(port: int, seconds: float, rate: float) -> int:
    """Ask on all connections, no faster than that."""
    end = time.perf_counter() + seconds
    began = time.perf_counter()
    sent = 0

    async def one() -> None:
        nonlocal sent
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while (now := time.perf_counter()) < end:
            if sent > (now - began) * rate:
                await asyncio.sleep(0.002)
                continue
            sent += 1
            await _ask(reader, writer, f"/profiles/{sent}")
        writer.close()

    await asyncio.gather(*(one() for _ in range(CONNECTIONS)))
    return sent


def load(port: int, seconds: float, rate: float, answered: Any) -> None:
    """Ask for a while; say how many were answered per second."""
    began = time.perf_counter()
    count = asyncio.run(_load(port, seconds, rate))
    answered.put(count / (time.perf_counter() - began))


async def turn(reader: Any, writer: Any, number: int) -> None:
    """Ask what an open page asks in a second; see main.js of the page."""
    await _ask(reader, writer, f"{ADMIN}/stats")
    whole = number % 60 == 0
    await _ask(reader, writer, f"{ADMIN}/history?seconds={900 if whole else 4}")
    if number % SLOW_EVERY == 0:
        for path in ("targets", "top?limit=12", "invalidations?limit=20", "warming"):
            await _ask(reader, writer, f"{ADMIN}/{path}")
    if number % ADVICE_EVERY == 0:
        await _ask(reader, writer, f"{ADMIN}/recommendations")


async def _page(port: int, is_over: Any) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    number = 0
    while not is_over.is_set():
        await turn(reader, writer, number)
        number += 1
        await asyncio.sleep(1)
    writer.close()


def page(port: int, is_over: Any) -> None:
    """Be an open page until it is over."""
    asyncio.run(_page(port, is_over))


@contextmanager
def service() -> Iterator[tuple[int, int]]:
    """Run the service; give its port and its process."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    program = str(Path(__file__).with_name("dashboard_service.py"))
    server = subprocess.Popen([sys.executable, program, str(port)])  # noqa: S603
    try:
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.1)
        yield port, server.pid
    finally:
        server.terminate()
        server.wait()


def one_round(port: int, seconds: float, rate: float, *, is_open: bool) -> float:
    """Requests per second of one round."""
    is_over, answered = Event(), Queue()
    watcher = Process(target=page, args=(port, is_over))
    if is_open:
        watcher.start()
    loader = Process(target=load, args=(port, seconds, rate, answered))
    loader.start()
    found = float(answered.get())
    loader.join()
    is_over.set()
    if is_open:
        watcher.join()
    return found


def rates(port: int, rounds: int, seconds: float, rate: float) -> tuple[float, float]:
    """Requests per second without and with the page, medians."""
    found: dict[bool, list[float]] = {False: [], True: []}
    for number in range(rounds):
        # Who goes first takes turns, too.
        for is_open in (False, True) if number % 2 else (True, False):
            found[is_open].append(one_round(port, seconds, rate, is_open=is_open))
    return statistics.median(found[False]), statistics.median(found[True])


def processor_milliseconds(port: int, pid: int, times: int) -> tuple[float, float]:
    """Processor time of the server for a request, and for a turn of the page."""

    async def requests() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for number in range(times * 10):
            await _ask(reader, writer, f"/profiles/{number}")

    async def turns() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for number in range(times):
            await turn(reader, writer, number)

    found = []
    for work, count in ((requests, times * 10), (turns, times)):
        before = processor_seconds(pid)
        asyncio.run(work())
        found.append(1000 * (processor_seconds(pid) - before) / count)
    return found[0], found[1]


def main() -> None:
    """Measure, print, and write if asked to."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--write", action="store_true")
    options.add_argument("--quick", action="store_true")
    arguments = options.parse_args()
    rounds, seconds, times = (2, 3.0, 120) if arguments.quick else (5, 5.0, 600)
    about = machine.describe(ROOT, "make bench-dashboard")
    with service() as (port, pid):
        request_ms, turn_ms = processor_milliseconds(port, pid, times)
        offered = rates(port, rounds, seconds, OFFERED)
    rows = [
        (f"Requests per second, {OFFERED:,} offered", *map(_count, offered), _change(offered)),
    ]
    share = 100 * turn_ms / 1000
    worth = turn_ms / request_ms
    text = "\n".join(
        [
            table(("", "page closed", "page open", "change"), rows),
            "",
            f"Processor time of the server: {request_ms:.2f} ms for a request, {turn_ms:.2f} ms for"
            f" one turn of the page. Once a second, that is {share:.2f} % of one processor, or as"
            f" much as {worth:.1f} of {OFFERED:,} requests.",
            "",
            f"{about.processor}, {about.cores} processors, load average {about.load_average:.1f}"
            f" at the start; {about.python}, {about.date}, commit {about.commit}.",
        ]
    )
    print(text)
    if arguments.write:
        before, _, rest = PAGE.read_text("utf-8").partition("<!-- figures -->\n")
        after = rest.partition("<!-- end of figures -->")[2]
        PAGE.write_text(
            f"{before}<!-- figures -->\n{text}\n<!-- end of figures -->{after}", "utf-8"
        )


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _change(pair: tuple[float, float]) -> str:
    return f"{100 * (pair[1] / pair[0] - 1):+.1f} %"


if __name__ == "__main__":
    main()
