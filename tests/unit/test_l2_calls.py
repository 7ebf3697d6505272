"""Calls of a backend that hangs, on an event loop whose clock is moved by hand."""

from __future__ import annotations

import asyncio

from velro_cache.l2.calls import FAILED, Calls
from velro_cache.l2.counters import Counters

TIMEOUT_SECONDS = 1.0


class Loop(asyncio.SelectorEventLoop):
    """What time it is, is for the test to say."""

    seconds = 100.0

    def time(self) -> float:
        return self.seconds


class Hangs:
    async def get(self, key: str) -> bytes | None:
        await asyncio.Event().wait()
        return None

    async def set(self, key: str, value: bytes, ttl_seconds: float) -> None: ...

    async def delete(self, key: str) -> None: ...


def breaker_after_calls_that_hang(step_seconds: float) -> tuple[str, int]:
    """Four calls at once time out, on a loop that turns but once in so many seconds."""
    loop = Loop()
    counters = Counters()
    calls = Calls(Hangs(), TIMEOUT_SECONDS, counters, "test", now=loop.time)

    async def main() -> None:
        four = asyncio.gather(*(calls.acall("get", "key") for _ in range(4)))
        while not four.done():
            await asyncio.sleep(0)
            loop.seconds += step_seconds
        assert four.result() == [FAILED] * 4

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(main())
    return calls.reading.state, counters.figures()["timeouts"]


def test_a_backend_that_hangs_is_left_alone() -> None:
    state, timeouts = breaker_after_calls_that_hang(TIMEOUT_SECONDS / 1000)
    assert (state, timeouts) == ("open", 4)


def test_a_loop_that_is_busy_says_nothing_of_the_backend() -> None:
    state, timeouts = breaker_after_calls_that_hang(2 * TIMEOUT_SECONDS)
    assert (state, timeouts) == ("closed", 4)


def test_a_loop_busy_now_and_then_neither() -> None:
    state, timeouts = breaker_after_calls_that_hang(0.4 * TIMEOUT_SECONDS)
    assert (state, timeouts) == ("closed", 4)
