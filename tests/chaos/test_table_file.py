"""What can happen to the file through which the workers of a host share their table."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Callable, Generator
from contextlib import ExitStack
from pathlib import Path

import pytest
from test_one_host import assert_kept
from workers import Fleet

from processes import output_of


def table_of(fleet: Fleet, host: int = 0) -> Path:
    """The one file; its name is a matter of the cache."""
    (table,) = fleet.table_folder(host).rglob("*.table")
    return table


def test_deleted_while_it_is_used(tmp_path: Path, scale: int) -> None:
    with Fleet(tmp_path, 4) as fleet:
        fleet.start(range(4))
        fleet.until_at_work()
        fleet.run_on(watched=10)
        for victim in [0] * scale:
            before = table_of(fleet)
            inode = before.stat().st_ino
            before.unlink()
            # Whoever works with it notices that it is gone, and they meet at a new one ...
            fleet.run_on(watched=10)
            assert table_of(fleet).stat().st_ino != inode
            # ... where a newcomer finds them.
            fleet.kill(victim)
            fleet.restart(victim)
            fleet.until_at_work(victim)
            fleet.run_on(watched=10)
        found = fleet.stop()
    assert_kept(found, watched=30 * scale)


def _stopped_in_the_middle(table: bytes) -> bytes:
    return table[: len(table) // 2]


def _of_another_boot(table: bytes) -> bytes:
    # Some word of the first ones says which; all of them but the first two, then.
    return table[:16] + bytes(8 * [0x5A]) * 14 + table[128:]


LEFT_BEHIND: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "a few bytes": lambda table: table[:10],
    "half": _stopped_in_the_middle,
    "zeros": lambda table: bytes(len(table)),
    "noise": lambda table: random.Random(1).randbytes(len(table)),  # noqa: S311 (no secret)
    "of another boot": _of_another_boot,
}


@pytest.fixture(scope="module")
def a_table(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    """A table as a cache makes it: where it lies in its folder, and what is in it."""
    folder = tmp_path_factory.mktemp("table")
    output_of(
        f"""
        cache = OptimizedCacheManager(
            OptimizedCacheConfig(shared_memory_directory={str(folder)!r})
        )
        cache.invalidate_user_data("ada")
        """
    )
    (table,) = folder.rglob("*.table")
    return table.relative_to(folder), table.read_bytes()


@pytest.mark.parametrize("what", LEFT_BEHIND)
def test_a_damaged_one_that_was_left_behind_is_replaced(
    tmp_path: Path, a_table: tuple[Path, bytes], what: str
) -> None:
    where, contents = a_table
    path = tmp_path / where
    path.parent.mkdir(mode=0o700)
    path.touch(mode=0o600)
    path.write_bytes(LEFT_BEHIND[what](contents))
    told = output_of(
        f"""
        config = OptimizedCacheConfig(shared_memory_directory={str(tmp_path)!r})
        cache = OptimizedCacheManager(config)
        cache.set("k", 1, tags=["t"])

        def child():
            OptimizedCacheManager(config).invalidate_by_tags(["t"])

        print(cache.get("k"), in_child(child), cache.get("k"))
        """
    )
    assert told == "(1, True) None (None, False)"


@pytest.mark.long
def test_its_beginning_is_overwritten_while_it_is_used(tmp_path: Path) -> None:
    """Nothing is promised to those who write into it by hand, but nobody must get stuck."""
    with Fleet(tmp_path, 4) as fleet:
        fleet.start(range(4))
        fleet.until_at_work()
        fleet.run_on(watched=10)
        for noise in (bytes(4096), b"\xff" * 4096):
            with table_of(fleet).open("r+b") as table:
                table.write(noise)
            fleet.run_on(watched=10)
        found = fleet.stop()
    assert found.errors == 0
    assert found.watched >= 30


@pytest.fixture
def small_file_system(tmp_path: Path) -> Generator[Callable[[str], Path]]:
    """Mount file systems in memory, of a given size."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small file system")
    with ExitStack() as stack:

        def mount(size: str) -> Path:
            folder = tmp_path / f"small-{size}"
            folder.mkdir()
            command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                pytest.skip(f"no small file system can be mounted: {done.stderr.strip()}")
            stack.callback(subprocess.run, ["umount", "-l", str(folder)], check=True)
            return folder

        yield mount


def fill(folder: Path) -> Path:
    """Leave no room at all."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            pass
    return ballast


def test_no_room_is_an_error_and_not_a_crash(small_file_system: Callable[[str], Path]) -> None:
    folder = small_file_system("1m")
    told = output_of(
        f"""
        config = OptimizedCacheConfig(shared_memory_directory={str(folder)!r})
        try:
            OptimizedCacheManager(config)
        except SharedTableError as error:
            print("No space left" in str(error), "share_invalidations=False" in str(error))
        logging.disable()
        cache = OptimizedCacheManager(config.replace(share_invalidations="if_possible"))
        print(cache.set("k", 1), cache.get("k"), cache.get_stats()["sharing"])
        """
    )
    error, alone = told.splitlines()
    assert error == "True True"
    assert alone.startswith("True (1, True) ")
    assert "private" in alone
    assert list(folder.rglob("*.table")) == []


@pytest.mark.long
def test_a_table_that_was_made_does_not_need_more_room(
    tmp_path: Path, small_file_system: Callable[[str], Path]
) -> None:
    folder = small_file_system("8m")
    with Fleet(tmp_path, 4, shared_memory_directory=str(folder)) as fleet:
        fleet.start([0, 1, 2])
        fleet.until_at_work()
        fill(folder)
        fleet.start([3])
        fleet.until_at_work()
        fleet.run_on(watched=20)
        found = fleet.stop()
    assert_kept(found, watched=20)


def test_taken_away_and_no_room_for_another(
    tmp_path: Path, small_file_system: Callable[[str], Path]
) -> None:
    """Then the loader answers, until there is room."""
    folder = small_file_system("8m")
    with Fleet(tmp_path, 4, shared_memory_directory=str(folder)) as fleet:
        fleet.start(range(4))
        fleet.until_at_work()
        fleet.run_on(watched=10)
        (table,) = folder.rglob("*.table")
        # What is unlinked and still in use keeps its room; the ballast takes the rest.
        ballast = fill(folder)
        table.unlink()
        without = fleet.run_on(checks=200)
        fleet.run_on(checks=200, loads=50)
        assert fleet.tally().watched <= without.watched + 12
        ballast.unlink()
        fleet.run_on(watched=10)
        found = fleet.stop()
    assert found.violations == []
    assert found.watched >= 20
    # Who revokes without a table is told that other workers may not have heard of it.
    assert found.errors > 0
