"""Four workers of one server: a key that is revoked through one lets nobody in anywhere."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from keyed_workers import PEPPERS

from velro_cache.api_keys.sql import SqlApiKeys

HERE = Path(__file__).parent
WORKERS = 4
KEYS = 6
LIMIT_SECONDS = 60


class Asker(threading.Thread):
    """A client with one connection, and so one worker, that asks all the time.

    Attributes:
        answers: When each request was sent, with which key, and what was answered.
    """

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.client = httpx.Client(base_url=url, timeout=LIMIT_SECONDS)
        self.process_id = int(self.client.get("/statistics").json()["process_id"])
        self.key = ""
        self.is_over = False
        self.answers: list[tuple[int, str, int]] = []
        self.failure: BaseException | None = None

    def ask(self, key: str) -> int:
        sent = time.monotonic_ns()
        answer = self.client.get("/whose", headers={"X-API-Key": key})
        self.answers.append((sent, key, answer.status_code))
        if answer.status_code == 200:
            assert answer.json()["process_id"] == self.process_id
        return answer.status_code

    def run(self) -> None:
        try:
            while not self.is_over:
                self.ask(self.key)
        except BaseException as error:
            self.failure = error

    def close(self) -> None:
        self.is_over = True
        if self.is_alive():
            self.join(timeout=LIMIT_SECONDS)
        self.client.close()


class Service:
    """uvicorn with four workers, and keys in its database."""

    def __init__(self, folder: Path) -> None:
        self.database = f"sqlite:///{folder}/keys.db"
        self.keys: list[tuple[str, str]] = asyncio.run(self._fill())
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.listener.set_inheritable(True)
        fd = str(self.listener.fileno())
        command = [sys.executable, "-m", "uvicorn", "keyed_workers:app"]
        command += ["--log-level", "critical", "--fd", fd, "--workers", str(WORKERS)]
        path = os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")]))
        names = {
            "PYTHONPATH": path,
            "KEYED_NAME": f"keyed-{uuid.uuid4().hex[:8]}",
            "KEYED_DATABASE": self.database,
        }
        self.process = subprocess.Popen(
            command, cwd=HERE, env={**os.environ, **names}, pass_fds=[self.listener.fileno()]
        )
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    async def _fill(self) -> list[tuple[str, str]]:
        made = []
        async with SqlApiKeys(self.database, peppers=PEPPERS) as store:
            await store.migrate()
            owner = await store.create_organization("Example Ltd")
            self.organization_id = owner.id
            for _ in range(KEYS):
                created = await store.create_key(owner.id, scopes=["read"])
                made.append((created.key.id, created.plain.reveal()))
        return made

    def askers(self) -> list[Asker]:
        """One of each worker."""
        found: dict[int, Asker] = {}
        end = time.monotonic() + LIMIT_SECONDS
        while len(found) < WORKERS:
            assert time.monotonic() < end
            asker = Asker(self.url)
            if found.setdefault(asker.process_id, asker) is not asker:
                asker.close()
        return list(found.values())

    def close(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(timeout=LIMIT_SECONDS)
        finally:
            self.process.kill()
            self.listener.close()


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    service = Service(tmp_path)
    yield service
    service.close()


def test_after_a_revocation_has_returned_no_worker_lets_the_key_in(service: Service) -> None:
    askers = service.askers()
    revoked_at: dict[str, int] = {}
    try:
        for asker in askers:
            for _, plain in service.keys:
                assert asker.ask(plain) == 200
            asker.key = service.keys[0][1]
        for asker in askers:
            asker.start()
        with httpx.Client(base_url=service.url, timeout=LIMIT_SECONDS) as manager:
            for key_id, plain in service.keys[:-1]:
                for asker in askers:
                    asker.key = plain
                _until_asked(askers, plain, 200)
                manager.post(f"/manage/{key_id}/revoke").raise_for_status()
                revoked_at[plain] = time.monotonic_ns()
                _until_asked(askers, plain, 403)
            # The organization takes all its keys with it.
            last = service.keys[-1][1]
            for asker in askers:
                asker.key = last
            _until_asked(askers, last, 200)
            path = f"/manage/organizations/{service.organization_id}/false"
            manager.post(path).raise_for_status()
            revoked_at[last] = time.monotonic_ns()
            _until_asked(askers, last, 403)
    finally:
        for asker in askers:
            asker.close()
    assert [asker.failure for asker in askers] == [None] * WORKERS
    answers = [answer for asker in askers for answer in asker.answers]
    assert {status for _, _, status in answers} == {200, 403}
    late = [one for one in answers if one[2] == 200 and one[0] > revoked_at[one[1]]]
    assert late == []
    # They were answered from memory, or this would say nothing about the cache.
    with httpx.Client(base_url=service.url) as client:
        stats: dict[str, Any] = client.get("/statistics").json()
    assert stats["hits"] > 0


def _until_asked(askers: list[Asker], key: str, status: int) -> None:
    """Until every worker has answered so."""
    end = time.monotonic() + LIMIT_SECONDS
    for asker in askers:
        while not any(one[1:] == (key, status) for one in asker.answers[-20:]):
            assert asker.failure is None
            assert time.monotonic() < end
            time.sleep(0.002)
