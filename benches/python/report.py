"""The report: Markdown from a run's results, each sentence with a figure made from the figures."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import goals
from contestants import CONTESTANTS
from results import Outcome, Results, Standing
from scenarios import SCENARIOS

OURS: Final = ("velro", "velro-value", "velro-untagged", "velro-uncompressed", "velro-shared")
"""Slugs of velro-cache's own rows."""

SUMMARY: Final = (
    ("hit", "hit"),
    ("hit_fresh", "fresh key"),
    ("miss", "miss"),
    ("set_new", "store new"),
    ("overwrite", "overwrite"),
    ("set_evict", "evicting store"),
    ("zipf", "Zipf"),
)
"""Scenarios of the first table: as multiples of the plain dict."""

SUMMARY_ROWS: Final = (
    ("**velro-cache** `get`; `set` with TTL and tags", ("velro",)),
    ("**velro-cache** `get_value`; `set` with TTL", ("velro-value", "velro-untagged")),
)
"""The two ways of using velro-cache, each from the rows of its scenarios."""


def plain(title: str) -> str:
    """Return a title without Markdown."""
    return re.sub(r"[*`]", "", title)


def multiple(ratio: float | None) -> str:
    """Return a ratio as text with three significant digits at most."""
    if ratio is None:
        return "-"
    return f"{ratio:.0f}x" if ratio >= 99.5 else f"{ratio:.3g}x" if ratio >= 10 else f"{ratio:.2f}x"


def duration(nanoseconds: float | None) -> str:
    """Return a time per operation as text."""
    if nanoseconds is None:
        return "-"
    if nanoseconds >= 9_995:
        return f"{nanoseconds / 1000:.1f} us"
    return f"{nanoseconds:,.0f} ns"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; all columns but the first are right-aligned."""
    lines = [
        f"| {' | '.join(head)} |",
        f"|---|{'---:|' * (len(head) - 1)}",
        *(f"| {' | '.join(row)} |" for row in rows),
    ]
    return "\n".join(lines)


Column = tuple[str, Callable[[Standing], str]]


def _extra(name: str, form: Callable[[float | None], str]) -> Callable[[Standing], str]:
    """Return a column's cell from one of the further figures."""
    return lambda standing: form(standing.extra.get(name))


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} %"


def _bytes(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f} B"


TIME: Final[tuple[Column, ...]] = (
    ("per operation", lambda standing: duration(standing.best_ns)),
    ("median", lambda standing: duration(standing.median_ns)),
    ("to dict", lambda standing: multiple(standing.ratio)),
)

COLUMNS: Final[dict[str, tuple[Column, ...]]] = {
    "hit_fresh": (
        *TIME,
        ("net of building", _extra("net_ns", duration)),
        ("net, to dict", _extra("net_ratio", multiple)),
    ),
    "zipf": (*TIME, ("hit rate", _extra("hit_rate_percent", _percent))),
    "decorator_sync": (*TIME, ("to `lru_cache`", _extra("to_reference", multiple))),
    "decorator_async": (*TIME, ("to awaited dict", _extra("to_reference", multiple))),
    "decorator_async_uuid": (*TIME, ("to awaited dict", _extra("to_reference", multiple))),
    "generation_access": (*TIME, ("to pure Python", _extra("to_reference", multiple))),
    "generation_access_uuid": (*TIME, ("to pure Python", _extra("to_reference", multiple))),
    "generation_access_dict": (*TIME, ("to pure Python", _extra("to_reference", multiple))),
    "memory": (
        ("per entry", _extra("bytes_per_entry", _bytes)),
        ("net of key and value", _extra("net_bytes_per_entry", _bytes)),
    ),
    "threads": (
        ("1 thread", lambda standing: duration(standing.best_ns)),
        ("to dict", lambda standing: multiple(standing.ratio)),
        ("2 threads", _extra("two_threads_ns", duration)),
        ("2 threads, to dict", _extra("two_threads_ratio", multiple)),
    ),
}
"""Columns of the scenarios that have others than `TIME`."""


def scenario_table(outcome: Outcome) -> str:
    """Return one scenario's table, the fastest (or smallest) first, the yardstick last."""
    columns = COLUMNS.get(outcome.slug, TIME)

    def order(standing: Standing) -> tuple[bool, float]:
        size = standing.extra.get("net_bytes_per_entry", 0.0)
        return standing.slug == "dict", size if standing.best_ns is None else standing.best_ns

    return table(
        ("", *(name for name, _cell in columns)),
        (
            (standing.title, *(cell(standing) for _name, cell in columns))
            for standing in sorted(outcome.standings, key=order)
        ),
    )


def tables(results: Results) -> str:
    """Return all scenarios with their tables."""
    parts = []
    for scenario in SCENARIOS:
        outcome = results.of(scenario.slug)
        if outcome is not None:
            parts += [f"### {scenario.title}", scenario.about, scenario_table(outcome)]
    return "\n\n".join(parts)


def summary(results: Results) -> str:
    """Return the first table: one row per contestant, multiples of the dict."""
    scenarios = [(slug, name) for slug, name in SUMMARY if results.of(slug) is not None]

    def row(title: str, slugs: tuple[str, ...]) -> list[str]:
        def cell(scenario: str, figure: Callable[[Standing], str]) -> str:
            outcome = results.of(scenario)
            found = [outcome.of(slug) for slug in slugs] if outcome else []
            standing = next((item for item in found if item is not None), None)
            return "" if standing is None else figure(standing)

        return [
            title,
            *(cell(slug, lambda standing: multiple(standing.ratio)) for slug, _name in scenarios),
            cell("zipf", _extra("hit_rate_percent", _percent)),
            cell("memory", _extra("net_bytes_per_entry", _bytes)),
        ]

    rows = [row(title, slugs) for title, slugs in SUMMARY_ROWS]
    rows += [
        row(member.title, (member.slug,))
        for member in CONTESTANTS
        if member.slug not in (*OURS, "pure-tight")
    ]
    return table(
        ("", *(name for _slug, name in scenarios), "Zipf hit rate", "bytes/entry"),
        (cells for cells in rows if any(cells[1:])),
    )


