"""Loaders in older transactions, and loaders that read replicas: what is in order and what is not.

What the pages say must not be done is done here, to show that it would be noticed.
"""

from __future__ import annotations

from collections.abc import Generator
from itertools import count
from pathlib import Path

import pytest
from workers import Fleet

from services.postgres import PostgresServer

_numbers = count()


@pytest.fixture(scope="module")
def server() -> Generator[PostgresServer]:
    with PostgresServer() as running:
        yield running


@pytest.fixture
def fleet(tmp_path: Path, server: PostgresServer) -> Generator[Fleet]:
    address = server.create_database(f"chaos_{next(_numbers)}")
    with Fleet(tmp_path, 4, permissions=8, truth=address) as four:
        yield four


def test_a_stamp_from_before_the_transaction_is_right(fleet: Fleet, scale: int) -> None:
    fleet.start(range(4), habit="transactions.stamps_before_it_begins")
    fleet.until_at_work()
    fleet.run_until(lambda found: found.watched >= 30 * scale)
    found = fleet.stop()
    assert found.violations == []
    assert (found.errors, found.watched >= 30 * scale) == (0, True)


@pytest.mark.parametrize("habit", ["stamps_after_it_has_begun", "loads_within_it"])
def test_a_stamp_from_within_the_transaction_is_caught(fleet: Fleet, habit: str) -> None:
    fleet.start(range(4), habit=f"transactions.{habit}")
    fleet.until_at_work()
    fleet.run_until(lambda found: found.revocations >= 20 and found.violations)
    found = fleet.stop()
    assert found.violations
    assert (found.errors, found.revocations >= 20) == (0, True)


def test_a_replica_that_lags_behind_is_caught(fleet: Fleet, server: PostgresServer) -> None:
    lagging = {"recovery_min_apply_delay": "200ms"}
    with PostgresServer(standby_of=server, extra_config=lagging) as standby:
        replica = fleet.truth_at(standby.port)
        fleet.start(range(4), replica=replica)
        fleet.until_at_work()
        fleet.run_until(lambda found: found.revocations >= 20 and found.violations)
        found = fleet.stop()
    assert found.violations
    assert (found.errors, found.revocations >= 20) == (0, True)


@pytest.mark.long
def test_a_replica_that_is_waited_for_is_right(
    fleet: Fleet, server: PostgresServer, scale: int
) -> None:
    lagging = {"recovery_min_apply_delay": "100ms"}
    with PostgresServer(standby_of=server, extra_config=lagging) as standby:
        replica = fleet.truth_at(standby.port)
        fleet.start(range(4), replica=replica, habit="transactions.waits_for_the_replica")
        fleet.until_at_work()
        fleet.run_until(lambda found: found.watched >= 20 * scale)
        found = fleet.stop()
    assert found.violations == []
    assert (found.errors, found.watched >= 20 * scale) == (0, True)
