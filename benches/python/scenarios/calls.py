"""Decorated functions, and the documented lookup by two ids."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

from contestants.base import Contestant
from harness import WrongAnswerError, check
from results import Outcome
from scenarios.context import (
    CAPACITY,
    KEYS,
    SHUFFLES,
    Context,
    Question,
    close_all,
    outcome,
    question,
    race_questions,
    relate,
)
from workload import Workload

TARGET = "user, generation"

Pair = tuple[Any, Any]
"""The ids of a user and of a generation, both strings or both `UUID` objects."""


def _pairs(data: Workload, *, objects: bool) -> list[Pair]:
    """Return distinct pairs of ids."""
    pairs = [(data.uuid(), data.uuid()) for _ in range(KEYS)]
    return list(pairs) if objects else [(str(user), str(item)) for user, item in pairs]


class _Counted:
    """The function that is decorated: answers from a table and counts its calls."""

    def __init__(self, table: dict[Pair, str]) -> None:
        self.table = table
        self.calls = 0

    def plain(self) -> Callable[[Any, Any], str]:
        """Return it as a plain function."""

        def check_access(user_id: Any, generation_id: Any) -> str:
            self.calls += 1
            return self.table[user_id, generation_id]

        return check_access

    def awaited(self) -> Callable[[Any, Any], Any]:
        """Return it as an async function."""

        async def check_access(user_id: Any, generation_id: Any) -> str:
            self.calls += 1
            return self.table[user_id, generation_id]

        return check_access


def _same(answer: Any) -> object:
    """Return an answer as it is; a decorated function has no way to say "miss"."""
    return answer


def decorator(context: Context, slug: str, *, is_async: bool, objects: bool = False) -> Outcome:
    """Call a decorated function of two ids whose results are all cached.

    Args:
        context: What a scenario is given.
        slug: The scenario.
        is_async: Whether the function is awaited.
        objects: Whether the ids are `UUID` objects rather than strings.

    Raises:
        WrongAnswerError: An answer is wrong, or the function was called again for a pair.
    """
    data = Workload.seeded(8)
    pairs = _pairs(data, objects=objects)
    table = {pair: f"answer-{number}" for number, pair in enumerate(pairs)}
    rows = data.shuffles(pairs, SHUFFLES)
    expected = [table[pair] for pair in rows]
    contestants = context.contestants("calls")
    counted: dict[str, _Counted] = {}
    questions: list[Question] = []

    def ask(name: str, expression: str, names: dict[str, object]) -> None:
        questions.append(
            question(
                context.runner,
                name,
                expression,
                names,
                target=TARGET,
                rows=rows,
                expected=expected,
                unwrap=_same,
            )
        )

    for contestant in contestants:
        function = _Counted(table)
        if contestant.slug == "dict":
            # The yardstick is a lookup in line; a dict behind a coroutine is a lane of its own.
            ask("dict", "store.get((user, generation))", {"store": table})
        decorated: Callable[[Any, Any], Any] | None
        if is_async:
            decorated = contestant.decorate_async(function.awaited(), CAPACITY)
        else:
            decorated = contestant.decorate(function.plain(), CAPACITY)
        if decorated is not None:
            name = "dict-awaited" if contestant.slug == "dict" else contestant.slug
            counted[name] = function
            ask(
                name,
                "await check(user, generation)" if is_async else "check(user, generation)",
                {"check": decorated},
            )
    timings = race_questions(context, TARGET, rows, questions)
    for name, function in counted.items():
        if function.calls != KEYS:
            raise WrongAnswerError(
                f"{name}: the function ran {function.calls} times for {KEYS} distinct pairs"
            )
    close_all(contestants)
    result = outcome(
        slug,
        timings,
        {item.slug: item.title for item in contestants}
        | {
            "dict": "plain dict, in line (the yardstick)",
            "dict-awaited": "dict behind one coroutine",
            "velro": "**velro-cache** `@cached_authorization`",
        },
    )
    relate(result, "dict-awaited" if is_async else "lru_cache")
    return result


def _grant(user: object, generation: object) -> dict[str, object]:
    """Return what is known about one user's access to one generation, as JSON-like data."""
    return {
        "generation_id": str(generation),
        "user_id": str(user),
        "granted": True,
        "access_method": "direct_ownership",
        "can_view": True,
        "can_edit": True,
        "can_delete": False,
        "can_download": True,
        "can_share": False,
        "team_context": None,
        "project_context": None,
        "security_level": "standard",
        "expires_at": 1_900_000_000.0,
        "media_urls": ["https://media.example/a.png", "https://media.example/b.png"],
        "rate_limit_remaining": 100,
    }


