"""Loading ahead: what is learned, what is asked for whom, how much of it, and when it ends."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Any

import pytest
from test_high_performance_authorization import NOON, Bench

from velro_cache.manager import OptimizedCacheManager
from velro_cache.warming import HotKeys, PredictionLimits, Predictor
from velro_cache.warming.prediction import Predictable

PAGE = [f"p{number}" for number in range(5)]


async def until(is_so: Callable[[], bool]) -> None:
    while not is_so():  # noqa: ASYNC110 - it is looked at by what runs aside
        await asyncio.sleep(0)


class Foretold(Bench):
    """A service that asks ahead, with the moments of looking in hand."""

    def __init__(self, group: str | None = None, **limits: Any) -> None:
        super().__init__()
        self.service.keep_warm()
        warmers = self.cache.warmers
        self.predictor = warmers.predictor = Predictor(
            warmers.hot_keys,
            {"project_access": 1, "team_access": 1, "direct_ownership": 1},
            warmers._predictable.get,
            PredictionLimits(**limits),
            group_of=lambda user: group,
            seconds=lambda: (self.wall - NOON).total_seconds(),
        )
        warmers.hot_keys.heard = self.predictor._queue.append

    @property
    def figures(self) -> dict[str, Any]:
        return self.predictor.figures()

    async def look(self) -> None:
        """Have it look at what was used, and let what it began come to its end."""
        self.predictor.step()
        await until(lambda: not self.predictor._tasks)

    async def visit(self, *resources: str, user: str = "u", times: int = 1) -> None:
        """Ask for projects in this order, each time after the entries of the last time ended."""
        for _ in range(times):
            for resource in resources:
                await self.ask("project", resource, user)
                await self.look()
            self.pass_time(601)
            await self.look()


async def test_what_followed_is_there_before_it_is_asked_for() -> None:
    foretold = Foretold()
    await foretold.visit(*PAGE, times=10)
    asked = foretold.asked
    hits = foretold.service.get_performance_metrics()["total"]["cache_hits"]
    await foretold.visit(*PAGE)
    # The first page is a surprise; nobody waited for the others.
    figures = foretold.service.get_performance_metrics()["total"]
    assert figures["cache_hits"] - hits == len(PAGE) - 1
    assert foretold.asked - asked == len(PAGE)
    assert foretold.figures["precision"] == 1.0
    assert foretold.figures["used"] == foretold.figures["preloaded"] > 0
    assert foretold.cache.get_stats()["prediction"] == foretold.figures


async def test_users_have_habits_of_their_own_or_those_of_their_group() -> None:
    for group, expected in ((None, 0), ("editors", 4)):
        foretold = Foretold(group)
        for number in range(10):
            await foretold.visit(*PAGE, user=f"user-{number}")
        asked = foretold.asked
        await foretold.ask("project", PAGE[0], "newcomer")
        await foretold.look()
        ahead = foretold.inner.calls[asked + 1 :]
        # The same questions as the newcomer's own requests would ask, and for nobody else.
        assert {call["user_id"] for call in ahead} <= {"newcomer"}
        assert len(ahead) == min(expected, PredictionLimits().lookahead)


async def test_the_role_that_was_asked_for_is_the_one_that_is_asked_ahead() -> None:
    foretold = Foretold()
    for _ in range(6):
        await foretold.ask("team", "t", required_role="viewer")
        await foretold.look()
        await foretold.ask("team", "t2", required_role="admin")
        await foretold.look()
        foretold.pass_time(601)
        await foretold.look()
    asked = foretold.asked
    await foretold.ask("team", "t", required_role="viewer")
    await foretold.look()
    assert foretold.inner.calls[asked + 1 :] == [{"team_id": "t2", "user_id": "u", "role": "admin"}]


async def test_a_denial_is_neither_kept_nor_a_success() -> None:
    foretold = Foretold()
    await foretold.visit("a", "b", times=4)
    await foretold.ask("project", "a")
    foretold.inner.granted = False
    await foretold.look()
    assert foretold.figures["denied"] == 1
    assert foretold.cache.keys("*project*:b:*") == []
    denies = foretold.service.get_detailed_cache_metrics()["denies"]
    assert (denies["kept"], denies["alive_at_most"]) == (0, 0)


async def test_what_is_revoked_while_it_is_loaded_ahead_is_not_brought_back() -> None:
    foretold = Foretold()
    await foretold.visit("a", "b", times=4)
    await foretold.ask("project", "a")
    foretold.inner.gate = asyncio.Event()
    foretold.inner.entered.clear()
    foretold.predictor.step()
    await foretold.inner.entered.wait()
    # The source has said yes already; then the user is taken out of the project.
    await foretold.service.invalidate_user_permissions("u")
    foretold.inner.granted = False
    foretold.inner.gate.set()
    await foretold.look()
    assert not foretold.cache.keys("*project*:b:*")
    assert not (await foretold.ask("project", "b")).granted


async def test_what_is_there_is_not_asked_again_and_not_prolonged() -> None:
    foretold = Foretold()
    await foretold.visit("a", "b", times=6)
    await foretold.ask("project", "b")
    asked = foretold.asked
    foretold.pass_time(400)
    await foretold.ask("project", "a")
    await foretold.look()
    assert foretold.asked == asked + 1
    foretold.pass_time(200)
    assert not foretold.cache.keys("*project*:b:*")


async def test_a_request_meanwhile_shares_the_load_that_was_begun_ahead() -> None:
    foretold = Foretold()
    await foretold.visit("a", "b", times=4)
    await foretold.ask("project", "a")
    asked = foretold.asked
    foretold.inner.gate = asyncio.Event()
    foretold.inner.entered.clear()
    foretold.predictor.step()
    await foretold.inner.entered.wait()
    answer = asyncio.ensure_future(foretold.ask("project", "b"))
    await asyncio.sleep(0)
    foretold.inner.gate.set()
    assert (await answer).granted
    assert foretold.asked == asked + 1
    await foretold.look()


async def test_a_failure_is_no_answer_and_counts_against_it() -> None:
    foretold = Foretold()
    await foretold.visit("a", "b", times=4)
    await foretold.ask("project", "a")
    foretold.inner.error = ConnectionError("the password is hunter2")
    await foretold.look()
    assert foretold.figures["failed"] == 1
    assert foretold.figures["precision"] < 1
    foretold.inner.error = None
    assert (await foretold.ask("project", "b")).granted


async def test_what_left_before_it_was_asked_for_was_no_success() -> None:
    foretold = Foretold()
    await foretold.visit("a", "b", times=4)
    before = foretold.figures
    await foretold.ask("project", "a")
    await foretold.look()
    await foretold.service.invalidate_project_permissions("b")
    await foretold.ask("project", "b")
    await foretold.look()
    after = foretold.figures
    assert after["unused"] == before["unused"] + 1
    assert after["used"] == before["used"]


class Stream:
    """A predictor fed by hand; loads are counted, and always succeed."""

    def __init__(self, life_seconds: float | None = 60.0, **limits: Any) -> None:
        self.now = 0.0
        self.loads: list[tuple[str, ...]] = []
        self.cached: set[tuple[str, ...]] = set()
        self.life_seconds = life_seconds
        self.hot = HotKeys()
        self.predictor = Predictor(
            self.hot,
            {"page": 0},
            lambda kind: Predictable(self.load, lambda *ids: ids in self.cached),
            PredictionLimits(**limits),
            seconds=lambda: self.now,
        )
        self.hot.heard = self.predictor._queue.append

    async def load(self, *ids: str) -> float | None:
        self.loads.append(ids)
        return self.life_seconds

    async def see(self, user: str, *pages: str, loaded: bool = True) -> None:
        for page in pages:
            self.hot.note("page", user, page, loaded=loaded)
        self.predictor.step()
        await until(lambda: not self.predictor._tasks)

    @property
    def figures(self) -> dict[str, Any]:
        return self.predictor.figures()

    async def false_promises(self, rounds: int) -> None:
        """After "a" came "b", always; from now on, it never does."""
        for _ in range(4):
            await self.see("u", "a", "b")
            self.now += 301
        self.loads.clear()
        for _ in range(rounds):
            await self.see("u", "a")
            self.now += 61
            await self.see("u", f"elsewhere-{self.now}")
            # Habits fade with what is seen; this one is kept alive by others that do not pay.
            self.predictor._habits.successors.follow(("user u", "page", "a"), ("page", "b"))
            self.now += 301
            await self.see("nobody")


async def test_it_switches_itself_off_when_it_does_not_pay_and_tries_again_later() -> None:
    stream = Stream(trial=10, pause_seconds=36_000, least_probability=0.3)
    await stream.false_promises(90)
    # 0.4 of ten is four; with the seventh that nobody used, it is certain. One of them was while it
    # learned. Ninety rounds are nine hours, so there was one trial.
    assert len(stream.loads) == 6
    assert stream.figures["switched_off"]
    assert stream.figures["precision"] == 0.0
    assert (stream.figures["unused"], stream.figures["pauses"]) == (7, 1)
    await stream.false_promises(90)
    # The pause has ended meanwhile: a second trial, no more.
    assert len(stream.loads) == 7
    assert stream.figures["pauses"] == 2


async def test_it_stays_on_while_it_pays() -> None:
    stream = Stream(trial=5)
    for _ in range(200):
        await stream.see("u", "a")
        for page in "bc":
            loaded = ("u", page) not in stream.loads
            stream.loads = [load for load in stream.loads if load != ("u", page)]
            await stream.see("u", page, loaded=loaded)
        stream.now += 301
        await stream.see("nobody")
    assert not stream.figures["switched_off"]
    assert stream.figures["precision"] > 0.9
    assert stream.figures["preloaded"] > 150


async def learned(**limits: Any) -> Stream:
    """What follows "a" is known of a hundred users."""
    stream = Stream(**limits)
    for user in range(100):
        for _ in range(4):
            await stream.see(f"u{user}", "a")
            await stream.see(f"u{user}", "b")
            stream.now += 301
    stream.now += 1000
    await stream.see("nobody")
    stream.loads.clear()
    return stream


async def test_loads_ahead_are_bounded_by_those_that_were_waited_for() -> None:
    stream = await learned(trial=1000, per_miss=0.25, max_per_second=1000)
    stream.predictor._budget._earned = 0.0
    for user in range(100):
        await stream.see(f"u{user}", "a")
    assert len(stream.loads) == 25


async def test_hits_alone_earn_nothing() -> None:
    stream = await learned(trial=1000, max_per_second=1000)
    stream.predictor._budget._earned = 0.0
    for user in range(100):
        await stream.see(f"u{user}", "a", loaded=False)
    assert stream.loads == []


async def test_so_many_per_second() -> None:
    stream = await learned(trial=1000, max_per_second=10)
    for user in range(100):
        await stream.see(f"u{user}", "a")
    assert len(stream.loads) == 10
    stream.now += 0.5
    for user in range(10, 100):
        await stream.see(f"u{user}", "a")
        await stream.see(f"u{user}", "a")
    assert len(stream.loads) == 15


async def test_so_many_at_once() -> None:
    stream = await learned(trial=1000, concurrency=3)
    for user in range(100):
        stream.hot.note("page", f"u{user}", "a", loaded=True)
    stream.predictor.step()
    assert len(stream.predictor._tasks) == 3
    await stream.see("nobody")


async def test_one_user_cannot_have_everything_loaded() -> None:
    stream = Stream(life_seconds=1e6, trial=1000, max_per_second=10_000, max_outstanding_per_user=5)
    pages = range(50)
    for page in pages:
        for _ in range(4):
            await stream.see("greedy", f"a{page}")
            await stream.see("greedy", f"b{page}")
            stream.now += 301
    stream.loads.clear()
    for page in pages:
        await stream.see("greedy", f"a{page}")
        stream.now += 301
    assert len(stream.loads) == stream.figures["outstanding"] == 5


async def test_memory_is_bounded_however_many_names_and_users_there_are() -> None:
    stream = Stream(max_sources=16, max_users=16, trial=1000, max_outstanding=3)
    for number in range(2000):
        await stream.see(f"u{number}", f"a{number}", f"b{number}")
    habits = stream.predictor._habits
    assert len(habits.successors) <= 32
    assert len(habits._recent) == 16
    assert len(stream.predictor._waiting) <= 3
    for number in range(10_000):
        stream.hot.note("page", "u", str(number))
    assert len(stream.predictor._queue) == 4096


async def test_with_many_accesses_fewer_users_are_looked_at() -> None:
    stream = Stream()
    for number in range(2000):
        stream.hot.note("page", f"u{number}", "a")
    stream.predictor.step()
    assert stream.figures["share_of_users"] == 0.5
    for _ in range(3):
        stream.predictor.step()
    assert stream.figures["share_of_users"] == 1.0


async def test_many_accesses_are_many_per_second_however_often_it_looks() -> None:
    for every_seconds, many in ((0.05, 50), (1.0, 1000)):
        for count, share in ((many, 1.0), (many + 1, 0.5)):
            stream = Stream(every_seconds=every_seconds)
            for number in range(count):
                stream.hot.note("page", f"u{number}", "a")
            stream.predictor.step()
            assert stream.figures["share_of_users"] == share


async def test_while_it_is_off_nothing_is_looked_up() -> None:
    stream = await learned(pause_seconds=600)
    asked: list[tuple[str, ...]] = []

    def is_cached(*ids: str) -> bool:
        asked.append(ids)
        return False

    stream.predictor._predictable = lambda kind: Predictable(stream.load, is_cached)
    stream.predictor._payoff._off_until = stream.now + 600
    await stream.see("u1", "a")
    assert (asked, stream.loads) == ([], [])
    # It learns meanwhile, and goes on with what it knows.
    stream.now += 600
    await stream.see("u1", "a")
    assert stream.loads == asked == [("u1", "b")]


async def test_where_asked_no_user_is_kept_in_the_sketch() -> None:
    stream = Stream(hash_ids=True, trial=1000)
    for _ in range(4):
        await stream.see("secret-user", "a")
        await stream.see("secret-user", "b")
        stream.now += 301
    assert ("secret-user", "b") in stream.loads
    habits = stream.predictor._habits
    sources = habits.successors._sources
    assert all(type(source) is bytes for source in sources)
    kept = [repr(one.counters) for one in sources.values()] + [
        repr((who, trail.steps)) for who, trail in habits._recent.items()
    ]
    assert not any("secret-user" in text for text in kept)


async def test_names_of_other_kinds_and_of_other_shapes_are_left_alone() -> None:
    stream = Stream()
    for _ in range(5):
        stream.hot.note("other", "u", "a", loaded=True)
        stream.hot.note("page", loaded=True)
    await stream.see("u", "a")
    assert len(stream.predictor._habits.successors) == 1


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"trial": 0}, ValueError),
        ({"trial": True}, TypeError),
        ({"trial": 2.5}, TypeError),
        ({"least_precision": 1.01}, ValueError),
        ({"least_precision": math.nan}, ValueError),
        ({"pause_seconds": "10"}, TypeError),
        ({"hash_ids": 1}, TypeError),
        ({"share_of_users": 0}, ValueError),
    ],
)
def test_limits_that_make_no_sense_are_refused(
    wrong: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error, match=next(iter(wrong))):
        PredictionLimits(**wrong)


def test_the_place_of_the_user_must_be_one() -> None:
    with pytest.raises(ValueError, match="place"):
        OptimizedCacheManager().warmers.predict({"page": -1})


async def test_it_begins_with_the_cache_and_ends_with_it() -> None:
    bench = Bench()
    predictor = bench.service.predict_next(PredictionLimits(every_seconds=0.005))
    hot = bench.cache.warmers.hot_keys
    assert hot.heard is None
    await bench.cache.start()
    await until(lambda: hot.heard is not None)
    for _ in range(3):
        for resource in ("a", "b"):
            await bench.ask("project", resource)
            await until(lambda: not predictor._queue)
        bench.cache.clear()
    assert predictor.figures()["sources"] == 2
    bench.cache.stop()
    await until(lambda: hot.heard is None)
    await bench.service.shutdown()
    assert bench.cache.warmers._predictable == {}


async def test_a_function_of_the_callers_that_fails_ends_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bench = Bench()

    def broken(user: str) -> str:
        raise RuntimeError("no directory of roles")

    predictor = bench.service.predict_next(PredictionLimits(every_seconds=0.005), group_of=broken)
    await bench.cache.start()
    hot = bench.cache.warmers.hot_keys
    await until(lambda: hot.heard is not None)
    for resource in "abc":
        assert (await bench.ask("project", resource)).granted
        await until(lambda: not predictor._queue)
    assert caplog.text.count("predicting failed") == 1
    bench.cache.stop()


async def test_a_user_whose_group_nobody_can_tell_spoils_it_for_nobody_else(
    caplog: pytest.LogCaptureFixture,
) -> None:
    foretold = Foretold()

    def group_of(user: str) -> None:
        if user == "odd":
            raise LookupError(f"no such user: {user}")

    foretold.predictor._group_of = group_of
    for _ in range(6):
        await foretold.ask("project", "elsewhere", "odd")
        await foretold.visit("a", "b")
    asked = foretold.asked
    await foretold.ask("project", "elsewhere", "odd")
    await foretold.ask("project", "a")
    await foretold.look()
    assert foretold.asked - asked == 3, "b was not asked ahead"
    assert [record.getMessage() for record in caplog.records if "predicting" in record.message] == [
        "predicting failed (LookupError); it goes on, and this is not said again"
    ]
