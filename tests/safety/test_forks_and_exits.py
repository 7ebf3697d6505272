"""Forks, signals and the end of the interpreter, in the middle of everything else."""

from __future__ import annotations

import os
import textwrap

import pytest
from programs import check

THREADS = """
warnings.simplefilter("ignore", DeprecationWarning)  # Newer Pythons warn of forks with threads.

@cached_authorization(cache=OptimizedCacheManager())
def check(user_id):
    return [user_id]

def use_for_ever(cache, seed):
    chance = random.Random(seed)
    while True:
        key = f"k{chance.randrange(50)}"
        cache.set(key, {"a": [key]}, tags=["t"], ttl=60)
        cache.get(key)
        cache.get_or_load(f"l{chance.randrange(50)}", lambda: [1])
        check(chance.randrange(50))
        if chance.random() < 0.02:
            cache.invalidate_by_tags(["t"])
            cache.delete(key)
            cache.get_stats()

def start_threads(cache, count=3):
    sys.setswitchinterval(1e-5)
    for seed in range(count):
        threading.Thread(target=use_for_ever, args=(cache, seed), daemon=True).start()
    while cache.get_stats()["sets"] < 50:
        time.sleep(0.001)

def work(cache):
    '''What a child must be able to do.'''
    # By names of its own: what others take away is gone here, too.
    mine = f"child{os.getpid()}"
    for number in range(50):
        cache.set(f"{mine}-{number}", [number], tags=[mine])
        cache.get_or_load(f"l{number}", lambda: [1], refresh=True, load_timeout_seconds=None)
        check(number)
    assert cache.get(f"{mine}-7") == ([7], True)
    # Not in debug mode, which says when a step took long: threads may leave it little time.
    loading = cache.aget_or_load("a", lambda: [5])
    assert asyncio.run(loading, debug=False) == [5]
    assert cache.invalidate_by_tags([mine]) == 50
    cache.clear()
    assert len(cache) == 0
    gc.collect()
    cache.start()
    cache.stop()
    return "worked"
"""

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")


@needs_fork
def test_children_forked_while_threads_are_inside() -> None:
    check(
        THREADS
        + """
cache = OptimizedCacheManager(OptimizedCacheConfig(max_entries=500))
cache.start()
start_threads(cache)
for _ in range(30):
    answer = in_child(lambda: work(cache))
    assert answer == repr("worked"), answer
print("ok", flush=True)
os._exit(0)
"""
    )


@needs_fork
def test_children_forked_by_several_threads_at_once() -> None:
    check(
        THREADS
        + """
# What one child clears, its siblings lose, unless they share nothing.
config = OptimizedCacheConfig(max_entries=500, share_invalidations=False)
cache = OptimizedCacheManager(config)
start_threads(cache, 2)
answers = []
def fork():
    for _ in range(6):
        answers.append(in_child(lambda: work(cache)))
forking = [threading.Thread(target=fork) for _ in range(3)]
for thread in forking:
    thread.start()
for thread in forking:
    thread.join()
assert answers == [repr("worked")] * 18, answers
print("ok", flush=True)
os._exit(0)
"""
    )


@needs_fork
def test_a_child_ends_in_order_while_its_parents_threads_were_inside() -> None:
    # With all that the interpreter does at its end, unlike `os._exit`.
    check(
        THREADS
        + """
# Its thread does not exist in a child, which would wait for it at its end.
faulthandler.cancel_dump_traceback_later()
cache = OptimizedCacheManager(OptimizedCacheConfig(max_entries=500))
cache.start()
start_threads(cache)
for _ in range(10):
    pid = os.fork()
    if pid == 0:
        signal.alarm(20)
        work(cache)
        sys.exit(7)
    assert child_exit(pid) == 7
print("ok", flush=True)
os._exit(0)
"""
    )


