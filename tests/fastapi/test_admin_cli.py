"""The command line against a running service."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from operated import PREFIX, operated
from serving import Serve

from velro_cache._engine import ManualClock
from velro_cache.cli.admin.client import AdminClient, AdminError, read_recommendations
from velro_cache.cli.admin.rates import Rates
from velro_cache.cli.main import main
from velro_cache.config import OptimizedCacheConfig
from velro_cache.manager import OptimizedCacheManager

TOKEN = "VELRO_CACHE_ADMIN_TOKEN"  # noqa: S105
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command line; what it returns, prints and complains of."""

    def run(*words: str) -> tuple[int, str, str]:
        try:
            status = main(words)
        except SystemExit as left:
            assert isinstance(left.code, int)
            status = left.code
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run


@pytest.fixture
def filled(cache: OptimizedCacheManager) -> OptimizedCacheManager:
    for user in ("ada", "ben"):
        cache.set_user_profile(user, 1)
        cache.get_user_profile(user)
    return cache


@pytest.fixture
def url(
    serve: Serve, filled: OptimizedCacheManager, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    """Address of the admin routes of a running service, with the credential set."""
    monkeypatch.setenv(TOKEN, "operator")
    yield str(serve(operated(filled)).base_url) + PREFIX


@pytest.mark.parametrize(
    ("options", "dropped"),
    [
        (["--user", "ada"], 1),
        (["--generation", "g"], 0),
        (["--tag", "user:ada", "--tag", "user:ben"], 2),
        (["--pattern", "auth:user:*", "--wait", "fleet"], 2),
        (["--pattern", "*", "--confirm", "default"], 2),
        (["--key", "auth:user:ben:profile"], 1),
        (["--all", "--confirm", "default"], 2),
    ],
)
def test_invalidates(
    command: Run, url: str, filled: OptimizedCacheManager, options: list[str], dropped: int
) -> None:
    status, out, err = command("invalidate", "--url", url, "--reason", "left", *options)
    assert (status, err) == (0, "")
    assert f"dropped {dropped} entries" in out
    assert len(filled) == 2 - dropped


def test_a_dry_run_changes_nothing(command: Run, url: str, filled: OptimizedCacheManager) -> None:
    status, out, _ = command("invalidate", "--url", url, "--pattern", "auth:*", "--dry-run")
    assert status == 0
    assert "would drop 2 entries" in out
    status, out, _ = command("invalidate", "--url", url, "--user", "ada", "--dry-run", "--json")
    assert json.loads(out)["would_drop_entries"] is None
    assert len(filled) == 2


def test_what_was_not_acknowledged_has_a_status_of_its_own(
    command: Run, serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TOKEN, "operator")
    config = OptimizedCacheConfig(
        name="silent",
        invalidation_log="redis://127.0.0.1:1/0",
        log_timeout_seconds=0.05,
        shared_memory_directory=str(tmp_path),
    )
    with OptimizedCacheManager(config) as cache:
        url = str(serve(operated(cache)).base_url) + PREFIX
        options = ("--url", url, "--user", "ada", "--wait", "bus")
        status, out, _ = command("invalidate", *options)
        assert status == 5
        assert "Invalidated on this host" in out
        status, out, _ = command("invalidate", *options, "--json")
        assert (status, json.loads(out)["holds"]) == (5, "host")
        status, out, _ = command("report", "--url", url)
        assert status == 0
        assert "There is no news from the log" in out


@pytest.mark.parametrize(
    ("options", "status", "complaint"),
    [
        (["--pattern", "*"], 1, "confirm it with the name of the cache"),
        (["--all", "--confirm", "other"], 1, "confirm it with the name"),
        (["--user", "../../etc"], 1, "looks like a path"),
        (["--user", "a\x1b[2Jb"], 1, "cannot be shown"),
        (["--all"], 2, "--all needs --confirm"),
        (["--all", "--confirm", "default", "--dry-run"], 2, "has no dry run"),
        (["--user", "a", "--key", "b"], 2, "not allowed with"),
        ([], 2, "required"),
    ],
)
def test_says_what_is_wrong(
    command: Run,
    url: str,
    filled: OptimizedCacheManager,
    options: list[str],
    status: int,
    complaint: str,
) -> None:
    left, out, err = command("invalidate", "--url", url, *options)
    assert (left, out) == (status, "")
    assert complaint in err
    assert len(filled) == 2


def test_too_often_says_when_to_try_again(
    command: Run, serve: Serve, cache: OptimizedCacheManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TOKEN, "operator")
    app = operated(cache, invalidation_burst=1, clock=ManualClock().now)
    url = str(serve(app).base_url) + PREFIX
    assert command("invalidate", "--url", url, "--user", "ada")[0] == 0
    status, _, err = command("invalidate", "--url", url, "--user", "ada")
    assert status == 1
    assert "try again in 1 s" in err


@pytest.mark.parametrize("credential", ["", " ", "wr ong", "a\nb", "\N{SNOWMAN}", "other"])
def test_without_the_right_credential(
    command: Run, url: str, monkeypatch: pytest.MonkeyPatch, credential: str
) -> None:
    monkeypatch.setenv(TOKEN, credential)
    for name in ("report", "top"):
        status, out, err = command(name, "--url", url, *(["--once"] if name == "top" else []))
        assert (status, out) == (4, "")
        assert "credential" in err or TOKEN in err
        assert "wr ong" not in err


def test_credentials_are_no_options(command: Run) -> None:
    for name in ("invalidate", "report", "top"):
        _, out, _ = command(name, "--help")
        assert TOKEN in out
        assert "--token" not in out


@pytest.mark.parametrize(
    ("url", "status"),
    [
        ("http://service.example/admin/cache", 3),
        ("ftp://127.0.0.1/", 2),
        ("file:///etc/passwd", 2),
        ("127.0.0.1:8000", 2),
        ("http://ada:SECRET@127.0.0.1/", 4),
        ("http://127.0.0.1:99999/", 2),
        ("http://127.0.0.1:8000/a?b=c", 2),
        ("http://127.0.0.1:8000/a b", 2),
        ("http://[", 2),
        ("", 2),
    ],
)
def test_addresses_the_credential_is_not_sent_to(
    command: Run, monkeypatch: pytest.MonkeyPatch, url: str, status: int
) -> None:
    monkeypatch.setenv(TOKEN, "operator")
    left, out, err = command("report", "--url", url)
    assert (left, out) == (status, "")
    assert err.startswith("velro-cache: ")
    assert "SECRET" not in err


@contextmanager
def answering(content: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """Something that answers everything with the same bytes, and remembers what it was sent."""
    listener = socket.create_server(("127.0.0.1", 0))
    seen: list[bytes] = []

    def work() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                seen.append(connection.recv(65536))
                connection.sendall(content)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", seen
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(timeout=20)


def test_a_redirect_is_not_followed(command: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOKEN, "operator")
    with answering(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}") as (elsewhere, stolen):
        head = f"HTTP/1.1 302 Found\r\nLocation: {elsewhere}/stats\r\nContent-Length: 0\r\n\r\n"
        with answering(head.encode()) as (url, _):
            status, _, err = command("report", "--url", url)
    assert status == 3
    assert "no such admin routes" in err
    assert stolen == []


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n<html>",
        b"HTTP/1.1 200 OK\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\n\r\n" + b"[" * 100_000,
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
    ],
    ids=lambda content: content[:60].decode(),
)
def test_something_else_answers(
    command: Run, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    monkeypatch.setenv(TOKEN, "operator")
    with answering(content) as (url, _):
        status, out, err = command("report", "--url", url)
    assert (status, out) == (3, "")
    assert err.startswith("velro-cache: ")


def test_nobody_answers(command: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOKEN, "operator")
    status, _, err = command("top", "--once", "--url", "http://127.0.0.1:1/admin/cache")
    assert status == 3
    assert "was not reached" in err
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent_url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        status, _, err = command("report", "--url", silent_url, "--timeout", "0.05")
    assert status == 3
    assert "timed out" in err


def test_report(command: Run, url: str) -> None:
    status, out, err = command("report", "--url", url)
    assert (status, err) == (0, "")
    assert "hit rate 100.0 %" in out
    assert "entries 2 of 10,000" in out
    assert "auth:user" in out
    assert "- info: Not enough lookups yet. 2 lookups were made so far" in out
    status, out, _ = command("report", "--url", url, "--json")
    report = json.loads(out)
    assert report["stats"]["total_entries"] == 2
    assert [finding["code"] for finding in report["recommendations"]] == ["too_few_lookups"]
    assert report["what_if"] is None


@pytest.mark.parametrize(
    "advice",
    [
        {},
        {"recommendations": None, "what_if": None},
        {"recommendations": [{"title": "x"}], "what_if": None},
        {"recommendations": [], "what_if": {"estimates": []}},
        {"recommendations": [], "what_if": {"estimates": [{}], "measured_hit_rate": 1}},
        {"recommendations": [], "what_if": {"estimates": [], "measured_hit_rate": "all"}},
    ],
)
def test_advice_that_cannot_be_printed_is_none(advice: dict[str, Any]) -> None:
    class Odd(AdminClient):
        def get(self, path: str) -> dict[str, Any]:
            return advice

    with pytest.raises(AdminError):
        read_recommendations(Odd("http://127.0.0.1:1", "token", 1.0))


def test_top_once(command: Run, url: str) -> None:
    status, out, err = command("top", "--once", "--url", url)
    assert (status, err) == (0, "")
    assert "auth:user" in out
    assert "lookups/s" in out
    assert "100.0 %" in out


def test_top_is_live_until_it_is_interrupted(
    command: Run, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("velro_cache.cli.admin.top.time.sleep", sleep)
    status, out, _ = command("top", "--url", url, "--interval", "0.5")
    assert status == 0
    assert pauses == [0.5] * 3
    assert out.count("lookups/s") == 3


def test_rates_are_between_two_looks_at_one_worker() -> None:
    def look(pid: int, lookups: int, hits: int) -> dict[str, Any]:
        return {"process_id": pid, "total_requests": lookups, "cache_hits": hits}

    rates = Rates()
    first = rates.since_last(look(1, 100, 50), 10.0)
    assert first["lookups_per_second"] != first["lookups_per_second"]
    rates.since_last(look(2, 7000, 7000), 11.0)
    assert rates.since_last(look(1, 300, 200), 12.0) == {
        "lookups_per_second": 100.0,
        "hit_rate_percent": 75.0,
    }
    # Another process with the same number.
    again = rates.since_last(look(1, 5, 5), 13.0)
    assert again["lookups_per_second"] != again["lookups_per_second"]


def test_the_commands_need_no_other_package() -> None:
    program = (
        "import sys\n"
        "for name in ('rich', 'fastapi', 'pydantic', 'httpx', 'redis', 'prometheus_client'):\n"
        "    sys.modules[name] = None\n"
        "from velro_cache.cli.main import main\n"
        "sys.exit(main(['check-config', '--quiet']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "OK   table" in done.stdout
