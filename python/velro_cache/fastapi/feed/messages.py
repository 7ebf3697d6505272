"""What a client is told, and how it is written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

__all__ = ["HEARTBEAT", "Kind", "Message", "Reason"]

Kind: TypeAlias = Literal["hello", "changed", "reload", "unwatched", "ended"]

Reason: TypeAlias = Literal["refused", "expired", "lifetime", "slow", "shutdown", "unavailable"]
"""Why a connection ends."""

HEARTBEAT: Final = b":\n\n"
"""A comment; keeps proxies from taking silence for the end."""


@dataclass(frozen=True, slots=True)
class Message:
    """What a client is told at one time.

    Attributes:
        kind: ``hello``: the connection is there. ``changed``: of these names something may have
            changed. ``reload``: anything may have. ``unwatched``: these names are not watched any
            more. ``ended``: the connection ends.
        data: More about it.
        id: What the client says when it comes again, to be told what it missed: 32 hexadecimal
            digits. None: as before.
    """

    kind: Kind
    data: Mapping[str, Any]
    id: str | None = None

    def as_event(self, retry_ms: int | None = None) -> bytes:
        """Write it as a server-sent event (WHATWG HTML, section 9.2).

        Nothing in it can begin a line: kinds are our own, ids are digits, and JSON holds line ends
        escaped, in plain ASCII.

        Args:
            retry_ms: How long a browser is to wait before it comes again; None: not said.
        """
        lines = [f"event: {self.kind}"]
        if self.id is not None:
            lines.append(f"id: {self.id}")
        if retry_ms is not None:
            lines.append(f"retry: {retry_ms}")
        lines.append(f"data: {json.dumps(dict(self.data))}")
        return ("\n".join(lines) + "\n\n").encode("ascii")

    def as_text(self) -> str:
        """Write it as the text of a WebSocket message: JSON with ``event``, ``id`` and ``data``."""
        return json.dumps({"event": self.kind, "id": self.id, "data": dict(self.data)})
