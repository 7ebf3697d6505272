"""Counts of answers from memory: what was recorded is read, from however many threads it came."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from velro_cache._engine import HitCounts

THREADS = 8
SECONDS = st.integers(-(10**12), 10**12).map(lambda nanos: nanos / 1e9)
RECORDS = st.lists(st.tuples(SECONDS, st.booleans()), max_size=30)


def counts(records: list[tuple[float, bool]]) -> HitCounts:
    found = HitCounts()
    for seconds, granted in records:
        found.record(seconds, granted)
    return found


def check(found: HitCounts, records: list[tuple[float, bool]]) -> None:
    """Compare with what a list of the records says; times are kept in whole nanoseconds."""
    times = [max(0.0, seconds) for seconds, _ in records]
    granted, refused, total, fastest, slowest = found.read()
    assert granted == sum(granted for _, granted in records)
    assert refused == sum(not granted for _, granted in records)
    assert total == pytest.approx(sum(times), abs=1e-9 * (len(times) + 1))
    if records:
        assert fastest == pytest.approx(min(times), abs=2e-9)
        assert slowest == pytest.approx(max(times), abs=2e-9)
    else:
        assert (fastest, slowest) == (None, None)


def test_before_the_first_there_is_no_fastest_and_no_slowest() -> None:
    assert HitCounts().read() == (0, 0, 0.0, None, None)


@given(records=RECORDS)
def test_it_counts_as_a_list_would(records: list[tuple[float, bool]]) -> None:
    check(counts(records), records)


@given(one=RECORDS, other=RECORDS)
def test_accounts_are_added(one: list[tuple[float, bool]], other: list[tuple[float, bool]]) -> None:
    total, added = counts(one), counts(other)
    before = added.read()
    total.add(added)
    check(total, one + other)
    assert added.read() == before


def test_an_account_may_be_added_to_itself() -> None:
    found = counts([(1.0, True), (3.0, False)])
    found.add(found)
    assert found.read() == (2, 2, 8.0, 1.0, 3.0)


@pytest.mark.parametrize("wrong", [None, "1", object(), [1.0]], ids=str)
def test_what_is_no_time_is_refused_and_not_counted(wrong: Any) -> None:
    found = HitCounts()
    with pytest.raises(TypeError):
        found.record(wrong, True)
    with pytest.raises(TypeError):
        found.record(1.0, wrong)
    with pytest.raises(TypeError):
        found.add(wrong)
    assert found.read() == (0, 0, 0.0, None, None)


def test_nothing_that_threads_record_at_once_is_lost() -> None:
    """Neither a count nor a time, though none of them waits for another."""
    each, shared, start = 5_000, HitCounts(), threading.Barrier(THREADS)
    own = [HitCounts() for _ in range(THREADS)]

    def work(number: int) -> None:
        start.wait(timeout=60)
        for turn in range(each):
            # All different; parts of 512 are whole nanoseconds, and sums of them are exact.
            seconds = (1 + number + turn * THREADS) / 512
            for found in (shared, own[number]):
                found.record(seconds, turn % 4 == 0)

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(work, range(THREADS)))
    total = HitCounts()
    for one in own:
        total.add(one)
    recorded = THREADS * each
    for granted, refused, seconds, fastest, slowest in (shared.read(), total.read()):
        assert (granted, refused) == (recorded // 4, recorded * 3 // 4)
        assert seconds == recorded * (recorded + 1) / 2 / 512
        assert (fastest, slowest) == (1 / 512, recorded / 512)


def test_a_reader_meanwhile_sees_times_for_all_it_counts() -> None:
    """A count is told last: whoever reads it finds its time in the sum."""
    found, done = HitCounts(), threading.Event()

    def work() -> None:
        for turn in range(20_000):
            found.record(1.0, turn % 2 == 0)

    def watch() -> int:
        seen = 0
        while not done.is_set():
            granted, refused, seconds, fastest, slowest = found.read()
            assert granted + refused >= seen
            seen = granted + refused
            assert seconds >= seen
            assert seen == 0 or (fastest, slowest) == (1.0, 1.0)
        return seen

    with ThreadPoolExecutor(4) as pool:
        watching = pool.submit(watch)
        for one in [pool.submit(work) for _ in range(3)]:
            one.result(timeout=60)
        done.set()
        assert watching.result(timeout=60) <= 60_000
    assert found.read() == (30_000, 30_000, 60_000.0, 1.0, 1.0)
