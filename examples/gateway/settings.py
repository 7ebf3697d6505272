"""What the gateway is told by its environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings; shows no secrets.

    Attributes:
        backend_urls: Where requests go, in turn: ``BACKEND_URLS``, with commas.
        database_url: Where keys are: ``DATABASE_URL``, PostgreSQL or SQLite.
        pepper: Under which keys are digested, 16 bytes or more: ``API_KEY_PEPPER``.
        redis_url: Where limits are counted for all gateways, and what they revoke is told:
            ``REDIS_URL``. None: each process counts for itself, and tells those of its host.
        trusted_proxies: Whose ``X-Forwarded-For`` is believed: ``TRUSTED_PROXIES``, with commas.
    """

    backend_urls: tuple[str, ...]
    database_url: str = field(default="sqlite:///gateway.db", repr=False)
    pepper: bytes = field(repr=False)
    redis_url: str | None = field(default=None, repr=False)
    trusted_proxies: tuple[str, ...] = ()

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ) -> Settings:
        """Read them.

        Args:
            env: Names and texts.

        Raises:
            SystemExit: One that is needed is missing.
        """
        backends = _several(env.get("BACKEND_URLS", ""))
        pepper = env.get("API_KEY_PEPPER", "").encode()
        if not backends or not pepper:
            raise SystemExit("the gateway needs BACKEND_URLS and API_KEY_PEPPER")
        return cls(
            backend_urls=backends,
            database_url=env.get("DATABASE_URL", "sqlite:///gateway.db"),
            pepper=pepper,
            redis_url=env.get("REDIS_URL"),
            trusted_proxies=_several(env.get("TRUSTED_PROXIES", "")),
        )


def _several(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())
