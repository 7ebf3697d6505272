"""What ``velro-cache check-config`` says about settings, folders and servers, there or not."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from services.redis import RedisServer, free_port
from velro_cache.cli.main import main

SECRET = "s3cret-" * 6
Check = Callable[..., tuple[int, str]]


@pytest.fixture
def check(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Check:
    """Run the command in an environment with these settings."""
    for name in [name for name in os.environ if name.startswith("VELRO_CACHE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("VELRO_CACHE_SHARED_MEMORY_DIRECTORY", str(tmp_path))

    def run(*options: str, **settings: str) -> tuple[int, str]:
        for name, value in settings.items():
            monkeypatch.setenv(f"VELRO_CACHE_{name.upper()}", value)
        status = main(["check-config", "--timeout", "2", *options])
        return status, capsys.readouterr().out

    return run


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer(password="hidden-word") as started:  # noqa: S106
        yield started


def test_says_what_each_setting_is_and_means(check: Check) -> None:
    status, out = check(max_entries="77", preset="production")
    assert status == 0
    assert "VELRO_CACHE_MAX_ENTRIES = 77\n    Bound on the number of entries" in out
    assert "VELRO_CACHE_MAX_SIZE_MB = 256\n" in out
    assert "VELRO_CACHE_NAME = default (default)\n" in out
    explained = [line for line in out.splitlines() if line.startswith("    ")]
    assert len(explained) == len([line for line in out.splitlines() if " = " in line[:60]])


def test_the_quiet_form_prints_the_checks_alone(check: Check) -> None:
    status, out = check("--quiet")
    assert status == 0
    assert [line[:4] for line in out.splitlines()] == ["OK  "] * 4


def test_wrong_settings(check: Check) -> None:
    status, out = check(max_entries="0")
    assert status == 1
    assert out.startswith("MISS settings: max_entries must be")
    status, out = check(max_entries="9", maxsize="1")
    assert status == 1
    assert "VELRO_CACHE_MAXSIZE names no setting" in out


def test_the_credential_of_the_command_line_is_no_setting(check: Check) -> None:
    status, out = check(admin_token=SECRET)
    assert status == 0
    assert SECRET not in out


def test_secrets_are_not_shown(check: Check) -> None:
    status, out = check(
        l2_signing_key=SECRET,
        invalidation_log=f"redis://operator:{SECRET}@127.0.0.1:{free_port()}/0",
    )
    assert status == 1
    assert SECRET not in out
    assert out.count("set, and not shown") == 2
    assert "MISS log: " in out


def test_another_prefix(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BILLING_MAX_ENTRIES", "5")
    _, out = check("--prefix", "BILLING_")
    assert "BILLING_MAX_ENTRIES = 5\n" in out


def test_the_check_of_the_table_leaves_nothing_behind(check: Check, tmp_path: Path) -> None:
    status, out = check("--quiet")
    assert status == 0
    assert "OK   table: shared by the processes of this user" in out
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_folder_that_is_not_there(check: Check, tmp_path: Path) -> None:
    status, out = check("--quiet", shared_memory_directory=str(tmp_path / "missing"))
    assert status == 1
    assert "MISS table: " in out


def test_a_folder_others_may_write_to(check: Check, tmp_path: Path) -> None:
    folder = tmp_path / f"velro-cache-{os.getuid()}"
    folder.mkdir()
    folder.chmod(stat.S_IRWXU | stat.S_IRWXO)
    status, out = check("--quiet")
    assert status == 1
    assert "MISS table: " in out


def test_no_sharing_is_no_fault(check: Check) -> None:
    status, out = check("--quiet", share_invalidations="false")
    assert status == 0
    assert "OK   table: of each process alone" in out


def test_a_redis_that_is_there_is_not_changed(check: Check, server: RedisServer) -> None:
    status, out = check("--quiet", redis_url=server.url)
    assert status == 0, out
    assert "OK   log: reached" in out
    assert "OK   redis: reached" in out
    assert server.cli("DBSIZE") == 0
    assert "hidden-word" not in out


def test_a_redis_with_another_password(check: Check, server: RedisServer) -> None:
    port = server.url.rpartition(":")[2]
    status, out = check("--quiet", redis_url=f"redis://:{SECRET}@127.0.0.1:{port}")
    assert status == 1
    assert "MISS log: " in out
    assert "MISS redis: " in out
    assert SECRET not in out


def test_a_server_that_never_answers(check: Check) -> None:
    with RedisServer() as frozen:
        frozen.freeze()
        try:
            status, out = check("--quiet", "--timeout", "0.2", redis_url=frozen.url)
        finally:
            frozen.thaw()
    assert status == 1
    assert "MISS log: " in out
    assert "MISS redis: " in out


def test_a_file_as_log(check: Check, tmp_path: Path) -> None:
    file = tmp_path / "log.db"
    status, out = check("--quiet", invalidation_log=f"sqlite:///{file}")
    assert status == 0
    assert "its file is not there yet" in out
    assert not file.exists()
    missing = tmp_path / "missing" / "log.db"
    status, out = check("--quiet", invalidation_log=f"sqlite:///{missing}")
    assert status == 1
    assert "cannot be made there" in out
    file.write_bytes(b"no database" * 100)
    status, out = check("--quiet", invalidation_log=f"sqlite:///{file}")
    assert status == 1
    assert "MISS log: " in out
