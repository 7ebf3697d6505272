"""The circuit breaker, with a clock moved by hand."""

from __future__ import annotations

import pytest

from velro_cache.l2.breaker import CircuitBreaker


class Clock:
    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def now() -> Clock:
    return Clock()


@pytest.fixture
def breaker(now: Clock) -> CircuitBreaker:
    return CircuitBreaker(3, 1.0, 5.0, now)


def fail(breaker: CircuitBreaker, times: int) -> None:
    for _ in range(times):
        began = breaker.begin()
        assert began is not None
        breaker.record(began, worked=False)


def succeed(breaker: CircuitBreaker) -> None:
    began = breaker.begin()
    assert began is not None
    breaker.record(began, worked=True)


def allowed(breaker: CircuitBreaker) -> bool:
    return breaker.begin() is not None


def test_it_opens_after_so_many_failures_in_a_row(breaker: CircuitBreaker) -> None:
    fail(breaker, 2)
    assert breaker.state == "closed"
    fail(breaker, 1)
    assert breaker.state == "open"
    assert not allowed(breaker)
    assert breaker.opened == 1


def test_a_success_between_makes_it_count_anew(breaker: CircuitBreaker) -> None:
    for _ in range(10):
        fail(breaker, 2)
        succeed(breaker)
    assert breaker.state == "closed"


def test_after_a_pause_one_may_try_and_one_alone(breaker: CircuitBreaker, now: Clock) -> None:
    fail(breaker, 3)
    now.seconds += 0.99
    assert not allowed(breaker)
    now.seconds += 0.01
    assert breaker.state == "half_open"
    assert [allowed(breaker) for _ in range(5)] == [True] + [False] * 4


def test_it_closes_when_the_trial_works(breaker: CircuitBreaker, now: Clock) -> None:
    fail(breaker, 3)
    now.seconds += 1
    succeed(breaker)
    assert breaker.state == "closed"
    assert all(allowed(breaker) for _ in range(5))
    # And all is as it was at the beginning.
    fail(breaker, 2)
    assert breaker.state == "closed"
    fail(breaker, 1)
    now.seconds += 1
    assert breaker.state == "half_open"


def test_each_trial_in_vain_doubles_the_pause_up_to_a_limit(
    breaker: CircuitBreaker, now: Clock
) -> None:
    fail(breaker, 3)
    for pause in (1, 2, 4, 5, 5, 5):
        now.seconds += pause - 0.01
        assert not allowed(breaker)
        now.seconds += 0.01
        fail(breaker, 1)
        assert breaker.state == "open"


def test_calls_that_were_under_way_when_it_opened_change_nothing(
    breaker: CircuitBreaker, now: Clock
) -> None:
    began = [breaker.begin() for _ in range(50)]
    for one in began:
        assert one is not None
        breaker.record(one, worked=False)
    assert breaker.opened == 1
    now.seconds += 1
    assert allowed(breaker)


def test_a_late_success_closes_it(breaker: CircuitBreaker) -> None:
    began = breaker.begin()
    assert began is not None
    fail(breaker, 3)
    breaker.record(began, worked=True)
    assert breaker.state == "closed"


def test_a_trial_that_is_given_back_may_be_made_by_the_next(
    breaker: CircuitBreaker, now: Clock
) -> None:
    fail(breaker, 3)
    now.seconds += 1
    assert allowed(breaker)
    assert not allowed(breaker)
    breaker.give_back()
    assert allowed(breaker)


def test_a_trial_nobody_reports_on_keeps_others_away_for_a_while_alone(
    breaker: CircuitBreaker, now: Clock
) -> None:
    fail(breaker, 3)
    now.seconds += 1
    assert allowed(breaker)
    now.seconds += 4.99
    assert not allowed(breaker)
    now.seconds += 0.01
    assert allowed(breaker)


def test_a_failure_while_others_are_answered_does_not_count(
    breaker: CircuitBreaker, now: Clock
) -> None:
    began = [breaker.begin() for _ in range(50)]
    now.seconds += 0.1
    succeed(breaker)
    for one in began:
        assert one is not None
        breaker.record(one, worked=False)
    assert breaker.state == "closed"
    now.seconds += 0.1
    # Of a later one it does.
    fail(breaker, 3)
    assert breaker.state == "open"


class TestExcuses:
    """Failures for which the process that called may itself be to blame."""

    def excuse(self, breaker: CircuitBreaker, times: int) -> None:
        for _ in range(times):
            began = breaker.begin()
            assert began is not None
            breaker.record(began, worked=False, excused=True)

    def test_however_many_of_one_moment_say_nothing(self, breaker: CircuitBreaker) -> None:
        self.excuse(breaker, 1000)
        assert breaker.state == "closed"

    def test_are_not_taken_for_ever(self, breaker: CircuitBreaker, now: Clock) -> None:
        self.excuse(breaker, 1)
        now.seconds += 2.0
        self.excuse(breaker, 3)
        assert breaker.state == "open"

    def test_are_taken_anew_once_something_worked(
        self, breaker: CircuitBreaker, now: Clock
    ) -> None:
        self.excuse(breaker, 1)
        now.seconds += 2.0
        succeed(breaker)
        now.seconds += 0.1
        self.excuse(breaker, 1000)
        assert breaker.state == "closed"

    def test_of_a_trial_lets_another_try(self, breaker: CircuitBreaker, now: Clock) -> None:
        fail(breaker, 3)
        now.seconds += 1.0
        self.excuse(breaker, 1)
        assert breaker.state == "half_open"
        succeed(breaker)
        assert breaker.state == "closed"
