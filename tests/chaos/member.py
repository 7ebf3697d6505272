"""What one worker process does: it asks its cache all the time, and revokes now and then."""

from __future__ import annotations

import asyncio
import importlib
import os
import random
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from board import Board, Change, Seen, Status, now
from truth import open_truth

from velro_cache import OptimizedCacheConfig, OptimizedCacheManager, generate_auth_key
from velro_cache.exceptions import InvalidationNotAcknowledged

__all__ = ["Member", "Plan", "Work"]

Answer = dict[str, Any]

_PATIENCE_SECONDS = 0.5
"""How long whoever revokes waits for others to be in the state it would like them to be in. A
worker that is too slow for this is not counted as a watcher; nothing else depends on it."""


@dataclass(frozen=True)
class Plan:
    """What one worker is like.

    Attributes:
        number: Its rows on the board.
        host: Workers of one host share a folder for their table.
        config: Settings of its cache.
        style: How it asks: a name in :data:`STYLES`.
        threads: How many threads (or tasks of its event loop) ask.
        revokes: Whether it also changes permissions, or only asks.
        load_seconds: How long a load takes on average.
        staleness_seconds: After an acknowledged change, other workers are watched for so long.
        habit: What it does otherwise than the rest: a module and a function in it, which is called
            with the worker before it begins.
        replica: Address of the PostgreSQL standby it reads. None: it reads where it writes.
    """

    number: int
    host: int
    config: dict[str, Any]
    style: str = "get_or_load"
    threads: int = 1
    revokes: bool = True
    load_seconds: float = 0.01
    staleness_seconds: float = 0.0
    habit: str | None = None
    replica: str | None = None


@dataclass
class Work:
    """Where all workers of a scenario meet."""

    board: Path
    truth: str
    plans: list[Plan] = field(default_factory=list)


