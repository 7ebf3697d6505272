"""Who a verified token speaks for, and from when until when."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Any, Final, Self, final

from velro_cache._engine import escape_id
from velro_cache.authorization.models import FrozenDict, freeze
from velro_cache.manager import Id

__all__ = ["Identity"]

_NO_CLAIMS: Final = FrozenDict({})


class _Holding:
    """Holds from one moment to another, in seconds since 1970; compared on every request.

    Beside the fields of the identity: whoever shows or sends those does not show them.
    """

    __slots__ = ("_begins", "_ends")

    _begins: float
    _ends: float


@final
@dataclass(frozen=True, slots=True)
class Identity(_Holding):
    """What a verifier found in a token. Holds nothing of the token itself.

    Immutable all the way down, so one object is handed to all requests with that token.

    Attributes:
        user_id: Whom the token speaks for; part of the key of every cached decision.
        expires_at: Moment from which the token holds no longer, with a time zone (``exp``). None:
            no end of its own.
        not_before: Moment before which it does not hold yet, with a time zone (``nbf``). None: it
            holds at once.
        scopes: What the token was issued for.
        claims: Whatever else the application wants to know; plain data only.
        tags: By which the verified token can be invalidated, besides its user; a session, say.

    Raises:
        InvalidKeyError: ``user_id`` cannot name anybody.
        TypeError: A field is of another kind, or the claims hold more than plain data.
        ValueError: A moment has no time zone.
    """

    user_id: Id
    expires_at: datetime | None = None
    not_before: datetime | None = None
    scopes: frozenset[str] = frozenset()
    claims: Mapping[str, Any] = field(default=_NO_CLAIMS, repr=False)
    tags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check what security hangs on and make the containers immutable."""
        escape_id(self.user_id)
        set_field = object.__setattr__
        begins = -math.inf if self.not_before is None else _seconds("not_before", self.not_before)
        ends = math.inf if self.expires_at is None else _seconds("expires_at", self.expires_at)
        set_field(self, "_begins", begins)
        set_field(self, "_ends", ends)
        set_field(self, "scopes", frozenset(_texts("scopes", self.scopes)))
        set_field(self, "tags", tuple(_texts("tags", self.tags)))
        if not isinstance(self.claims, Mapping):
            raise TypeError(f"claims must be a mapping, not {type(self.claims).__name__}")
        # A copy first: a FrozenDict that somebody made may hold lists.
        set_field(self, "claims", freeze(dict(self.claims)))

    @classmethod
    def from_claims(
        cls, claims: Mapping[str, Any], *, user_claim: str = "sub", tags: Iterable[str] = ()
    ) -> Self:
        """Make one from the claims of a JWT, or of an introspection (RFC 7662), once verified.

        Args:
            claims: What the verifier returned. ``exp`` and ``nbf`` are seconds since 1970;
                ``scope`` is a text with spaces between the scopes, or a list.
            user_claim: The claim that names the user.
            tags: As for the class.

        Returns:
            The identity, with all claims.

        Raises:
            TypeError: A claim is of another kind than it must be.
            ValueError: There is no user in it, or a moment that no calendar has.
        """
        user_id = claims.get(user_claim)
        if user_id is None:
            raise ValueError(f"the token names no user in {user_claim!r}")
        scope = claims.get("scope", ())
        return cls(
            user_id,
            expires_at=_moment("exp", claims.get("exp")),
            not_before=_moment("nbf", claims.get("nbf")),
            scopes=frozenset(scope.split() if isinstance(scope, str) else scope or ()),
            claims=claims,
            tags=tuple(tags),
        )

    def holds_at(self, seconds: float) -> bool:
        """Whether the token holds at a moment.

        Args:
            seconds: The moment, in seconds since 1970.

        Returns:
            True from ``not_before`` on and before ``expires_at``.
        """
        return self._begins <= seconds < self._ends

    def seconds_left(self, seconds: float) -> float:
        """How much longer the token holds.

        Args:
            seconds: The moment to count from, in seconds since 1970.

        Returns:
            Seconds to ``expires_at``, infinite without one.
        """
        return self._ends - seconds

    def __copy__(self) -> Self:
        """Return itself: nobody can change it."""
        return self

    def __deepcopy__(self, _memo: dict[int, Any]) -> Self:
        """Return itself: nobody can change it, nor what it holds."""
        return self

    def __reduce__(self) -> tuple[Callable[..., Self], tuple[Any, ...]]:
        """Be made anew elsewhere, and checked again."""
        return type(self), tuple(getattr(self, one.name) for one in fields(self))


def _seconds(name: str, moment: datetime) -> float:
    if not isinstance(moment, datetime):
        raise TypeError(f"{name} must be a datetime or None, not {type(moment).__name__}")
    if moment.utcoffset() is None:
        raise ValueError(f"{name} must carry a time zone, such as datetime.now(UTC)")
    return moment.timestamp()


def _moment(name: str, seconds: object) -> datetime | None:
    if seconds is None:
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise TypeError(f"{name} must be a number of seconds, not {type(seconds).__name__}")
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, OSError, ValueError):
        raise ValueError(f"{name} is no moment of any calendar") from None


def _texts(name: str, values: Iterable[str]) -> Iterable[str]:
    if isinstance(values, str):
        raise TypeError(f"{name} must be several texts, not one")
    for value in values:
        if not isinstance(value, str):
            raise TypeError(f"{name} must hold texts, not {type(value).__name__}")
        yield value
