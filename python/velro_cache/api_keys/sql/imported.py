"""A key of another system, that is known by its digest."""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from uuid import uuid4

from velro_cache.api_keys.digests import PLAIN_SHA256
from velro_cache.api_keys.sql.checks import (
    check_id,
    check_moment,
    check_new_id,
    check_scopes,
    check_text,
)

__all__ = ["ImportedKey"]

_DIGEST_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedKey:
    """A key that was made elsewhere.

    Attributes:
        organization_id: Whose it is.
        digest: 32 bytes. Not shown.
        pepper_id: Under which pepper, or ``sha256`` for a plain SHA-256.
        id: Names the key; None: a random UUID.
        shown: The beginning of the key, for people; at most 40 characters.
        name: What people call it.
        scopes: What it is good for.
        expires_at: From when on it is not good any more, in seconds since 1970. None: it does not
            expire.

    Raises:
        InvalidKeyError: An id cannot be one.
        TypeError: The scopes are one text.
        ValueError: Something else is out of range.
    """

    organization_id: str
    digest: bytes = field(repr=False)
    pepper_id: str = PLAIN_SHA256
    id: str | None = None
    shown: str = ""
    name: str = ""
    scopes: AbstractSet[str] = frozenset()
    expires_at: float | None = None

    def __post_init__(self) -> None:
        """Refuse what the table would not take."""
        check_id(self.organization_id)
        if self.id is not None:
            check_new_id(self.id)
        if type(self.digest) is not bytes or len(self.digest) != _DIGEST_BYTES:
            raise ValueError(f"digest must be {_DIGEST_BYTES} bytes")
        check_text("pepper_id", self.pepper_id, 32)
        check_text("shown", self.shown, 40)
        check_text("name", self.name)
        object.__setattr__(self, "scopes", check_scopes(self.scopes))
        if self.expires_at is not None:
            check_moment("expires_at", self.expires_at)

    def columns(self, now: float) -> dict[str, object]:
        """The row of this key.

        Args:
            now: In seconds since 1970.
        """
        return {
            "id": str(uuid4()) if self.id is None else self.id,
            "organization_id": self.organization_id,
            "key_digest": self.digest,
            "pepper_id": self.pepper_id,
            "shown": self.shown,
            "name": self.name,
            "scopes": self.scopes,
            "is_active": True,
            "created_at": now,
            "updated_at": now,
            "expires_at": self.expires_at,
        }