class Member:
    """One worker.

    Args:
        work: Where the workers meet.
        plan: What this one is like.
        cache: A cache from before a fork; None: one of its own.
    """

    def __init__(self, work: Work, plan: Plan, cache: OptimizedCacheManager | None = None) -> None:
        self.plan = plan
        self.board = Board(work.board)
        self.truth = open_truth(work.truth, plan.replica)
        self.cache = cache or OptimizedCacheManager(OptimizedCacheConfig(**plan.config))
        self.ask = STYLES.get(plan.style, _get_or_load)
        self.promises = plan.config.get("invalidation_wait", "host")
        self.is_permissive: Callable[[Answer], bool] = _is_granted
        self.chance = random.Random(plan.number * 1_000_003 + os.getpid())  # noqa: S311 (no secret)
        self._lock = threading.Lock()
        self._versions: dict[int, int] = {}
        self._late_rows: dict[tuple[int, int], int] = {}
        self._loads_at_once = 0
        self._traces = 5
        if plan.habit is not None:
            module, _, function = plan.habit.partition(".")
            getattr(importlib.import_module(module), function)(self)

    def run(self) -> None:
        """Work until the scenario is over."""
        status = self.board.status
        status.set(self.plan.number, Status.HOST, self.plan.host)
        status.set(self.plan.number, Status.PID, os.getpid())
        threads = [threading.Thread(target=self._hammer) for _ in range(self.plan.threads)]
        if self.plan.style == "asyncio":
            threads = [threading.Thread(target=asyncio.run, args=(self._hammer_all_at_once(),))]
        if self.plan.revokes:
            threads.append(threading.Thread(target=self._revoke))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        taken = self.cache.get_stats()["l2"].get("hits", 0)
        status.set(self.plan.number, Status.FROM_OTHER_HOSTS, taken)

    # Asking.

    def fill(self) -> None:
        """Ask for everything once."""
        for permission in range(self.board.shape.permissions):
            self.ask(self, permission, self._loader(permission, []))

    def load(self, permission: int) -> Answer:
        """Read the database, slowly; most of the time passes with the answer in hand."""
        with self._counted_load():
            time.sleep(self._jitter() / 3)
            answer = self.read(permission)
            time.sleep(self._jitter())
            return answer

    async def aload(self, permission: int) -> Answer:
        """The same for an event loop."""
        with self._counted_load():
            await asyncio.sleep(self._jitter() / 3)
            answer = self.read(permission)
            await asyncio.sleep(self._jitter())
            return answer

    def read(self, permission: int) -> Answer:
        """What the database says."""
        granted, version = self.truth.read(permission)
        return {"granted": granted, "version": version}

    def _loader(self, permission: int, own_loads: list[int]) -> Callable[[], Answer]:
        """A loader of one permission that tells who called it."""

        def load() -> Answer:
            own_loads.append(permission)
            return self.load(permission)

        return load

    def _hammer(self) -> None:
        for permission in self._permissions():
            own_loads: list[int] = []
            started, revoked = now(), self.board.revoked.get(permission, 0)
            try:
                answer = self.ask(self, permission, self._loader(permission, own_loads))
            except Exception:
                self._failed()
            else:
                self._note(permission, started, revoked, answer, own=bool(own_loads))
            time.sleep(0.0005)

    async def _hammer_all_at_once(self) -> None:
        await asyncio.gather(*(self._ahammer() for _ in range(self.plan.threads)))

    async def _ahammer(self) -> None:
        for permission in self._permissions():
            own_loads: list[int] = []

            async def load(permission: int = permission, own: list[int] = own_loads) -> Answer:
                own.append(permission)
                return await self.aload(permission)

            started, revoked = now(), self.board.revoked.get(permission, 0)
            try:
                answer = await self.cache.aget_or_load(
                    key_of(permission),
                    load,
                    tags=tags_of(permission),
                    permissive=self.is_permissive,
                )
            except Exception:
                self._failed()
            else:
                self._note(permission, started, revoked, answer, own=bool(own_loads))
            await asyncio.sleep(0.0005)

    def _permissions(self) -> Iterator[int]:
        """All of them in every order, until the scenario is over."""
        permissions = list(range(self.board.shape.permissions))
        while True:
            self.chance.shuffle(permissions)
            for permission in permissions:
                if self.board.stopping:
                    return
                yield permission

    def _note(
        self, permission: int, started: int, revoked: int, answer: Answer, *, own: bool
    ) -> None:
        returned = now()
        number, board, version = self.plan.number, self.board, answer["version"]
        with self._lock:
            board.status.set(number, Status.AT_WORK, 1)
            board.status.add(number, Status.CHECKS)
            if answer["granted"]:
                board.status.add(number, Status.ALLOWS)
                if board.seen(number, permission, Seen.VERSION) != version:
                    board.see(number, permission, Seen.ALLOWS, 0)
                    board.see(number, permission, Seen.VERSION, version)
                if not own:
                    allows = board.seen(number, permission, Seen.ALLOWS)
                    board.see(number, permission, Seen.ALLOWS, allows + 1)
                if version < revoked:
                    self._note_late(permission, version, started, returned)
            if started > board.seen(number, permission, Seen.CHECKED_FROM):
                board.see(number, permission, Seen.CHECKED_FROM, started)

    def _note_late(self, permission: int, version: int, started: int, returned: int) -> None:
        row = self._late_rows.get((permission, version))
        if row is None:
            row = self._late_rows[permission, version] = self.board.begin_late(
                self.plan.number, permission=permission, version=version
            )
            latest = 0
        else:
            latest = self.board.late_started(row)
        self.board.later(row, max(started, latest), returned)

    def _failed(self) -> None:
        with self._lock:
            self.board.status.add(self.plan.number, Status.ERRORS)
            self._traces -= 1
        if self._traces >= 0:
            traceback.print_exc()
        time.sleep(0.01)

    @contextmanager
    def _counted_load(self) -> Iterator[None]:
        status, number = self.board.status, self.plan.number
        with self._lock:
            self._loads_at_once += 1
            status.add(number, Status.LOADS)
            most = max(self._loads_at_once, status.get(number, Status.MOST_LOADS_AT_ONCE))
            status.set(number, Status.MOST_LOADS_AT_ONCE, most)
        try:
            yield
        finally:
            with self._lock:
                self._loads_at_once -= 1

    def _jitter(self) -> float:
        """Mostly short, sometimes very long."""
        return min(self.chance.expovariate(1 / self.plan.load_seconds), 8 * self.plan.load_seconds)

    # Revoking.

    def _revoke(self) -> None:
        board, number = self.board, self.plan.number
        revokers = board.shape.workers
        mine = [own for own in range(board.shape.permissions) if own % revokers == number]
        while not board.stopping:
            granted = [(permission, self.change(permission, granted=True)) for permission in mine]
            if self.chance.random() < 0.6:
                self._until(self._all_are_hot, granted)
            else:
                # In the middle of the loads that the grants have brought about.
                time.sleep(self.chance.random() * 2 * self.plan.load_seconds)
            for permission in mine:
                self.change(permission, granted=False)
            since = now() + int(self.plan.staleness_seconds * 1e9)
            self._until(self._all_were_asked, [(permission, since) for permission in mine])

    def change(self, permission: int, *, granted: bool) -> int:
        """Change a permission and invalidate what is known of it, in this order."""
        board, plan = self.board, self.plan
        watchers, allows = self._audience(permission)
        version = self._versions[permission] = self.truth.commit(permission, granted)
        row = board.begin_change(
            plan.number,
            permission=permission,
            version=version,
            granted=granted,
            host=plan.host,
            committed=now(),
            watchers=watchers,
            allows=allows,
            **dict.fromkeys(("on_host", "on_bus", "on_fleet"), 0),
        )
        if not granted:
            board.revoked.set(permission, 0, version)
        self.invalidate(permission, row)
        return version

    def invalidate(self, permission: int, row: int) -> None:
        """Invalidate until it is acknowledged, and note when it was."""
        board, wait = self.board, self.promises
        while True:
            try:
                self.invalidate_once(permission)
            except InvalidationNotAcknowledged:
                acknowledged = False
            except Exception:
                self._failed()
                return
            else:
                acknowledged = True
            moment = now()
            if not board.change_reached(row, Change.ON_HOST):
                board.complete_change(row, Change.ON_HOST, moment)
            if acknowledged:
                break
            board.status.add(self.plan.number, Status.UNACKNOWLEDGED)
            if board.stopping:
                return
        if wait in ("bus", "fleet"):
            board.complete_change(row, Change.ON_BUS, moment)
        if wait == "fleet":
            board.complete_change(row, Change.ON_FLEET, moment)

    def invalidate_once(self, permission: int) -> None:
        """Invalidate, in one of the many ways there are."""
        self.chance.choice(WAYS)(self.cache, permission)

    def _others(self) -> list[int]:
        status, workers = self.board.status, range(self.board.shape.workers)
        return [
            other
            for other in workers
            if other != self.plan.number and status.get(other, Status.AT_WORK)
        ]

    def _all_are_hot(self, versions: list[tuple[int, int]]) -> bool:
        """Whether all others serve these versions of permissions from their caches."""
        seen = self.board.seen
        return all(
            seen(other, permission, Seen.VERSION) == version
            and seen(other, permission, Seen.ALLOWS)
            for other in self._others()
            for permission, version in versions
        )

    def _all_were_asked(self, times: list[tuple[int, int]]) -> bool:
        """Whether all others have been asked about permissions since these times."""
        return all(
            self.board.seen(other, permission, Seen.CHECKED_FROM) > since
            for other in self._others()
            for permission, since in times
        )

    def _audience(self, permission: int) -> tuple[int, int]:
        """How many others serve the present version from their caches, and how often they did."""
        version, seen = self._versions.get(permission, 0), self.board.seen
        allows = [
            seen(other, permission, Seen.ALLOWS)
            for other in self._others()
            if seen(other, permission, Seen.VERSION) == version
        ]
        return sum(count > 0 for count in allows), sum(allows)

    def _until(
        self, condition: Callable[[list[tuple[int, int]]], bool], about: list[tuple[int, int]]
    ) -> None:
        """Wait, but not for ever: others may have been killed, frozen or cut off."""
        end = time.monotonic() + _PATIENCE_SECONDS + self.plan.staleness_seconds
        while not self.board.stopping and time.monotonic() < end and not condition(about):
            time.sleep(0.002)


