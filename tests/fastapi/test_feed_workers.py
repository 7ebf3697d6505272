"""The feed of a server with two workers: what one invalidates, clients of the other hear of."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from fed import Listening, listening

HERE = Path(__file__).parent
LIMIT_SECONDS = 60


class Server:
    """uvicorn with two workers, in processes of its own."""

    def __init__(self, workers: int) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.set_inheritable(True)
        command = [sys.executable, "-m", "uvicorn", "fed_workers:app", "--log-level", "critical"]
        command += ["--fd", str(self.listener.fileno())]
        command += ["--workers", str(workers)] if workers > 1 else []
        path = os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")]))
        names = {"PYTHONPATH": path, "FED_NAME": f"fed-{uuid.uuid4().hex[:8]}"}
        self.process = subprocess.Popen(
            command, cwd=HERE, env={**os.environ, **names}, pass_fds=[self.listener.fileno()]
        )
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    def client(self) -> httpx.Client:
        """Whose connection is one worker's, which it stays at."""
        return httpx.Client(base_url=self.url, timeout=LIMIT_SECONDS)

    def worker(self) -> int:
        with self.client() as client:
            return int(client.get("/clients").json()["process_id"])

    def close(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(timeout=LIMIT_SECONDS)
        finally:
            self.process.kill()
            self.listener.close()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server(workers=2)
    yield server
    server.close()


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + LIMIT_SECONDS
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def by_worker(server: Server, stack: ExitStack) -> dict[int, Listening]:
    """Listen until both workers have a client. Connections go where they are taken first."""
    found: dict[int, Listening] = {}

    def both() -> bool:
        events = stack.enter_context(listening(stack.enter_context(server.client()), "ada"))
        counts = {}
        end = time.monotonic() + LIMIT_SECONDS
        while len(counts) < 2 and time.monotonic() < end:
            with server.client() as asking:
                told = asking.get("/clients").json()
            counts[told["process_id"]] = told["clients"]
        # The one whose count has grown.
        for worker, count in counts.items():
            if count > taken.get(worker, 0):
                found[worker] = events
        taken.update(counts)
        return len(found) == 2

    taken: dict[int, int] = {}
    for _ in range(15):
        if both():
            break
    assert len(found) == 2
    return found


def invalidated_by(server: Server, worker: int) -> None:
    """Have this very worker invalidate, and no other one."""

    def by_it() -> bool:
        with server.client() as client:
            if client.get("/clients").json()["process_id"] != worker:
                return False
            # The same connection, so the same worker.
            told = client.post("/invalidate", params={"tag": "user:ada"}).json()
            assert told["process_id"] == worker
            return True

    until(by_it)


def test_clients_of_both_workers_hear_of_what_one_invalidates(server: Server) -> None:
    with ExitStack() as stack:
        clients = by_worker(server, stack)
        for worker in clients:
            invalidated_by(server, worker)
            for events in clients.values():
                assert next(events)[:2] == ("changed", {"names": ["user"]})


def test_a_worker_that_is_killed_takes_nothing_from_the_clients_of_the_other(
    server: Server,
) -> None:
    with ExitStack() as stack:
        clients = by_worker(server, stack)
        killed, other = clients
        last_id = clients[killed].hello[2]
        os.kill(killed, signal.SIGKILL)
        with pytest.raises(httpx.TransportError):
            list(clients[killed])
        invalidated_by(server, other)
        assert next(clients[other])[0] == "changed"
        # It comes again, to any worker, and is told that it missed something.
        again = stack.enter_context(
            listening(
                stack.enter_context(server.client()), "ada", headers={"Last-Event-ID": str(last_id)}
            )
        )
        assert next(again)[:2] == ("reload", {"reason": "missed"})


@pytest.mark.parametrize("workers", [1, 2])
def test_a_server_that_is_asked_to_end_does_so(workers: int) -> None:
    server = Server(workers)
    try:
        with server.client() as client, listening(client, "ada") as ada:
            server.process.terminate()
            assert next(ada)[:2] == ("ended", {"reason": "shutdown"})
            assert list(ada) == []
            # It has no limit of its own for connections that do not end.
            assert server.process.wait(timeout=LIMIT_SECONDS) is not None
    finally:
        server.close()
