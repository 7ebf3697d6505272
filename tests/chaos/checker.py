"""Reads the board when all is over: was anybody told "allowed" too late, and would we know?"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from board import Board, Change, Late, Status

__all__ = ["Tally", "Violation", "tally"]


@dataclass(frozen=True)
class Violation:
    """An allow that must not have been given."""

    permission: int
    served_version: int
    revoked_version: int
    worker: int
    same_host: bool
    count: int
    late_by_seconds: float
    """How long after the last moment at which it was still in order the check began."""


@dataclass
class Tally:
    """What happened in a scenario.

    Attributes:
        revocations: How many were acknowledged: by the invalidation's return, or by the log.
        watched: How many of them took away what at least one other worker had in its cache.
        watchers: How many workers had it, summed up over all revocations.
        allows_before: Answers from caches with what was later taken away, by other workers.
        checks: Answers of any kind.
        worst_staleness_seconds: The longest time between an acknowledgement by the log and the
            beginning of a check that was allowed all the same.
    """

    revocations: int = 0
    watched: int = 0
    watchers: int = 0
    allows_before: int = 0
    checks: int = 0
    allows: int = 0
    loads: int = 0
    most_loads_at_once: int = 0
    errors: int = 0
    unacknowledged: int = 0
    from_other_hosts: int = 0
    worst_staleness_seconds: float = 0.0
    violations: list[Violation] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.revocations} revocations, {self.watched} of them watched by"
            f" {self.watchers} workers with {self.allows_before} allows before;"
            f" {self.checks} checks, {self.allows} allows, {self.loads} loads"
            f" (at most {self.most_loads_at_once} at once),"
            f" {self.from_other_hosts} values from other hosts, {self.errors} errors,"
            f" {self.unacknowledged} unacknowledged,"
            f" worst staleness {self.worst_staleness_seconds * 1000:.1f} ms;"
            f" {len(self.violations)} violations"
        )


def tally(board: Board, max_staleness_seconds: float) -> Tally:
    """Judge everything on the board.

    An allow is a violation if it was computed from a version before a revocation, and its check
    began

    * after the invalidation had returned, on a worker of the same host;
    * after the whole fleet had acknowledged it, anywhere;
    * later than ``max_staleness_seconds`` after the log had acknowledged it, anywhere.

    Args:
        board: What happened.
        max_staleness_seconds: What was promised between hosts.

    Returns:
        The counts, and the violations.
    """
    found = Tally()
    bound = int(max_staleness_seconds * 1e9)
    revocations: dict[int, list[tuple[int, ...]]] = defaultdict(list)
    workers = range(board.shape.workers)
    for worker in workers:
        status = board.status.row(worker)
        found.checks += status[Status.CHECKS]
        found.allows += status[Status.ALLOWS]
        found.loads += status[Status.LOADS]
        found.most_loads_at_once = max(found.most_loads_at_once, status[Status.MOST_LOADS_AT_ONCE])
        found.errors += status[Status.ERRORS]
        found.from_other_hosts += status[Status.FROM_OTHER_HOSTS]
        found.unacknowledged += status[Status.UNACKNOWLEDGED]
        for change in board.changes(worker):
            is_acknowledged = change[Change.ON_HOST] or change[Change.ON_BUS]
            if change[Change.GRANTED] or not is_acknowledged:
                continue
            revocations[change[Change.PERMISSION]].append(change)
            found.revocations += 1
            found.watched += change[Change.WATCHERS] > 0
            found.watchers += change[Change.WATCHERS]
            found.allows_before += change[Change.ALLOWS]
    for worker in workers:
        host = board.status.get(worker, Status.HOST)
        for late in board.late(worker):
            _judge(found, worker, host, late, revocations[late[Late.PERMISSION]], bound)
    return found


def _judge(
    found: Tally,
    worker: int,
    host: int,
    late: tuple[int, ...],
    revocations: list[tuple[int, ...]],
    bound: int,
) -> None:
    started, version = late[Late.STARTED], late[Late.VERSION]
    worst: Violation | None = None
    for change in revocations:
        if change[Change.VERSION] <= version:
            continue
        same_host = change[Change.HOST] == host
        last_moments = []
        if same_host and change[Change.ON_HOST]:
            last_moments.append(change[Change.ON_HOST])
        if change[Change.ON_FLEET]:
            last_moments.append(change[Change.ON_FLEET])
        if change[Change.ON_BUS]:
            last_moments.append(change[Change.ON_BUS] + bound)
            stale = (started - change[Change.ON_BUS]) / 1e9
            found.worst_staleness_seconds = max(found.worst_staleness_seconds, stale)
        if not last_moments or started <= min(last_moments):
            continue
        late_by = (started - min(last_moments)) / 1e9
        if worst is None or late_by > worst.late_by_seconds:
            permission, count = late[Late.PERMISSION], late[Late.COUNT]
            worst = Violation(
                permission, version, change[Change.VERSION], worker, same_host, count, late_by
            )
    if worst is not None:
        found.violations.append(worst)
