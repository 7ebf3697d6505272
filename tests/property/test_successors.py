"""The counters of what follows what, against a plain count of everything."""

from __future__ import annotations

from collections import Counter, defaultdict

from hypothesis import given
from hypothesis import strategies as st

from velro_cache.warming.habits import Habits, item_of, name_of
from velro_cache.warming.payoff import Payoff, PreloadBudget
from velro_cache.warming.successors import Successors

NAMES = st.integers(0, 12)
STEPS = st.lists(st.tuples(st.integers(0, 3), st.lists(NAMES, max_size=4)), max_size=150)


@given(STEPS, st.integers(1, 6), st.integers(2, 20))
def test_counts_are_never_too_small_and_never_off_by_more_than_the_bound(
    steps: list[tuple[int, list[int]]], width: int, half_after: int
) -> None:
    sketch: Successors[int, int] = Successors(100, width, half_after)
    true: dict[int, Counter[int]] = defaultdict(Counter)
    seen: Counter[int] = Counter()
    for source, followers in steps:
        sketch.see(source)
        seen[source] += 1
        if seen[source] >= half_after:
            # Halving is exact: there is no rounding of powers of two here.
            seen[source] /= 2  # type: ignore[assignment]
            for name in true[source]:
                true[source][name] /= 2  # type: ignore[assignment]
        for name in followers:
            sketch.follow(source, name)
            true[source][name] += 1
    for source, counted in true.items():
        found = sketch.followers(source)
        total = sum(counted.values())
        assert len(found) <= width
        for name, weight, error in found:
            assert counted[name] <= weight <= counted[name] + error
            assert error <= total / width
        # What followed more often than that has a counter, whatever else there was.
        known = {follower.name for follower in found}
        assert {name for name, count in counted.items() if count > total / width} <= known


@given(STEPS, st.floats(0.05, 1), st.floats(1, 4))
def test_the_surest_are_those_that_certainly_followed_so_often(
    steps: list[tuple[int, list[int]]], part: float, weight: float
) -> None:
    sketch: Successors[int, int] = Successors(100, 4, 1000)
    true: dict[int, Counter[int]] = defaultdict(Counter)
    seen: Counter[int] = Counter()
    for source, followers in steps:
        sketch.see(source)
        seen[source] += 1
        for name in followers:
            sketch.follow(source, name)
            true[source][name] += 1
    for source, counted in true.items():
        for name in sketch.surest(source, weight, part):
            assert counted[name] >= max(weight, part * seen[source])


@given(st.lists(st.tuples(st.integers(0, 500), NAMES), max_size=400), st.integers(1, 20))
def test_sources_are_bounded_and_those_seen_most_stay(
    stream: list[tuple[int, int]], sources: int
) -> None:
    sketch: Successors[int, int] = Successors(sources, 2)
    for number, (source, name) in enumerate(stream):
        sketch.see(-1)
        sketch.see(source)
        sketch.follow(source, name)
        sketch.follow(-1, 99)
        assert len(sketch) <= 2 * sources
        if number >= 3:
            assert 99 in {follower.name for follower in sketch.followers(-1)}


@given(st.lists(st.tuples(st.integers(0, 2), NAMES), max_size=120), st.integers(1, 4))
def test_what_follows_within_so_many_accesses_of_the_same_user_is_learned(
    stream: list[tuple[int, int]], lookahead: int
) -> None:
    habits = Habits(1000, 64, lookahead, 10.0, 10, hash_ids=False)
    true: dict[tuple[int, int], Counter[int]] = defaultdict(Counter)
    trails: dict[int, list[tuple[int, set[int]]]] = defaultdict(list)
    for user, name in stream:
        habits.learn(f"u{user}", f"u{user}", ("k", str(name)), 0.0)
        trail = trails[user]
        if trail and trail[-1][0] == name:
            continue
        for before, followed in trail[-lookahead:]:
            if before != name and name not in followed:
                followed.add(name)
                true[user, before][name] += 1
        trail.append((name, set()))
    if max(Counter(stream).values(), default=0) >= 64:
        return  # Then numbers are halved; that is tested above.
    for (user, before), counted in true.items():
        source = (f"u{user}", "k", str(before))
        found = {
            follower.name[1]: follower.weight for follower in habits.successors.followers(source)
        }
        assert found == {str(name): count for name, count in counted.items()}


@given(st.lists(st.text(max_size=4), min_size=2, max_size=5), st.data())
def test_a_user_can_be_taken_out_of_a_name_and_put_back(
    name: list[str], data: st.DataObject
) -> None:
    user_at = data.draw(st.integers(0, len(name) - 2))
    whole = tuple(name)
    item = item_of(whole, user_at)
    assert len(item) == len(whole) - 1
    assert name_of(item, user_at, whole[user_at + 1]) == whole


@given(
    st.lists(st.sampled_from(["miss", "take", "used", "time"]), max_size=200),
    st.floats(0.01, 3),
    st.floats(0.1, 20),
)
def test_what_is_in_vain_never_exceeds_what_was_earned(
    events: list[str], per_miss: float, per_second: float
) -> None:
    now = 0.0
    budget = PreloadBudget(per_miss, per_second, 1000, lambda: now)
    misses = taken = used = 0
    for event in events:
        if event == "time":
            now += 0.3
        elif event == "miss":
            misses += 1
            budget.missed()
        elif event == "used" and used < taken:
            used += 1
            budget.used()
        elif event == "take":
            taken += budget.take()
        assert taken - used <= per_miss * misses + 1e-6
        assert taken <= max(1.0, per_second) + now * per_second + 1e-6


@given(st.lists(st.booleans(), max_size=300), st.integers(1, 20), st.integers(10, 50))
def test_what_does_not_pay_is_off_at_the_latest_when_that_is_certain(
    outcomes: list[bool], trial: int, window: int
) -> None:
    payoff = Payoff(0.5, window, trial, 100.0, lambda: 0.0)
    begun = 0
    for used in outcomes:
        if not payoff.allows_one():
            break
        begun += 1
        payoff.judge(payoff.begin(), used)
    assert payoff.is_off == (payoff.times_off == 1)
    last = outcomes[max(0, begun - window) : begun]
    if payoff.is_off:
        assert sum(last) <= len(last) / 2
        assert payoff.precision is not None
        assert payoff.precision <= 0.5
    elif begun >= window + trial:
        assert sum(outcomes[begun - window : begun]) >= window / 2
