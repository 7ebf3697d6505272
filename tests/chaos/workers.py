"""Starts workers as processes of their own, treats them badly, and asks how it went."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, Self

from board import Board, Seen, Shape, Status
from checker import Tally, tally
from member import Plan
from truth import PostgresTruth, SqliteTruth, Truth

__all__ = ["SCALE", "Fleet"]

_PROGRAM = Path(__file__).with_name("worker.py")
SCALE = int(os.environ.get("VELRO_CHAOS", "1"))
"""How many times as much as in a short run happens."""
_PATIENCE_SECONDS = 60.0 * SCALE
"""After which something that should have happened counts as never happening."""
_STOP_SECONDS = 20.0


class Fleet:
    """Workers of one scenario, on one or more simulated hosts.

    Hosts are told apart by where their table lies, which is how they differ for the cache.

    Args:
        folder: For everything the scenario writes; of this scenario alone.
        workers: How many there will be.
        permissions: What they ask for.
        max_staleness_seconds: What is promised between hosts, and what the workers' caches are
            told unless ``config`` says otherwise.
        truth: Address of the PostgreSQL database loaders read. None: a file of SQLite.
        config: Settings of all caches.
    """

    tallies: ClassVar[list[Tally]] = []
    """Of all scenarios of this test run, in order."""

    def __init__(
        self,
        folder: Path,
        workers: int,
        *,
        permissions: int = 12,
        max_staleness_seconds: float = 1.0,
        truth: str | None = None,
        **config: Any,
    ) -> None:
        self.folder = folder
        self.max_staleness_seconds = max_staleness_seconds
        self.config = {"max_staleness_seconds": max_staleness_seconds, **config}
        self.board = Board.create(folder / "board", Shape(workers, permissions))
        self._truth_address = truth or str(folder / "truth.sqlite3")
        self.truth: Truth = (
            PostgresTruth.create(truth, permissions)
            if truth
            else SqliteTruth.create(Path(self._truth_address), permissions)
        )
        self._plans: dict[int, tuple[str, Plan]] = {}
        self._processes: list[subprocess.Popen[bytes]] = []
        self._stopped = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def table_folder(self, host: int) -> Path:
        """Where the table of a host lies."""
        folder = self.folder / f"host-{host}"
        folder.mkdir(exist_ok=True)
        return folder

    def truth_at(self, port: int) -> str:
        """The address of a replica of the database loaders read."""
        return re.sub(r":\d+/", f":{port}/", self._truth_address)

    def start(
        self, numbers: Sequence[int], *, born: str = "spawn", host: int = 0, **plan: Any
    ) -> None:
        """Start workers.

        Args:
            numbers: Their rows on the board.
            born: How they come into the world; see ``worker.py``.
            host: Which table they share.
            **plan: Fields of :class:`member.Plan`; ``config`` is added to that of the fleet.
        """
        own = plan.pop("config", {})
        config = {"shared_memory_directory": str(self.table_folder(host))} | self.config | own
        plans = [Plan(number, host, config, **plan) for number in numbers]
        for each in plans:
            self._plans[each.number] = (born, each)
        for together in [plans] if born != "spawn" else [[each] for each in plans]:
            self._launch(born, together)

    def restart(self, number: int) -> None:
        """Start a worker once more, as a process of its own, after it was killed."""
        _, plan = self._plans[number]
        self._launch("spawn", [plan])

    def kill(self, number: int) -> None:
        """End a worker's process in the middle of whatever it does; nobody waits for it then."""
        self.send(number, signal.SIGKILL)
        self.board.status.set(number, Status.AT_WORK, 0)

    def send(self, number: int, what: signal.Signals) -> None:
        """Send a signal to a worker."""
        os.kill(self.board.status.get(number, Status.PID), what)

    def run_until(
        self, condition: Callable[[Tally], Any], limit_seconds: float = _PATIENCE_SECONDS
    ) -> Tally:
        """Let the workers work until enough has happened.

        Returns:
            The counts at that time.

        Raises:
            AssertionError: It has not, in all that time, or a process has ended.
        """
        end = time.monotonic() + limit_seconds
        while True:
            found = self.tally()
            if condition(found):
                return found
            assert time.monotonic() < end, f"not in {limit_seconds} s: {found}\n{self.output()}"
            self._nobody_failed()
            time.sleep(0.05)

    def run_on(self, limit_seconds: float = _PATIENCE_SECONDS, **more: int) -> Tally:
        """Let the workers work until there is so much more of something the checker counts."""
        wanted = {name: getattr(self.tally(), name) + count for name, count in more.items()}
        return self.run_until(
            lambda found: all(getattr(found, name) >= count for name, count in wanted.items()),
            limit_seconds,
        )

    def until_hot(self, worker: int, owners: Sequence[int]) -> None:
        """Wait until a worker serves from its cache what others have granted and not revoked."""
        seen, board = self.board.seen, self.board
        theirs = [
            permission
            for permission in range(board.shape.permissions)
            if permission % board.shape.workers in owners
        ]
        end = time.monotonic() + _PATIENCE_SECONDS
        while not any(
            seen(worker, permission, Seen.ALLOWS)
            and seen(worker, permission, Seen.VERSION) > board.revoked.get(permission, 0)
            for permission in theirs
        ):
            assert time.monotonic() < end, f"worker {worker} caches nothing\n{self.output()}"
            time.sleep(0.001)

    def run_for(self, seconds: float) -> Tally:
        """Let the workers work for a while."""
        end = time.monotonic() + seconds
        return self.run_until(lambda _: time.monotonic() > end, seconds + _PATIENCE_SECONDS)

    def until_at_work(self, *numbers: int, limit_seconds: float = _PATIENCE_SECONDS) -> None:
        """Wait until these workers, or all that were started, have been given an answer."""
        wanted = numbers or tuple(self._plans)
        at_work = self.board.status.get
        self.run_until(
            lambda _: all(at_work(number, Status.AT_WORK) for number in wanted), limit_seconds
        )

    def tally(self) -> Tally:
        """What has happened so far."""
        return tally(self.board, self.max_staleness_seconds)

    def forget_loads_at_once(self) -> None:
        """Count the highest number of loads at once anew."""
        for number in self._plans:
            self.board.status.set(number, Status.MOST_LOADS_AT_ONCE, 0)

    def stop(self) -> Tally:
        """End the scenario.

        Returns:
            All that has happened.
        """
        self.board.stop()
        end = time.monotonic() + _STOP_SECONDS
        for process in self._processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, end - time.monotonic()))
            # It and whatever it forked; each has a process group of its own.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(_STOP_SECONDS)
        found = self.tally()
        if not self._stopped:
            self.tallies.append(found)
        self._stopped = True
        self.truth.close()
        return found

    def output(self) -> str:
        """What the processes had to say; usually nothing."""
        texts = [path.read_text() for path in sorted(self.folder.glob("*.stderr"))]
        return "\n".join(text[-3000:] for text in texts if text)

    def _launch(self, born: str, plans: list[Plan]) -> None:
        order = {
            "born": born,
            "board": str(self.board.path),
            "truth": self._truth_address,
            "plans": [asdict(plan) for plan in plans],
        }
        name = f"{len(self._processes)}-worker-{plans[0].number}.stderr"
        with (self.folder / name).open("wb") as errors:
            self._processes.append(
                subprocess.Popen(
                    [sys.executable, str(_PROGRAM), json.dumps(order)],
                    stdin=subprocess.DEVNULL,
                    stdout=errors,
                    stderr=errors,
                    start_new_session=True,
                )
            )

    def _nobody_failed(self) -> None:
        for process in self._processes:
            status = process.poll()
            # Killed ones are the doing of the scenario.
            assert status in (None, 0, -signal.SIGKILL), f"exit {status}\n{self.output()}"