@needs_fork
def test_values_that_fork_when_they_are_copied_or_die() -> None:
    check(
        """
        warnings.simplefilter("ignore", DeprecationWarning)
        cache = OptimizedCacheManager()
        children = []
        def fork():
            pid = os.fork()
            if pid == 0:
                cache.set("child", [1])
                assert cache.get("child") == ([1], True)
                cache.clear()
                os._exit(0)
            children.append(child_exit(pid))
        class Forks:
            def __deepcopy__(self, memo):
                fork()
                return Forks()
            def __del__(self):
                if len(children) < 10:
                    fork()
        cache.set("k", Forks())
        cache.get("k")
        cache.get_or_load("k", Forks, refresh=True)
        cache.clear()
        assert len(children) >= 5 and not any(children), children
        assert_sound(cache)
        print("ok")
        """
    )


def test_interrupted_again_and_again_whatever_it_is_doing() -> None:
    # The alarm comes at any point of any call; afterwards the cache works, and no load is left
    # behind for which somebody would wait.
    check(
        """
        cache = OptimizedCacheManager(OptimizedCacheConfig(max_entries=200))
        for number in range(150):
            cache.set(f"entry{number}", [number], tags=["t"])

        @cached_authorization(cache=cache, ttl_seconds=0.001)
        def check(user_id):
            return [user_id]

        class Interrupted(BaseException):
            pass

        armed = False
        def interrupt(*_):
            if armed:
                raise Interrupted
        signal.signal(signal.SIGALRM, interrupt)
        signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0007)
        interruptions, end = 0, time.monotonic() + 1.5
        while time.monotonic() < end:
            try:
                armed = True
                for number in range(20):
                    cache.set(f"k{number}", {"a": [number]}, tags=[f"t{number}"])
                    cache.get(f"k{number}")
                    cache.get_or_load(f"l{number}", lambda: [number], refresh=True)
                    check(number)
                cache.invalidate_by_tags(["t5"])
                cache.invalidate_by_pattern("*no*such*")
                cache.keys()
                armed = False
            except Interrupted:
                armed = False
                interruptions += 1
        signal.setitimer(signal.ITIMER_REAL, 0)
        assert interruptions > 50, interruptions
        for number in range(20):
            assert cache.get_or_load(f"l{number}", lambda: [number], load_timeout_seconds=5)
            assert check(number) == [number]
        assert_sound(cache)
        print("ok")
        """
    )


def test_interrupted_while_waiting_for_somebody_elses_load() -> None:
    check(
        """
        cache = OptimizedCacheManager()
        loading, go = threading.Event(), threading.Event()
        def slow():
            loading.set()
            go.wait(20)
            return ["loaded"]
        thread = threading.Thread(target=cache.get_or_load, args=("k", slow))
        thread.start()
        loading.wait(20)
        # Whoever started us in the background may have switched this signal off.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        def interrupt():
            time.sleep(0.05)
            os.kill(os.getpid(), signal.SIGINT)
        threading.Thread(target=interrupt).start()
        try:
            cache.get_or_load("k", lambda: ["never"])
        except KeyboardInterrupt:
            print("ok")
        go.set()
        thread.join()
        assert cache.get("k") == (["loaded"], True)
        assert_sound(cache)
        """
    )


