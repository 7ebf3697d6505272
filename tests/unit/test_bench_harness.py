"""The benchmark notices wrong answers, times what it says, and reports what it measured."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import pytest

BENCH = Path(__file__).resolve().parents[2] / "benches" / "python"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the benchmark's modules by name."""
    monkeypatch.syspath_prepend(str(BENCH))
    names = ("harness", "contestants", "scenarios", "goals", "report", "chart", "results", "run")
    return SimpleNamespace(**{name: importlib.import_module(name) for name in names})


@pytest.fixture
def context(bench: Any) -> Iterator[Callable[..., Any]]:
    """Return a maker of contexts that race as short as they can."""
    runner = bench.harness.Runner()
    module = importlib.import_module("scenarios.context")
    scale = module.Scale(
        rounds=10,
        budget_seconds=0.0,
        zipf_warmup=1,
        zipf_chunks=10,
        memory_entries=1_000,
        memory_repeats=1,
        thread_rounds=1,
        thread_seconds=0.001,
    )
    yield lambda *members: module.Context(runner, scale, members, lambda done, total: None)
    runner.close()


def member(bench: Any, slug: str) -> Any:
    """Return a contestant by its slug."""
    return next(item for item in bench.contestants.CONTESTANTS if item.slug == slug)


def scenario(bench: Any, slug: str) -> Any:
    """Return a scenario by its slug."""
    return next(item for item in bench.scenarios.SCENARIOS if item.slug == slug)


def test_a_wrong_answer_is_an_error_that_names_all(bench: Any) -> None:
    with pytest.raises(
        bench.harness.WrongAnswerError, match="liar: asked for 'k', got 1, wanted 2"
    ):
        bench.harness.check("liar", ["k"], [1], [2])
    missing = bench.harness.MISSING
    with pytest.raises(bench.harness.WrongAnswerError, match="got a miss, wanted None"):
        bench.harness.check("liar", ["k"], [missing], [None])
    with pytest.raises(bench.harness.WrongAnswerError, match="0 answers to 1 questions"):
        bench.harness.check("liar", ["k"], [], [2])
    bench.harness.check("honest", ["k", "l"], [1, missing], [1, missing])


@pytest.mark.parametrize(
    "slug",
    ["hit", "miss", "hit_fresh", "set_new", "overwrite", "set_evict", "zipf", "threads"],
)
def test_a_forgetful_cache_is_caught(bench: Any, context: Any, slug: str) -> None:
    class Forgetful(member(bench, "dict")):  # type: ignore[misc]
        """A dict that answers wrongly."""

        slug = "forgetful"
        get = "'wrong' if len({key}) else cache.get({key})"
        read_through = "value = 'wrong'"

    with pytest.raises(bench.harness.WrongAnswerError, match="forgetful"):
        scenario(bench, slug).run(context(member(bench, "dict"), Forgetful))


@pytest.mark.parametrize("slug", ["decorator_sync", "decorator_async"])
def test_a_decorator_that_caches_nothing_is_caught(bench: Any, context: Any, slug: str) -> None:
    class Idle(member(bench, "dict")):  # type: ignore[misc]
        """A decorator that leaves the function as it is."""

        slug = "idle"

        def decorate(self, function: Any, capacity: int) -> Any:
            return function

        def decorate_async(self, function: Any, capacity: int) -> Any:
            return function

    with pytest.raises(bench.harness.WrongAnswerError, match="idle: the function ran"):
        scenario(bench, slug).run(context(member(bench, "dict"), Idle))


def test_a_cache_that_hands_out_its_own_dict_is_caught_if_it_promises_copies(
    bench: Any, context: Any
) -> None:
    class Leaky(member(bench, "pure")):  # type: ignore[misc]
        """Promises isolation and hands out the stored value."""

        slug = "leaky"
        isolated = True

    with pytest.raises(bench.harness.WrongAnswerError, match="leaky"):
        scenario(bench, "generation_access_dict").run(context(member(bench, "dict"), Leaky))


@pytest.mark.parametrize(
    "slug", ["hit", "miss", "set_new", "overwrite", "set_evict", "zipf", "generation_access"]
)
def test_the_yardstick_is_one_and_all_take_part(bench: Any, context: Any, slug: str) -> None:
    outcome = scenario(bench, slug).run(context(member(bench, "dict"), member(bench, "pure")))
    assert outcome.of("dict").ratio in (1.0, None)
    assert outcome.of("pure").best_ns > 0
    assert outcome.rounds == 10


def test_the_awaited_dict_is_the_reference_of_async_functions(bench: Any, context: Any) -> None:
    outcome = scenario(bench, "decorator_async").run(
        context(member(bench, "dict"), member(bench, "pure"))
    )
    assert {item.slug for item in outcome.standings} == {"dict", "dict-awaited", "pure"}
    assert outcome.of("dict-awaited").extra.get("to_reference", 1.0) == 1.0


