"""A service with four workers over HTTP: revoked through one, refused by all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest
from board import now
from truth import SqliteTruth

pytest.importorskip("fastapi")
HERE = Path(__file__).parent
PATIENCE = 60.0
WORKERS = 4
USERS = 8
UVICORN = ["uvicorn", "http_app:app", "--workers", str(WORKERS), "--log-level", "warning"]
GUNICORN = [
    *("gunicorn", "http_app:app", "--workers", str(WORKERS), "--log-level", "warning"),
    *("--worker-class", "uvicorn_worker.UvicornWorker", "--graceful-timeout", "2"),
]
SERVERS = {
    "uvicorn": (UVICORN, {}),
    "gunicorn": (GUNICORN, {}),
    "gunicorn, preloaded": ([*GUNICORN, "--preload"], {}),
    "gunicorn, preloaded and filled": ([*GUNICORN, "--preload"], {"CHAOS_FILL": "1"}),
}


def until(condition: object, what: str) -> None:
    assert callable(condition)
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"never: {what}"
        time.sleep(0.005)


class Asker(threading.Thread):
    """A client with a connection of its own, and so a worker of its own, that asks all the time.

    Attributes:
        worker: The process that answers.
        allowed: When each request was sent that was allowed, by user.
        asked: When the last request was sent that has been answered, by user.
    """

    def __init__(self, address: str) -> None:
        super().__init__(daemon=True)
        self.client = httpx.Client(base_url=address, timeout=PATIENCE)
        self.user = 0
        self.allowed: dict[int, list[int]] = {user: [] for user in range(USERS)}
        self.asked: dict[int, int] = dict.fromkeys(range(USERS), 0)
        self.failure: BaseException | None = None
        self.over = False
        self.worker = self.ask(0)

    def ask(self, user: int) -> int:
        sent = now()
        answer = self.client.get(f"/users/{user}")
        assert answer.status_code in (200, 403), answer.text
        if answer.status_code == 200:
            self.allowed[user].append(sent)
        self.asked[user] = sent
        return int(answer.headers["worker"])

    def change(self, user: int, change: str) -> None:
        self.client.post(f"/users/{user}/{change}").raise_for_status()

    def run(self) -> None:
        try:
            while not self.over:
                self.ask(self.user)
        except BaseException as error:
            self.failure = error


@contextmanager
def serving(folder: Path, server: str) -> Generator[str]:
    """Run a server with its workers; gives its address."""
    command, environment = SERVERS[server]
    port = _free_port()
    where = ["--port", str(port)] if "uvicorn" in command else ["--bind", f"127.0.0.1:{port}"]
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *command, *where],
            cwd=HERE,
            env=os.environ | environment | {"CHAOS_FOLDER": str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    address = f"http://127.0.0.1:{port}"
    try:
        until(lambda: _answers(address, process, folder), "the server answers")
        yield address
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(20)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(20)


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(address: str, process: subprocess.Popen[bytes], folder: Path) -> bool:
    assert process.poll() is None, (folder / "server.log").read_text()[-4000:]
    try:
        return httpx.get(f"{address}/users/0", timeout=PATIENCE).status_code in (200, 403)
    except httpx.TransportError:
        return False


def askers_of_all_workers(address: str) -> list[Asker]:
    """Connect until every worker has taken a connection; the system decides which takes it."""
    found: dict[int, Asker] = {}
    for _ in range(400):
        asker = Asker(address)
        if found.setdefault(asker.worker, asker) is not asker:
            asker.client.close()
        if len(found) == WORKERS:
            break
    assert len(found) == WORKERS, "there is a worker that takes no connections"
    return list(found.values())


SHORT = ("uvicorn", "gunicorn, preloaded and filled")


@pytest.mark.parametrize(
    "server", [pytest.param(n, marks=() if n in SHORT else pytest.mark.long) for n in SERVERS]
)
def test_no_request_sent_after_the_answer_to_a_revoke_is_allowed(
    tmp_path: Path, scale: int, server: str
) -> None:
    if server.startswith("gunicorn"):
        pytest.importorskip("uvicorn_worker")
    truth = SqliteTruth.create(tmp_path / "truth.sqlite3", USERS)
    for user in range(USERS):
        truth.commit(user, granted=True)
    with serving(tmp_path, server) as address:
        askers = askers_of_all_workers(address)
        revoker = httpx.Client(base_url=address, timeout=PATIENCE)
        for asker in askers:
            asker.start()
        try:
            late, allows = [], 0
            for turn in range(12 * scale):
                user = turn % USERS
                revoker.post(f"/users/{user}/grant").raise_for_status()
                for asker in askers:
                    asker.allowed[user].clear()
                    asker.user = user
                # Twice: the second time from its cache.
                until(
                    lambda user=user: all(
                        len(asker.allowed[user]) >= 2 or asker.failure for asker in askers
                    ),
                    "all workers allow",
                )
                revoker.post(f"/users/{user}/revoke").raise_for_status()
                revoked = now()
                until(
                    lambda user=user, revoked=revoked: all(
                        asker.asked[user] > revoked or asker.failure for asker in askers
                    ),
                    "all workers were asked",
                )
                assert [asker.failure for asker in askers] == [None] * WORKERS
                for asker in askers:
                    allows += len(asker.allowed[user])
                    late += [sent - revoked for sent in asker.allowed[user] if sent > revoked]
        finally:
            for asker in askers:
                asker.over = True
            for asker in askers:
                asker.join(PATIENCE)
                asker.client.close()
            revoker.close()
    assert late == []
    assert allows >= 2 * WORKERS * 12 * scale
