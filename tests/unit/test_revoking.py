"""``cache.revoking()``: what was named is invalidated however the block around it ends."""

from __future__ import annotations

import asyncio
import gc
import signal
import threading
import uuid
import weakref
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from callers import Gate, InThread
from velro_cache import (
    CacheStoppedError,
    InvalidKeyError,
    InvalidTagError,
    OptimizedCacheConfig,
    OptimizedCacheManager,
    generate_auth_key,
)

USER = uuid.UUID("0f8fad5b-d9cb-469f-a165-70867728950e")

NAMES: dict[str, tuple[dict[str, Any], str]] = {
    "tags": ({"tags": ["mine"]}, "tagged"),
    "a set of tags": ({"tags": {"mine"}}, "tagged"),
    "user": ({"user_id": "u1"}, "auth:user:u1:profile"),
    "user by UUID": ({"user_id": USER}, f"auth:user:{USER}:profile"),
    "user by number": ({"user_id": 7}, "auth:user:7:profile"),
    "generation": ({"generation_id": "g1"}, "auth:gen:g1:user:u2:access"),
    "keys": ({"keys": ["one"]}, "one"),
    "patterns": ({"patterns": ["auth:project:*"]}, "auth:project:p1:user:u3:access"),
    "scattered patterns": ({"patterns": ["auth:*:u4:*"]}, "auth:team:t1:user:u4:role"),
    "a pattern with a UUID in another spelling": (
        {"patterns": [f"auth:session:{str(USER).upper()}:*"]},
        f"auth:session:{USER}:x",
    ),
    "everything": ({"patterns": ["*"]}, "one"),
}
KEYS = {key for _, key in NAMES.values()}


def fill(cache: OptimizedCacheManager) -> None:
    cache.set_many(dict.fromkeys(KEYS, "old"))
    cache.set("tagged", "old", tags=["mine"])


@pytest.fixture
def filled(cache: OptimizedCacheManager) -> OptimizedCacheManager:
    fill(cache)
    return cache


class Waits(OptimizedCacheManager):
    """A cache whose invalidations are published; says what was waited for, and on which thread."""

    __slots__ = ("error", "waits")

    def __init__(self, config: OptimizedCacheConfig | None = None) -> None:
        super().__init__(config)
        self.waits: list[tuple[int, str | None, bool]] = []
        self.error: Exception | None = None

    def _invalidate(self, *names: Any) -> tuple[int, int]:
        return super()._invalidate(*names)[0], 5

    def _wait_published(self, ticket: int, wait: str | None = None) -> None:
        is_main = threading.current_thread() is threading.main_thread()
        self.waits.append((ticket, wait, is_main))
        if self.error is not None:
            raise self.error


class Ended(BaseException):
    """Ends a block as Ctrl-C would."""


@pytest.mark.parametrize("what", NAMES)
class TestWhatIsNamed:
    def test_is_served_within_the_block_and_not_after_it(
        self, filled: OptimizedCacheManager, what: str
    ) -> None:
        names, key = NAMES[what]
        with filled.revoking(**names) as revocation:
            assert revocation.dropped == 0
            assert filled.get_value(key) == "old"
        left = KEYS & set(filled.keys())
        assert left == (set() if what == "everything" else KEYS - {key})
        assert revocation.dropped == len(KEYS - left)

    @pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, Ended, SystemExit])
    def test_is_not_served_after_a_block_that_failed(
        self, filled: OptimizedCacheManager, what: str, error: type[BaseException]
    ) -> None:
        key = NAMES[what][1]
        raised = error("the database may have committed")
        with pytest.raises(error) as caught, filled.revoking(keys=[key]):
            raise raised
        assert caught.value is raised
        assert not hasattr(raised, "__notes__")
        assert key not in filled

    async def test_is_not_served_after_an_async_block(
        self, filled: OptimizedCacheManager, what: str
    ) -> None:
        key = NAMES[what][1]
        async with filled.revoking(keys=[key]):
            await asyncio.sleep(0)
            assert key in filled
        assert key not in filled

    def test_what_was_being_loaded_is_not_stored(
        self, filled: OptimizedCacheManager, what: str
    ) -> None:
        key, gate = NAMES[what][1], Gate()

        def load() -> str:
            gate.wait_inside()
            return "old"

        with filled.revoking(keys=[key]):
            loading = InThread(lambda: filled.get_or_load(key, load, refresh=True))
            gate.until_reached()
        gate.open()
        assert loading.outcome() == "old"
        assert key not in filled