def test_each_loop_is_a_code_object_of_its_own(bench: Any) -> None:
    first = bench.harness._define("def loop(rows): pass\n", "one")
    second = bench.harness._define("def loop(rows): pass\n", "two")
    assert first.__code__ is not second.__code__


def test_a_race_takes_turns_and_drops_the_warm_up(bench: Any) -> None:
    order: list[tuple[str, int]] = []

    def lane(slug: str) -> Any:
        def lap(number: int) -> int:
            order.append((slug, number))
            return 1_000 + number

        return bench.harness.Lane(slug, lap, 10)

    timings = bench.harness.race(
        [lane("a"), lane("b"), lane("c")], rounds=10, budget_seconds=0.0, warmup_rounds=2
    )
    assert [slug for slug, _number in order[:9]] == ["a", "b", "c", "b", "c", "a", "c", "a", "b"]
    assert timings["a"].best == 100.2
    assert len(timings["b"].laps) == 10


def test_a_contestant_that_raises_is_named(bench: Any) -> None:
    def lap(number: int) -> int:
        raise KeyError("lost")

    with pytest.raises(bench.harness.ContestantError, match="clumsy: KeyError"):
        bench.harness.race([bench.harness.Lane("clumsy", lap, 1)], rounds=1, budget_seconds=0.0)


def results(bench: Any, hit_ns: float = 40.0) -> Any:
    """Return results as of a run, with one scenario that decides two goals."""
    module = bench.results
    standings = [
        module.Standing("velro", "**velro-cache** `get`", hit_ns, hit_ns + 1, hit_ns / 20),
        module.Standing("pure", "pure-Python manager", 400.0, 410.0, 20.0),
        module.Standing("cachebox-lru", "cachebox LRU", 30.0, 31.0, 1.5),
        module.Standing("dict", "plain dict (the yardstick)", 20.0, 21.0, 1.0),
    ]
    machine = module.Machine(
        "A & B <1 GHz>", 2, "Linux", "CPython 3.11", "abc", "today", 0.1, "make bench"
    )
    return module.Results(
        machine, [module.Outcome("hit", standings, 300)], {"cachebox": "1"}, {"moka-py": "absent"}
    )


def test_goals_are_decided_by_the_figures(bench: Any) -> None:
    fast = {verdict.goal.text: verdict for verdict in bench.goals.verdicts(results(bench, 30.0))}
    slow = {verdict.goal.text: verdict for verdict in bench.goals.verdicts(results(bench, 100.0))}
    to_dict, tuple_free, to_python, *others = fast
    unmeasured = [tuple_free, *others]
    assert [fast[text].word for text in (to_dict, to_python)] == ["reached", "reached"]
    assert [slow[text].word for text in (to_dict, to_python)] == ["not reached", "not reached"]
    assert {fast[text].word for text in unmeasured} == {"not measured"}
    assert "5.00x" in slow[to_dict].line()
    assert "4.00x" in slow[to_python].line()


def test_the_page_says_where_and_who_is_ahead_and_who_is_missing(bench: Any) -> None:
    page = bench.report.page(results(bench))
    assert "commit `abc`" in page
    assert "- **Hit** (velro-cache 40 ns): cachebox LRU 30 ns." in page
    assert "Left out of the tables: moka-py (absent)." in page
    assert "| cachebox LRU | 1.50x |" in page


def test_results_survive_json(bench: Any) -> None:
    before = results(bench)
    assert bench.results.Results.from_json(before.as_json()) == before


@pytest.mark.parametrize("theme", ["auto", "light", "dark"])
def test_the_chart_is_well_formed(bench: Any, theme: str) -> None:
    text = bench.chart.draw(results(bench), theme)
    assert "A &amp; B &lt;1 GHz&gt;" in text
    root = ElementTree.fromstring(text)  # noqa: S314 - our own text
    assert len(root.findall(".//{http://www.w3.org/2000/svg}circle")) == 3


def test_the_command_line_runs_one_scenario_and_refuses_unknown_ones(tmp_path: Path) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(BENCH / "run.py"), *arguments],
            check=False,
            capture_output=True,
            text=True,
            timeout=120,
        )

    good = run("--quick", "--only", "hit", "--contestants", "pure", "--out", str(tmp_path))
    assert good.returncode == 0, good.stderr
    assert "not measured  hit via" in good.stdout
    assert {path.name for path in tmp_path.iterdir()} == {
        "benchmarks.md",
        "benchmarks.svg",
        "benchmarks.json",
    }
    assert run("--only", "nothing").returncode == 2
    assert run("--contestants", "nobody").returncode == 2
