"""A cache is given back when nobody can reach it any more, whatever it holds or is held by."""

from __future__ import annotations

import textwrap

import pytest
from programs import check

COLLECTED = """
class Probe:
    '''Something whose end can be seen. Not copied, or a copy would be what is in the cache.'''
    def __deepcopy__(self, memo):
        return self

def collected(build, *args):
    '''Whether what `build` builds around a probe, and lets go of, is collected.'''
    probe = Probe()
    gone = weakref.ref(probe)
    build(probe, *args)
    del probe
    # The last answer is kept for a moment.
    OptimizedCacheManager().get("nothing")
    # A sweeper may be holding the cache for the length of a sweep.
    for _ in range(20):
        gc.collect()
        if gone() is None:
            return True
    return False

SHARED = OptimizedCacheConfig(isolation="shared")
COPIED = OptimizedCacheConfig()
"""

CYCLES = {
    "a value that holds its cache": """
        def build(probe, config):
            probe.cache = OptimizedCacheManager(config)
            probe.cache.set("k", probe)
    """,
    "a value that holds its cache and was looked up": """
        def build(probe, config):
            probe.cache = OptimizedCacheManager(config)
            probe.cache.set("k", probe)
            assert probe.cache.get("k")[0] is probe
            probe.cache.get("nothing")
    """,
    "a method of the cache": """
        def build(probe, config):
            probe.get = OptimizedCacheManager(config).get
            probe.get.__self__.set("k", probe)
    """,
    "deep in dicts and lists": """
        def build(probe, config):
            probe.cache = OptimizedCacheManager(config)
            probe.cache.set("k", {"a": [1, {"b": (2, [probe])}]})
            probe.cache.get("k")
    """,
    "in a tuple that is otherwise immutable": """
        def build(probe, config):
            probe.cache = OptimizedCacheManager(config)
            probe.cache.set("k", (1, (probe,)))
    """,
    "as the key of a dict": """
        def build(probe, config):
            probe.cache = OptimizedCacheManager(config)
            probe.cache.set("k", {probe: [probe]})
    """,
    "in a set": """
        def build(probe, config):
            probe.cache = OptimizedCacheManager(config)
            probe.cache.set("k", {probe})
    """,
    "in a dataclass": """
        @dataclasses.dataclass
        class Record:
            content: object
        @dataclasses.dataclass(slots=True)
        class Slotted:
            content: object
        def build(probe, config):
            probe.cache = OptimizedCacheManager(config)
            probe.cache.set("k", Record([probe]))
            probe.cache.set("l", Slotted([probe]))
    """,
    "in an object that is copied by deepcopy": """
        class Opaque:
            pass
        def build(probe, config):
            probe.cache = OptimizedCacheManager(config)
            value = Opaque()
            value.content = [probe]
            probe.cache.set("k", value)
    """,
    "a class as a value": """
        def build(probe, config):
            class Local:
                content = probe
            probe.cache = OptimizedCacheManager(config)
            probe.cache.set("k", Local)
    """,
    "a function as a value": """
        def build(probe, config):
            cache = OptimizedCacheManager(config)
            probe.cache = cache
            cache.set("k", lambda: (cache, probe))
    """,
    "two caches that hold each other": """
        def build(probe, config):
            one, other = OptimizedCacheManager(config), OptimizedCacheManager(config)
            one.set("k", lambda: (other, probe))
            other.set("k", lambda: (one, probe))
    """,
    "many entries": """
        def build(probe, config):
            probe.cache = OptimizedCacheManager(config)
            for number in range(3000):
                probe.cache.set(f"k{number}", [number, probe])
    """,
    "what a load brought": """
        def build(probe, config):
            cache = OptimizedCacheManager(config)
            probe.load = lambda: (cache, [probe])[1]
            cache.get_or_load("k", probe.load)
    """,
    "what an asynchronous load brought": """
        def build(probe, config):
            cache = OptimizedCacheManager(config)
            async def load():
                return (cache, [probe])[1]
            probe.load = load
            asyncio.run(cache.aget_or_load("k", load))
    """,
    "a load that failed": """
        def build(probe, config):
            cache = OptimizedCacheManager(config)
            probe.load = lambda: (cache, probe)[5]
            try:
                cache.get_or_load("k", probe.load)
            except IndexError as error:
                probe.error = error
    """,
    "a loaded value, held": """
        def build(probe, config):
            cache = OptimizedCacheManager(config)
            probe.loaded = cache._prepare("k").store([probe], cache.snapshot())
    """,
    "a loaded value that is not in the cache, held": """
        def build(probe, config):
            cache = OptimizedCacheManager(config)
            probe.loaded = cache._prepare("k").pass_on([probe], cache.snapshot())
    """,
    "a prepared entry, held": """
        def build(probe, config):
            cache = OptimizedCacheManager(config)
            cache.set("k", probe)
            probe.entry = cache._prepare("k")
    """,
    "the result of a decorated function with a cache of its own": """
        def build(probe, config):
            @cached_authorization(cache=OptimizedCacheManager(config))
            def check(user_id):
                return [probe]
            probe.check = check
            check("u")
    """,
    "the result of a decorated coroutine function with a cache of its own": """
        def build(probe, config):
            @cached_authorization(cache=OptimizedCacheManager(config))
            async def check(user_id):
                return [probe]
            probe.check = check
            asyncio.run(check("u"))
    """,
    "a decorated function as a value of its own cache": """
        def build(probe, config):
            cache = OptimizedCacheManager(SHARED)
            @cached_authorization(cache=cache)
            def check(user_id):
                return probe
            cache.set("k", check)
    """,
    "key function and default of a decorated function": """
        def build(probe, config):
            cache = OptimizedCacheManager(config)
            @cached_authorization(cache=cache, key=lambda *args: (probe, "k")[1])
            def check(user_id, by=probe):
                return lambda: cache
            probe.check = check
            check("u")
    """,
    "a decorated method": """
        def build(probe, config):
            cache = OptimizedCacheManager(config)
            class Service:
                @cached_authorization(cache=cache)
                def check(self, user_id):
                    return [probe]
            probe.service = Service()
            probe.check = probe.service.check
            probe.check("u")
    """,
    "attributes of a subclass": """
        class Manager(OptimizedCacheManager):
            pass
        def build(probe, config):
            cache = Manager(config)
            cache.itself, cache.probe = cache, probe
            cache.set("k", lambda: cache)
    """,
    "slots of a subclass": """
        class Manager(OptimizedCacheManager):
            __slots__ = ("itself", "probe")
        def build(probe, config):
            cache = Manager(config)
            cache.itself, cache.probe = cache, probe
    """,
    "a preloader": """
        def build(probe, config):
            cache = OptimizedCacheManager(config)
            async def preload():
                return cache, probe
            cache.add_preloader(preload)
            asyncio.run(_wait(cache.start()))
            cache.stop_sweeping()
        async def _wait(started):
            await started
    """,
    "a cache that was stopped": """
        def build(probe, config):
            cache = OptimizedCacheManager(config)
            cache.set("k", lambda: (cache, probe))
            cache.stop()
    """,
    "a cache whose sweeper runs": """
        def build(probe, config):
            cache = OptimizedCacheManager(config.replace(cleanup_interval_seconds=0.01))
            cache.start()
            cache.set("k", lambda: (cache, probe))
    """,
}


