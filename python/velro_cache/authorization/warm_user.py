"""Asking ahead: many questions about one user, a few at a time."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from time import perf_counter
from typing import Any

from velro_cache.warming.limits import run_limited
from velro_cache.warming.report import Progress, WarmReport, tell

__all__ = ["Question", "warm_questions"]

log = logging.getLogger("velro_cache")

Question = tuple[Callable[[Any], Awaitable[bool]], Any]
"""What asks, and what it asks about; whether it was granted is the answer."""


async def warm_questions(
    questions: Sequence[Question],
    report: WarmReport,
    concurrency: int,
    on_progress: Progress | None,
) -> WarmReport:
    """Ask questions, so many at once.

    Args:
        questions: What to ask.
        report: Where the answers are counted.
        concurrency: How many are asked at once.
        on_progress: Told after each answer. None: nobody is.

    Returns:
        The report.
    """
    started = perf_counter()
    report.total = len(questions)

    async def ask(question: Question) -> None:
        nonlocal on_progress
        decide, about = question
        try:
            if await decide(about):
                report.loaded += 1
            else:
                report.denied += 1
        except Exception as error:
            report.fail(error)
        report.seconds = perf_counter() - started
        on_progress = tell(on_progress, report)

    def jobs() -> Iterator[Callable[[], Awaitable[None]]]:
        return (partial(ask, question) for question in questions)

    await run_limited(jobs(), concurrency)
    if report.failed:
        log.warning(
            "warming for a user: %d of %d questions failed: %s",
            report.failed,
            report.total,
            dict(report.errors),
        )
    return report
