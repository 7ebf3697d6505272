"""Bodies of answers. Every number has its unit in its name; no field holds a cached value."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from velro_cache.typed_entries import Wait

__all__ = [
    "Alive",
    "AuditAnswer",
    "AuditEntry",
    "ClearAnswer",
    "ConfigAnswer",
    "FamilyFigures",
    "InvalidationAnswer",
    "KeysAnswer",
    "L2Figures",
    "LatencyFigures",
    "LifeFigures",
    "LogFigures",
    "Message",
    "NotAcknowledged",
    "PerformanceTargets",
    "Readiness",
    "SharingFigures",
    "StatsAnswer",
]


class Message(BaseModel):
    """Why not."""

    detail: str


class LatencyFigures(BaseModel):
    """Sampled lookups, measured inside the engine."""

    samples: int
    mean_ns: float
    p50_ns: float
    p99_ns: float
    p999_ns: float
    max_ns: float


class FamilyFigures(BaseModel):
    """Lookups of one kind of key."""

    requests: int
    hits: int
    hit_rate_percent: float


class SharingFigures(BaseModel):
    """The table of invalidations that processes of a host share."""

    state: Literal["shared", "private", "lost"]
    not_shared_because: str | None


class LogFigures(BaseModel):
    """What this host knows of other hosts."""

    has_lease: bool
    lease_age_ms: float | None = Field(description="None: there never was news")
    lag_entries: int
    unpublished_invalidations: int
    published_invalidations: int
    applied_entries: int
    gaps: int
    floors: int
    garbage_entries: int
    errors: int
    has_error: bool = Field(
        description="Whether the log failed last time; the text may name an address and is not here"
    )


class L2Figures(BaseModel):
    """Values shared between hosts."""

    enabled: bool
    hits: int = 0
    misses: int = 0
    writes: int = 0
    errors: int = 0
    timeouts: int = 0


class LifeFigures(BaseModel):
    """Values that were given about as long a life."""

    ttl_at_most_seconds: int | None = Field(description="None: any life longer than the others")
    sets: int = Field(description="Values stored; each stands for the lookup that had missed")
    estimated_hits: int = Field(description="From one lookup in 128")
    estimated_hit_rate_percent: float | None = Field(description="None: neither sets nor hits")


class StatsAnswer(BaseModel):
    """What one worker process has counted since its cache was made."""

    cache: str
    host: str = Field(description="Name of the machine, as it calls itself")
    process_id: int = Field(description="The worker that answered; others count for themselves")
    is_stopped: bool
    total_requests: int
    cache_hits: int
    cache_misses: int
    hit_rate_percent: float
    average_access_time_ms: float
    total_entries: int
    max_entries: int
    total_size_mb: float
    max_size_mb: int
    sets: int
    evicted_entries: int
    expired_entries: int
    invalidated_entries: int
    stale_rejects: int
    nested_rejects: dict[str, int]
    oversize_rejects: int
    lock_timeouts: int
    fail_closed_lookups: int
    stale_served_lookups: int
    miss_reasons: dict[str, int] = Field(description="Misses by cause; they add up to all misses")
    eviction_policy: str
    latency: LatencyFigures
    families: dict[str, FamilyFigures]
    lives: list[LifeFigures] = Field(description="Hit rates by how long values were to live")
    sharing: SharingFigures
    log: LogFigures | None = Field(description="None: no log is configured")
    l2: L2Figures


class PerformanceTargets(BaseModel):
    """What was to be reached, and what was."""

    cache: str
    process_id: int
    target_access_time_ms: float
    average_access_time_ms: float
    p99_access_time_ms: float
    meeting_access_time_target: bool
    target_hit_rate_percent: float
    hit_rate_percent: float
    meeting_hit_rate_target: bool
    is_measured: bool = Field(description="False: there was no lookup; targets then count as met")


class ConfigAnswer(BaseModel):
    """The settings, without addresses and keys."""

    cache: str
    settings: dict[str, str | int | float | bool | None]
    hidden_settings: list[str] = Field(description="That are set, and are not shown")


class KeysAnswer(BaseModel):
    """One page of keys in alphabetical order; never values."""

    cache: str
    process_id: int
    prefix: str
    keys: list[str]
    next_after: str | None = Field(
        description="Ask for the next page with this as `after`; None: this was the last one"
    )
    is_complete: bool = Field(
        description="False: more keys begin like that than are looked at; give a longer prefix"
    )


class InvalidationAnswer(BaseModel):
    """What an invalidation has done, or would do."""

    cache: str
    process_id: int
    dry_run: bool
    dropped_entries: int | None = Field(
        description="Live entries of this process that were dropped; None: nothing was"
    )
    would_drop_entries: int | None = Field(
        description="Of a dry run, in this process; None: it cannot be counted cheaply"
    )
    holds: Wait | None = Field(description="Where it holds now; None: nothing was invalidated")


class ClearAnswer(BaseModel):
    """What was cleared."""

    cache: str
    process_id: int
    dropped_entries: int
    holds: Wait


class NotAcknowledged(BaseModel):
    """An invalidation that was made, and of which others may not know yet."""

    detail: str
    holds: Literal["process", "host"] = Field(description="Where it holds now")
    wanted: Wait = Field(description="What was to be waited for")
    dropped_entries: int | None


class AuditEntry(BaseModel):
    """One invalidation."""

    at: datetime
    cache: str
    made: Literal["over_http", "by_code"] = Field(
        description="Through these routes, or by a call in this process"
    )
    actor: str = Field(description="Empty: the code did not say who")
    request_id: str | None = Field(
        default=None, description="Which request it was; see RequestIdMiddleware"
    )
    reason: str
    action: Literal["user", "generation", "tags", "pattern", "key", "clear", "several"]
    names: list[str] = Field(
        description="What was named; the first ten (of code, five), cut to 200 characters"
    )
    names_count: int
    wait: Wait | None = Field(description="None: made by code, which did not tell")
    outcome: Literal["done", "not_acknowledged", "not_shared", "failed"] = Field(
        description="Of code: done, on this host at least"
    )
    dropped_entries: int | None


class AuditAnswer(BaseModel):
    """The last invalidations made in the worker that answered, the newest first."""

    cache: str
    process_id: int
    invalidations: list[AuditEntry]


class Alive(BaseModel):
    """The process answers."""

    status: Literal["alive"] = "alive"


class Readiness(BaseModel):
    """Whether requests should be sent here, and which check says no."""

    ready: bool
    checks: dict[str, bool]