def key_of(permission: int) -> str:
    """The name of a permission in the cache."""
    return generate_auth_key("user_permissions", user_id=permission)


def tags_of(permission: int) -> list[str]:
    """A tag of its own, besides the one that says whose it is."""
    return [f"permission:{permission}"]


def _is_granted(answer: Answer) -> bool:
    """Whether it would be a mistake to serve this too long."""
    return bool(answer["granted"])


def _by_revoking(cache: OptimizedCacheManager, permission: int) -> None:
    with cache.revoking(user_id=permission, tags=tags_of(permission)):
        pass


WAYS: list[Callable[[OptimizedCacheManager, int], object]] = [
    lambda cache, permission: cache.invalidate_user_data(permission),
    lambda cache, permission: cache.invalidate_by_tags(tags_of(permission)),
    lambda cache, permission: cache.invalidate_by_pattern(f"auth:user:{permission}:*"),
    lambda cache, permission: cache.invalidate_by_pattern(f"*:{permission}:permissions"),
    lambda cache, permission: cache.delete(key_of(permission)),
    lambda cache, _: cache.clear(),
    _by_revoking,
]
"""All ways to invalidate a permission; each revocation takes one of them."""


def _get_or_load(member: Member, permission: int, loader: Callable[[], Answer]) -> Answer:
    return member.cache.get_or_load(
        key_of(permission), loader, tags=tags_of(permission), permissive=member.is_permissive
    )


def _by_hand(member: Member, permission: int, loader: Callable[[], Answer]) -> Answer:
    answer, hit = member.cache.get(key_of(permission))
    if not hit:
        stamp = member.cache.snapshot()
        answer = loader()
        member.cache.set(
            key_of(permission),
            answer,
            tags=tags_of(permission),
            stamp=stamp,
            permissive=member.is_permissive(answer),
        )
    return dict(answer)


def _nested(member: Member, permission: int, loader: Callable[[], Answer]) -> Answer:
    """A result made of another one: nobody ever invalidates it by a name of its own."""
    return member.cache.get_or_load(
        f"page:{permission}",
        lambda: _get_or_load(member, permission, loader),
        permissive=member.is_permissive,
    )


STYLES: dict[str, Callable[[Member, int, Callable[[], Answer]], Answer]] = {
    "get_or_load": _get_or_load,
    "by_hand": _by_hand,
    "nested": _nested,
}
"""Ways to ask; "asyncio" is one more, which has loops and loaders of its own."""
