"""What the harness wants to know about a contestant.

A contestant says how it is opened, and gives the *text* of its operations, the way its own
documentation writes them. In these texts `key`, `value` and `tags` are the loop's variables,
`cache` is the opened cache, and `{key}` stands for the key (a scenario may put an f-string
there). Nothing else is done for anybody: no wrapper stands between a loop and a cache.
"""

from __future__ import annotations

import importlib.metadata
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, ClassVar, Final, Literal

from harness import MISSING, Runner
from workload import Row

TTL_SECONDS: Final = 600.0
"""Time to live of every entry whose cache has one: long enough that none runs out."""

Load = Callable[[str], str]
"""Where a missed value comes from."""

Group = Literal["lookup", "store", "read through", "calls", "ids", "grants", "memory", "threads"]
"""A group of scenarios: lookups, stores, read-through, decorated functions, lookup by two ids,
the same with a dict as value, bytes per entry, several threads."""

EVERYWHERE: Final[frozenset[Group]] = frozenset(
    ("lookup", "store", "read through", "calls", "ids", "grants", "memory", "threads")
)


class Contestant(ABC):
    """One cache under test; a new object is made for each scenario.

    Attributes:
        slug: Short name for the command line and the raw results.
        title: Name in the tables.
        package: Distribution whose version is reported; None for parts of Python or of the bench.
        features: What is switched on, in a few words.
        is_async: Whether its operations are awaited.
        thread_safe: Whether several threads may use it without a lock of their own.
        isolated: Whether changing a returned dict must leave the stored one as it was.
        groups: The scenarios it takes part in as far as it can; variants that differ from
            another contestant in one point only take part where that point shows.
        get: Text of a lookup, an expression; None if there is none.
        put: Text of storing a value, a statement; None if there is none.
        read_through: Text of "look up, on a miss load and store", leaving the result in `value`.
        generation_access: Text of the lookup by the two ids `generation` and `user`.
    """

    slug: ClassVar[str]
    title: ClassVar[str]
    package: ClassVar[str | None] = None
    features: ClassVar[str] = ""
    is_async: ClassVar[bool] = False
    thread_safe: ClassVar[bool] = True
    isolated: ClassVar[bool] = False
    groups: ClassVar[frozenset[Group]] = EVERYWHERE

    get: ClassVar[str | None] = "cache.get({key})"
    put: ClassVar[str | None] = "cache[key] = value"
    read_through: ClassVar[str | None] = """
        value = cache.get(key)
        if value is None:
            value = load(key)
            cache[key] = value
    """
    generation_access: ClassVar[str | None] = None

    cache: Any = None

    def __init__(self, runner: Runner) -> None:
        """Keep the runner; nothing is opened yet.

        Args:
            runner: Drives what has to be awaited.
        """
        self.runner = runner

    @classmethod
    def version(cls) -> str | None:
        """Return the version of the package, None if it has none of its own.

        Raises:
            ImportError: The package is not installed.
        """
        if cls.package is None:
            return None
        try:
            return importlib.metadata.version(cls.package)
        except importlib.metadata.PackageNotFoundError as error:
            raise ImportError(f"{cls.package} is not installed") from error

    @classmethod  # noqa: B027 - a dict has nothing to import
    def load_library(cls) -> None:
        """Import what the contestant needs.

        Raises:
            ImportError: It is not installed or does not load.
        """

    @abstractmethod
    def open(self, capacity: int, load: Load) -> None:
        """Make `cache`, empty.

        Args:
            capacity: Number of entries it may hold.
            load: Source of missed values, for caches that can only wrap a function.
        """

    def close(self) -> None:
        """Let the cache go."""
        self.cache = None

    def clear(self, rows: Iterable[Row]) -> None:
        """Remove all entries.

        Args:
            rows: What may be in the cache, for one whose `clear` cannot be used.
        """
        self.cache.clear()

    def size(self) -> int | None:
        """Return the number of entries, None if the cache does not tell."""
        return len(self.cache)

    def names(self) -> dict[str, object]:
        """Return the names the texts may use."""
        return {"cache": self.cache, "ttl": TTL_SECONDS}

    def unwrap(self, answer: Any) -> object:
        """Turn the answer of `get` into the value or `MISSING`."""
        return MISSING if answer is None else answer

    def fill(self, rows: Iterable[Row]) -> None:
        """Store rows, untimed."""
        if self.put is None:
            raise NotImplementedError(f"{self.slug} has no way to store a value")
        self.runner.timed(
            self.put,
            self.names(),
            target="key, value, tags",
            label=f"{self.slug} fill",
            is_async=self.is_async,
        )(rows)

    def decorate(
        self, function: Callable[[Any, Any], str], capacity: int
    ) -> Callable[[Any, Any], str] | None:
        """Return the function with its results cached, None if there is no decorator.

        Args:
            function: A function of `user_id` and `generation_id`.
            capacity: Number of results to keep.
        """
        return None

    def decorate_async(
        self, function: Callable[[Any, Any], Coroutine[Any, Any, str]], capacity: int
    ) -> Callable[[Any, Any], Coroutine[Any, Any, str]] | None:
        """Return the async function with its results cached, None if there is no decorator.

        Args:
            function: An async function of `user_id` and `generation_id`.
            capacity: Number of results to keep.
        """
        return None

    def store_generation_access(self, generation: object, user: object, value: object) -> None:
        """Store what `generation_access` looks up, untimed."""
        raise NotImplementedError(f"{self.slug} has no lookup by two ids")


class PairAnswers(Contestant):
    """A contestant whose lookup answers ``(value, hit)``."""

    read_through: ClassVar[str | None] = """
        value, hit = cache.get(key)
        if not hit:
            value = load(key)
            cache.set(key, value, ttl)
    """

    def unwrap(self, answer: Any) -> object:
        """Turn ``(value, hit)`` into the value or `MISSING`."""
        value, hit = answer
        return value if hit else MISSING
