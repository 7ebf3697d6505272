"""Waiting for somebody who may never answer, and telling whose fault that is."""

import asyncio
from collections.abc import Awaitable
from typing import Any, Final

__all__ = ["LoopWasBusyError", "wait_within"]


class LoopWasBusyError(Exception):
    """Time was over, and the event loop had other things to do for much of it."""


_LOOKS: Final = 4
"""How often, during a wait, it is seen whether the event loop keeps up."""


async def wait_within(work: Awaitable[Any], seconds: float) -> Any:
    """Await something for so long and no longer, whatever it makes of being cancelled.

    Args:
        work: What to await.
        seconds: For how long.

    Returns:
        Its result.

    Raises:
        TimeoutError: Time was over.
        LoopWasBusyError: Time was over, and that says little of whom was waited for.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()
    busy = 0.0
    task = asyncio.ensure_future(work)
    try:
        while not task.done() and (left := began + seconds - loop.time()) > 0.0:
            planned = loop.time() + min(left, seconds / _LOOKS)
            await asyncio.wait((task,), timeout=planned - loop.time())
            busy += max(0.0, loop.time() - planned)
    except BaseException:
        _give_up(task)
        raise
    if not task.done():
        _give_up(task)
        # What the backend may have sent in the meantime was not even looked at.
        raise LoopWasBusyError if busy > seconds / _LOOKS else TimeoutError
    if task.cancelled():
        # By itself, and not because somebody cancelled whoever waits here.
        raise RuntimeError("a backend cancelled its own call")
    return task.result()


def _give_up(task: "asyncio.Future[Any]") -> None:
    task.cancel()
    task.add_done_callback(_ignore_outcome)


def _ignore_outcome(task: "asyncio.Future[Any]") -> None:
    if not task.cancelled():
        task.exception()
