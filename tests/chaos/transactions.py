"""Loaders that read inside of transactions which see the state of their beginning."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import cast

from board import Change, now
from member import Answer, Member, key_of, tags_of
from truth import PostgresTruth


def stamps_before_it_begins(member: Member) -> None:
    """Right: whatever is revoked from now on, the value will be seen to be older."""

    def ask(member: Member, permission: int, loader: Callable[[], Answer]) -> Answer:
        answer, hit = member.cache.get(key_of(permission))
        return dict(answer) if hit else _load(member, permission, member.cache.snapshot())

    member.ask = ask


def stamps_after_it_has_begun(member: Member) -> None:
    """Wrong: what is revoked between the beginning and the stamp is not seen by the loader."""

    def ask(member: Member, permission: int, loader: Callable[[], Answer]) -> Answer:
        answer, hit = member.cache.get(key_of(permission))
        return dict(answer) if hit else _load(member, permission, None)

    member.ask = ask


def loads_within_it(member: Member) -> None:
    """Wrong: the stamp of a load is taken after the transaction around it has begun."""
    loads_by_themselves = member.ask

    def ask(member: Member, permission: int, loader: Callable[[], Answer]) -> Answer:
        connection = cast("PostgresTruth", member.truth).connection()
        with connection.transaction():
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            connection.execute("SELECT 1")
            # What else a request does before it asks.
            time.sleep(member.plan.load_seconds)
            return loads_by_themselves(member, permission, loader)

    member.ask = ask


def waits_for_the_replica(member: Member) -> None:
    """Right: reads a replica once that has what the primary had when the load began."""
    truth = cast("PostgresTruth", member.truth)
    read = member.read

    def wait_and_read(permission: int) -> Answer:
        (target,) = truth.connection().execute("SELECT pg_current_wal_lsn()::text").fetchone()
        while True:
            has_it = "SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn"
            (done,) = truth.connection(truth.replica).execute(has_it, (target,)).fetchone()
            if done:
                return read(permission)
            time.sleep(0.005)

    member.read = wait_and_read  # type: ignore[method-assign]


def only_commits(member: Member) -> None:
    """Right where a trigger writes the outbox: what is committed is in the log."""

    def invalidate(_permission: int, row: int) -> None:
        member.board.complete_change(row, Change.ON_BUS, now())

    member.invalidate = invalidate  # type: ignore[method-assign]
    # Many transactions are open at once, and end in another order than they began in.
    truth = cast("PostgresTruth", member.truth)
    commit = truth.commit

    def commit_slowly(permission: int, granted: bool) -> int:
        with truth.connection().transaction():
            version = commit(permission, granted)
            time.sleep(member.chance.random() * member.plan.load_seconds)
        return version

    truth.commit = commit_slowly  # type: ignore[method-assign]


def _load(member: Member, permission: int, stamp: int | None) -> Answer:
    """Load in a transaction; without a stamp, take it after the transaction's first statement."""
    connection = cast("PostgresTruth", member.truth).connection()
    with connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        connection.execute("SELECT 1")
        time.sleep(member.plan.load_seconds)
        if stamp is None:
            stamp = member.cache.snapshot()
        answer = member.load(permission)
    member.cache.set(
        key_of(permission),
        answer,
        tags=tags_of(permission),
        stamp=stamp,
        permissive=member.is_permissive(answer),
    )
    return answer