@pytest.mark.parametrize("isolation", ["SHARED", "COPIED"])
@pytest.mark.parametrize("cycle", CYCLES)
def test_of(cycle: str, isolation: str) -> None:
    check(
        COLLECTED
        + textwrap.dedent(CYCLES[cycle])
        + f"""
assert collected(build, {isolation})
print("ok")
"""
    )


def test_what_is_still_in_use_is_not_collected() -> None:
    # The collector must see each reference of a cache once, or it takes for garbage what is not.
    check(
        COLLECTED
        + """
def held(hold):
    for config in (SHARED, COPIED):
        cache = OptimizedCacheManager(config)
        for number in range(100):
            probe = Probe()
            probe.cache, probe.content = cache, {"number": [number]}
            cache.set(f"k{number}", probe)
            cache.set(f"l{number}", [{"a": [probe, number]}])
        @cached_authorization(cache=cache)
        def check(number):
            probe = Probe()
            probe.cache, probe.content = cache, {"number": [number]}
            return [probe]
        @cached_authorization(cache=cache)
        def check_too(number):
            return check(number)
        for number in range(100):
            check_too(number)
        prepared = cache._prepare("p")
        loaded = prepared.store([probe], cache.snapshot())
        kept = hold(cache, check, check_too, prepared, loaded)
        del probe, cache, check, prepared, loaded
        check_too = check_too if kept[0] == "decorated" else None
        for _ in range(4):
            gc.collect()
            if kept[0] == "cache":
                for number in range(100):
                    assert kept[1].get(f"k{number}")[0].content == {"number": [number]}
                    (inner,) = kept[1].get(f"l{number}")[0]
                    assert inner["a"][0].content == {"number": [number]}
            elif kept[0] == "decorated":
                for number in range(100):
                    assert kept[1](number)[0].content == {"number": [number]}
                assert kept[1].cache_info().misses == 100
            elif kept[0] == "loaded":
                assert kept[1].copy()[0].content == {"number": [99]}
                assert kept[1].copy()[0].cache.get("k5")[0].content == {"number": [5]}
        del kept

held(lambda cache, check, check_too, prepared, loaded: ("cache", cache))
held(lambda cache, check, check_too, prepared, loaded: ("decorated", check))
held(lambda cache, check, check_too, prepared, loaded: ("decorated", check_too))
held(lambda cache, check, check_too, prepared, loaded: ("loaded", loaded))
print("ok")
"""
    )


