"""Refreshes: what is there, what is gone, what was revoked meanwhile, and one reader per host."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from held_keys import FORMAT, HeldKeys, Kit

from velro_cache.api_keys import ApiKey, RefreshManager
from velro_cache.api_keys.host_snapshot import HostSnapshot
from velro_cache.exceptions import KeyRevoked
from velro_cache.fastapi import velro_lifespan

LIMIT_SECONDS = 30


@pytest.fixture
def kit() -> Iterator[Kit]:
    kit = Kit()
    with kit.manager:
        yield kit


def many(kit: Kit, count: int) -> list[str]:
    plains = [FORMAT.generate() for _ in range(count)]
    for number, plain in enumerate(plains):
        kit.keys.add(plain, number)
    return plains


async def test_all_live_keys_are_in_memory_afterwards(kit: Kit) -> None:
    plains = many(kit, 700)
    kit.keys.add(dead := FORMAT.generate(), 1000, revoked_at=1.0)
    report = await RefreshManager(kit.cache).refresh_now()
    assert (report.updated, report.removed, report.total) == (700, 0, 700)
    assert report.seconds > 0
    assert all(kit.cache.recall(plain) for plain in plains)
    assert kit.cache.recall(dead) is None
    assert kit.keys.questions == 0
    again = await RefreshManager(kit.cache).refresh_now()
    assert (again.updated, again.removed, again.total) == (0, 0, 700)


async def test_what_is_gone_is_dropped_and_what_has_changed_is_replaced(kit: Kit) -> None:
    plains = many(kit, 200)
    manager = RefreshManager(kit.cache)
    await manager.refresh_now()
    for plain in plains[:70]:
        kit.keys.rows.pop(_row(kit.keys, plain).digest)
    changed = kit.keys.change(_row(kit.keys, plains[100]), scopes=frozenset({"write"}))
    kit.keys.add(new := FORMAT.generate(), 500)
    report = await manager.refresh_now()
    assert (report.updated, report.removed, report.total) == (2, 70, 131)
    assert [kit.cache.recall(plain) is None for plain in plains] == [True] * 70 + [False] * 130
    assert kit.cache.recall(plains[100]) == changed
    assert kit.cache.recall(new) is not None


async def test_what_is_revoked_during_a_refresh_does_not_come_back(kit: Kit) -> None:
    plains = many(kit, 50)
    await RefreshManager(kit.cache).refresh_now()

    def revoke() -> None:
        # All rows were read from the database by now.
        kit.keys.change(_row(kit.keys, plains[40]), revoked_at=1.0)
        kit.cache.invalidate(key_id="k40")

    kit.keys.during = revoke
    await RefreshManager(kit.cache, page_size=10).refresh_now()
    assert kit.cache.recall(plains[40]) is None
    assert kit.cache.recall(plains[41]) is not None


async def test_what_is_created_during_a_refresh_stays(kit: Kit) -> None:
    many(kit, 20)
    new = FORMAT.generate()

    def create() -> None:
        kit.cache.set(kit.keys.add(new, 99))

    kit.keys.during = create
    await RefreshManager(kit.cache, page_size=10).refresh_now()
    assert kit.cache.recall(new) is not None


async def test_a_refresh_that_fails_takes_nothing_away(kit: Kit) -> None:
    plains = many(kit, 50)
    manager = RefreshManager(kit.cache, page_size=10)
    await manager.refresh_now()
    kit.keys.rows.clear()
    many(kit, 20)

    def fail() -> None:
        raise ConnectionError

    kit.keys.during = fail
    with pytest.raises(ConnectionError):
        await manager.refresh_now()
    assert all(kit.cache.recall(plain) for plain in plains)


async def test_a_renewed_key_lives_on(kit: Kit) -> None:
    plain = many(kit, 1)[0]
    manager = RefreshManager(kit.cache)
    for _ in range(5):
        await manager.refresh_now()
        kit.clock.seconds += 1799
        assert kit.cache.recall(plain) is not None
    kit.clock.seconds += 1
    assert kit.cache.recall(plain) is None


async def test_changes_are_read_by_themselves(kit: Kit) -> None:
    plains = many(kit, 3)
    manager = RefreshManager(kit.cache, now=kit.clock)
    await manager.refresh_now()
    kit.keys.fetch_live = _changed(kit, plains)  # type: ignore[method-assign]
    report = await manager.refresh_changed()
    assert (report.updated, report.removed, report.total) == (1, 1, 3)
    assert kit.cache.recall(plains[0]) is None
    found = kit.cache.recall(plains[1])
    assert found is not None
    assert found.has("write")
    assert kit.cache.recall(plains[2]) is not None


async def test_what_is_revoked_while_changes_are_read_stays_revoked(kit: Kit) -> None:
    plain = many(kit, 1)[0]
    manager = RefreshManager(kit.cache, now=kit.clock)
    await manager.refresh_now()
    row = _row(kit.keys, plain)

    async def fetch_live(*, changed_since: float | None = None, page_size: int = 1000) -> Any:
        read = [kit.keys.change(row, scopes=frozenset({"write"}))]
        # After this was read, and before it arrives.
        kit.cache.invalidate(key_id=row.id)
        yield read

    kit.keys.fetch_live = fetch_live  # type: ignore[method-assign]
    assert (await manager.refresh_changed()).updated == 1
    assert kit.cache.recall(plain) is None


async def test_what_ended_is_invalidated_whoever_has_it_and_once(kit: Kit) -> None:
    plain = many(kit, 1)[0]
    manager = RefreshManager(kit.cache, now=kit.clock)
    row = _row(kit.keys, plain)
    # As another worker, or under another name, may have it.
    kit.manager.set("elsewhere", "what it is", tags=[f"api_key:{row.id}"])

    async def fetch_live(*, changed_since: float | None = None, page_size: int = 1000) -> Any:
        yield [kit.keys.change(row, revoked_at=1.0)]

    kit.keys.fetch_live = fetch_live  # type: ignore[method-assign]
    assert (await manager.refresh_changed()).removed == 1
    assert "elsewhere" not in kit.manager
    assert (await manager.refresh_changed()).removed == 0


async def test_a_key_that_was_refused_meanwhile_is_not_brought_back(kit: Kit) -> None:
    plain = many(kit, 1)[0]
    row = _row(kit.keys, plain)

    async def fetch_live(*, changed_since: float | None = None, page_size: int = 1000) -> Any:
        read = [row]
        kit.keys.change(row, revoked_at=1.0)
        with pytest.raises(KeyRevoked):
            await kit.cache.verify(plain)
        yield read

    kit.keys.fetch_live = fetch_live  # type: ignore[method-assign]
    await RefreshManager(kit.cache, now=kit.clock).refresh_now()
    assert kit.cache.recall(plain) is None


async def test_a_key_that_is_refused_while_a_refresh_puts_it_is_refused_on(kit: Kit) -> None:
    plain = many(kit, 1)[0]
    row = _row(kit.keys, plain)
    refresh = RefreshManager(kit.cache, now=kit.clock)
    kit.keys.gate = asyncio.Event()
    kit.keys.change(row, revoked_at=1.0)
    asking = asyncio.create_task(kit.cache.verify(plain))
    await asyncio.sleep(0)
    kit.keys.fetch_live = _only(row)  # type: ignore[method-assign]
    await refresh.refresh_now()
    kit.keys.gate.set()
    with pytest.raises(KeyRevoked):
        await asking
    assert kit.cache.recall(plain) is None


def _only(row: ApiKey) -> Any:
    async def fetch_live(*, changed_since: float | None = None, page_size: int = 1000) -> Any:
        yield [row]

    return fetch_live


def _changed(kit: Kit, plains: list[str]) -> Any:
    async def fetch_live(*, changed_since: float | None = None, page_size: int = 1000) -> Any:
        assert changed_since == kit.clock() - 60
        yield [
            kit.keys.change(_row(kit.keys, plains[0]), revoked_at=1.0),
            kit.keys.change(_row(kit.keys, plains[1]), scopes=frozenset({"write"})),
            _row(kit.keys, plains[2]),
        ]

    return fetch_live


async def test_the_event_loop_is_let_go(kit: Kit) -> None:
    many(kit, 20_000)
    longest, running = 0.0, True

    async def watch() -> None:
        nonlocal longest
        while running:
            began = time.perf_counter()
            await asyncio.sleep(0)
            longest = max(longest, time.perf_counter() - began)

    watching = asyncio.create_task(watch())
    await RefreshManager(kit.cache).refresh_now()
    running = False
    await watching
    # 2 ms, and what a busy machine adds.
    assert longest < 0.25


async def test_it_begins_ends_and_tries_again(kit: Kit) -> None:
    plain = many(kit, 1)[0]
    kit.keys.error = ConnectionError("postgres://user:secret@host")
    manager = RefreshManager(kit.cache, interval_seconds=0.05)
    async with manager:
        assert manager.stats()["failures"] == 1
        kit.keys.error = None
        await _until(lambda: manager.stats()["refreshes"] >= 3)
        assert manager.stats()["failed_in_a_row"] == 0
        assert kit.cache.recall(plain) is not None
    done = manager.stats()["refreshes"]
    await asyncio.sleep(0.1)
    assert manager.stats()["refreshes"] == done


async def test_an_application_begins_and_ends_it(kit: Kit) -> None:
    plain = many(kit, 1)[0]
    refresh = RefreshManager(kit.cache)
    async with velro_lifespan(alongside=[refresh])(None):
        assert kit.cache.recall(plain) is not None
        assert refresh._task is not None
    assert refresh._task is None


@pytest.mark.parametrize(
    "options",
    [{"interval_seconds": 0}, {"incremental_seconds": -1}, {"jitter": 0.6}, {"page_size": 0}],
)
def test_times_that_make_no_sense_are_refused(kit: Kit, options: Any) -> None:
    with pytest.raises(ValueError, match="must be"):
        RefreshManager(kit.cache, **options)


class TestOneReaderPerHost:
    async def test_others_take_over_what_one_has_read(self, tmp_path: Path) -> None:
        reader, other = Kit(tmp_path), Kit(tmp_path)
        with reader.manager, other.manager:
            plains = many(reader, 300)
            limits = {"scopes": {"a", "b"}, "expires_at": reader.clock() + 99}
            reader.keys.add(rich := FORMAT.generate(), 999, **limits)
            async with RefreshManager(reader.cache) as reading:
                assert reading.stats()["reads_for_host"]
                async with RefreshManager(other.cache) as taking:
                    await _until(lambda: taking.stats()["refreshes"] == 1)
                    assert not taking.stats()["reads_for_host"]
                    assert taking.stats()["last"].source == "host"
                    assert all(other.cache.recall(plain) for plain in plains)
                    assert other.cache.recall(rich) == reader.cache.recall(rich)
                    # When the reader ends, another one reads.
                    await reading.stop()
                    await _until(lambda: taking.stats()["reads_for_host"])

    async def test_what_was_revoked_since_is_not_taken_over(self, tmp_path: Path) -> None:
        reader, other = Kit(tmp_path), Kit(tmp_path)
        with reader.manager, other.manager:
            plains = many(reader, 3)
            async with RefreshManager(reader.cache):
                reader.cache.invalidate(key_id="k1")
                async with RefreshManager(other.cache) as taking:
                    await _until(lambda: taking.stats()["refreshes"] == 1)
                    found = [other.cache.recall(plain) is not None for plain in plains]
                    assert found == [True, False, True]

    async def test_an_old_file_is_not_taken_over(self, tmp_path: Path) -> None:
        reader, other = Kit(tmp_path), Kit(tmp_path)
        with reader.manager, other.manager:
            plain = many(reader, 1)[0]
            async with RefreshManager(reader.cache, now=reader.clock):
                other.clock.seconds += 1.6 * 900
                async with RefreshManager(other.cache, now=other.clock) as taking:
                    assert taking.stats()["refreshes"] == 0
                    assert other.cache.recall(plain) is None

    async def test_what_is_taken_over_answers_as_long_as_where_it_was_read(
        self, tmp_path: Path
    ) -> None:
        reader, other = Kit(tmp_path), Kit(tmp_path)
        with reader.manager, other.manager:
            plain = many(reader, 1)[0]
            async with RefreshManager(reader.cache, now=reader.clock):
                other.clock.seconds += 900
                async with RefreshManager(other.cache, now=other.clock):
                    assert other.cache.recall(plain) is not None
                    other.clock.seconds += 901
                    assert other.cache.recall(plain) is None

    async def test_the_file_is_its_owners_alone_and_holds_no_key(self, tmp_path: Path) -> None:
        kit = Kit(tmp_path)
        with kit.manager:
            plains = many(kit, 3)
            async with RefreshManager(kit.cache):
                files = _files(tmp_path)
                assert files
                for path in files:
                    assert stat.S_IMODE(path.stat().st_mode) == 0o600
                    written = path.read_bytes()
                    assert not any(plain[12:].encode() in written for plain in plains)
                assert not [path for path in files if path.suffix.endswith(("-new", "-rows"))]

    @pytest.mark.parametrize(
        "damage",
        [
            lambda path: path.write_bytes(b""),
            lambda path: path.write_bytes(b"\xff" * 100),
            lambda path: path.write_bytes(path.read_bytes()[:-40]),
            lambda path: path.chmod(0o644),
            lambda path: _rewrite(path, version=1),
            lambda path: _rewrite(path, table=[0, 0]),
            lambda path: _rewrite(path, bytes=10_000),
        ],
    )
    async def test_a_file_that_is_not_what_it_should_be_lets_nobody_in(
        self, tmp_path: Path, damage: Any
    ) -> None:
        reader, other = Kit(tmp_path), Kit(tmp_path)
        with reader.manager, other.manager:
            plains = many(reader, 5)
            async with RefreshManager(reader.cache):
                damage(next(path for path in _files(tmp_path) if path.suffix == ".api-keys"))
                async with RefreshManager(other.cache) as taking:
                    assert taking.stats()["refreshes"] == 0
                    # Some may have been read before the damage was met; none that were not there.
                    assert sum(other.cache.recall(plain) is not None for plain in plains) < 5

    async def test_a_reader_that_is_killed_is_replaced(self, tmp_path: Path) -> None:
        path = tmp_path / "x.api-keys"
        holder = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            "import sys, time; from pathlib import Path;"
            "from velro_cache.api_keys.host_snapshot import HostSnapshot as S;"
            "print(S(Path(sys.argv[1]), (0, 0)).take(), flush=True); time.sleep(60)",
            str(path),
            stdout=asyncio.subprocess.PIPE,
        )
        assert holder.stdout is not None
        snapshot = HostSnapshot(path, (0, 0))
        # Held on to, or the lock would end with the object.
        assert (await holder.stdout.readline()).strip() == b"True"
        assert not snapshot.take()
        os.kill(holder.pid, signal.SIGKILL)
        await holder.wait()
        assert snapshot.take()
        snapshot.close()


def _files(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if "api-keys" in path.name]


def _rewrite(path: Path, **fields: Any) -> None:
    head, _, rows = path.read_bytes().partition(b"\n")
    head = json.dumps(json.loads(head) | fields).encode().ljust(len(head))
    path.write_bytes(head + b"\n" + rows)


def _row(keys: HeldKeys, plain: str) -> Any:
    from held_keys import PEPPERS

    return keys.rows[PEPPERS.digest(plain)[1]]


async def _until(true: Any) -> None:
    end = time.monotonic() + LIMIT_SECONDS
    while not true():
        assert time.monotonic() < end
        await asyncio.sleep(0.01)
