"""Failures that come in thousands, and the few lines that are written of them."""

from __future__ import annotations

import logging

import pytest

from velro_cache.sparing_log import SparingLog

LOGGER = logging.getLogger("velro_cache.tests.sparing")


class Clock:
    """Seconds, as the tests have them."""

    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def failures(clock: Clock) -> SparingLog:
    return SparingLog(LOGGER, clock=clock)


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def test_the_first_is_written_and_then_one_in_ten_seconds_with_their_number(
    failures: SparingLog, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(100):
        failures.failed(logging.ERROR, "nobody can tell", OSError("secret"))
    assert lines(caplog) == ["nobody can tell: OSError"]
    clock.seconds = 9.99
    failures.failed(logging.ERROR, "nobody can tell", OSError("secret"))
    assert len(lines(caplog)) == 1
    clock.seconds = 10.0
    for _ in range(5):
        failures.failed(logging.ERROR, "nobody can tell", OSError("secret"))
    assert lines(caplog)[1:] == ["nobody can tell: OSError; 100 more since the last such line"]
    clock.seconds = 1000.0
    for _ in range(2):
        failures.failed(logging.ERROR, "nobody can tell", OSError("secret"))
    assert lines(caplog)[2:] == ["nobody can tell: OSError; 4 more since the last such line"]
    assert "secret" not in caplog.text


def test_an_outage_of_an_hour_is_a_line_in_ten_seconds(
    failures: SparingLog, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for tenth in range(36_000):
        clock.seconds = tenth / 10
        failures.failed(logging.ERROR, "nobody can tell", OSError())
    assert len(caplog.records) == 360


def test_each_kind_has_lines_of_its_own(
    failures: SparingLog, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        failures.failed(logging.ERROR, "one", OSError())
        failures.failed(logging.ERROR, "one", ValueError())
        failures.failed(logging.WARNING, "two", OSError())
    assert lines(caplog) == ["one: OSError", "one: ValueError", "two: OSError"]
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR", "WARNING"]


def test_classes_that_somebody_makes_up_are_one_kind(
    failures: SparingLog, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(10_000):
        failures.failed(logging.ERROR, "one", type(f"Made{number}", (Exception,), {})())
    assert len(caplog.records) == 101
    assert lines(caplog)[-1] == "one: other errors"


def test_a_handler_that_fails_in_the_same_way_does_not_wait_for_itself(
    failures: SparingLog,
) -> None:
    class Fails(logging.Handler):
        def emit(self, _record: logging.LogRecord) -> None:
            failures.failed(logging.ERROR, "one", OSError())

    handler = Fails()
    LOGGER.addHandler(handler)
    try:
        failures.failed(logging.ERROR, "one", OSError())
    finally:
        LOGGER.removeHandler(handler)


def test_an_interval_that_is_none_is_refused() -> None:
    for wrong in (0, -1, float("nan")):
        with pytest.raises(ValueError, match="interval_seconds"):
            SparingLog(LOGGER, interval_seconds=wrong)