AT_EXIT = {
    "a handler that uses the cache": """
        atexit.register(lambda: print(cache.get("k"), cache.get_or_load("x", lambda: [1])))
        answer = "([1], True) [1]"
    """,
    "a handler that uses a decorated function": """
        @cached_authorization()
        def check(user_id):
            return [user_id]
        check(1)
        atexit.register(lambda: print(check(1), check.cache_info().hits))
        answer = "[1] 1"
    """,
    "a handler that makes and starts a cache": """
        def late():
            late = OptimizedCacheManager()
            with contextlib.suppress(RuntimeError):  # CPython 3.12 starts no thread any more.
                late.start()
            late.stop_sweeping()
            late.set("k", [2])
            print(late.get("k"))
        atexit.register(late)
        answer = "([2], True)"
    """,
    "values in a module that is taken apart": """
        import types
        module = types.ModuleType("held")
        module.cache, module.Value = cache, Value
        sys.modules["held"] = module
        for number in range(20):
            cache.set(f"v{number}", Value(lambda: held.cache.set("again", Value())))
        import held
        print("set")
        answer = "set"
    """,
    "values whose finalizers load": """
        for number in range(20):
            cache.set(f"v{number}", Value(lambda: cache.get_or_load("again", lambda: Value())))
        print("set")
        answer = "set"
    """,
    "values whose finalizers raise": """
        for number in range(20):
            cache.set(f"v{number}", Value(lambda: 1 / 0))
        print("set")
        answer = "set"
    """,
    "daemon threads that use values with finalizers": """
        def use():
            while True:
                cache.set("v", Value(lambda: cache.get("k")))
                cache.get("v")
                cache.clear()
        for _ in range(3):
            threading.Thread(target=use, daemon=True).start()
        time.sleep(0.05)
        print("running")
        answer = "running"
    """,
    "a thread that is joined at exit and uses the cache until then": """
        done = threading.Event()
        threading._register_atexit(done.set)
        def use():
            while not done.is_set():
                cache.set("v", [1])
                cache.get("v")
            print(cache.get("v"))
        threading.Thread(target=use).start()
        answer = "([1], True)"
    """,
    "an executor with loads": """
        import concurrent.futures
        pool = concurrent.futures.ThreadPoolExecutor(4)
        loads = [pool.submit(cache.get_or_load, "x", lambda: [1]) for _ in range(50)]
        print(loads[0].result())
        answer = "[1]"
    """,
    "an event loop that is left open": """
        loop = asyncio.new_event_loop()
        print(loop.run_until_complete(cache.aget_or_load("x", lambda: [1])))
        warnings.simplefilter("ignore", ResourceWarning)
        answer = "[1]"
    """,
    "os._exit in the middle": """
        cache.start()
        print("end", flush=True)
        threading.Thread(target=lambda: os._exit(0)).start()
        while True:
            cache.set("k", [1])
        answer = "end"
    """,
}


@pytest.mark.parametrize("isolation", ["copy", "shared"])
@pytest.mark.parametrize("end", AT_EXIT)
def test_the_interpreter_ends_with(end: str, isolation: str) -> None:
    import textwrap

    program = f"""
import atexit, contextlib
unraisable = None
# An exception that nobody sees is no matter; a crash or a hang is.
sys.unraisablehook = lambda *_: None
cache = OptimizedCacheManager(OptimizedCacheConfig(isolation="{isolation}"))
cache.set("k", [1])
""" + textwrap.dedent(AT_EXIT[end])
    scope: dict[str, str] = {}
    answer = next(line for line in AT_EXIT[end].splitlines() if "answer = " in line).strip()
    exec(answer, scope)  # noqa: S102 - a line from above
    check(program, scope["answer"])


