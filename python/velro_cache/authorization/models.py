"""What an authorization decision looks like: who may do what with which generation.

Everything here is immutable all the way down, so one decision can be handed to any number of
requests without one of them changing what the next is told.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, StrEnum
from typing import Any, Final, NoReturn, Self, TypedDict, final
from uuid import UUID

from velro_cache.l2.values import register_type
from velro_cache.manager import Id

__all__ = [
    "AccessFlags",
    "AccessType",
    "AuthorizationMethod",
    "AuthorizationResult",
    "FrozenDict",
    "GenerationPermissions",
    "SecurityLevel",
    "TeamRole",
    "flag_for",
    "freeze",
    "utc_now",
]


class AccessType(StrEnum):
    """What somebody wants to do with a generation."""

    READ = "read"
    WRITE = "write"
    DELETE = "delete"
    SHARE = "share"
    ADMIN = "admin"
    """Everything: allowed only to who may view, edit, delete, download, share and derive."""


class AuthorizationMethod(StrEnum):
    """The way by which a grant came about, for the audit trail."""

    NONE = "none"
    DIRECT_OWNERSHIP = "direct_ownership"
    PROJECT_OWNERSHIP = "project_ownership"
    PROJECT_COLLABORATION = "project_collaboration"
    TEAM_MEMBERSHIP = "team_membership"
    GENERATION_INHERITANCE = "generation_inheritance"
    PUBLIC_ACCESS = "public_access"
    EMERGENCY_ACCESS = "emergency_access"


class SecurityLevel(StrEnum):
    """How closely the user stands to the resource."""

    PUBLIC = "public"
    AUTHENTICATED = "authenticated"
    TEAM_MEMBER = "team_member"
    ADMIN = "admin"
    OWNER = "owner"


class AccessFlags(TypedDict):
    """The ``can_...`` fields of :class:`GenerationPermissions`, to be passed on with ``**``."""

    can_view: bool
    can_edit: bool
    can_delete: bool
    can_download: bool
    can_share: bool
    can_create_child: bool


class TeamRole(StrEnum):
    """The ladder of roles within a team; each step may do all that the one below may.

    Roles compare by their place on the ladder (``TeamRole.ADMIN > TeamRole.EDITOR``), not by
    the alphabet as other texts do: there "admin" would stand below "editor".
    """

    VIEWER = "viewer"
    CONTRIBUTOR = "contributor"
    EDITOR = "editor"
    ADMIN = "admin"
    OWNER = "owner"

    @property
    def level(self) -> int:
        """Place on the ladder, from 1 (viewer) to 5 (owner)."""
        return _LADDER[self]

    def includes(self, other: TeamRole) -> bool:
        """Whether this role may do everything that ``other`` may.

        Args:
            other: The role asked for.

        Returns:
            True if it stands at the same place of the ladder or below.
        """
        return self.level >= other.level

    @property
    def flags(self) -> AccessFlags:
        """What the role may do, as the ``can_...`` fields of :class:`GenerationPermissions`."""
        return {
            "can_view": True,
            "can_edit": self >= TeamRole.EDITOR,
            "can_delete": self >= TeamRole.ADMIN,
            "can_download": self >= TeamRole.CONTRIBUTOR,
            "can_share": self >= TeamRole.ADMIN,
            "can_create_child": self >= TeamRole.CONTRIBUTOR,
        }

    def __lt__(self, other: object) -> bool:
        """Compare by the ladder; a plain text is refused."""
        return self.level < other.level if isinstance(other, TeamRole) else NotImplemented

    def __le__(self, other: object) -> bool:
        """Compare by the ladder; a plain text is refused."""
        return self.level <= other.level if isinstance(other, TeamRole) else NotImplemented

    def __gt__(self, other: object) -> bool:
        """Compare by the ladder; a plain text is refused."""
        return self.level > other.level if isinstance(other, TeamRole) else NotImplemented

    def __ge__(self, other: object) -> bool:
        """Compare by the ladder; a plain text is refused."""
        return self.level >= other.level if isinstance(other, TeamRole) else NotImplemented


_LADDER: Final = {role: place for place, role in enumerate(TeamRole, start=1)}

_FLAG_FOR: Final = {
    AccessType.READ.value: "can_view",
    AccessType.WRITE.value: "can_edit",
    AccessType.DELETE.value: "can_delete",
    AccessType.SHARE.value: "can_share",
}


def flag_for(access: AccessType) -> str | None:
    """Which flag of a grant says whether it covers an access.

    Args:
        access: What is wanted.

    Returns:
        Name of the attribute; None for :attr:`AccessType.ADMIN`, which needs all of them.
    """
    # By its text: hashing a member of an Enum runs Python code.
    return _FLAG_FOR.get(access._value_)


_PLAIN: Final = (bool, int, float, str, bytes, UUID, datetime, date, time, timedelta, Decimal)


@final
class FrozenDict(dict[str, Any]):
    """A dict that refuses every change; prints, compares and serialises like any other."""

    __slots__ = ()

    def __init_subclass__(cls) -> None:
        raise TypeError("a subclass of FrozenDict could be changed, and is shared by all who ask")

    def _refuse(self, *_args: object, **_kwargs: object) -> NoReturn:
        raise TypeError("this dict belongs to a shared decision and cannot be changed")

    __setitem__ = _refuse
    __delitem__ = _refuse
    __ior__ = _refuse
    clear = _refuse
    pop = _refuse
    popitem = _refuse
    setdefault = _refuse
    update = _refuse

    def __hash__(self) -> int:  # type: ignore[override]
        """Hash of the items, whatever their order."""
        return hash(frozenset(self.items()))

    def __copy__(self) -> Self:
        """Return itself: nobody can change it."""
        return self

    def __deepcopy__(self, _memo: dict[int, Any]) -> Self:
        """Return itself: nobody can change it, nor what it holds."""
        return self

    def __reduce__(self) -> tuple[type[Self], tuple[dict[str, Any]]]:
        """Pickle as type and content; the usual way would set the items one by one."""
        return type(self), (dict(self),)


def freeze(value: Any) -> Any:
    """Turn containers into ones that cannot change; refuse what is neither that nor plain data.

    Args:
        value: What is to be shared by all who ask.

    Returns:
        The value, or a copy whose containers refuse every change.

    Raises:
        TypeError: Something in the value could be changed by whoever is handed the decision.
    """
    if isinstance(value, FrozenDict):
        return value
    if isinstance(value, Mapping):
        return FrozenDict({key: freeze(item) for key, item in value.items()})
    if isinstance(value, (list, tuple)):
        return tuple(freeze(item) for item in value)
    if isinstance(value, (set, frozenset)):
        return frozenset(freeze(item) for item in value)
    if isinstance(value, bytearray):
        return bytes(value)
    if value is None or isinstance(value, (Enum, *_PLAIN)):
        return value
    raise TypeError(
        f"a decision may hold plain data only (texts, numbers, ids, dates, lists, dicts),"
        f" not {type(value).__name__}: it is shared by all who ask"
    )


class _Ending:
    """Has an end in seconds since 1970, which is compared on every request.

    Beside the fields of the decision: whoever shows or sends those does not show it.
    """

    __slots__ = ("_ends",)

    _ends: float


@final
@dataclass(frozen=True, slots=True)
class GenerationPermissions(_Ending):
    """What one user may do with one generation: a decision, allow or deny.

    A deny is a value too (``granted=False``). Not knowing is not: whoever cannot decide raises.

    Attributes:
        generation_id: What was asked about.
        user_id: Who asked.
        granted: Whether there is any access. In an answer to a check: whether the grant covers
            the access that was asked for.
        access_method: How the grant came about; :attr:`AuthorizationMethod.NONE` for a deny.
        can_view: May look at it (:attr:`AccessType.READ`).
        can_edit: May change it (:attr:`AccessType.WRITE`).
        can_delete: May delete it (:attr:`AccessType.DELETE`).
        can_download: May fetch the media itself.
        can_share: May pass it on (:attr:`AccessType.SHARE`).
        can_create_child: May derive a new generation from it.
        team_context: Id of the team the grant comes through. None: not through a team.
        project_context: Id of the project the grant comes through. None: not through a project.
        security_level: How closely the user stands to the resource.
        expires_at: Moment from which the grant holds no longer; must carry a time zone, since
            a time without one means another moment on the next machine. None: no end of its own.
        media_urls: Where the media can be fetched, for who may.
        rate_limit_remaining: Requests left to this user. None: not limited, or not known.
        audit_trail: What was looked at to decide, one mapping per step.

    Lists and dicts given to ``media_urls`` and ``audit_trail`` are turned into tuples and
    read-only dicts.

    Raises:
        TypeError: ``granted`` or a ``can_...`` flag is not a bool, ``expires_at`` not a datetime,
            or ``media_urls`` a bare text.
        ValueError: ``expires_at`` has no time zone.
    """

    generation_id: Id
    user_id: Id
    granted: bool
    access_method: AuthorizationMethod = AuthorizationMethod.NONE
    can_view: bool = False
    can_edit: bool = False
    can_delete: bool = False
    can_download: bool = False
    can_share: bool = False
    can_create_child: bool = False
    team_context: Id | None = None
    project_context: Id | None = None
    security_level: SecurityLevel = SecurityLevel.AUTHENTICATED
    expires_at: datetime | None = None
    media_urls: tuple[str, ...] = ()
    rate_limit_remaining: int | None = None
    audit_trail: tuple[Mapping[str, Any], ...] = ()

    def __post_init__(self) -> None:
        """Check what security hangs on and make the containers immutable."""
        for name in ("granted", *_FLAGS):
            # "false" from some JSON or the 0 of some row must not slip through as a truth value.
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"{name} must be a bool, not {type(getattr(self, name)).__name__}")
        _check_moment(self.expires_at)
        ends = math.inf if self.expires_at is None else self.expires_at.timestamp()
        object.__setattr__(self, "_ends", ends)
        object.__setattr__(self, "access_method", AuthorizationMethod(self.access_method))
        object.__setattr__(self, "security_level", SecurityLevel(self.security_level))
        object.__setattr__(self, "media_urls", _texts("media_urls", self.media_urls))
        object.__setattr__(self, "audit_trail", tuple(freeze(step) for step in self.audit_trail))

    def __init_subclass__(cls) -> None:
        raise TypeError(
            "GenerationPermissions cannot be subclassed: one object is shared by all who ask, so"
            " all of it must be immutable; put what you need into audit_trail or the contexts"
        )

    def allows(self, access: AccessType) -> bool:
        """Whether this grant covers an access. Does not look at ``expires_at``.

        Args:
            access: What is wanted, or its name.

        Returns:
            True if ``granted`` and the matching ``can_...`` flag are set; for
            :attr:`AccessType.ADMIN` all six flags must be.

        Raises:
            ValueError: There is no such access.
        """
        if type(access) is not AccessType:
            access = AccessType(access)
        if not self.granted:
            return False
        if access is AccessType.ADMIN:
            return all(getattr(self, flag) for flag in _FLAGS)
        # By its text: hashing a member of an Enum runs Python code.
        return getattr(self, _FLAG_FOR[access._value_]) is True

    def is_expired(self, at: datetime) -> bool:
        """Whether the grant is over at a given moment.

        Args:
            at: The moment, with a time zone.

        Returns:
            True from ``expires_at`` on (that instant included). Always False without one.

        Raises:
            TypeError: ``at`` has no time zone.
        """
        return self.expires_at is not None and at >= self.expires_at

    def seconds_left(self, at: datetime) -> float | None:
        """How much longer the grant holds.

        Args:
            at: The moment to count from, with a time zone.

        Returns:
            Seconds to ``expires_at``, zero or less if that has passed; None without one.
        """
        if self.expires_at is None:
            return None
        return (self.expires_at - at).total_seconds()

    def answering(self, access: AccessType) -> Self:
        """This decision as the answer to the question "may they do this?".

        Args:
            access: What was asked for.

        Returns:
            Itself if the grant covers it. Otherwise a refusal: a copy with ``granted=False`` and
            without media URLs; the flags still tell what would have been allowed.
        """
        if not self.granted:
            return self
        # The most frequent question first, without a call.
        if self.can_view if access is AccessType.READ else self.allows(access):
            return self
        return self._with(granted=False, media_urls=())

    def addressed_to(self, generation_id: Id, user_id: Id) -> Self:
        """This decision with ids of the kind the caller has.

        Args:
            generation_id: The generation, as the caller names it.
            user_id: The user, as the caller names them.

        Returns:
            Itself, unless an id is a text where the caller has a UUID or the like.
        """
        if type(self.user_id) is type(user_id) and type(self.generation_id) is type(generation_id):
            return self
        return self._with(generation_id=generation_id, user_id=user_id)

    def revoked(self) -> Self:
        """A copy that allows nothing: no flags, no media URLs, method ``none``."""
        flags = dict.fromkeys(_FLAGS, False)
        return self._with(
            granted=False, access_method=AuthorizationMethod.NONE, media_urls=(), **flags
        )

    @classmethod
    def denied(cls, generation_id: Id, user_id: Id, **fields: Any) -> Self:
        """Make a deny.

        Args:
            generation_id: What was asked about.
            user_id: Who asked.
            **fields: Further fields, such as ``audit_trail``.

        Returns:
            A decision with ``granted=False`` and no flag set.
        """
        return cls(generation_id, user_id, granted=False, **fields)

    def _with(self, **changes: Any) -> Self:
        # What dataclasses.replace does, without checking again what was checked; a fifth of the
        # time.
        copy = object.__new__(type(self))
        for name in _FIELDS:
            object.__setattr__(copy, name, changes.get(name, getattr(self, name)))
        # Nobody changes ``expires_at`` this way.
        object.__setattr__(copy, "_ends", self._ends)
        return copy

    def __copy__(self) -> Self:
        """Return itself: nobody can change it."""
        return self

    def __deepcopy__(self, _memo: dict[int, Any]) -> Self:
        """Return itself: nobody can change it, nor what it holds."""
        return self

    def __reduce__(self) -> tuple[Callable[..., Self], tuple[Any, ...]]:
        """Be made anew elsewhere, and checked again."""
        return type(self), tuple(getattr(self, name) for name in _FIELDS)


_FIELDS: Final = tuple(one.name for one in fields(GenerationPermissions))
_FLAGS: Final = tuple(AccessFlags.__annotations__)


def _decision_from(*parts: Any) -> GenerationPermissions:
    if len(parts) != len(_FIELDS):
        raise ValueError("a decision of another version")
    return GenerationPermissions(*parts)


# How hosts tell each other: whoever makes one of these from parts checks them again.
register_type("FrozenDict", FrozenDict, lambda value: (dict(value),), FrozenDict)
register_type(
    "GenerationPermissions",
    GenerationPermissions,
    lambda value: tuple(getattr(value, name) for name in _FIELDS),
    _decision_from,
)


@final
@dataclass(frozen=True, slots=True)
class AuthorizationResult:
    """Outcome of one step of a decision: ownership, a team or a project.

    Attributes:
        granted: Whether this step alone would give access.
        access_method: How; :attr:`AuthorizationMethod.NONE` if it does not.
        role: Role the access rests on. None: no role is involved.
        denial_reason: Why not, for the audit trail; None if granted or not known.
        expires_at: Moment from which it holds no longer, with a time zone. None: no end.
        resource_id: Generation, team or project it is about. None: not said. What is said is
            compared with the question before anything is cached.
        user_id: User it is about; as for ``resource_id``.
        project_context: Id of the project it rests on, besides ``resource_id``. None: on none.
        team_context: Id of the team it rests on, besides ``resource_id``. None: on none.

    Raises:
        TypeError: ``granted`` is not a bool, or ``expires_at`` not a datetime.
        ValueError: There is no such method or role, or ``expires_at`` has no time zone.
    """

    granted: bool
    access_method: AuthorizationMethod = AuthorizationMethod.NONE
    role: TeamRole | None = None
    denial_reason: str | None = None
    expires_at: datetime | None = None
    resource_id: Id | None = None
    user_id: Id | None = None
    project_context: Id | None = None
    team_context: Id | None = None

    def __post_init__(self) -> None:
        """Check what security hangs on."""
        if not isinstance(self.granted, bool):
            raise TypeError(f"granted must be a bool, not {type(self.granted).__name__}")
        _check_moment(self.expires_at)
        object.__setattr__(self, "access_method", AuthorizationMethod(self.access_method))
        if self.role is not None:
            object.__setattr__(self, "role", TeamRole(self.role))
        if self.denial_reason is not None and not isinstance(self.denial_reason, str):
            kind = type(self.denial_reason).__name__
            raise TypeError(f"denial_reason must be a text or None, not {kind}")

    def __init_subclass__(cls) -> None:
        raise TypeError(
            "AuthorizationResult cannot be subclassed: one object is shared by all who ask, so all"
            " of it must be immutable"
        )

    def is_expired(self, at: datetime) -> bool:
        """Whether it is over at a given moment; see :meth:`GenerationPermissions.is_expired`."""
        return self.expires_at is not None and at >= self.expires_at

    def seconds_left(self, at: datetime) -> float | None:
        """How much longer it holds; see :meth:`GenerationPermissions.seconds_left`."""
        if self.expires_at is None:
            return None
        return (self.expires_at - at).total_seconds()

    def revoked(self) -> AuthorizationResult:
        """A copy that gives no access: method ``none``, no role."""
        return replace(
            self,
            granted=False,
            access_method=AuthorizationMethod.NONE,
            role=None,
            denial_reason=self.denial_reason or "expired",
        )

    def __copy__(self) -> Self:
        """Return itself: nobody can change it."""
        return self

    def __deepcopy__(self, _memo: dict[int, Any]) -> Self:
        """Return itself: nobody can change it."""
        return self


def utc_now() -> datetime:
    """The present moment by the wall clock, in UTC."""
    return datetime.now(UTC)


def _check_moment(expires_at: object) -> None:
    if expires_at is None:
        return
    if not isinstance(expires_at, datetime):
        kind = type(expires_at).__name__
        raise TypeError(f"expires_at must be a datetime or None, not {kind}")
    if expires_at.utcoffset() is None:
        raise ValueError("expires_at must carry a time zone, such as datetime.now(UTC)")


def _texts(name: str, values: Iterable[str]) -> tuple[str, ...]:
    # A bare text is an iterable of texts as well: "https" would become five URLs.
    if isinstance(values, str):
        raise TypeError(f"{name} must be several texts, not one")
    return tuple(_each_text(name, values))


def _each_text(name: str, values: Iterable[str]) -> Iterator[str]:
    for value in values:
        if not isinstance(value, str):
            raise TypeError(f"{name} must hold texts, not {type(value).__name__}")
        yield value