def generation_access(
    context: Context, slug: str, *, objects: bool = False, grants: bool = False
) -> Outcome:
    """Look up what a user may do with a generation, by the two ids.

    Args:
        context: What a scenario is given.
        slug: The scenario.
        objects: Whether the ids are `UUID` objects rather than strings.
        grants: Whether the stored value is a dict of fifteen fields rather than a string.

    Raises:
        WrongAnswerError: An answer is wrong, or a changed answer changed the stored value of a
            cache that promises isolation.
    """
    data = Workload.seeded(9)
    pairs = _pairs(data, objects=objects)
    table: dict[Pair, object] = {
        pair: _grant(*pair) if grants else f"access-{number}" for number, pair in enumerate(pairs)
    }
    rows = data.shuffles(pairs, SHUFFLES)
    contestants = context.contestants(
        "grants" if grants else "ids", lambda member: member.generation_access
    )
    questions = []
    if not grants:
        # What a lookup costs whose key is there already, as one text.
        texts = {user: str(user) for user, _generation in table}
        questions.append(
            question(
                context.runner,
                "dict-key",
                "store.get(user)",
                {"store": {texts[user]: value for (user, _generation), value in table.items()}},
                target=TARGET,
                rows=[(texts[user], generation) for user, generation in rows],
                expected=[table[pair] for pair in rows],
                unwrap=_same,
            )
        )
    for contestant in contestants:
        contestant.open(CAPACITY, str)
        for (user, generation), value in table.items():
            contestant.store_generation_access(generation, user, value)
        if grants and contestant.isolated:
            _check_isolation(context, contestant, pairs[0], table[pairs[0]])
        questions.append(
            question(
                context.runner,
                contestant.slug,
                str(contestant.generation_access),
                contestant.names(),
                target=TARGET,
                rows=rows,
                expected=[table[pair] for pair in rows],
                unwrap=contestant.unwrap,
            )
        )
    timings = race_questions(context, TARGET, rows, questions)
    close_all(contestants)
    result = outcome(
        slug,
        timings,
        {item.slug: item.title for item in contestants}
        | {
            "dict": 'plain dict, `get(f"…")` (the yardstick)',
            "dict-key": "plain dict, `get` of one text",
            "cachebox-lru": 'cachebox LRU, `get(f"…")`',
            "velro": "**velro-cache** `get_generation_access`",
        },
    )
    relate(result, "pure")
    return result


def _check_isolation(context: Context, contestant: Contestant, pair: Pair, value: object) -> None:
    """Change an answer and see that the next one is as it was stored."""
    ask = context.runner.collected(
        str(contestant.generation_access),
        contestant.names(),
        target=TARGET,
        label=contestant.slug,
    )
    rows: Sequence[Pair] = [pair]
    # A copy to compare with: a cache that leaks hands out the very object in the caller's table.
    wanted = copy.deepcopy(value)
    changed: Any = contestant.unwrap(ask(rows)[0])
    changed["can_delete"] = True
    changed["media_urls"].append("forged")
    check(contestant.slug, rows, [contestant.unwrap(ask(rows)[0])], [wanted])
