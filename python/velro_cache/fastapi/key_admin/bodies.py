"""Bodies of requests. A field that nobody knows is refused: a misspelt ``expires_at`` would act."""

from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool, StrictStr

from velro_cache.api_keys.models import KeyLimits
from velro_cache.fastapi.admin.requests import ChangeRequest, Reasoned

__all__ = [
    "CreateKey",
    "CreateOrganization",
    "ExpireKey",
    "LimitsBody",
    "NameKey",
    "NameOrganization",
    "RefreshNow",
    "RotateKey",
    "SetKeyActive",
    "SetKeyLimits",
    "SetOrganizationActive",
    "SetOrganizationLimits",
    "SetPlan",
]

_MOST_REQUESTS: Final = 2**31 - 1
"""What an integer of the database holds."""

_YEAR_10000: Final = 253_402_300_800.0
"""Milliseconds instead of seconds are beyond it."""


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("holds characters that cannot be shown")
    return text


def _whole(text: str) -> str:
    if "\0" in text:
        raise ValueError("holds a zero character")
    return text


# Rows of other programs have ids of their own, and have to be found, if only to be revoked.
_Id = Annotated[StrictStr, Field(min_length=1, max_length=256), AfterValidator(_whole)]
_NewId = Annotated[StrictStr, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
_Name = Annotated[StrictStr, Field(max_length=200), AfterValidator(_printable)]
_Plan = Annotated[StrictStr, Field(max_length=64), AfterValidator(_printable)]
_Scope = Annotated[StrictStr, Field(pattern=r"^[!-~]{1,128}$")]
_Environment = Annotated[StrictStr, Field(pattern=r"^[a-z][a-z0-9]{0,15}$")]
_Requests = Annotated[int, Field(strict=True, ge=1, le=_MOST_REQUESTS)]
_Moment = Annotated[float, Field(strict=True, gt=0, lt=_YEAR_10000, allow_inf_nan=False)]


class LimitsBody(BaseModel):
    """How many requests may be made. All three are named, so that none is lifted by mistake."""

    model_config = ConfigDict(extra="forbid")

    requests_per_minute: _Requests | None = Field(description="None: no such limit")
    requests_per_day: _Requests | None = Field(description="None: no such limit")
    burst_size: Annotated[int, Field(strict=True, ge=0, le=_MOST_REQUESTS)] = Field(
        description="How many may come at once beyond the steady rate"
    )

    def limits(self) -> KeyLimits:
        """The same, as the store takes them."""
        return KeyLimits(**self.model_dump())


class CreateOrganization(Reasoned):
    """A new organization."""

    name: _Name = ""
    organization_id: _NewId | None = Field(None, description="Names it; None: a random UUID")
    plan: _Plan = Field("", description="What it has booked")
    limits: LimitsBody | None = Field(None, description="Of all its keys together; None: none")


class NameOrganization(ChangeRequest):
    """An organization that is there."""

    organization_id: _Id


class SetPlan(NameOrganization):
    """What an organization has booked."""

    plan: _Plan


class SetOrganizationLimits(NameOrganization):
    """How many requests all keys of an organization together may make."""

    limits: LimitsBody | None = Field(description="None: no limits")


class SetOrganizationActive(NameOrganization):
    """Whether any key of an organization is good."""

    is_active: StrictBool


class CreateKey(Reasoned):
    """A new key."""

    organization_id: _Id
    name: _Name = ""
    scopes: list[_Scope] = Field([], max_length=256, description="What it is good for")
    expires_at: _Moment | None = Field(
        None, description="Seconds since 1970, in the future; None: it does not expire"
    )
    environment: _Environment | None = Field(None, description="None: as new keys are made")
    limits: LimitsBody | None = Field(None, description="Of this key alone; None: none")


class NameKey(ChangeRequest):
    """A key that is there."""

    key_id: _Id


class RotateKey(NameKey):
    """A key in the place of another one."""

    overlap_seconds: Annotated[
        float, Field(strict=True, ge=0, le=366 * 86_400, allow_inf_nan=False)
    ] = Field(0.0, description="How long both are good")


class ExpireKey(NameKey):
    """When a key ends."""

    expires_at: _Moment = Field(description="Seconds since 1970; may be past")


class SetKeyLimits(NameKey):
    """How many requests a key may make."""

    limits: LimitsBody | None = Field(description="None: no limits of its own")


class SetKeyActive(NameKey):
    """Whether a key is good, unless it has ended."""

    is_active: StrictBool


class RefreshNow(Reasoned):
    """Read all live keys from the database."""
