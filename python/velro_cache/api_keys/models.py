"""What is known of an API key, and never the key itself."""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

__all__ = ["ApiKey", "KeyLimits", "as_seconds"]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyLimits:
    """How many requests a holder may make; enforced by whoever has a rate limiter.

    Attributes:
        requests_per_minute: In the long run. None: no such limit.
        requests_per_day: Likewise. None: no such limit.
        burst_size: How many may come at once beyond the steady rate.
    """

    requests_per_minute: int | None = 60
    requests_per_day: int | None = 10_000
    burst_size: int = 10

    def __post_init__(self) -> None:
        """Refuse limits that make no sense."""
        for name in ("requests_per_minute", "requests_per_day"):
            value = getattr(self, name)
            if value is not None and (type(value) is not int or value < 1):
                raise ValueError(f"{name} must be an integer above 0, or None")
        if type(self.burst_size) is not int or self.burst_size < 0:
            raise ValueError("burst_size must be an integer, 0 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """A key as it was in the database when it was read. Cannot be changed, so it may be shared.

    Attributes:
        id: Names the key; not secret.
        organization_id: Whose it is.
        digest: What is stored of the key: 32 bytes. Not shown.
        pepper_id: Under which pepper, or ``sha256``.
        shown: The beginning of the key, for people.
        name: What people call it.
        plan: Of the organization.
        scopes: What it is good for.
        organization_limits: Requests of all keys of the organization together. None: no limits.
        key_limits: Requests of this key. None: no limits of its own.
        created_at: When it was made, in seconds since 1970.
        expires_at: From when on it is not good any more. None: it does not expire.
        revoked_at: Since when it is revoked. None: it is not.
        is_active: False: switched off, or its organization is.
        last_used_at: About when it was used last. None: never, or not known.
    """

    id: str
    organization_id: str
    digest: bytes = field(repr=False)
    pepper_id: str = "1"
    shown: str = ""
    name: str = ""
    plan: str = ""
    scopes: AbstractSet[str] = frozenset()
    organization_limits: KeyLimits | None = None
    key_limits: KeyLimits | None = None
    created_at: float = 0.0
    expires_at: float | None = None
    revoked_at: float | None = None
    is_active: bool = True
    last_used_at: float | None = None

    def __post_init__(self) -> None:
        """Freeze the scopes, and refuse a digest that is none."""
        if type(self.scopes) is not frozenset:
            if isinstance(self.scopes, str):
                raise TypeError("scopes must be several texts, not one")
            object.__setattr__(self, "scopes", frozenset(self.scopes))
        if type(self.digest) is not bytes or len(self.digest) != _DIGEST_BYTES:
            raise ValueError(f"digest must be {_DIGEST_BYTES} bytes")

    def is_live(self, at: float) -> bool:
        """Whether the key is good at a moment.

        Args:
            at: Seconds since 1970.
        """
        return (
            self.is_active
            and self.revoked_at is None
            and (self.expires_at is None or at < self.expires_at)
        )

    def has(self, *scopes: str) -> bool:
        """Whether the key has all of these scopes.

        Args:
            *scopes: What is needed.
        """
        return self.scopes >= frozenset(scopes)

    def __copy__(self) -> "ApiKey":
        return self

    def __deepcopy__(self, _memo: dict[int, object]) -> "ApiKey":
        return self


_DIGEST_BYTES: Final = 32


def as_seconds(moment: datetime) -> float:
    """A moment in seconds since 1970.

    Args:
        moment: With a time zone; without one it is taken for UTC.
    """
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()
