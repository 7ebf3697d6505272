"""The interpreter ends cleanly, whatever the cache is doing: status 0, nothing on stderr."""

from __future__ import annotations

import os
import signal
from textwrap import dedent

import pytest

from processes import output_of, run


def test_with_a_manager_started_and_never_stopped() -> None:
    program = """
        config = OptimizedCacheConfig(cleanup_interval_seconds=0.01)
        cache = asyncio.run(start_cache_manager(config))
        other = OptimizedCacheManager(config)
        other.start()
        for number in range(20_000):
            other.set(f"k{number}", [number], ttl=0.01)
        print(len(cache), len(other) > 0)
        """
    assert output_of(program) == "0 True"


@pytest.mark.parametrize("ends", ["", "raise SystemExit(0)", "del cache"])
def test_while_its_own_sweeper_is_sweeping(ends: str) -> None:
    program = f"""
        config = OptimizedCacheConfig(cleanup_interval_seconds=0.01, max_entries=200_000)
        cache = OptimizedCacheManager(config.replace(max_size_mb=512))
        cache.set_many({{f"k{{number}}": number for number in range(150_000)}})
        cache.start()
        print(len(cache), flush=True)
        {ends}
        """
    assert output_of(program) == "150000"


def test_with_a_load_in_flight_in_a_daemon_thread() -> None:
    program = """
        cache = OptimizedCacheManager()
        loading = threading.Event()

        def never():
            loading.set()
            threading.Event().wait()

        for _ in range(5):
            threading.Thread(target=cache.get_or_load, args=("k", never), daemon=True).start()
        print(loading.wait(20))
        """
    assert output_of(program) == "True"


def test_with_a_load_in_flight_in_an_event_loop_that_is_left() -> None:
    program = """
        cache = OptimizedCacheManager()

        async def main():
            loading = asyncio.Event()

            async def never():
                loading.set()
                await asyncio.Event().wait()

            tasks = [asyncio.create_task(cache.aget_or_load("k", never)) for _ in range(5)]
            await loading.wait()
            print(len(tasks))

        asyncio.run(main())
        """
    assert output_of(program) == "5"


def test_with_threads_that_never_stop_using_it() -> None:
    program = """
        cache = OptimizedCacheManager()
        running = threading.Barrier(5)

        def use(number):
            first = True
            while True:
                cache.set(f"k{number}", {"n": [number]}, tags=["t"])
                cache.get(f"k{number}")
                cache.invalidate_by_tags(["t"])
                cache.get_or_load("shared", lambda: [1])
                if first:
                    running.wait()
                    first = False

        for number in range(4):
            threading.Thread(target=use, args=(number,), daemon=True).start()
        running.wait()
        print("going")
        """
    assert output_of(program) == "going"


@pytest.mark.parametrize("isolation", ["copy", "shared"])
def test_with_values_that_use_the_cache_as_they_go(isolation: str) -> None:
    program = f"""
        class Going:
            def __deepcopy__(self, memo):
                return self

            def __del__(self):
                # At the very end modules may be gone already, as everywhere in Python.
                if cache is not None:
                    cache.get("other")
                    cache.set("other", Going) if len(seen) < 5 else None
                    seen.append(1)

        seen = []
        cache = OptimizedCacheManager(OptimizedCacheConfig(isolation="{isolation}"))
        cache.set("k", Going())
        cache.set("l", [Going()])
        cache.get("k")
        print("set")
        """
    assert output_of(program) == "set"


def test_with_a_value_that_holds_its_own_cache() -> None:
    program = """
        cache = OptimizedCacheManager(OptimizedCacheConfig(isolation="shared"))
        cache.set("k", {"cache": cache, "get": cache.get})
        cache.get("k")
        print("set")
        """
    assert output_of(program) == "set"


def test_after_an_unhandled_error_within_with() -> None:
    done = run(
        """
        with OptimizedCacheManager(OptimizedCacheConfig(cleanup_interval_seconds=0.01)) as cache:
            cache.get_or_load("k", lambda: 1 / 0)
        """
    )
    assert done.returncode == 1
    assert done.stderr.rstrip().endswith("ZeroDivisionError: division by zero")


def test_interrupted_from_the_keyboard_in_the_middle_of_a_load() -> None:
    done = run(
        """
        cache = OptimizedCacheManager()
        # Whoever runs these tests in the background has it ignored.
        signal.signal(signal.SIGINT, signal.default_int_handler)

        def interrupted():
            signal.raise_signal(signal.SIGINT)
            return "never"

        try:
            cache.get_or_load("k", interrupted)
        except KeyboardInterrupt:
            print(cache.get_or_load("k", lambda: "still works"))
        """
    )
    assert (done.returncode, done.stdout.strip()) == (0, "still works"), done.stderr


_LOCKED_LOG = """
import sqlite3, tempfile
from velro_cache._engine import InvalidationLog

os.chdir(tempfile.mkdtemp())
config = OptimizedCacheConfig(
    name="exit", invalidation_log="sqlite:///log.db", log_timeout_seconds=60,
    share_invalidations=False,
)
cache = OptimizedCacheManager(config)
cache.invalidate_by_tags(["first"], wait="bus")
# Nothing is acknowledged as long as this has the database.
other = sqlite3.connect("log.db", isolation_level=None)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_worker_of_multiprocessing_sends_what_it_invalidated_last() -> None:
    program = """
        import multiprocessing

        fork = multiprocessing.get_context("fork")
        locked, done = fork.Event(), fork.Event()

        def work():
            # Once it is connected: its threads have a say before the database is taken away.
            cache.invalidate_by_tags(["second"], wait="bus")
            locked.set()
            done.wait()
            cache.invalidate_by_tags(["third"])

        worker = fork.Process(target=work)
        worker.start()
        locked.wait()
        other.execute("BEGIN EXCLUSIVE")
        done.set()
        worker.join(1)  # It must not end before it could send.
        other.execute("ROLLBACK")
        worker.join()
        log = InvalidationLog("sqlite:///log.db", "exit", timeout_seconds=5)
        print([b"third" in body for _, body in log.poll().entries])
        """
    assert output_of(_LOCKED_LOG + dedent(program)) == "[False, False, True]"


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no timers")
def test_a_signal_ends_the_wait_for_the_log() -> None:
    program = """
        class Alarm(Exception):
            pass

        def ring(*_):
            raise Alarm

        signal.signal(signal.SIGALRM, ring)
        other.execute("BEGIN EXCLUSIVE")
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        try:
            cache.invalidate_by_tags(["second"], wait="bus")
        except Alarm:
            print(cache.get_stats()["log"]["unpublished"])
        other.execute("ROLLBACK")
        """
    # Not heeded, it would take a minute, which is longer than the program may.
    assert output_of(_LOCKED_LOG + dedent(program)) == "1"


def test_the_core_needs_no_third_party_package() -> None:
    program = """
        import sys

        before = set(sys.modules)
        import velro_cache

        new = {name.partition(".")[0] for name in set(sys.modules) - before}
        # The standard library has modules whose names are made up when Python is built.
        new = {name for name in new if not name.startswith("_sysconfigdata")}
        print(sorted(new - set(sys.stdlib_module_names)))
        """
    assert output_of(program, prelude="") == "['velro_cache']"
