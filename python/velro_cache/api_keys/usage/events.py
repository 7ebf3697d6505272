"""What is told of a request that was made with an API key, and who is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable

__all__ = ["METHODS", "UsageBatch", "UsageEvent", "UsageRecorder", "UsageSink"]

METHODS: Final = frozenset(
    {
        "CONNECT",
        "DELETE",
        "GET",
        "HEAD",
        "OPTIONS",
        "OTHER",
        "PATCH",
        "POST",
        "PUT",
        "TRACE",
        "WEBSOCKET",
    }
)
"""What ``method`` can be: a client can make up others, as many as it likes; they are ``OTHER``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageEvent:
    """One request. There is nothing in it that a client wrote, and no key.

    Attributes:
        organization_id: Whose key it was.
        key_id: Names the key.
        endpoint: Template of the route, such as ``/items/{item_id}``; never the path itself.
        method: One of :data:`METHODS`.
        status: Of the answer. 101 for a WebSocket that was accepted, 500 where the application
            failed before it answered.
        duration_seconds: From when the request was let through until it was served.
        at: When it was let through, in seconds since 1970.
    """

    organization_id: str
    key_id: str
    endpoint: str
    method: str
    status: int
    duration_seconds: float
    at: float

    def __post_init__(self) -> None:
        """Give methods nobody knows their one name."""
        if self.method not in METHODS:
            object.__setattr__(self, "method", "OTHER")


@dataclass(frozen=True, slots=True)
class UsageBatch:
    """Events that are written together. A batch that comes again has the same id.

    Attributes:
        id: 32 hexadecimal digits, of this batch alone. With the place of an event in the batch it
            names the event, so that what is written twice counts once.
        events: At least one.
    """

    id: str
    events: Sequence[UsageEvent]


class UsageRecorder(Protocol):
    """Takes events from requests."""

    def record(self, event: UsageEvent) -> None:
        """Take an event; must not wait."""
        ...


@runtime_checkable
class UsageSink(Protocol):
    """Where batches of events end up."""

    async def write(self, batch: UsageBatch) -> None:
        """Write a batch, all of it.

        Args:
            batch: May come again after an error; then nothing of it is to count twice.

        Raises:
            ValueError: It can never be written; it does not come again.
            Exception: It was not written, or nobody knows; it comes again.
        """
        ...

    async def aclose(self) -> None:
        """End; nothing is written any more."""
        ...
