"""What all processes of a scenario write down, in memory they share: who was told what, and when.

One file, mapped by everybody; what a killed process wrote last is still there. All times are
nanoseconds of one clock of this machine, so they can be compared between processes. Every number
has one writer at a time, and is written and read in one piece.

Versions: each change of a permission in the database counts one up. An answer carries the version
it was computed from, so nobody has to guess whether it is old.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from dataclasses import astuple, dataclass
from enum import IntEnum
from pathlib import Path
from typing import Self

__all__ = ["Board", "Change", "Late", "Rows", "Seen", "Shape", "Status", "now"]


def now() -> int:
    """Nanoseconds since the machine was started, the same for all of its processes."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


@dataclass(frozen=True)
class Shape:
    """How much there is room for; the first numbers of the file."""

    workers: int
    permissions: int
    most_changes: int = 20_000
    most_late: int = 20_000


class Status(IntEnum):
    """One row for each worker."""

    PID = 0
    HOST = 1
    AT_WORK = 2
    """1 from its first check on; the others wait for its answers while this is so."""
    CHECKS = 3
    ALLOWS = 4
    LOADS = 5
    MOST_LOADS_AT_ONCE = 6
    ERRORS = 7
    CHANGES = 8
    """How many rows of changes it has begun."""
    LATE = 9
    """How many rows of late allows it has begun."""
    UNACKNOWLEDGED = 10
    """How often the log did not acknowledge an invalidation in time."""
    FROM_OTHER_HOSTS = 11
    """Values it took from other hosts instead of loading them; known when it ends properly."""


class Seen(IntEnum):
    """One row for each worker and permission: what the worker was last told."""

    VERSION = 0
    """Of the last allow."""
    ALLOWS = 1
    """How many allows of that version without loading it itself."""
    CHECKED_FROM = 2
    """When its last finished check began."""


class Change(IntEnum):
    """One row for each change of a permission, written by the worker that made it."""

    PERMISSION = 0
    VERSION = 1
    GRANTED = 2
    HOST = 3
    COMMITTED = 4
    """When the database had committed it."""
    ON_HOST = 5
    """When the invalidation had returned, or given up waiting for others; 0: not yet."""
    ON_BUS = 6
    """When the log had acknowledged it; 0: nobody knows of that."""
    ON_FLEET = 7
    """When all hosts had; 0: nobody knows of that."""
    WATCHERS = 8
    """Other workers that had served what was now taken away from their caches."""
    ALLOWS = 9
    """And how often they had."""


class Late(IntEnum):
    """One row for each worker and version it served as an allow after that was taken away."""

    PERMISSION = 0
    VERSION = 1
    STARTED = 2
    """When the last such check began."""
    RETURNED = 3
    COUNT = 4


class Rows:
    """A table of 64-bit numbers."""

    def __init__(self, cells: memoryview, first: int, rows: int, columns: int) -> None:
        self._columns = columns
        self._cells = cells[first : first + rows * columns]

    def get(self, row: int, column: int) -> int:
        """One number."""
        return int(self._cells[row * self._columns + column])

    def set(self, row: int, column: int, value: int) -> None:
        """Write one number, in one piece."""
        self._cells[row * self._columns + column] = value

    def add(self, row: int, column: int, value: int = 1) -> None:
        """Count up; for the only writer of that number."""
        self._cells[row * self._columns + column] += value

    def row(self, row: int) -> tuple[int, ...]:
        """All numbers of one row."""
        return tuple(self._cells[row * self._columns : (row + 1) * self._columns])


