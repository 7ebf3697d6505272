"""Bodies of answers. One kind holds a key in plain text; none holds a digest."""

import math
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, Field

from velro_cache.api_keys.models import ApiKey, KeyLimits
from velro_cache.fastapi.admin.answers import NotAcknowledged
from velro_cache.typed_entries import Wait

if TYPE_CHECKING:
    from velro_cache.api_keys.sql import Organization

__all__ = [
    "ApiKeyAnswer",
    "ApiKeysAnswer",
    "ChangeEntry",
    "ChangeNotAcknowledged",
    "ChangedAnswer",
    "ChangesAnswer",
    "CreatedKeyAnswer",
    "KeyCacheFigures",
    "KeyStatsAnswer",
    "LimitsAnswer",
    "NotUnderstood",
    "OrganizationAnswer",
    "OrganizationsAnswer",
    "RefreshFigures",
    "RefreshReportAnswer",
    "UnderstoodNot",
    "UsageAnswer",
]


class UnderstoodNot(BaseModel):
    """A field that was not understood."""

    loc: list[str]
    msg: str


class NotUnderstood(BaseModel):
    """Why a request was not understood; what was sent is not repeated."""

    detail: str | list[UnderstoodNot]


class LimitsAnswer(BaseModel):
    """How many requests may be made."""

    requests_per_minute: int | None = Field(description="None: no such limit")
    requests_per_day: int | None = Field(description="None: no such limit")
    burst_size: int = Field(description="How many may come at once beyond the steady rate")


class OrganizationAnswer(BaseModel):
    """An organization."""

    id: str
    name: str
    plan: str
    is_active: bool = Field(description="False: none of its keys is good")
    limits: LimitsAnswer | None = Field(description="Of all its keys together; None: none")
    created_at: float | None = Field(description="Seconds since 1970")
    updated_at: float | None = Field(description="Seconds since 1970")

    @classmethod
    def of(cls, found: "Organization") -> "OrganizationAnswer":
        """Say what is known of an organization."""
        return cls(
            id=found.id,
            name=found.name,
            plan=found.plan,
            is_active=found.is_active,
            limits=_limits(found.limits),
            created_at=_finite(found.created_at),
            updated_at=_finite(found.updated_at),
        )


class OrganizationsAnswer(BaseModel):
    """One page of organizations, in the order of their ids."""

    organizations: list[OrganizationAnswer]
    next_after: str | None = Field(
        description="Ask for the next page with this as `after`; None: this was the last one"
    )


class ApiKeyAnswer(BaseModel):
    """A key, by all but itself."""

    id: str
    organization_id: str
    name: str
    shown: str = Field(description="The beginning of the key")
    state: Literal["live", "off", "expired", "revoked"] = Field(
        description="off: it, or its organization, is switched off"
    )
    plan: str
    scopes: list[str]
    limits: LimitsAnswer | None = Field(description="Of this key; None: none of its own")
    created_at: float | None = Field(description="Seconds since 1970")
    expires_at: float | None = Field(description="Seconds since 1970; None: it does not expire")
    revoked_at: float | None = Field(description="Seconds since 1970; None: it is not revoked")
    last_used_at: float | None = Field(description="About when; None: never, or not known")

    @classmethod
    def of(cls, key: ApiKey, at: float) -> "ApiKeyAnswer":
        """Say what is known of a key.

        Args:
            key: Which.
            at: Now, in seconds since 1970.
        """
        return cls(
            id=key.id,
            organization_id=key.organization_id,
            name=key.name,
            shown=key.shown,
            state=_state(key, at),
            plan=key.plan,
            scopes=sorted(key.scopes),
            limits=_limits(key.key_limits),
            created_at=_finite(key.created_at),
            expires_at=_finite(key.expires_at),
            revoked_at=_finite(key.revoked_at),
            last_used_at=_finite(key.last_used_at),
        )


class ApiKeysAnswer(BaseModel):
    """One page of keys, in the order of their ids."""

    keys: list[ApiKeyAnswer]
    next_after: str | None = Field(
        description="Ask for the next page with this as `after`; None: this was the last one"
    )


class CreatedKeyAnswer(BaseModel):
    """A key that was just made."""

    key: ApiKeyAnswer
    plain_key: str = Field(description="The key itself; it is told this once")


class ChangedAnswer(BaseModel):
    """What was changed, and where that holds now."""

    organization_id: str | None = None
    key_id: str | None = None
    key: ApiKeyAnswer | None = Field(None, description="As it is now, where that is known")
    holds: Wait


class ChangeNotAcknowledged(NotAcknowledged):
    """A change that was made, and of which others may not know yet."""

    created: CreatedKeyAnswer | None = Field(
        None, description="The key that was made; it is told this once"
    )


class KeyCacheFigures(BaseModel):
    """What one worker process has counted."""

    hits: int
    loads: int = Field(description="Questions to the database")
    stale_served: int = Field(description="Answers from memory past their time, without database")
    unavailable: int = Field(description="Nobody could tell")
    malformed: int
    refused_from_memory: int
    unknown_keys: int = Field(description="Refusals that are remembered now")
    misses_refused: int = Field(description="By the budget of questions to the database")


class RefreshReportAnswer(BaseModel):
    """What a refresh did."""

    updated: int
    removed: int
    total: int
    seconds: float
    source: str = Field(description="database: this process read it; host: another one")


class RefreshFigures(BaseModel):
    """How refreshes are doing, in one worker process."""

    refreshes: int
    incremental_refreshes: int
    failures: int
    failed_in_a_row: int
    reads_for_host: bool = Field(description="Whether this process reads for all of its host")
    last: RefreshReportAnswer | None


class KeyStatsAnswer(BaseModel):
    """The keys in memory, in the worker that answered."""

    cache: str
    process_id: int
    keys: KeyCacheFigures
    refresh: RefreshFigures | None = Field(description="None: nothing refreshes them")


class UsageAnswer(BaseModel):
    """Requests over time; the columns belong together."""

    organization_id: str | None = Field(description="None: of all")
    timestamps: list[float] = Field(description="Seconds since 1970, in order")
    requests: list[float]
    errors: list[float]


class ChangeEntry(BaseModel):
    """One change."""

    at: datetime
    action: Literal[
        "create_organization",
        "set_plan",
        "set_organization_limits",
        "set_organization_active",
        "create_key",
        "rotate_key",
        "revoke_key",
        "expire_key",
        "set_key_limits",
        "set_key_active",
        "refresh",
    ]
    organization_id: str | None = None
    key_id: str | None = None
    actor: str
    request_id: str | None = Field(
        default=None, description="Which request it was; see RequestIdMiddleware"
    )
    reason: str
    outcome: Literal["done", "not_acknowledged", "not_shared", "refused", "failed"] = Field(
        description="refused: nothing was changed; failed: that is not known"
    )


class ChangesAnswer(BaseModel):
    """The last changes made in the worker that answered, the newest first."""

    process_id: int
    changes: list[ChangeEntry]


def _state(key: ApiKey, at: float) -> Any:
    if key.revoked_at is not None:
        return "revoked"
    if key.expires_at is not None and key.expires_at <= at:
        return "expired"
    return "live" if key.is_active else "off"


def _limits(limits: KeyLimits | None) -> LimitsAnswer | None:
    if limits is None:
        return None
    return LimitsAnswer(
        requests_per_minute=limits.requests_per_minute,
        requests_per_day=limits.requests_per_day,
        burst_size=limits.burst_size,
    )


def _finite(moment: float | None) -> float | None:
    """A number that JSON can hold."""
    return moment if moment is not None and math.isfinite(moment) else None
