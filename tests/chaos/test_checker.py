"""The checker itself: what it must call a violation, what not, and that it notices being blind."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest
from board import Board, Seen, Shape, Status, now
from checker import tally

SECOND = 1_000_000_000
HERE, ELSEWHERE = 0, 1
"""Two workers; each is the only one of its host."""


@pytest.fixture
def board(tmp_path: Path) -> Board:
    made = Board.create(tmp_path / "board", Shape(workers=2, permissions=3, most_late=4))
    for worker in (HERE, ELSEWHERE):
        made.status.set(worker, Status.HOST, worker)
    return made


def revoke(board: Board, version: int, **reached: int) -> None:
    """A revocation of permission 1 by the first worker."""
    board.begin_change(
        HERE, permission=1, version=version, granted=0, host=0, watchers=1, allows=5, **reached
    )


def allow(board: Board, worker: int, version: int, started: int) -> None:
    row = board.begin_late(worker, permission=1, version=version)
    board.later(row, started, started + 5)


@pytest.mark.parametrize(
    ("worker", "reached", "started", "is_violation"),
    [
        # Where it was revoked, not one check after the return.
        (HERE, {"on_host": 10 * SECOND}, 10 * SECOND, False),
        (HERE, {"on_host": 10 * SECOND}, 10 * SECOND + 1, True),
        (HERE, {"on_host": 10 * SECOND, "on_bus": 12 * SECOND}, 11 * SECOND, True),
        # Elsewhere, nothing is promised until the log has it, and then the staleness.
        (ELSEWHERE, {"on_host": 10 * SECOND}, 99 * SECOND, False),
        (ELSEWHERE, {"on_host": 9 * SECOND, "on_bus": 10 * SECOND}, 12 * SECOND, False),
        (ELSEWHERE, {"on_host": 9 * SECOND, "on_bus": 10 * SECOND}, 12 * SECOND + 1, True),
        # Once the fleet has it, nowhere.
        (ELSEWHERE, {"on_host": 9 * SECOND, "on_fleet": 10 * SECOND}, 10 * SECOND, False),
        (ELSEWHERE, {"on_host": 9 * SECOND, "on_fleet": 10 * SECOND}, 10 * SECOND + 1, True),
        # Written by the database alone: nobody called the cache.
        (HERE, {"on_bus": 10 * SECOND}, 12 * SECOND, False),
        (HERE, {"on_bus": 10 * SECOND}, 12 * SECOND + 1, True),
        # Not acknowledged by anybody.
        (HERE, {}, 99 * SECOND, False),
    ],
)
def test_what_is_a_violation(
    board: Board, worker: int, reached: dict[str, int], started: int, is_violation: bool
) -> None:
    revoke(board, version=2, **reached)
    allow(board, worker, version=1, started=started)
    found = tally(board, max_staleness_seconds=2)
    assert len(found.violations) == is_violation
    assert found.revocations == found.watched == bool(reached)


def test_an_allow_from_after_the_revocation_is_in_order(board: Board) -> None:
    revoke(board, version=2, on_host=10 * SECOND)
    allow(board, HERE, version=3, started=99 * SECOND)
    assert not tally(board, 2).violations


def test_an_old_revocation_counts_though_a_newer_one_is_still_in_time(board: Board) -> None:
    revoke(board, version=2, on_host=1, on_bus=10 * SECOND)
    revoke(board, version=4, on_host=1, on_bus=20 * SECOND)
    allow(board, ELSEWHERE, version=1, started=21 * SECOND)
    (violation,) = tally(board, 2).violations
    assert violation.late_by_seconds == 9
    assert violation.revoked_version == 2


def test_how_stale_it_got_is_measured_from_the_acknowledgement(board: Board) -> None:
    revoke(board, version=2, on_host=9 * SECOND, on_bus=10 * SECOND)
    allow(board, ELSEWHERE, version=1, started=int(11.5 * SECOND))
    assert tally(board, 2).worst_staleness_seconds == 1.5


def test_grants_are_no_revocations(board: Board) -> None:
    board.begin_change(HERE, permission=1, version=3, granted=1, host=0, on_host=5)
    allow(board, HERE, version=2, started=99)
    found = tally(board, 0)
    assert (found.revocations, found.violations) == (0, [])


def test_a_full_board_is_an_error_and_not_silence(board: Board) -> None:
    for version in range(4):
        allow(board, HERE, version, started=1)
    with pytest.raises(RuntimeError, match="full"):
        allow(board, HERE, 5, started=1)
    assert len(board.late(HERE)) == 4
    assert not board.late(ELSEWHERE)


def _write(path: Path) -> None:
    other = Board(path)
    other.see(1, 2, Seen.CHECKED_FROM, now())
    other.stop()


def test_processes_see_each_others_notes_on_one_clock(board: Board) -> None:
    before = now()
    process = multiprocessing.get_context("spawn").Process(target=_write, args=(board.path,))
    process.start()
    process.join(60)
    assert process.exitcode == 0
    assert before < board.seen(1, 2, Seen.CHECKED_FROM) < now()
    assert board.stopping
