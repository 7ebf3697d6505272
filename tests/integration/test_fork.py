"""A forked child has a cache that works, whatever its parent's threads were doing."""

from __future__ import annotations

import os

import pytest

from processes import output_of

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")


def test_a_child_goes_on_with_what_was_there_and_both_hear_of_invalidations() -> None:
    assert (
        output_of(
            """
            cache = OptimizedCacheManager()
            cache.set("k", ["before"], tags=["t"])

            def child():
                seen = [cache.get("k")]
                cache.set("mine", 1)
                seen.append(cache.invalidate_by_tags(["t"]))
                seen.append(cache.get("k"))
                return seen

            assert in_child(child) == "[(['before'], True), 1, (None, False)]", in_child(child)
            # What the child stored is the child's own; what it took away is gone for both.
            assert cache.get("k") == (None, False)
            assert "mine" not in cache
            print("ok")
            """
        )
        == "ok"
    )


def test_a_child_does_not_wait_for_a_load_of_its_parents_threads() -> None:
    assert (
        output_of(
            """
            cache = OptimizedCacheManager()
            loading, go = threading.Event(), threading.Event()

            def slow():
                loading.set()
                go.wait()
                return "the parent's"

            thread = threading.Thread(target=cache.get_or_load, args=("k", slow))
            thread.start()
            loading.wait()

            async def in_a_loop():
                return await cache.aget_or_load("l", lambda: "the child's")

            def child():
                first = cache.get_or_load("k", lambda: "the child's", load_timeout_seconds=None)
                return [first, cache.get("k"), asyncio.run(in_a_loop())]

            answer = in_child(child)
            assert answer == repr(["the child's", ("the child's", True), "the child's"]), answer
            go.set()
            thread.join()
            assert cache.get("k") == ("the parent's", True)
            print("ok")
            """
        )
        == "ok"
    )


def test_a_child_does_not_wait_for_a_load_of_its_parents_event_loop() -> None:
    assert (
        output_of(
            """
            cache = OptimizedCacheManager()

            async def main():
                go, loading = asyncio.Event(), asyncio.Event()

                async def slow():
                    loading.set()
                    await go.wait()
                    return "the parent's"

                task = asyncio.create_task(cache.aget_or_load("k", slow))
                await loading.wait()

                def child():
                    return cache.get_or_load("k", lambda: "the child's", load_timeout_seconds=None)

                answer = in_child(child)
                assert answer == repr("the child's"), answer
                go.set()
                assert await task == "the parent's"

            asyncio.run(main())
            print("ok")
            """
        )
        == "ok"
    )


def test_a_child_forked_in_the_middle_of_an_invalidation_is_not_locked_out() -> None:
    # The parent's thread walks over many entries nearly all the time, so nearly every fork comes
    # in the middle of a walk.
    assert (
        output_of(
            """
            config = OptimizedCacheConfig(max_entries=60_000, eviction_batch_size=100_000)
            cache = OptimizedCacheManager(config)
            for number in range(50_000):
                cache.set(f"item:{number}", number)
            cache.set("auth:user:1:profile", 1)
            stop = threading.Event()

            def walk():
                while not stop.is_set():
                    cache.invalidate_by_pattern("*no*such*key*")
                    cache.sweep()
                    cache.get_stats()

            threads = [threading.Thread(target=walk, daemon=True) for _ in range(2)]
            for thread in threads:
                thread.start()

            def child():
                before = cache.get("auth:user:1:profile")
                cache.invalidate_user_data(1)
                after = cache.get("auth:user:1:profile")
                return [before, after, cache.set("new", 1), cache.get("new")]

            for attempt in range(15):
                cache.set("auth:user:1:profile", 1)
                answer = in_child(child)
                # Wildcards keep coming; whoever was not asked for meanwhile may be lost to them.
                known = [(1, True), (None, False)]
                assert answer in [repr([seen, (None, False), True, (1, True)]) for seen in known]
            stop.set()
            for thread in threads:
                thread.join()
            print("ok")
            """
        )
        == "ok"
    )


def test_the_sweeper_is_the_parents_and_a_child_can_start_its_own() -> None:
    assert (
        output_of(
            """
            class Watched(OptimizedCacheManager):
                def sweep(self):
                    super().sweep()
                    swept.set()

            swept = threading.Event()
            config = OptimizedCacheConfig(cleanup_interval_seconds=0.01)
            clock = ManualClock()
            with Watched(config, clock=clock) as cache:
                assert swept.wait(20)

                def child():
                    cache.set("k", 1, ttl=5)
                    clock.advance(5)
                    kept = len(cache)
                    cache.start()
                    swept.clear()
                    found = swept.wait(10)
                    swept.clear()
                    swept.wait(10)
                    left = len(cache)
                    cache.stop()
                    return [kept, found, left]

                answer = in_child(child)
                assert answer == "[1, True, 0]", answer
            print("ok")
            """
        )
        == "ok"
    )


