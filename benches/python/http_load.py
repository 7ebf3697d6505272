"""Guards over a real server: requests in a second, and what a slow source costs at a fixed load.

A uvicorn process for each way, one event loop on one core; requests come over TCP from this
process, and every answer is checked. What lies outside of the server is the same for all ways.
Ways take turns, and each is asked several times.

- **Throughput**: 32 connections, each asking as soon as it was answered.
- **A slow source**: requests begin at fixed moments, whether the ones before were answered or not;
  one in twenty asks for something new, for which the source needs 20 ms.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import multiprocessing
import socket
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

MISS_EVERY: Final = 20
"""One request in so many is a miss."""
CONNECTIONS: Final = 32
KNOWN: Final = 1000
"""Generations that are asked for in turn, and are in the cache."""
START_SECONDS: Final = 30.0
"""How long a server may take to start."""


@dataclass(frozen=True)
class Answered:
    """What came of some requests.

    Attributes:
        per_second: Requests answered in a second.
        cpu_microseconds: Time of the server's processor for each request.
        mean_ms: Mean time from when a request was due to its answer.
        slowest_ms: The longest.
    """

    per_second: float
    cpu_microseconds: float
    mean_ms: float
    slowest_ms: float


def _serve(listener: socket.socket, make: Callable[[], Any]) -> None:
    import uvicorn

    inner = make()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["path"] == "/cpu":
            body = str(time.process_time_ns()).encode()
            length = (b"content-length", str(len(body)).encode())
            await send({"type": "http.response.start", "status": 200, "headers": [length]})
            await send({"type": "http.response.body", "body": body})
            return
        await inner(scope, receive, send)

    # What a supervisor of uvicorn does: it passes no socket option on to what is accepted.
    config = uvicorn.Config(app, log_level="critical", access_log=False, lifespan="off")
    uvicorn.Server(config).run(sockets=[listener])


@contextlib.contextmanager
def served(make: Callable[[], Any]) -> Iterator[int]:
    """Serve an application in a process of its own.

    Args:
        make: Makes the application there.

    Yields:
        The port, on 127.0.0.1.
    """
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    # Accepted connections inherit it; without it answers wait for delayed acknowledgements.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    server = multiprocessing.get_context("fork").Process(target=_serve, args=(listener, make))
    server.start()
    try:
        port = int(listener.getsockname()[1])
        _await_answer(port)
        yield port
    finally:
        server.terminate()
        server.join(10)
        listener.close()


def _await_answer(port: int) -> None:
    """Wait until a server has started.

    Raises:
        TimeoutError: It has not.
    """
    with socket.create_connection(("127.0.0.1", port), timeout=START_SECONDS) as raw:
        raw.sendall(b"GET /cpu HTTP/1.1\r\nhost: bench\r\n\r\n")
        if not raw.recv(1):
            raise TimeoutError("the server ended while it started")


class Connection(asyncio.Protocol):
    """One connection: sends a request, waits for the whole answer."""

    def __init__(self) -> None:
        """Make one that is not connected yet."""
        self.transport: asyncio.Transport
        self._received = b""
        self._answer: asyncio.Future[bytes] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        if len(body) >= length and self._answer is not None:
            self._received = b""
            if not head.startswith(b"HTTP/1.1 200"):
                self._answer.set_exception(AssertionError(head[:100].decode()))
            else:
                self._answer.set_result(body)
            self._answer = None

    def connection_lost(self, error: Exception | None) -> None:
        """Called by the event loop."""
        if self._answer is not None:
            self._answer.set_exception(ConnectionError("the server went away"))

    async def ask(self, request: bytes) -> bytes:
        """Send a request; return the body of the answer."""
        self._answer = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return await self._answer


def request_for(generation: int, token: str) -> tuple[bytes, bytes]:
    """A request, and the body of its answer."""
    name = str(UUID(int=generation))
    head = f"GET /generations/{name} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {token}\r\n"
    return head.encode() + b"\r\n", b'{"id":"%s"}' % name.encode()


async def _connect(port: int) -> Connection:
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(Connection, "127.0.0.1", port)
    sock = connection.transport.get_extra_info("socket")
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


async def _cpu(connection: Connection) -> int:
    return int(await connection.ask(b"GET /cpu HTTP/1.1\r\nhost: bench\r\n\r\n"))


async def saturate(port: int, token: str, seconds: float) -> Answered:
    """Ask for known generations, on all connections, as fast as answers come."""
    requests = [request_for(number, token) for number in range(KNOWN)]
    connections = [await _connect(port) for _ in range(CONNECTIONS)]
    answered, slowest = 0, 0.0
    end = 0.0

    async def run(connection: Connection, at: int) -> None:
        nonlocal answered, slowest
        while (begun := time.perf_counter()) < end:
            request, body = requests[at % KNOWN]
            at += CONNECTIONS
            if await connection.ask(request) != body:
                raise AssertionError("another body")
            answered += 1
            slowest = max(slowest, time.perf_counter() - begun)

    before, begun = await _cpu(connections[0]), time.perf_counter()
    end = begun + seconds
    await asyncio.gather(*(run(one, at) for at, one in enumerate(connections)))
    took = time.perf_counter() - begun
    cpu = await _cpu(connections[0]) - before
    for connection in connections:
        connection.transport.close()
    mean = CONNECTIONS * took / answered
    return Answered(answered / took, cpu / answered / 1000, 1000 * mean, 1000 * slowest)


async def at_fixed_load(
    port: int, token: str, per_second: float, seconds: float, fresh: Iterator[int]
) -> Answered:
    """Ask at fixed moments; one request in twenty is for something new.

    Args:
        port: Of the server.
        token: Sent with every request.
        per_second: Requests in a second.
        seconds: How long.
        fresh: Generations that nobody has asked for.

    Returns:
        What came of it. Times begin when a request was due, so a server that lags cannot hide it.
    """
    requests = [request_for(number, token) for number in range(KNOWN)]
    idle = [await _connect(port) for _ in range(4 * CONNECTIONS)]
    connections = list(idle)
    times: list[float] = []

    async def one(number: int, due: float) -> None:
        if idle:
            connection = idle.pop()
        else:
            connection = await _connect(port)
            connections.append(connection)
        is_fresh = number % MISS_EVERY == MISS_EVERY - 1
        asked = request_for(next(fresh), token) if is_fresh else requests[number % KNOWN]
        if await connection.ask(asked[0]) != asked[1]:
            raise AssertionError("another body")
        times.append(time.perf_counter() - due)
        idle.append(connection)

    before, begun = await _cpu(connections[0]), time.perf_counter()
    asked = []
    for number in range(int(per_second * seconds)):
        due = begun + number / per_second
        # The event loop wakes up a millisecond late; the last of it is spent looking at the clock.
        while (left := due - time.perf_counter()) > 0:  # noqa: ASYNC110 (it is a clock)
            await asyncio.sleep(left - 0.002 if left > 0.002 else 0)
        asked.append(asyncio.create_task(one(number, due)))
    await asyncio.gather(*asked)
    took = time.perf_counter() - begun
    cpu = await _cpu(connections[0]) - before
    for connection in connections:
        connection.transport.close()
    return Answered(
        len(times) / took,
        cpu / len(times) / 1000,
        1000 * statistics.mean(times),
        1000 * max(times),
    )


async def herd(port: int, token: str, generation: int) -> int:
    """Ask for one generation that nobody asked for before, on all connections at once.

    Returns:
        How often the source was asked.
    """
    request, body = request_for(generation, token)
    before = await loads(port)
    connections = [await _connect(port) for _ in range(CONNECTIONS)]
    answers = await asyncio.gather(*(one.ask(request) for one in connections))
    if set(answers) != {body}:
        raise AssertionError("another body")
    for connection in connections:
        connection.transport.close()
    return await loads(port) - before


async def loads(port: int) -> int:
    """How often the source of an application was asked, of which ``/loads`` tells."""
    connection = await _connect(port)
    asked = int(await connection.ask(b"GET /loads HTTP/1.1\r\nhost: bench\r\n\r\n"))
    connection.transport.close()
    return asked


def throughput(
    makes: Mapping[str, Callable[[], Any]], token: str, rounds: int, seconds: float
) -> dict[str, list[Answered]]:
    """Let ways take turns, each as fast as it can.

    Args:
        makes: By name, what makes an application.
        token: Sent with every request.
        rounds: How often each has its turn.
        seconds: How long a turn is.

    Returns:
        By name, what came of each turn.
    """
    with contextlib.ExitStack() as stack:
        ports = {name: stack.enter_context(served(make)) for name, make in makes.items()}
        results: dict[str, list[Answered]] = {name: [] for name in makes}

        async def run() -> None:
            for port in ports.values():
                # All that is known is then in the cache.
                await saturate(port, token, max(1.0, seconds))
            for number in range(rounds):
                names = list(ports)
                # Who begins changes.
                for name in names[number % len(names) :] + names[: number % len(names)]:
                    results[name].append(await saturate(ports[name], token, seconds))

        asyncio.run(run())
    return results


@dataclass(frozen=True)
class Slow:
    """What a slow source costs.

    Attributes:
        without: What came of the turns of the route without authorization.
        guarded: What came of those of the guarded route.
        per_second: The load.
        loads_of_a_herd: How often the source was asked for what many asked for at once.
    """

    without: list[Answered]
    guarded: list[Answered]
    per_second: float
    loads_of_a_herd: int


def slow_source(
    plain: Callable[[], Any],
    guarded: Callable[[], Any],
    token: str,
    rounds: int,
    seconds: float,
    per_second: float,
) -> Slow:
    """Compare a route without authorization with a guarded one before a slow source.

    Args:
        plain: Makes the one application.
        guarded: Makes the other, which says at ``/loads`` how often its source was asked.
        token: Sent with every request.
        rounds: How often each has its turn.
        seconds: How long a turn is.
        per_second: Requests in a second.

    Returns:
        Both, turn by turn.

    Raises:
        AssertionError: Another answer than expected, or the source was asked for something else
            than what was new.
    """
    without: list[Answered] = []
    with_guard: list[Answered] = []
    fresh = itertools.count(1_000_000)
    with served(plain) as plain_port, served(guarded) as guarded_port:

        async def run() -> int:
            for port in (plain_port, guarded_port):
                await saturate(port, token, 2.0)
            before = await loads(guarded_port)
            for number in range(rounds):
                turns = [(plain_port, without), (guarded_port, with_guard)]
                for port, results in turns[:: 1 if number % 2 else -1]:
                    results.append(await at_fixed_load(port, token, per_second, seconds, fresh))
            misses = rounds * (int(per_second * seconds) // MISS_EVERY)
            if (asked := await loads(guarded_port) - before) != misses:
                raise AssertionError(f"the source was asked {asked} times, not {misses}")
            return await herd(guarded_port, token, 10_000_000)

        herd_loads = asyncio.run(run())
    return Slow(without, with_guard, per_second, herd_loads)
