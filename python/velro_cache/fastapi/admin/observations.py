"""Bodies of answers about the last minutes, the hottest names and one key.

Every number has its unit in its name; no field holds a cached value.
"""

from typing import Literal

from pydantic import BaseModel, Field

__all__ = ["HistoryAnswer", "HistoryPoints", "HotKey", "HotTag", "KeyExplanation", "TopAnswer"]

_NO_POINT = "None: nobody looked in that second; the next point is about it, too"


class HistoryPoints(BaseModel):
    """Lists of one length, oldest first, one place for each second."""

    timestamps: list[int] = Field(description="Seconds since 1970")
    seconds: list[float | None] = Field(
        description=f"That the counts are of: those since the point before. {_NO_POINT}"
    )
    hits: list[int | None]
    misses: list[int | None]
    loads: list[int | None]
    evictions: list[int | None]
    expirations: list[int | None]
    invalidations: list[int | None]
    entries: list[int | None]
    bytes: list[int | None]
    samples: list[int | None] = Field(description="Lookups that were timed")
    p50_ns: list[float | None]
    p99_ns: list[float | None]


class HistoryAnswer(BaseModel):
    """The last seconds of one worker process."""

    cache: str
    process_id: int = Field(description="The worker that answered; others count for themselves")
    points: HistoryPoints


class _Hot(BaseModel):
    estimated_requests: int
    estimated_hits: int
    error_bound: int = Field(description="By so much the requests may be too many")


class HotKey(_Hot):
    """A key, or its kind and a digest."""

    key: str


class HotTag(_Hot):
    """A tag, or its kind and a digest."""

    tag: str


class TopAnswer(BaseModel):
    """What one worker process was asked for most in the last five to ten minutes."""

    cache: str
    process_id: int = Field(description="The worker that answered; others count for themselves")
    keys: list[HotKey]
    tags: list[HotTag]


class KeyExplanation(BaseModel):
    """What one worker process knows of a key, its value never."""

    cache: str
    process_id: int
    held: bool = Field(description="Whether there is an entry")
    valid: bool = Field(description="Whether a lookup would be answered by it now")
    why_not: (
        Literal["cold", "expired", "evicted", "invalidated", "stale", "too_large", "lease"] | None
    )
    age_seconds: float | None = Field(description="Since its key came in")
    seconds_left: float | None
    tags: int | None = Field(description="How many it has")
    bytes: int | None
    permissive: bool | None = Field(description="Whether it is served only with news from the log")
    priority: int | None