def test_collections_all_the_time_while_threads_use_the_cache() -> None:
    check(
        COLLECTED
        + """
sys.setswitchinterval(1e-5)
cache = OptimizedCacheManager(OptimizedCacheConfig(isolation="shared", max_entries=100))
stop = threading.Event()
wrong = []

@cached_authorization(cache=cache)
def check(number):
    return [number, cache]

def use(seed):
    chance = random.Random(seed)
    while not stop.is_set():
        number = chance.randrange(200)
        cache.set(f"k{number}", {"n": [number], "cache": cache, "get": cache.get}, tags=["t"])
        found, hit = cache.get(f"k{number}")
        if hit and found["n"] != [number]:
            wrong.append(found)
        if check(number)[0] != number:
            wrong.append(number)
        if number == 7:
            cache.invalidate_by_tags(["t"])

threads = [threading.Thread(target=use, args=(seed,)) for seed in range(3)]
for thread in threads:
    thread.start()
for _ in range(40):
    gc.collect()
stop.set()
for thread in threads:
    thread.join()
assert not wrong, wrong
cache.clear()
assert_sound(cache)
print("ok")
"""
    )


def test_a_value_in_its_own_cache_dies_with_its_finalizer_in_the_cache() -> None:
    # What the collector clears may be used by the finalizers of what it clears.
    check(
        COLLECTED
        + """
seen = []
class Dying(Probe):
    def __del__(self):
        seen.append((self.cache.get("other"), self.cache.set("again", [1]), len(self.cache) > 0))

for config in (SHARED, COPIED):
    def build(probe, config):
        value = Dying()
        value.cache, value.probe = OptimizedCacheManager(config), probe
        value.cache.set("k", value)
        value.cache.set("other", 5)
    assert collected(build, config)
assert seen == [((5, True), True, True)] * 2, seen
print("ok")
"""
    )


def test_weak_references_to_the_cache_and_to_decorated_functions() -> None:
    check(
        """
        cache = OptimizedCacheManager()
        @cached_authorization(cache=cache)
        def check(user_id):
            return True
        @cached_authorization(cache=cache)
        async def acheck(user_id):
            return True
        ends = []
        references = [weakref.ref(thing, ends.append) for thing in (cache, check, acheck)]
        for thing in (cache, check, acheck):
            weakref.finalize(thing, ends.append, "finalized")
        assert [reference() for reference in references] == [cache, check, acheck]
        assert check("u") and asyncio.run(acheck("u"))
        del cache, check, acheck, thing
        gc.collect()
        assert [reference() for reference in references] == [None] * 3
        assert len(ends) == 6
        print("ok")
        """
    )
