"""The hot-key journal: what it holds, whom it believes, and what happens to a damaged one."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_high_performance_authorization import Bench

from velro_cache.manager import OptimizedCacheManager
from velro_cache.warming import HotKeyJournal

HASH_KEY = "0123456789abcdef0123456789abcdef"
NAMES = [("team_access", "t", "ada", "viewer"), ("direct_ownership", "g", "ada")]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "hot.json"


def test_what_is_written_is_read(path: Path) -> None:
    journal = HotKeyJournal(path)
    assert journal.write(NAMES) == 2
    content = HotKeyJournal(path).read()
    assert content.keys == tuple(NAMES)
    assert len(content) == 2
    assert content.holds(NAMES[0])
    assert not content.holds(("team_access", "t", "ben", "viewer"))


TEXTS = st.text(max_size=20)


@given(st.lists(st.tuples(TEXTS, TEXTS) | st.tuples(TEXTS, TEXTS, TEXTS), max_size=10))
def test_any_names_come_back_as_they_were(names: list[tuple[str, ...]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        plain = HotKeyJournal(Path(folder) / "plain")
        plain.write(names)
        assert plain.read().keys == tuple(dict.fromkeys(names))
        hashed = HotKeyJournal(Path(folder) / "hashed", hash_key=HASH_KEY)
        hashed.write(names)
        content = hashed.read()
        assert all(content.holds(name) for name in names)
        assert len(content) == len(set(names))


def test_a_hashed_journal_shows_no_id_and_says_only_whether(path: Path) -> None:
    journal = HotKeyJournal(path, hash_key=HASH_KEY)
    journal.write(NAMES)
    text = path.read_text()
    assert "ada" not in text
    assert "team_access" not in text
    content = journal.read()
    assert content.keys == ()
    assert content.holds(NAMES[1])
    assert not content.holds(("direct_ownership", "g", "ben"))
    # With another secret, nothing is known.
    assert not HotKeyJournal(path, hash_key=HASH_KEY[::-1]).read().holds(NAMES[1])


def test_no_more_is_written_or_read_than_it_may_hold(path: Path) -> None:
    HotKeyJournal(path).write([("kind", str(number)) for number in range(100)])
    assert len(HotKeyJournal(path, max_keys=5).read()) == 5
    assert HotKeyJournal(path, max_keys=3).write(("kind", str(n)) for n in range(100)) == 3


def test_the_file_is_its_owners_alone_and_nothing_is_left_beside_it(path: Path) -> None:
    os.umask(0)
    try:
        HotKeyJournal(path).write(NAMES)
    finally:
        os.umask(0o022)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in path.parent.iterdir()] == ["hot.json"]


def test_what_a_process_left_that_died_while_writing_is_in_nobodys_way(path: Path) -> None:
    path.with_name(f".hot.json.{os.getpid()}").write_text("half")
    HotKeyJournal(path).write(NAMES)
    assert [file.name for file in path.parent.iterdir()] == ["hot.json"]


def test_a_failed_write_leaves_the_old_one(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = HotKeyJournal(path)
    journal.write(NAMES)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError):
        journal.write([("kind", "other")])
    assert journal.read().keys == tuple(NAMES)
    assert [file.name for file in path.parent.iterdir()] == ["hot.json"]


GOOD = {"format": "velro-cache hot keys", "version": 1, "hashed": False, "keys": [["k", "1"]]}
DAMAGED: list[Any] = [
    b"",
    b"\xff\xfe",
    b"{",
    b"[" * 100_000,
    b"null",
    {**GOOD, "format": "other"},
    {**GOOD, "version": 2},
    {**GOOD, "hashed": True},
    {**GOOD, "hashed": 0},
    {**GOOD, "keys": {}},
    {**GOOD, "keys": ["k"]},
    {**GOOD, "keys": [["k"]]},
    {**GOOD, "keys": [["k", 1]]},
    {**GOOD, "keys": [["k", "1"] * 20]},
    {**GOOD, "padding": "x" * 9_000_000},
]


@pytest.mark.parametrize("damaged", DAMAGED, ids=range(len(DAMAGED)))
def test_a_damaged_one_is_ignored_with_a_warning(
    path: Path, damaged: Any, caplog: pytest.LogCaptureFixture
) -> None:
    data = damaged if isinstance(damaged, bytes) else json.dumps(damaged).encode()
    path.write_bytes(data)
    assert len(HotKeyJournal(path).read()) == 0
    assert "is ignored" in caplog.text
    assert len(caplog.text) < 500


@given(st.binary(max_size=200))
def test_whatever_lies_there_nothing_is_raised(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "hot.json"
        path.write_bytes(data)
        assert len(HotKeyJournal(path).read()) == 0


def test_none_is_no_reason_to_warn(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert len(HotKeyJournal(path).read()) == 0
    assert not caplog.text


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_one_that_others_may_write_is_not_believed(
    path: Path, mode: int, caplog: pytest.LogCaptureFixture
) -> None:
    HotKeyJournal(path).write(NAMES)
    path.chmod(mode)
    assert len(HotKeyJournal(path).read()) == 0
    assert "others may write" in caplog.text


def test_neither_are_links_folders_and_pipes(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    real = path.with_name("real.json")
    HotKeyJournal(real).write(NAMES)
    path.symlink_to(real)
    assert len(HotKeyJournal(path).read()) == 0
    path.unlink()
    path.mkdir()
    assert len(HotKeyJournal(path).read()) == 0
    path.rmdir()
    os.mkfifo(path)
    assert len(HotKeyJournal(path).read()) == 0
    assert caplog.text.count("is ignored") == 3


def test_limits_that_make_no_sense_are_refused(path: Path, cache: OptimizedCacheManager) -> None:
    for options in ({"max_keys": 0}, {"max_keys": 100_001}, {"hash_key": "short"}):
        with pytest.raises(ValueError):
            HotKeyJournal(path, **options)  # type: ignore[arg-type]
    for seconds in ({"write_every_seconds": 0}, {"timeout_seconds": 0}):
        with pytest.raises(ValueError):
            cache.warmers.use_journal(HotKeyJournal(path), **seconds)


async def test_a_new_process_loads_what_the_one_before_found_hot(path: Path) -> None:
    before = Bench()
    before.service.keep_warm()
    before.cache.warmers.use_journal(HotKeyJournal(path))
    await before.cache.start()
    await before.ask("team", "t", required_role="editor")
    await before.ask("ownership", "g")
    await before.ask("media", "secret")
    before.cache.stop()
    assert "good" not in path.read_text(), "no token"  # noqa: ASYNC240 - a small file

    after = Bench()
    after.service.keep_warm()
    after.cache.warmers.use_journal(HotKeyJournal(path))
    await after.cache.start()
    assert after.asked == 2
    assert after.cache.warmers.reports["journal"].loaded == 2
    await after.ask("team", "t", required_role="editor")
    await after.ask("ownership", "g")
    assert after.asked == 2
    assert after.cache.warmers.was_hot("team_access", "t", "u", "editor")
    after.cache.stop()


async def test_what_was_revoked_meanwhile_is_not_allowed_by_a_journal(path: Path) -> None:
    HotKeyJournal(path).write([("team_access", "t", "u", "viewer")])
    after = Bench()
    after.inner.granted = False
    after.service.keep_warm()
    after.cache.warmers.use_journal(HotKeyJournal(path))
    await after.cache.start()
    assert not (await after.ask("team", "t")).granted
    after.cache.stop()


async def test_names_that_make_no_sense_any_more_do_no_harm(path: Path) -> None:
    HotKeyJournal(path).write(
        [
            ("unknown", "t"),
            ("team_access", "t"),
            ("team_access", "t", "u", "king"),
            ("team_access", "", "u", "viewer"),
            ("direct_ownership", "g", "u"),
        ]
    )
    bench = Bench()
    bench.service.keep_warm()
    bench.cache.warmers.use_journal(HotKeyJournal(path))
    await bench.cache.start()
    report = bench.cache.warmers.reports["journal"]
    assert (report.loaded, report.skipped, report.failed) == (1, 1, 3)
    bench.cache.stop()


async def test_a_source_that_hangs_does_not_keep_the_service_from_starting(path: Path) -> None:
    HotKeyJournal(path).write([("team_access", "t", "u", "viewer")])
    bench = Bench()
    bench.inner.gate = asyncio.Event()
    bench.service.keep_warm()
    bench.cache.warmers.use_journal(HotKeyJournal(path), timeout_seconds=0.02)
    await bench.cache.start()
    assert bench.cache.warmers.is_ready
    assert bench.cache.warmers.reports["journal"].errors == {"TimeoutError": 1}
    bench.inner.gate.set()
    bench.cache.stop()


async def test_only_what_was_hot_is_taken_from_a_loader(path: Path) -> None:
    hashed = HotKeyJournal(path, hash_key=HASH_KEY)
    hashed.write([("user_profile", "ada")])
    cache = OptimizedCacheManager()

    async def profiles() -> dict[str, str]:
        return {"ada": "Ada", "ben": "Ben"}

    cache.warmers.use_journal(hashed)
    cache.warmers.register("user_profile", profiles, only_hot=True)
    await cache.start()
    assert cache.get_user_profile("ada") == ("Ada", True)
    assert cache.get_user_profile("ben") == (None, False)
    cache.stop()


async def test_a_journal_is_kept_while_nobody_asks_and_when_it_cannot_be_written(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    HotKeyJournal(path).write(NAMES)
    cache = OptimizedCacheManager()
    cache.warmers.use_journal(HotKeyJournal(path))
    await cache.start()
    cache.warmers.hot_keys.age()
    cache.stop()
    assert HotKeyJournal(path).read().keys == tuple(NAMES)

    lost = OptimizedCacheManager()
    lost.warmers.use_journal(HotKeyJournal(path.parent / "nowhere" / "hot.json"))
    await lost.start()
    lost.warmers.hot_keys.note("kind", 1)
    lost.stop()
    assert "was not written" in caplog.text