class TestAdding:
    def test_what_was_added_within_the_block_is_invalidated_with_the_rest(
        self, filled: OptimizedCacheManager
    ) -> None:
        with filled.revoking() as revocation:
            assert revocation.add(tags=["mine"]) is revocation
            revocation.add(user_id="u1").add(keys=["one"], patterns=["auth:project:*"])
            assert {"tagged", "one"} < set(filled.keys())
        assert revocation.dropped == 4
        assert not {"tagged", "one", "auth:user:u1:profile"} & set(filled.keys())

    def test_generators_of_names_are_read_once(self, filled: OptimizedCacheManager) -> None:
        with filled.revoking(tags=(tag for tag in ["mine"])) as revocation:
            revocation.add(keys=iter(["one"]))
        assert revocation.dropped == 2

    def test_many_tags(self, cache: OptimizedCacheManager) -> None:
        tags = [f"tag-{n}" for n in range(200)]
        for tag in tags:
            cache.set(tag, 1, tags=[tag])
        with cache.revoking(tags=tags) as revocation:
            pass
        assert revocation.dropped == 200
        assert len(cache) == 0

    def test_what_cannot_be_understood_adds_nothing(self, filled: OptimizedCacheManager) -> None:
        with filled.revoking(tags=["other"]) as revocation:
            with pytest.raises(InvalidTagError):
                revocation.add(keys=["one"], tags=[""])
            with pytest.raises(TypeError):
                revocation.add(tags=["mine"], user_id=1.5)  # type: ignore[arg-type]
        assert {"one", "tagged"} < set(filled.keys())

    def test_nothing_can_be_added_afterwards(self, cache: OptimizedCacheManager) -> None:
        with cache.revoking(tags=["mine"]) as revocation:
            pass
        with pytest.raises(RuntimeError, match="has ended"):
            revocation.add(tags=["late"])
        with pytest.raises(RuntimeError, match="entered before"), revocation:
            pass

    def test_a_block_is_entered_once(self, cache: OptimizedCacheManager) -> None:
        with (
            cache.revoking(tags=["mine"]) as revocation,
            pytest.raises(RuntimeError, match="entered before"),
            revocation,
        ):
            pass

    def test_blocks_may_nest(self, filled: OptimizedCacheManager) -> None:
        with filled.revoking(keys=["one"]):
            with filled.revoking(tags=["mine"]):
                pass
            assert ("one" in filled, "tagged" in filled) == (True, False)
        assert "one" not in filled


class TestNothingNamed:
    def test_is_an_error_once_the_block_has_ended(self, cache: OptimizedCacheManager) -> None:
        done = []
        with pytest.raises(ValueError, match="was not told what"), cache.revoking():
            done.append("committed")
        assert done
        # An id that is not there is none.
        with pytest.raises(ValueError, match="was not told what"), cache.revoking(user_id=None):
            pass

    def test_an_empty_list_says_that_there_is_nothing(self, filled: OptimizedCacheManager) -> None:
        for names in [{"tags": []}, {"keys": ()}, {"patterns": set()}]:
            with filled.revoking(**names) as revocation:
                pass
            assert revocation.dropped == 0
        with filled.revoking() as revocation:
            revocation.add(tags=[])
        assert set(filled.keys()) == KEYS

    def test_leaves_an_error_of_the_block_alone(self, cache: OptimizedCacheManager) -> None:
        with pytest.raises(KeyError) as caught, cache.revoking():
            raise KeyError
        assert not hasattr(caught.value, "__notes__")


