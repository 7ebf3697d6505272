"""Bodies of requests. A field that nobody knows is refused: a misspelt ``dry_run`` would act."""

import re
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool, StrictStr

from velro_cache.typed_entries import Id, Wait

__all__ = [
    "ChangeRequest",
    "ClearRequest",
    "HashIds",
    "InvalidateGeneration",
    "InvalidateKey",
    "InvalidatePattern",
    "InvalidateTags",
    "InvalidateUser",
    "Invalidation",
    "KeyPrefix",
    "Reasoned",
    "WholeKey",
]

_PATH_STEP: Final = re.compile(r"(?:^|[/\\])\.\.?(?:[/\\]|$)")


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("holds characters that cannot be shown")
    return text


def _names_somebody(text: str) -> str:
    if _PATH_STEP.search(text):
        raise ValueError("looks like a path, not like an id")
    if text != text.strip():
        raise ValueError("begins or ends with a space")
    return text


# The engine allows more; nobody types that much.
_Name = Annotated[StrictStr, Field(min_length=1, max_length=1024), AfterValidator(_printable)]
_IdText = Annotated[
    StrictStr,
    Field(min_length=1, max_length=256),
    AfterValidator(_printable),
    AfterValidator(_names_somebody),
]
_IdNumber = Annotated[int, Field(strict=True, ge=0, lt=2**63)]
_Id = _IdText | _IdNumber

KeyPrefix = Annotated[str, Field(max_length=1024), AfterValidator(_printable)]
"""What keys begin with; may be empty."""

WholeKey = Annotated[str, Field(min_length=1, max_length=1024), AfterValidator(_printable)]
"""A key."""

HashIds = Annotated[
    bool, Field(description="Show the kind of a name, and a digest in the place of its id")
]
"""Whether ids are hidden; the digest of a name is the same in one process alone."""


class Reasoned(BaseModel):
    """What all changes have in common."""

    model_config = ConfigDict(extra="forbid")

    reason: Annotated[StrictStr, Field(max_length=500), AfterValidator(_printable)] = Field(
        "", description="Why; for the audit log"
    )


class ChangeRequest(Reasoned):
    """A change of which others are told."""

    wait: Wait | None = Field(
        None,
        description="What to wait for: host, bus or fleet; left out, what the settings say",
    )


class Invalidation(ChangeRequest):
    """What all invalidations have in common."""

    dry_run: StrictBool = Field(
        False, description="Change nothing; check the names, and count where that is cheap"
    )

    def names(self) -> dict[str, Any]:
        """What is invalidated, as arguments of ``revoking()``."""
        raise NotImplementedError

    def shown(self) -> list[str]:
        """The same, for the audit log."""
        (named,) = self.names().values()
        return [str(name) for name in named] if isinstance(named, list) else [str(named)]


class InvalidateUser(Invalidation):
    """Everything about a user."""

    user_id: _Id

    def names(self) -> dict[str, Id]:
        """As for ``invalidate_user_data``."""
        return {"user_id": self.user_id}


class InvalidateGeneration(Invalidation):
    """Everything about a generation."""

    generation_id: _Id

    def names(self) -> dict[str, Id]:
        """As for ``invalidate_generation_data``."""
        return {"generation_id": self.generation_id}


class InvalidateTags(Invalidation):
    """Everything that carries one of the tags."""

    tags: list[_Name] = Field(min_length=1, max_length=100)

    def names(self) -> dict[str, list[str]]:
        """As for ``invalidate_by_tags``."""
        return {"tags": self.tags}


class InvalidateKey(Invalidation):
    """One entry."""

    key: _Name

    def names(self) -> dict[str, list[str]]:
        """As for ``delete``."""
        return {"keys": [self.key]}


class InvalidatePattern(Invalidation):
    """Every key that fits a wildcard."""

    pattern: _Name
    confirm: StrictStr | None = Field(
        None,
        max_length=64,
        description="The name of the cache, for a pattern with fewer than three characters"
        " besides its wildcards",
    )

    def names(self) -> dict[str, list[str]]:
        """As for ``invalidate_by_pattern``."""
        return {"patterns": [self.pattern]}


class ClearRequest(ChangeRequest):
    """Everything."""

    confirm: StrictStr = Field(max_length=64, description="The name of the cache, typed out")
