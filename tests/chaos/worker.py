"""The program of worker processes: reads what to do from its one argument, a JSON text.

How a process comes into the world is part of what is tested. ``born``:

* ``spawn``: this process is the worker;
* ``fork``: it makes the cache, fills it and forks the workers, which go on with their copies;
* ``fork-empty``: the same, forked before anything was cached;
* ``multiprocessing-fork``, ``multiprocessing-spawn``, ``multiprocessing-forkserver``: the same by
  the standard library; only the first hands the filled cache on.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
from pathlib import Path
from typing import Any

from member import Member, Plan, Work

from velro_cache import OptimizedCacheConfig, OptimizedCacheManager

BIRTHS = ("spawn", "fork", "fork-empty", *(f"multiprocessing-{m}" for m in ("fork", "spawn")))

_inherited: OptimizedCacheManager | None = None


def main() -> None:
    """Be the workers that the argument describes."""
    born, work, plans = read_order(json.loads(sys.argv[1]))
    if born == "spawn":
        (plan,) = plans
        Member(work, plan).run()
    elif born in ("fork", "fork-empty"):
        _fork(work, plans, _cache(work, plans[0], fill=born == "fork"))
    else:
        _start_processes(work, plans, born.removeprefix("multiprocessing-"))


def read_order(order: dict[str, Any]) -> tuple[str, Work, list[Plan]]:
    """What :func:`write_order` wrote."""
    work = Work(Path(order["board"]), order["truth"])
    return order["born"], work, [Plan(**plan) for plan in order["plans"]]


def _cache(work: Work, plan: Plan, *, fill: bool) -> OptimizedCacheManager:
    """A cache of the process that workers are forked from."""
    cache = OptimizedCacheManager(OptimizedCacheConfig(**plan.config))
    if fill:
        Member(work, plan, cache).fill()
    return cache


def _fork(work: Work, plans: list[Plan], cache: OptimizedCacheManager) -> None:
    children = []
    for plan in plans:
        child = os.fork()
        if child == 0:
            try:
                Member(work, plan, cache).run()
            except BaseException:
                sys.excepthook(*sys.exc_info())
                os._exit(1)
            os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)


def _start_processes(work: Work, plans: list[Plan], method: str) -> None:
    global _inherited
    context: Any = multiprocessing.get_context(method)
    if method == "fork":
        _inherited = _cache(work, plans[0], fill=True)
    children = [context.Process(target=_be_process, args=(work, plan)) for plan in plans]
    for child in children:
        child.start()
    for child in children:
        child.join()


def _be_process(work: Work, plan: Plan) -> None:
    Member(work, plan, _inherited).run()


if __name__ == "__main__":
    main()