def test_the_manager_of_the_process_and_decorated_functions_work_in_a_child() -> None:
    assert (
        output_of(
            """
            calls = []

            @cached_authorization()
            def check(user_id):
                calls.append(user_id)
                return len(calls)

            assert check("u") == 1

            def child():
                return [check("u"), check("v"), check("v"), get_cache_manager().get_stats()["sets"]]

            answer = in_child(child)
            assert answer == "[1, 2, 2, 2]", answer
            assert check("v") == 2
            print("ok")
            """
        )
        == "ok"
    )


def test_a_pool_of_forked_workers_has_a_cache_each() -> None:
    assert (
        output_of(
            """
            import multiprocessing

            cache = OptimizedCacheManager()
            cache.set("k", "inherited")

            def work(number):
                seen = cache.get("k")
                cache.set("k", number)
                return seen[1] and cache.get("k") == (number, True)

            with multiprocessing.get_context("fork").Pool(4) as pool:
                assert pool.map(work, range(40)) == [True] * 40
            assert cache.get("k") == ("inherited", True)
            print("ok")
            """
        )
        == "ok"
    )


def test_a_child_may_fork_again() -> None:
    assert (
        output_of(
            """
            cache = OptimizedCacheManager()

            def grandchild():
                return cache.get_or_load("k", lambda: "new") + cache.get("g")[0]

            def child():
                cache.set("g", "+")
                return in_child(grandchild)

            answer = in_child(child)
            assert answer == repr(repr("new+")), answer
            print("ok")
            """
        )
        == "ok"
    )


def test_a_child_is_not_locked_out_by_a_lock_its_parents_threads_held() -> None:
    assert (
        output_of(
            """
            from velro_cache import registry
            from velro_cache.fork_safety import ForkSafeLock

            locks = [ForkSafeLock(), registry._lock]
            held, go = threading.Event(), threading.Event()

            def hold():
                with locks[0], locks[1]:
                    held.set()
                    go.wait()

            thread = threading.Thread(target=hold, daemon=True)
            thread.start()
            held.wait()

            def child():
                with locks[0]:
                    manager = get_cache_manager()
                manager.set("k", 1)
                return manager.get("k")

            answer = in_child(child)
            assert answer == "(1, True)", answer
            go.set()
            thread.join()
            print("ok")
            """
        )
        == "ok"
    )


def test_a_child_can_check_while_its_parents_threads_check_all_the_time() -> None:
    assert (
        output_of(
            """
            from velro_cache.authorization import CachedGenerationAccess, GenerationPermissions

            class Service:
                async def validate_generation_media_access(self, generation_id, user_id, *_, **__):
                    return GenerationPermissions(
                        generation_id, user_id, granted=True, can_view=True
                    )

            checks = CachedGenerationAccess(Service(), OptimizedCacheManager())
            # The very first use in a process sets things up, which is not the question here.
            asyncio.run(checks.check("g", "u", "token"))
            running = threading.Barrier(3)

            def busy():
                async def check():
                    running.wait()
                    while True:
                        for _ in range(100):
                            await checks.check("g", "u", "token")

                asyncio.run(check())

            for _ in range(2):
                threading.Thread(target=busy, daemon=True).start()
            running.wait()
            sys.setswitchinterval(1e-5)
            answers = {
                in_child(lambda: asyncio.run(checks.check("g", "u", "token")).granted)
                for _ in range(25)
            }
            assert answers == {"True"}, answers
            print("ok")
            sys.stdout.flush()
            # Its daemon threads are in the middle of something; how that ends is not the question.
            os._exit(0)
            """
        )
        == "ok"
    )


def test_a_child_forked_within_a_loader_goes_on_with_loads_of_its_own() -> None:
    assert (
        output_of(
            """
            cache = OptimizedCacheManager()

            def outer():
                return cache.get_or_load("outer", lambda: cache.get_value("inner"))

            def child():
                # Another process may have invalidated it.
                cache.set("inner", 1, tags=["t"])
                outer()
                kept = ["outer" in cache]
                cache.invalidate_by_tags(["t"])
                kept.append("outer" in cache)
                # Nothing is left of the parent's loaders.
                cache.set("inner", 1, tags=["t"])
                cache.get_or_load("alone", lambda: 1)
                cache.get("inner")
                cache.invalidate_by_tags(["t"])
                return [*kept, "alone" in cache]

            answers = []
            in_thread, go = threading.Event(), threading.Event()

            def slow():
                in_thread.set()
                go.wait()

            thread = threading.Thread(target=cache.get_or_load, args=("slow", slow))
            thread.start()
            in_thread.wait()
            cache.get_or_load("forking", lambda: answers.append(in_child(child)))
            answers.append(in_child(child))
            go.set()
            thread.join()
            assert answers == ["[True, False, True]"] * 2, answers
            # The parent goes on as if nothing had happened.
            assert child() == [True, False, True]
            print("ok")
            """
        )
        == "ok"
    )