def goal_table(results: Results) -> str:
    """Return the goals with their figures."""
    return table(
        ("Goal", "Measured", ""),
        (
            (verdict.goal.text, multiple(verdict.figure), verdict.word)
            for verdict in goals.verdicts(results)
        ),
    )


# Who is better where: found from the figures, so that nothing is forgotten.

SAME: Final = 1.03
"""Differences below three percent are within what two runs differ by."""


def losses(results: Results) -> str:
    """Return a list of the scenarios in which somebody is ahead of velro-cache."""
    lines = []
    for scenario in SCENARIOS:
        outcome = results.of(scenario.slug)
        ours = outcome.of("velro") if outcome else None
        if outcome is None or ours is None:
            continue
        if scenario.slug == "memory":
            ahead = _ahead(outcome, ours, lambda item: item.extra["net_bytes_per_entry"], _bytes)
        else:
            ahead = _ahead(outcome, ours, lambda item: item.best_ns or 0.0, duration)
        if ahead:
            lines.append(f"- **{scenario.title}** ({ahead[0]}): {', '.join(ahead[1:])}.")
        if scenario.slug == "zipf":
            better = _ahead(outcome, ours, _missed, lambda missed: _percent(100.0 - (missed or 0)))
            if better:
                lines.append(f"- **Zipf, hit rate** ({better[0]}): {', '.join(better[1:])}.")
    return "\n".join(lines) or "- nowhere in this run."


def _missed(standing: Standing) -> float:
    """Return the part of the requests that missed, in percent."""
    return 100.0 - standing.extra.get("hit_rate_percent", 0.0)


def _ahead(
    outcome: Outcome,
    ours: Standing,
    figure: Callable[[Standing], float],
    form: Callable[[float | None], str],
) -> list[str]:
    """Return our figure and those who are ahead with theirs; empty if nobody is."""
    margin = 1.005 if figure is _missed else SAME
    found = [
        f"{plain(standing.title)} {form(figure(standing))}"
        for standing in sorted(outcome.standings, key=figure)
        if not standing.slug.startswith(("velro", "dict"))
        and figure(standing) * margin < figure(ours)
    ]
    return [f"velro-cache {form(figure(ours))}", *found] if found else []


READING: Final = """\
- Every figure is a time per operation, net of the empty loop, and beside it the ratio to the same
  loop over a plain `dict` in the same process and the same minutes. **Take the ratios**: the
  nanoseconds are this machine's.
- The time is the smallest of many short rounds in which all contestants take turns; what else the
  machine did meanwhile can only add to a round. The median shows how quiet it was.
- A contestant does what its documentation shows: `cache.get(key)` on a local variable, no wrapper
  in between, each in a loop compiled for it alone, the garbage collector off. Caches that can only
  wrap a function (`functools.lru_cache`) are called.
- Keys are 54 characters, values are strings. All bounded caches hold 10,000 entries. A TTL of 600
  seconds is set wherever a cache has one; velro-cache runs with TTL, tags and statistics on.
- Every contestant's answers are compared with the right ones, before and after the rounds; one
  wrong answer fails the run.
- The caches do not do the same work. An LRU mapping without TTL, tags and statistics has less to
  do than one with them; the column *features* below says who does what.
- *pure-Python manager* is what the Velro documents describe, carefully written in Python
  (`benches/python/pure_python_manager.py`): dict, lock, TTL, tags, statistics.
- cashews can only be awaited; its figures contain its coroutines.
"""


def page(results: Results) -> str:
    """Return the whole page."""
    where = results.machine
    members = {member.title: member for member in CONTESTANTS}
    parts = [
        "# Benchmarks",
        "velro-cache beside other in-process caches for Python, in one run. This page is written "
        f"by the run itself: `{where.command}`.",
        table(
            ("Made", ""),
            (
                ("on", f"{where.date}, commit `{where.commit}`"),
                (
                    "machine",
                    f"{where.processor}, {where.cores} cores, {where.system}, "
                    f"load {where.load_average:.1f} at the beginning",
                ),
                ("Python", where.python),
                ("by", f"`{where.command}`"),
            ),
        ),
        "## Goals",
        goal_table(results),
        "## At a glance",
        "![Times of the most important operations, hit rate and memory](benchmarks.svg)",
        "Multiples of a plain dict doing the same (smaller is better), the hit rate of the Zipf "
        "scenario (larger is better) and the bytes an entry takes beside its key and value "
        "(smaller is better). A blank: the cache has no such operation.",
        summary(results),
        "## How to read it",
        READING.rstrip(),
        "## Where others are ahead",
        "Everybody who is more than three percent faster or smaller than velro-cache's `get` and "
        "`set`, or reaches a better hit rate; the dict and the dict behind a coroutine are not "
        "listed, they cannot expire, evict or invalidate anything.",
        losses(results),
        "## Scenario by scenario",
        tables(results),
        "## Who ran",
        table(
            ("", "features", "version"),
            (
                (
                    member.title,
                    member.features or "-",
                    results.versions.get(member.package or "velro-cache", "")
                    if member.package or member.slug in OURS
                    else "-",
                )
                for member in members.values()
            ),
        ),
    ]
    if results.left_out:
        parts.append(
            "Left out of the tables: "
            + "; ".join(f"{title} ({reason})" for title, reason in results.left_out.items())
            + "."
        )
    return "\n\n".join(parts) + "\n"
