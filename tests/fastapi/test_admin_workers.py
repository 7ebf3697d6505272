"""What is invalidated through one worker, no other worker of the server believes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from operated import OPERATOR, PREFIX

HERE = Path(__file__).parent
LIMIT_SECONDS = 60


def until(true: Callable[[], bool]) -> None:
    """Wait for processes, which take the time they take."""
    end = time.monotonic() + LIMIT_SECONDS
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture
def url() -> Iterator[str]:
    """A server with two workers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.set_inheritable(True)
        command = [sys.executable, "-m", "uvicorn", "operated_workers:app", "--workers", "2"]
        command += ["--fd", str(listener.fileno()), "--log-level", "critical"]
        server = subprocess.Popen(
            command,
            cwd=HERE,
            env={**os.environ, "PYTHONPATH": str(HERE)},
            pass_fds=[listener.fileno()],
        )
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.terminate()
            server.wait(timeout=LIMIT_SECONDS)


def test_invalidated_through_one_worker_gone_in_the_other(url: str) -> None:
    def look() -> tuple[int, bool]:
        # A connection of its own, so that any worker may answer.
        answer = httpx.get(f"{url}/look", timeout=LIMIT_SECONDS).json()
        return answer["pid"], answer["hit"]

    knowing: set[int] = set()

    def both_know() -> bool:
        httpx.post(f"{url}/fill", timeout=LIMIT_SECONDS)
        pid, hit = look()
        if hit:
            knowing.add(pid)
        return len(knowing) == 2

    until(both_know)
    answer = httpx.post(
        f"{url}{PREFIX}/invalidate/user",
        json={"user_id": "ada", "reason": "left"},
        headers=OPERATOR,
        timeout=LIMIT_SECONDS,
    )
    assert answer.status_code == 200
    assert answer.json()["dropped_entries"] == 1
    assert answer.json()["process_id"] in knowing

    asked: set[int] = set()

    def both_were_asked() -> bool:
        pid, hit = look()
        assert not hit
        asked.add(pid)
        return asked == knowing

    until(both_were_asked)
