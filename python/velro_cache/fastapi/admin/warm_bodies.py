"""Bodies of the routes about warming. No field holds a value, an id or a path."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictStr, model_validator

from velro_cache.warming import Warmers, WarmReport
from velro_cache.warming.on_demand import MOST_NAMES

__all__ = [
    "JournalFigures",
    "PredictionFigures",
    "WarmAnswer",
    "WarmFigures",
    "WarmRequest",
    "WarmingAnswer",
]


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("holds characters that cannot be shown")
    return text


_Kind = Annotated[StrictStr, Field(min_length=1, max_length=128), AfterValidator(_printable)]
_Id = Annotated[StrictStr, Field(min_length=1, max_length=256), AfterValidator(_printable)]
_Kinds = Annotated[list[_Kind], Field(min_length=1, max_length=100)]


class WarmRequest(BaseModel):
    """What to load: registered kinds, or names of one kind."""

    model_config = ConfigDict(extra="forbid")

    kinds: Literal["all"] | _Kinds | None = Field(
        None, description="Registered kinds; or all of them"
    )
    kind: _Kind | None = Field(None, description="Of the names in `ids`")
    ids: list[Annotated[list[_Id], Field(min_length=1, max_length=7)]] | None = Field(
        None, min_length=1, max_length=MOST_NAMES, description="The ids of each name of `kind`"
    )
    reason: Annotated[StrictStr, Field(max_length=500), AfterValidator(_printable)] = Field(
        "", description="Why; for the log"
    )
    wait_seconds: float = Field(
        0, ge=0, le=30, strict=True, description="How long the answer may wait for the end"
    )

    @model_validator(mode="after")
    def _one_of_both(self) -> "WarmRequest":
        if (self.kind is None) != (self.ids is None):
            raise ValueError("kind and ids belong together")
        # A body that says nothing must not begin everything.
        if (self.kind is None) == (self.kinds is None):
            raise ValueError("give kinds, or kind and ids")
        return self


class WarmFigures(BaseModel):
    """The last warm-up of one kind, under way or done."""

    kind: str
    is_running: bool
    loaded: int = Field(description="Stored, or granted")
    denied: int
    skipped: int = Field(description="Not stored: invalidated meanwhile, not hot, or too large")
    failed: int
    errors: dict[str, int] = Field(description="Failures by class of the exception")
    total: int | None = Field(description="How many there are; None: not known")
    seconds: float

    @classmethod
    def of(cls, report: WarmReport) -> "WarmFigures":
        """Read a report off."""
        return cls(
            kind=report.kind,
            is_running=report.is_running,
            loaded=report.loaded,
            denied=report.denied,
            skipped=report.skipped,
            failed=report.failed,
            errors=dict(report.errors),
            total=report.total,
            seconds=report.seconds,
        )


class WarmAnswer(BaseModel):
    """A warm-up that was begun."""

    cache: str
    process_id: int = Field(description="The worker that warms; others do not")
    is_running: bool
    kinds: list[WarmFigures]


class JournalFigures(BaseModel):
    """What the hot-key journal holds."""

    names_read: int = Field(description="At the start of this worker")
    is_hashed: bool
    max_names: int


class PredictionFigures(BaseModel):
    """Loading ahead what is likely to be asked for next."""

    enabled: bool
    precision: float | None = Field(
        description="Of what was loaded ahead lately, the part that was asked for; None: not known"
    )
    preloaded: int
    used: int
    switched_off: bool = Field(description="It did not pay, and pauses")


class WarmingAnswer(BaseModel):
    """All that one worker warms."""

    cache: str
    process_id: int
    is_ready: bool = Field(description="What readiness waits for is loaded")
    is_running: bool = Field(description="A warm-up that somebody asked for is under way")
    registered: list[str] = Field(description="Kinds with a loader")
    registered_names: list[str] = Field(description="Kinds of which single names can be loaded")
    kinds: list[WarmFigures]
    journal: JournalFigures | None
    prediction: PredictionFigures

    @classmethod
    def of(cls, cache: str, process_id: int, warmers: Warmers) -> "WarmingAnswer":
        """Read off what a cache warms."""
        return cls(
            cache=cache,
            process_id=process_id,
            is_ready=warmers.is_ready,
            is_running=warmers.on_demand.is_running,
            registered=warmers.on_demand.kinds,
            registered_names=warmers.on_demand.kinds_of_names,
            kinds=[WarmFigures.of(report) for report in list(warmers.reports.values())],
            journal=_journal(warmers),
            prediction=_prediction(warmers),
        )


def _journal(warmers: Warmers) -> JournalFigures | None:
    journal = warmers.journal
    if journal is None:
        return None
    return JournalFigures(
        names_read=warmers.journal_names, is_hashed=journal.is_hashed, max_names=journal.max_keys
    )


def _prediction(warmers: Warmers) -> PredictionFigures:
    predictor = warmers.predictor
    if predictor is None:
        return PredictionFigures(
            enabled=False, precision=None, preloaded=0, used=0, switched_off=False
        )
    figures = predictor.figures()
    return PredictionFigures(**{name: figures[name] for name in PredictionFigures.model_fields})
