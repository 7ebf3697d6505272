"""Keeping the hottest entries alive: loading them anew before they end.

Nothing is prolonged. What is used most is asked for again, under a new stamp, some time before its
life is over, and what comes back takes the place of the old one. If the load fails, the old one
ends when it would have ended. If it says no, the no is what is kept.

The moments are spread by chance, so that what was loaded together is not asked for together for
ever; and only so many loads run at once.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from time import perf_counter
from typing import Final

from velro_cache.warming.hot_keys import HotKey, HotKeys
from velro_cache.warming.limits import check_concurrency, run_limited
from velro_cache.warming.report import WarmReport

__all__ = ["Refresher", "Reload", "reload_all", "reload_within"]

log = logging.getLogger("velro_cache")

Reload = Callable[..., Awaitable[float | None]]
"""Loads one name anew, given its ids, and stores it. Returns the life of what it has stored in
seconds; None: nothing that is worth being kept alive, such as a denial."""

_LOAD_TIMEOUT_SECONDS: Final = 30.0
"""Whoever reloads has limits of its own, mostly; this is for those that have none."""


class Refresher:
    """Loads the hottest names anew before they end.

    Args:
        hot_keys: Which names are hot.
        reload_of: The function that reloads names of a kind; None: there is none.
        hottest: How many names are kept alive.
        concurrency: How many are loaded at once.
        fraction: After which part of its life a name is loaded anew, above 0 and below 1.
        jitter: By how much that part varies, as a part of the life; ``fraction`` and ``jitter``
            together stay below 1.
        seconds: A clock that only goes forward.
        chance: Numbers from 0 to below 1.

    Raises:
        TypeError, ValueError: A number is none, or out of range.
    """

    __slots__ = (
        "_chance",
        "_concurrency",
        "_due",
        "_fraction",
        "_hot_keys",
        "_hottest",
        "_jitter",
        "_reload_of",
        "_seconds",
        "retry_seconds",
    )

    def __init__(
        self,
        hot_keys: HotKeys,
        reload_of: Callable[[str], Reload | None],
        *,
        hottest: int = 100,
        concurrency: int = 4,
        fraction: float = 0.75,
        jitter: float = 0.15,
        seconds: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        if hottest < 1:
            raise ValueError(f"hottest must be 1 or more, not {hottest}")
        if not (0 <= jitter < fraction and fraction + jitter < 1):
            raise ValueError(
                "fraction less and plus jitter must lie between 0 and 1,"
                f" not {fraction} and {jitter}"
            )
        self._hot_keys = hot_keys
        self._reload_of = reload_of
        self._hottest = hottest
        self._concurrency = check_concurrency(concurrency)
        self._fraction = fraction
        self._jitter = jitter
        self._seconds = seconds
        self._chance = chance
        self._due: dict[HotKey, float] = {}
        self.retry_seconds = 5.0

    async def refresh_due(self) -> WarmReport:
        """Load what is due.

        A name that has become hot is due at once: nobody knows how old its entry is.

        Returns:
            What became of it. Names that are hot and not due are not in it.
        """
        now = self._seconds()
        hot = [
            name
            for name in self._hot_keys.hottest(self._hottest)
            if self._reload_of(name[0]) is not None
        ]
        self._due = {name: self._due.get(name, now) for name in hot}
        due = [name for name in hot if self._due[name] <= now]
        report = WarmReport("refresh", total=len(due))
        await reload_all(due, self._reload_of, report, self._concurrency, self._loaded)
        report.seconds = self._seconds() - now
        return report

    def _loaded(self, name: HotKey, life_seconds: float | None, failed: bool) -> None:
        now = self._seconds()
        spread = 2 * self._chance() - 1
        if failed:
            # The old one may be over before it works again; then whoever asks loads it.
            self._due[name] = now + self.retry_seconds * (1 + self._jitter * spread)
        elif life_seconds is None:
            self._due.pop(name, None)
            self._hot_keys.forget(name)
        else:
            self._due[name] = now + life_seconds * (self._fraction + self._jitter * spread)


async def reload_all(
    names: Iterable[HotKey],
    reload_of: Callable[[str], Reload | None],
    report: WarmReport,
    concurrency: int,
    then: Callable[[HotKey, float | None, bool], None] = lambda *_: None,
) -> None:
    """Load names anew, so many at once.

    Args:
        names: Kinds and ids.
        reload_of: The function that reloads names of a kind; None: it is skipped.
        report: Where it is counted.
        concurrency: How many at once.
        then: Told of each: the name, the life of what was stored, and whether it failed.
    """

    async def load(name: HotKey) -> None:
        kind, *ids = name
        reload = reload_of(kind)
        if reload is None:
            report.skipped += 1
            return
        try:
            async with asyncio.timeout(_LOAD_TIMEOUT_SECONDS):
                life_seconds = await reload(*ids)
            if life_seconds is not None and not life_seconds > 0:
                life_seconds = None
        except Exception as error:
            report.fail(error)
            then(name, None, True)
            return
        if life_seconds is None:
            report.denied += 1
        else:
            report.loaded += 1
        then(name, life_seconds, False)

    await run_limited((partial(load, name) for name in names), concurrency)
    if report.failed:
        log.warning("%s: %d loads failed: %s", report.kind, report.failed, dict(report.errors))


async def reload_within(
    seconds: float,
    names: Iterable[HotKey],
    reload_of: Callable[[str], Reload | None],
    report: WarmReport,
    concurrency: int,
) -> None:
    """Do what :func:`reload_all` does, for so long at the most, and tell how it goes.

    Args:
        seconds: After which what is still to be loaded is left.
        names: Kinds and ids.
        reload_of: As for :func:`reload_all`.
        report: Where it is counted, and seen that it runs.
        concurrency: How many at once.
    """
    report.is_running = True
    started = perf_counter()
    try:
        async with asyncio.timeout(seconds):
            await reload_all(names, reload_of, report, concurrency)
    except TimeoutError as error:
        report.fail(error)
    finally:
        report.is_running = False
        report.seconds = perf_counter() - started
