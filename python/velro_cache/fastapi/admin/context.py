"""What the routes of one router have in common."""

from collections.abc import Callable
from dataclasses import dataclass

from velro_cache.fastapi.admin.audit import AuditLog
from velro_cache.fastapi.admin.rate_limit import TokenBucket

__all__ = ["AdminContext"]


@dataclass(frozen=True, slots=True)
class AdminContext:
    """What the routes of one router have in common.

    Attributes:
        cache: A dependency that says which cache is meant.
        audit: Where invalidations are written down.
        invalidations: How often they may come.
        needs_lease: Whether a host without news from its log is not ready.
        is_warm: Whether what is to be loaded at the start is loaded. None: there is no such thing.
    """

    cache: Callable[..., object]
    audit: AuditLog
    invalidations: TokenBucket
    needs_lease: bool
    is_warm: Callable[[], bool] | None