class Board:
    """The shared file, seen from one process.

    Args:
        path: Where it is; see :meth:`create`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        descriptor = os.open(path, os.O_RDWR)
        try:
            # Not closed by hand: views of it may be in use by threads until the process ends.
            memory = mmap.mmap(descriptor, 0)
        finally:
            os.close(descriptor)
        # One assignment is one store of eight bytes, which struct.pack_into("<Q") would not be.
        self._cells = memoryview(memory).cast("Q")
        self.shape = Shape(*self._cells[1:5])
        self.revoked, self.status, self._seen, self._changes, self._late = (
            Rows(self._cells, *section) for section in _sections(self.shape)
        )
        """``revoked``: the version of the last revocation of each permission; ``status``: see
        :class:`Status`."""

    @classmethod
    def create(cls, path: Path, shape: Shape) -> Self:
        """Make the file."""
        *_, (first, rows, columns) = _sections(shape)
        with path.open("wb") as file:
            file.truncate(8 * (first + rows * columns))
        with path.open("r+b") as file:
            file.write(struct.pack(f"={1 + len(astuple(shape))}Q", 0, *astuple(shape)))
        return cls(path)

    @property
    def stopping(self) -> bool:
        """Whether the scenario is over."""
        return bool(self._cells[0])

    def stop(self) -> None:
        """Tell everybody that the scenario is over."""
        self._cells[0] = 1

    def seen(self, worker: int, permission: int, column: Seen) -> int:
        """What a worker was last told about a permission."""
        return self._seen.get(worker * self.shape.permissions + permission, column)

    def see(self, worker: int, permission: int, column: Seen, value: int) -> None:
        """Note what a worker was told about a permission."""
        self._seen.set(worker * self.shape.permissions + permission, column, value)

    def begin_change(self, worker: int, **fields: int) -> int:
        """Add a row to the changes of a worker; its number is for :meth:`complete_change`."""
        return self._append(self._changes, worker, Status.CHANGES, self.shape.most_changes, fields)

    def complete_change(self, row: int, column: Change, value: int) -> None:
        """Note how far a change got."""
        self._changes.set(row, column, value)

    def begin_late(self, worker: int, **fields: int) -> int:
        """Add a row to the late allows of a worker; its number is for :meth:`later`."""
        return self._append(self._late, worker, Status.LATE, self.shape.most_late, fields)

    def change_reached(self, row: int, column: Change) -> int:
        """How far a change got."""
        return self._changes.get(row, column)

    def late_started(self, row: int) -> int:
        """When the last late check of this row began."""
        return self._late.get(row, Late.STARTED)

    def later(self, row: int, started: int, returned: int) -> None:
        """Note one more late allow of the same version."""
        self._late.set(row, Late.STARTED, started)
        self._late.set(row, Late.RETURNED, returned)
        self._late.add(row, Late.COUNT)

    def changes(self, worker: int) -> list[tuple[int, ...]]:
        """All changes a worker has made, as tuples in the order of :class:`Change`."""
        first, count = worker * self.shape.most_changes, self.status.get(worker, Status.CHANGES)
        return [self._changes.row(first + number) for number in range(count)]

    def late(self, worker: int) -> list[tuple[int, ...]]:
        """All late allows of a worker, as tuples in the order of :class:`Late`."""
        first, count = worker * self.shape.most_late, self.status.get(worker, Status.LATE)
        return [self._late.row(first + number) for number in range(count)]

    def _append(
        self, table: Rows, worker: int, counter: Status, most: int, fields: dict[str, int]
    ) -> int:
        number = self.status.get(worker, counter)
        if number >= most:
            raise RuntimeError("the board is full: what came now would not be checked")
        row = worker * most + number
        columns = Change if counter is Status.CHANGES else Late
        for name, value in fields.items():
            table.set(row, columns[name.upper()], value)
        # Only now is it there: whoever is killed before this has written nothing.
        self.status.set(worker, counter, number + 1)
        return row


def _sections(shape: Shape) -> list[tuple[int, int, int]]:
    """First cell, rows and columns of each table."""
    tables = [
        (shape.permissions, 1),
        (shape.workers, len(Status)),
        (shape.workers * shape.permissions, len(Seen)),
        (shape.workers * shape.most_changes, len(Change)),
        (shape.workers * shape.most_late, len(Late)),
    ]
    sections, first = [], 8
    for rows, columns in tables:
        sections.append((first, rows, columns))
        first += rows * columns
    return sections
