"""Programs that do to a cache what is not forbidden: ``safety_programs.py <cache> <program>``.

Each is run in a process of its own (`safety.py`), because it may take the process with it. What it
prints last is how it ended.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import os
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from safety_caches import CACHES, Cache

__all__ = ["PROGRAMS", "Program"]

MOST_ACTS: Final = 200_000
"""Finalizers that still do something: a chain of them must end, or it would look like a hang."""


CHILDREN: Final = 40
"""Forks of one process; some find its threads at a bad moment, others do not."""

CHILD_SECONDS: Final = 3
"""After which a child that has a hundred entries to store hangs."""

MOST_HUNG: Final = 3
"""Hanging children that are proof enough."""


class Value:
    """A value that does something when it dies. Every cache keeps this very object."""

    acts = 0

    def __init__(self, act: Callable[[], Any] | None = None) -> None:
        self.act = act

    def __deepcopy__(self, memo: object) -> Value:
        return self

    def __del__(self) -> None:
        if self.act is not None and Value.acts < MOST_ACTS:
            Value.acts += 1
            self.act()


class Key:
    """A key that does something when it is compared; all of them have one hash."""

    def __init__(self, number: int, act: Callable[[], Any]) -> None:
        self.number = number
        self.act = act

    def __hash__(self) -> int:
        return 1

    def __eq__(self, other: object) -> bool:
        self.act()
        return isinstance(other, Key) and self.number == other.number


class NotOfferedError(Exception):
    """The cache has no operation that the program needs."""


Open = Callable[[int], Cache]


def _look(cache: Cache, key: Any) -> None:
    with contextlib.suppress(KeyError):
        cache.get(key)


def _values_that_call_it(open_cache: Open) -> str:
    cache = open_cache(1000)
    acts = (
        lambda: _look(cache, "other"),
        lambda: cache.set("other", 1),
        lambda: cache.set("more", Value()),
        cache.clear,
    )
    for _ in range(300):
        for act in acts:
            cache.set("other", 1)
            cache.set("k", Value(act))
            if cache.delete is not None:
                cache.delete("k")
            cache.clear()
            cache.set("k", Value(act))
            cache.set("k", 1)
            cache.set("k", Value(act))
            cache.clear()
    return "fine"


def _values_evicted(open_cache: Open) -> str:
    cache = open_cache(50)
    for number in range(5000):
        # What it stores evicts another one, until there is none left that does.
        cache.set(f"k{number}", Value(lambda number=number: cache.set(f"z{number}", 1)))  # type: ignore[misc]
    cache.clear()
    return "fine"


def _values_in_threads(open_cache: Open) -> str:
    cache = open_cache(1000)
    cache.set("other", 1)

    def use(seed: int) -> None:
        def act() -> None:
            _look(cache, "other")
            cache.set(f"z{seed}", 1)

        for number in range(3000):
            cache.set(f"k{seed}:{number % 70}", Value(act))
            if number % 100 == 0:
                cache.clear()

    sys.setswitchinterval(1e-5)
    threads = [threading.Thread(target=use, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return "fine"


def _keys_that_call_it(open_cache: Open) -> str:
    cache = open_cache(1000)
    acting = False

    def once(act: Callable[[], Any]) -> Callable[[], None]:
        def run() -> None:
            # Not within itself, which would have no end whatever the cache does.
            nonlocal acting
            if not acting:
                acting = True
                try:
                    act()
                finally:
                    acting = False

        return run

    acts = (lambda: _look(cache, "other"), lambda: cache.set("other", 1), cache.clear)
    for act in map(once, acts):
        for _ in range(50):
            cache.set(Key(1, act), 1)
            cache.set(Key(2, act), 2)
            _look(cache, Key(1, act))
    return "fine"


def _loader_asks_for_its_key(open_cache: Open) -> str:
    load = open_cache(1000).load
    if load is None:
        raise NotOfferedError
    load("k", lambda: load("k", lambda: 1))
    return "fine"


def _is_collected(build: Callable[[Value], object]) -> str:
    probe = Value()
    gone = weakref.ref(probe)
    build(probe)
    del probe
    for _ in range(3):
        gc.collect()
    # A cache may have work of its own to do before it lets go.
    time.sleep(0.3)
    gc.collect()
    return "fine" if gone() is None else "leak"


def _cycle(open_cache: Open) -> str:
    def build(probe: Any) -> None:
        cache = open_cache(1000)
        probe.cache = cache
        cache.set("k", probe)

    return _is_collected(build)


def _cycle_of_a_function(open_cache: Open) -> str:
    def build(probe: Any) -> None:
        @open_cache(1000).decorate
        def function(_: Any) -> Any:
            return probe

        probe.function = function
        function(1)

    return _is_collected(build)


def _for_ever(inside: threading.Event) -> None:
    inside.set()
    while True:
        time.sleep(0.0001)


def _exit_inside_a_function(open_cache: Open) -> str:
    inside = threading.Event()
    function = open_cache(1000).decorate(lambda _: _for_ever(inside))
    threading.Thread(target=function, args=(1,), daemon=True).start()
    inside.wait()
    return "fine"


def _exit_inside_a_finalizer(open_cache: Open) -> str:
    cache = open_cache(1000)
    inside = threading.Event()

    def work() -> None:
        cache.set("k", Value(lambda: _for_ever(inside)))
        cache.clear()
        # Some let go of what they held with the next few operations.
        for number in range(5000):
            cache.set(f"k{number}", 1)

    threading.Thread(target=work, daemon=True).start()
    inside.wait()
    return "fine"


def _fork(open_cache: Open) -> str:
    cache = open_cache(1000)
    cache.set("other", 1)

    def use() -> None:
        number = 0
        while True:
            number += 1
            cache.set(f"k{number % 500}", number)
            _look(cache, "other")

    sys.setswitchinterval(1e-5)
    for _ in range(3):
        threading.Thread(target=use, daemon=True).start()
    hung = crashed = 0
    for _ in range(CHILDREN):
        if hung == MOST_HUNG:
            break
        pid = os.fork()
        if pid == 0:
            signal.alarm(CHILD_SECONDS)
            for number in range(100):
                cache.set(f"child{number}", number)
            cache.clear()
            os._exit(0)
        status = os.waitpid(pid, 0)[1]
        hung += os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGALRM
        crashed += status != 0
    ended = "fine"
    if crashed:
        ended = "hang" if hung else "crash"
    print(ended, flush=True)
    # The threads never end, and how a process ends with such threads is another program's matter.
    os._exit(0)


class Program(NamedTuple):
    """A program: what it does, in the words of the table, and its code."""

    title: str
    run: Callable[[Open], str]


PROGRAMS: Final[dict[str, Program]] = {
    "values": Program("Values that use the cache as they die", _values_that_call_it),
    "evicted": Program("The same, evicted", _values_evicted),
    "threads": Program("The same, in four threads", _values_in_threads),
    "keys": Program("Keys that use the cache as they are compared", _keys_that_call_it),
    "recursion": Program("A loader that asks for its own key", _loader_asks_for_its_key),
    "cycle": Program("A value that refers to its cache", _cycle),
    "function": Program("A result that refers to its decorated function", _cycle_of_a_function),
    "exit": Program("Exit with a daemon thread in a decorated function", _exit_inside_a_function),
    "finalizer": Program("Exit with a daemon thread in a finalizer", _exit_inside_a_finalizer),
    "fork": Program("Fork while three threads use the cache", _fork),
}
"""The programs, by the name on the command line."""


def main(cache: str, program: str) -> None:
    """Run one program against one cache, and say how it ended."""
    faulthandler.enable()
    # Where it hangs, if it does: read by whoever wants to know whether that is so.
    faulthandler.dump_traceback_later(15)
    refusals: set[str] = set()
    sys.unraisablehook = lambda info: refusals.add(info.exc_type.__name__)
    threading.excepthook = lambda info: refusals.add(info.exc_type.__name__)
    try:
        ended = PROGRAMS[program].run(CACHES[cache].open)
    except NotOfferedError:
        ended = "not offered"
    except Exception as error:
        refusals.add(type(error).__name__)
        ended = "fine"
    if refusals and ended == "fine":
        ended = f"refused: {', '.join(sorted(refusals))}"
    print(ended, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