WRONG: dict[str, tuple[dict[str, Any], type[Exception]]] = {
    "a bare tag": ({"tags": "mine"}, InvalidTagError),
    "an empty tag": ({"tags": [""]}, InvalidTagError),
    "a tag that is no text": ({"tags": [1]}, InvalidTagError),
    "tags that are none": ({"tags": 1}, InvalidTagError),
    "an empty user": ({"user_id": ""}, InvalidKeyError),
    "a flag for a user": ({"user_id": True}, TypeError),
    "a list of users": ({"user_id": ["u1"]}, TypeError),
    "a wrong generation": ({"generation_id": 1.5}, TypeError),
    "a bare key": ({"keys": "one"}, TypeError),
    "an empty key": ({"keys": [""]}, InvalidKeyError),
    "a key that is no text": ({"keys": [None]}, TypeError),
    "a bare pattern": ({"patterns": "*"}, TypeError),
    "an empty pattern": ({"patterns": [""]}, InvalidKeyError),
    "another wait": ({"tags": ["mine"], "wait": "forever"}, ValueError),
    "a wait that is no text": ({"tags": ["mine"], "wait": 1}, ValueError),
}


@pytest.mark.parametrize("what", WRONG)
def test_wrong_arguments_are_found_before_the_block_runs(
    filled: OptimizedCacheManager, what: str
) -> None:
    names, error = WRONG[what]
    entered = []
    with pytest.raises(error), filled.revoking(**names):
        entered.append(1)
    assert not entered
    assert set(filled.keys()) == KEYS


class TestStopped:
    def test_a_stopped_cache_is_found_before_the_block_runs(
        self, cache: OptimizedCacheManager
    ) -> None:
        cache.stop()
        entered = []
        with pytest.raises(CacheStoppedError), cache.revoking(tags=["mine"]):
            entered.append(1)
        assert not entered

    def test_one_that_is_stopped_within_the_block_is_an_error(
        self, cache: OptimizedCacheManager
    ) -> None:
        with pytest.raises(CacheStoppedError), cache.revoking(tags=["mine"]):
            cache.stop()

    def test_which_is_noted_on_the_error_of_the_block(self, cache: OptimizedCacheManager) -> None:
        def stop_and_fail() -> None:
            cache.stop()
            raise KeyError("mine")

        with pytest.raises(KeyError, match="mine") as caught, cache.revoking(tags=["mine"]):
            stop_and_fail()
        assert "CacheStoppedError" in caught.value.__notes__[0]


class TestEndings:
    def test_a_generator_that_is_closed(self, filled: OptimizedCacheManager) -> None:
        def handler() -> Iterator[None]:
            with filled.revoking(keys=["one"]):
                yield

        generator = handler()
        next(generator)
        generator.close()  # type: ignore[attr-defined]
        assert "one" not in filled

    async def test_an_async_generator_that_is_closed(self, filled: OptimizedCacheManager) -> None:
        async def handler() -> AsyncIterator[None]:
            async with filled.revoking(keys=["one"]):
                yield

        generator = handler()
        await anext(generator)
        await generator.aclose()  # type: ignore[attr-defined]
        assert "one" not in filled

    @pytest.mark.parametrize("wait", ["host", "fleet"])
    async def test_a_task_that_is_cancelled(self, wait: Any) -> None:
        cache, entered = Waits(), asyncio.Event()
        fill(cache)

        async def handler() -> None:
            async with cache.revoking(keys=["one"], wait=wait):
                entered.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(handler())
        await entered.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert "one" not in cache
        assert cache.waits == []

    def test_a_return_from_within(self, filled: OptimizedCacheManager) -> None:
        def handler() -> str:
            with filled.revoking(keys=["one"]):
                return "done"

        assert handler() == "done"
        assert "one" not in filled

    def test_a_signal_at_any_moment(self, cache: OptimizedCacheManager) -> None:
        # An exception out of a signal handler may come between any two steps of Python code. That
        # must not happen between the commit and the invalidation.
        def interrupt(*_: Any) -> None:
            raise Ended

        committed = [0]

        def handler() -> None:
            with cache.revoking(keys=["one"]):
                committed[0] += 1

        def until_interrupted(seconds: float) -> bool:
            try:
                try:
                    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
                    for _ in range(2000):
                        if "one" not in cache:
                            cache.set("one", committed[0])
                        handler()
                        assert "one" not in cache
                finally:
                    signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            except Ended:
                return True
            return False

        before = signal.signal(signal.SIGVTALRM, interrupt)
        interrupted = 0
        try:
            # How many signals come in time is up to the machine.
            for step in range(5000):
                if interrupted > 50:
                    break
                interrupted += until_interrupted(1e-6 + step % 100 * 1e-7)
                assert cache.get_value("one", committed[0]) == committed[0]
        finally:
            signal.signal(signal.SIGVTALRM, before)
        assert interrupted > 50


