"""One thing that is worth looking at."""

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

__all__ = ["SEVERITIES", "Finding", "Severity"]

Severity: TypeAlias = Literal["info", "warning", "critical"]
SEVERITIES: Final[tuple[Severity, ...]] = ("critical", "warning", "info")
"""From the most urgent on. Critical: what was promised does not hold, or nothing is served from
memory. Warning: it costs time or memory now. Info: worth knowing."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is worth looking at.

    Attributes:
        code: What it is, for programs; stays the same from version to version.
        severity: How urgent it is.
        title: What it is, in a few words.
        detail: The figures it rests on.
        action: What to do about it.
    """

    code: str
    severity: Severity
    title: str
    detail: str
    action: str