INSIDE = {
    "a decorated function": """
        @cached_authorization(cache=cache)
        def check(user_id):
            be_inside()
        check(1)
    """,
    "a key function": """
        @cached_authorization(cache=cache, key=lambda user_id: be_inside())
        def check(user_id):
            pass
        check(1)
    """,
    "a key function of a coroutine function": """
        @cached_authorization(cache=cache, key=lambda user_id: be_inside())
        async def check(user_id):
            pass
        asyncio.run(check(1))
    """,
    "a loader": """
        cache.get_or_load("k", be_inside)
    """,
    "an asynchronous loader": """
        asyncio.run(cache.aget_or_load("k", be_inside))
    """,
    "tags": """
        def tags():
            yield "t"
            be_inside()
        cache.set("k", 1, tags=tags())
    """,
    "tags of an invalidation": """
        def tags():
            yield "t"
            be_inside()
        cache.invalidate_by_tags(tags())
    """,
    "tags of a load": """
        def tags():
            yield "t"
            be_inside()
        cache.get_or_load("k", lambda: 1, tags=tags())
    """,
    "several keys": """
        def keys():
            yield "t"
            be_inside()
        cache.get_many(keys())
    """,
    "a mapping": """
        class Mapping(dict):
            def items(self):
                be_inside()
        cache.set_many(Mapping(a=1))
    """,
    "a copy on the way in": """
        class Odd:
            def __deepcopy__(self, memo):
                be_inside()
        cache.set("k", Odd())
    """,
    "a copy on the way in, of a typed entry": """
        class Odd:
            def __deepcopy__(self, memo):
                be_inside()
        cache.set_user_profile("u", Odd())
    """,
    "a copy on the way in, of a loaded value": """
        class Odd:
            def __deepcopy__(self, memo):
                be_inside()
        cache.get_or_load("k", Odd)
    """,
    "a copy on the way out": """
        class Odd:
            copies = 0
            def __deepcopy__(self, memo):
                Odd.copies += 1
                return Odd() if Odd.copies == 1 else be_inside()
        cache.set("k", Odd())
        cache.get("k")
    """,
    "a copy for the caller of a load": """
        class Odd:
            copies = 0
            def __deepcopy__(self, memo):
                Odd.copies += 1
                return Odd() if Odd.copies == 1 else be_inside()
        cache.get_or_load("k", Odd)
    """,
    "the end of a value that is replaced": """
        cache.set("k", Value(be_inside))
        cache.set("k", 1)
    """,
    "the end of a value that is deleted": """
        cache.set("k", Value(be_inside))
        cache.delete("k")
    """,
    "the end of a value that was the last answer": """
        cache.set("k", Value(be_inside))
        cache.set("l", 1)
        cache.get("k")
        cache.set("k", 1)
        cache.get("l")
    """,
    "the end of a value that has expired": """
        cache.set("k", Value(be_inside), ttl=5)
        clock.advance(5)
        cache.get("k")
    """,
    "the end of a value that is swept": """
        cache.set("k", Value(be_inside), ttl=5)
        clock.advance(5)
        cache.sweep()
    """,
    "the end of a value that is invalidated": """
        cache.set("k", Value(be_inside), tags=["t"])
        cache.invalidate_by_tags(["t"])
    """,
    "the end of a value that is cleared away": """
        cache.set("k", Value(be_inside))
        cache.clear()
    """,
    "the end of a value that makes room": """
        own = OptimizedCacheManager(OptimizedCacheConfig(max_entries=10))
        own.set("k", Value(be_inside))
        for number in range(30):
            own.set(f"k{number}", number)
    """,
    "the end of a value that nobody waits for any more": """
        loaded = cache._prepare("k").pass_on(Value(be_inside), cache.snapshot())
        del loaded
    """,
    "the end of a decorated function": """
        value = Value(be_inside)
        @cached_authorization(cache=cache, key=lambda user_id: value and user_id)
        def check(user_id):
            pass
        del value, check
        gc.collect()
    """,
    "a life that is computed": """
        class Life:
            def __float__(self):
                be_inside()
        cache.set("k", 1, Life())
    """,
    "an argument of a class of its own": """
        class Id(type(uuid.UUID(int=1))):
            @property
            def int(self):
                be_inside()
        cache.get_user_profile(object.__new__(Id))
    """,
    "the invalidation of many entries": """
        for number in range(5000):
            cache.set(f"k{number}", number)
        sys.setswitchinterval(1e-5)
        inside.set()
        while True:
            cache.invalidate_by_pattern("*no*such*")
    """,
    "the end of a cache": """
        own = OptimizedCacheManager()
        own.set("k", Value(be_inside))
        del own
        gc.collect()
    """,
}
"""Code of the caller's that runs inside a call of the cache, in a thread that never ends."""


@pytest.mark.parametrize("inside", INSIDE)
def test_the_interpreter_ends_while_a_daemon_thread_is_inside(inside: str) -> None:
    # The interpreter ends such a thread wherever it next asks for the interpreter's lock.
    check(
        """
import uuid
inside = threading.Event()
def be_inside():
    inside.set()
    while True:
        time.sleep(0.0001)

clock = ManualClock()
cache = OptimizedCacheManager(clock=clock)
def work():
"""
        + textwrap.indent(textwrap.dedent(INSIDE[inside]), "    ")
        + """
threading.Thread(target=work, daemon=True).start()
assert inside.wait(5)
print("ok")
"""
    )