class TestWaiting:
    @pytest.mark.parametrize("wait", ["bus", "fleet"])
    def test_for_what_is_asked(self, wait: Any) -> None:
        cache = Waits()
        with cache.revoking(tags=["mine"], wait=wait):
            pass
        assert cache.waits == [(5, wait, True)]

    @pytest.mark.parametrize("wait", ["host", "bus", "fleet"])
    def test_for_what_is_configured(self, wait: Any) -> None:
        cache = Waits(OptimizedCacheConfig(invalidation_wait=wait))
        with cache.revoking(tags=["mine"]):
            pass
        assert cache.waits == ([] if wait == "host" else [(5, wait, True)])
        with cache.revoking(tags=["mine"], wait="host"):
            pass
        assert len(cache.waits) == (wait != "host")

    async def test_off_the_event_loop(self) -> None:
        cache = Waits()
        async with cache.revoking(tags=["mine"], wait="fleet"):
            pass
        assert cache.waits == [(5, "fleet", False)]

    @pytest.mark.parametrize("error", [KeyError, KeyboardInterrupt])
    def test_not_after_a_block_that_failed(self, error: type[BaseException]) -> None:
        cache = Waits()
        with pytest.raises(error), cache.revoking(tags=["mine"], wait="fleet"):
            raise error
        assert cache.waits == []

    async def test_nor_after_an_async_one(self) -> None:
        cache = Waits()
        with pytest.raises(KeyError):
            async with cache.revoking(tags=["mine"], wait="fleet"):
                raise KeyError
        assert cache.waits == []

    async def test_what_goes_wrong_meanwhile_is_an_error_of_the_block(self) -> None:
        cache = Waits()
        fill(cache)
        cache.error = TimeoutError("nobody answered")
        with pytest.raises(TimeoutError, match="nobody"):
            async with cache.revoking(tags=["mine"], wait="bus"):
                pass
        assert "tagged" not in cache

    def test_nothing_named_is_not_waited_for(self) -> None:
        cache = Waits()
        with cache.revoking(tags=[], wait="fleet"):
            pass
        assert cache.waits == []


def test_nobody_is_told_what_was_revoked_while_others_load_all_the_time() -> None:
    cache = OptimizedCacheManager()
    key = generate_auth_key("user_permissions", user_id="u1")
    state, acknowledged = [0], [0]

    asked = threading.Semaphore(0)

    def revoke() -> None:
        for n in range(1, 300):
            assert asked.acquire(timeout=30), "nobody asks"
            try:
                with cache.revoking(user_id="u1"):
                    state[0] = n
                    if n % 3 == 0:
                        raise KeyError
            except KeyError:
                pass
            acknowledged[0] = n

    revoking = InThread(revoke)

    def ask() -> None:
        while revoking.is_running:
            least = acknowledged[0]
            assert cache.get_or_load(key, lambda: state[0]) >= least
            asked.release()

    asking = [InThread(ask) for _ in range(3)]
    revoking.outcome()
    for thread in asking:
        thread.outcome()


def test_a_revocation_holds_its_cache_and_no_more() -> None:
    cache = OptimizedCacheManager()
    revocation = cache.revoking(tags=["mine"])
    held = weakref.ref(cache)
    del cache
    gc.collect()
    assert held() is not None
    del revocation
    gc.collect()
    assert held() is None