def test_what_a_child_makes_of_its_parents_load_is_not_stored() -> None:
    assert (
        output_of(
            """
            cache = OptimizedCacheManager()
            cache.set("inner", 1, tags=["t"])
            pids = []

            def load():
                pids.append(os.fork())
                return cache.get_value("inner")

            cache.get_or_load("outer", load)
            if pids[0] == 0:
                # Lookups of a loader that began in the parent were not followed here.
                os._exit("outer" in cache)
            assert child_exit(pids[0]) == 0
            assert "outer" in cache
            cache.invalidate_by_tags(["t"])
            assert "outer" not in cache
            print("ok")
            """
        )
        == "ok"
    )


def test_an_entry_whose_loader_began_in_the_parent_is_not_stored_in_a_child() -> None:
    assert (
        output_of(
            """
            cache = OptimizedCacheManager()
            entry, stamp = cache._prepare("k"), cache.snapshot()
            token = entry.begin_loading()

            def child():
                entry.store("value", stamp)
                return "k" in cache, cache.get_stats()["nested_rejects"]["not_kept"]

            assert in_child(child) == "(False, 1)", in_child(child)
            entry.store("value", stamp)
            entry.end_loading(token)
            assert "k" in cache
            print("ok")
            """
        )
        == "ok"
    )


def test_a_child_is_not_locked_out_of_a_log_by_a_call_of_its_parents_thread() -> None:
    # A server that takes connections and says nothing: whoever it has taken is in the middle of
    # a call.
    assert (
        output_of(
            """
            import socket
            from velro_cache._engine import InvalidationLog
            from velro_cache.exceptions import InvalidationLogUnavailable

            with socket.create_server(("127.0.0.1", 0)) as server:
                address = f"redis://127.0.0.1:{server.getsockname()[1]}"
                log = InvalidationLog(address, "fork", timeout_seconds=2)

                def call():
                    try:
                        log.append(b"x")
                    except InvalidationLogUnavailable:
                        pass

                thread = threading.Thread(target=call)
                thread.start()
                connection, _ = server.accept()

                def child():
                    try:
                        return log.append(b"x")
                    except InvalidationLogUnavailable:
                        return "unavailable"

                answer = in_child(child)
                assert answer == repr("unavailable"), answer
                thread.join()
                connection.close()
            print("ok")
            """
        )
        == "ok"
    )


@pytest.mark.skipif(not hasattr(os, "setuid"), reason="this system has no users")
def test_a_child_that_can_tell_nobody_says_so() -> None:
    program = """
        import resource, tempfile

        if os.geteuid() == 0:
            # Root may start as many threads as it likes.
            os.setgid(65534)
            os.setuid(65534)
        os.chdir(tempfile.mkdtemp())
        cache = OptimizedCacheManager(
            OptimizedCacheConfig(
                name="alone", invalidation_log="sqlite:///log.db", share_invalidations=False
            )
        )
        logging.getLogger("velro_cache").setLevel(logging.CRITICAL)

        def revoke(wait):
            try:
                cache.invalidate_user_data("ada", wait=wait)
            except InvalidationNotAcknowledged:
                return "not acknowledged"
            return "fine"

        def revoking():
            try:
                with cache.revoking(user_id="ada", wait="bus"):
                    pass
            except InvalidationNotAcknowledged:
                return "not acknowledged"
            return "fine"

        at_first, most = resource.getrlimit(resource.RLIMIT_NPROC)

        def child():
            answers = [revoke("host"), revoke("bus"), revoke("fleet"), revoking()]
            waiting = cache.get_stats()["log"]["unpublished"]
            resource.setrlimit(resource.RLIMIT_NPROC, (at_first, most))
            # Now threads can be started, and what was waiting is sent.
            answers.append(revoke("bus"))
            log = cache.get_stats()["log"]
            return answers, waiting, log["unpublished"], log["published"]

        after_fork = OptimizedCacheManager._after_fork

        def without_threads(self):
            resource.setrlimit(resource.RLIMIT_NPROC, (0, most))
            after_fork(self)

        OptimizedCacheManager._after_fork = without_threads
        print(in_child(child))
        """
    assert output_of(program) == str((["not acknowledged"] * 4 + ["fine"], 4, 0, 5))
