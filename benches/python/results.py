"""What a run leaves behind: plain records that go through JSON between the processes."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(slots=True)
class Standing:
    """One contestant's result in one scenario.

    Attributes:
        slug: The contestant.
        title: Its name in the tables.
        best_ns: Smallest round, nanoseconds per operation, net of the empty loop; None where
            time is not what is measured.
        median_ns: Middle round, likewise.
        ratio: `best_ns` over the plain dict's; None where there is no such ratio.
        extra: Further figures by name, for instance ``hit_rate_percent``.
    """

    slug: str
    title: str
    best_ns: float | None = None
    median_ns: float | None = None
    ratio: float | None = None
    extra: dict[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class Outcome:
    """The result of one scenario.

    Attributes:
        slug: The scenario.
        standings: One record per contestant that took part.
        rounds: How many rounds counted.
    """

    slug: str
    standings: list[Standing]
    rounds: int

    def of(self, slug: str) -> Standing | None:
        """Return the standing of a contestant, None if it did not take part."""
        return next((standing for standing in self.standings if standing.slug == slug), None)

    def as_json(self) -> dict[str, Any]:
        """Return the record as JSON takes it."""
        return asdict(self)

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Outcome:
        """Make an outcome from what `as_json` gave."""
        return cls(
            slug=record["slug"],
            standings=[Standing(**standing) for standing in record["standings"]],
            rounds=record["rounds"],
        )


@dataclass(slots=True)
class Machine:
    """Where and when a run was made.

    Attributes:
        processor: Model name.
        cores: Number of processors the run could use.
        system: Operating system and C library.
        python: Version and compiler of the interpreter.
        commit: Commit of the source tree; a trailing ``+`` says that files differed from it.
        date: Day and time, UTC.
        load_average: Load over one minute when the run began.
        command: The command that made the figures.
    """

    processor: str
    cores: int
    system: str
    python: str
    commit: str
    date: str
    load_average: float
    command: str


@dataclass(slots=True)
class Results:
    """A whole run.

    Attributes:
        machine: Where and when.
        outcomes: By scenario, in the order of the report.
        versions: Version of each package that took part, by name.
        left_out: Contestants that could not be loaded, with the reason.
    """

    machine: Machine
    outcomes: list[Outcome]
    versions: dict[str, str]
    left_out: dict[str, str]

    def of(self, slug: str) -> Outcome | None:
        """Return the outcome of a scenario, None if it was not run."""
        return next((outcome for outcome in self.outcomes if outcome.slug == slug), None)

    def as_json(self) -> dict[str, Any]:
        """Return the record as JSON takes it."""
        return asdict(self)

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Results:
        """Make results from what `as_json` gave."""
        return cls(
            machine=Machine(**record["machine"]),
            outcomes=[Outcome.from_json(outcome) for outcome in record["outcomes"]],
            versions=dict(record["versions"]),
            left_out=dict(record["left_out"]),
        )
