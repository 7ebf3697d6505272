"""What is invalidated through one worker, no other worker of the server believes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

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


def test_invalidated_through_one_worker_gone_in_the_other(url: str, tmp_path: Path) -> None:
    def post(path: str, body: object = None) -> dict[str, Any]:
        answer = httpx.post(url + path, json=body, headers=OPERATOR, timeout=LIMIT_SECONDS)
        assert answer.status_code == 200
        return cast(dict[str, Any], answer.json())

    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(post, f"/hold?folder={tmp_path}")
        try:
            until((tmp_path / "held").exists)
            filled = post("/fill")
            done = post(PREFIX + "/invalidate/user", {"user_id": "ada", "reason": "left"})
        finally:
            (tmp_path / "released").touch()
        other = held.result()
    assert filled["hit"]
    assert done["dropped_entries"] == 1
    assert done["process_id"] == filled["process_id"] != other["process_id"]
    assert (other["knew"], other["knows"]) == (True, False)
