"""What can be set, in which unit, within which range, and what it means when left alone."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from typing import Any, Literal, Self, cast

from velro_cache.exceptions import ConfigError

__all__ = ["EvictionPolicy", "OptimizedCacheConfig"]


class EvictionPolicy(StrEnum):
    """Which entry goes when the cache is full."""

    LRU = "lru"
    """The one not used for longest."""
    LFU = "lfu"
    """The one used least often; ties go to the one not used for longest."""
    TTL = "ttl"
    """The one that expires first."""
    ADAPTIVE = "adaptive"
    """The one with the lowest expected use, from recency, frequency and priority; per byte where
    bytes are what is short."""


@dataclass(frozen=True, slots=True)
class _Range:
    """Bounds of a number, both inclusive."""

    low: float
    high: float
    integer: bool = True


_NUMBERS: Mapping[str, _Range] = {
    "max_size_mb": _Range(1, 1 << 20),
    "max_entries": _Range(1, 100_000_000),
    "target_access_time_ms": _Range(0.000001, 60_000, integer=False),
    "target_hit_rate_percent": _Range(0, 100, integer=False),
    "default_ttl_seconds": _Range(0.01, 31_536_000, integer=False),
    "max_ttl_seconds": _Range(0.01, 31_536_000, integer=False),
    "auth_ttl_seconds": _Range(0.01, 31_536_000, integer=False),
    "uuid_validation_ttl_seconds": _Range(0.01, 31_536_000, integer=False),
    "cleanup_interval_seconds": _Range(0.01, 86_400, integer=False),
    "eviction_batch_size": _Range(1, 100_000),
    "compression_threshold_bytes": _Range(64, 1 << 30),
    "warming_batch_size": _Range(1, 100_000),
    "lock_timeout_seconds": _Range(0.0001, 3600, integer=False),
    "max_staleness_seconds": _Range(0.1, 3600, integer=False),
    "log_timeout_seconds": _Range(0.05, 60, integer=False),
    "refill_limit": _Range(1, 100_000),
    "adaptive_ttl_min_seconds": _Range(0.01, 31_536_000, integer=False),
    "reload_concurrency": _Range(1, 100_000),
    "l2_timeout_seconds": _Range(0.001, 60, integer=False),
}
_FLAGS = (
    "compression_enabled",
    "warming_enabled",
    "preload_auth_data",
    "l2_single_flight",
    "adaptive_ttl",
)
_CHOICES: Mapping[str, tuple[str, ...]] = {
    "isolation": ("copy", "shared"),
    "on_silence": ("reload", "serve_stale"),
    "invalidation_wait": ("host", "bus", "fleet"),
}
_ADDRESSES: Mapping[str, tuple[str, ...]] = {
    "invalidation_log": ("redis", "rediss", "unix", "postgresql", "postgres", "sqlite"),
    "redis_url": ("redis", "rediss", "unix"),
}
"""Settings that are addresses, and the schemes they may have."""
_SECRETS = ("l2_signing_key", "l2_encryption_key")
_LEAST_SECRET_CHARACTERS = 32
# Variables with the prefix that are about something else: what settings are laid over, and the
# credential, the database and the pepper of the command line.
_NO_SETTINGS = ("PRESET", "ADMIN_TOKEN", "DATABASE_URL", "PEPPER")
_OPTIONAL_SECONDS: Mapping[str, _Range] = {
    "load_timeout_seconds": _Range(0.001, 86_400, integer=False),
    "adaptive_ttl_max_seconds": _Range(0.01, 31_536_000, integer=False),
}
_OPTIONAL = (*_OPTIONAL_SECONDS, "shared_memory_directory", *_ADDRESSES, *_SECRETS)


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizedCacheConfig:
    """Settings of one cache manager. Checked when made; immutable afterwards.

    Attributes:
        max_size_mb: Bound on memory, in MiB (1 to 1,048,576), own overhead per entry included.
        max_entries: Bound on the number of entries (1 to 100,000,000).
        target_access_time_ms: Mean time of a lookup you want to see, in milliseconds; reported
            in the statistics, never enforced.
        target_hit_rate_percent: Hit rate you want to see, 0 to 100; reported, never enforced.
        default_ttl_seconds: Life of an entry set without ``ttl``, in seconds.
        max_ttl_seconds: No entry lives longer, in seconds; a longer ``ttl`` is cut to it. The
            named TTLs below may be longer than this on purpose (as in the presets) and then
            raise the bound for their own kind only.
        auth_ttl_seconds: Life of authorization entries (``auth:...``), in seconds.
        uuid_validation_ttl_seconds: Life of UUID validation results, in seconds.
        eviction_policy: An :class:`EvictionPolicy` or its name.
        cleanup_interval_seconds: Seconds between two sweeps of expired entries once started.
        eviction_batch_size: Entries examined per lock hold during a sweep (1 to 100,000).
        compression_enabled: Whether large values may be stored compressed.
        compression_threshold_bytes: Values below this many bytes are never compressed.
        warming_enabled: Whether ``warm()`` and preloaders load anything.
        warming_batch_size: Entries a warm-up loads before it lets other tasks run.
        preload_auth_data: Whether ``start()`` runs the registered preloaders.
        lock_timeout_seconds: Longest wait for a lock, where threads really run at once (without
            the GIL). A read that waited longer is a miss, a write returns False; an invalidation
            waits as long as it takes.
        name: Name of this cache in statistics and logs.
        isolation: ``"copy"``: no caller can change what the next one is told. ``"shared"``: all
            callers get the very same object; for values nobody changes.
        load_timeout_seconds: Longest time ``get_or_load`` waits for a loader, in seconds. None:
            as long as the loader takes.
        share_invalidations: True: all processes of this host and user whose cache has the same
            ``name`` share one table of invalidations; an error where shared memory is not to be
            had. ``"if_possible"``: a table of this process alone then, which is logged and shown
            in the statistics. False: a table of this process alone.
        shared_memory_directory: Where that table lies; the same for all who share it. None:
            ``/dev/shm``, or the folder for temporary files where there is none.
        invalidation_log: Address of the log by which hosts tell each other what to invalidate:
            ``redis://``, ``rediss://``, ``unix://``, ``postgresql://`` or ``sqlite:///``. None:
            one host.
        invalidation_wait: What an invalidation waits for unless it is told otherwise: ``"host"``
            (all workers of this host), ``"bus"`` (the log has acknowledged it too) or ``"fleet"``
            (every host has applied it, or no longer serves what it knew).
        log_timeout_seconds: Longest wait for one answer of the log, and for ``"bus"`` and
            ``"fleet"``.
        max_staleness_seconds: With a log: longest time for which permissive results are served
            without news from it (0.1 to 3600).
        on_silence: What happens then. ``"reload"``: the loader is asked. ``"serve_stale"``: old
            results are served and counted, outside of what is promised.
        refill_limit: Loads at once while there is no news from the log, so that the database is
            not run over.
        reload_concurrency: Loads at once that run beside an answer, before or after the end of a
            value; and as many again in threads, for callers with a time limit (1 to 100,000).
        adaptive_ttl: Whether lives are chosen by how often values change and are asked for, where
            a caller's ``Freshness`` does not say otherwise. See :mod:`velro_cache.freshness`.
        adaptive_ttl_min_seconds: What is chosen is no shorter, unless less was asked for.
        adaptive_ttl_max_seconds: What is chosen is no longer; at most ``max_ttl_seconds``, which is
            what None means.
        redis_url: Address of a Redis in which hosts share values (L2). None: no such sharing.
            Without ``invalidation_log`` it serves as the log as well.
        l2_timeout_seconds: Longest wait for one answer of L2; a request never fails for it.
        l2_single_flight: Whether workers and hosts let one of them load a value that L2 lacks.
        l2_signing_key: Text of 32 characters or more by which hosts know each other's values
            (HMAC-SHA-256). None: values are not signed.
        l2_encryption_key: Text of 32 characters or more by which values are encrypted
            (AES-256-GCM), which signs them too. None: they are not encrypted.

    Raises:
        ConfigError: A value has the wrong type or is out of range; the message names the field
            and the range.
    """

    max_size_mb: int = 128
    max_entries: int = 10_000
    target_access_time_ms: float = 5.0
    target_hit_rate_percent: float = 95.0
    default_ttl_seconds: float = 300
    max_ttl_seconds: float = 3600
    auth_ttl_seconds: float = 600
    uuid_validation_ttl_seconds: float = 1800
    eviction_policy: EvictionPolicy | Literal["lru", "lfu", "ttl", "adaptive"] = (
        EvictionPolicy.ADAPTIVE
    )
    cleanup_interval_seconds: float = 60
    eviction_batch_size: int = 100
    compression_enabled: bool = True
    compression_threshold_bytes: int = 1024
    warming_enabled: bool = True
    warming_batch_size: int = 50
    preload_auth_data: bool = True
    lock_timeout_seconds: float = 0.1
    name: str = "default"
    isolation: Literal["copy", "shared"] = "copy"
    load_timeout_seconds: float | None = 30.0
    share_invalidations: bool | Literal["if_possible"] = True
    shared_memory_directory: str | None = None
    # Addresses may hold passwords; they and keys are never shown.
    invalidation_log: str | None = field(default=None, repr=False)
    invalidation_wait: Literal["host", "bus", "fleet"] = "host"
    log_timeout_seconds: float = 5.0
    max_staleness_seconds: float = 1.0
    on_silence: Literal["reload", "serve_stale"] = "reload"
    refill_limit: int = 32
    reload_concurrency: int = 16
    adaptive_ttl: bool = False
    adaptive_ttl_min_seconds: float = 5.0
    adaptive_ttl_max_seconds: float | None = None
    redis_url: str | None = field(default=None, repr=False)
    l2_timeout_seconds: float = 0.1
    l2_single_flight: bool = False
    l2_signing_key: str | None = field(default=None, repr=False)
    l2_encryption_key: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Check every field; see the class for the ranges."""
        for field_name, bounds in _NUMBERS.items():
            _check_number(field_name, getattr(self, field_name), bounds)
        for field_name, bounds in _OPTIONAL_SECONDS.items():
            if getattr(self, field_name) is not None:
                _check_number(field_name, getattr(self, field_name), bounds)
        for field_name in _FLAGS:
            if not isinstance(getattr(self, field_name), bool):
                raise ConfigError(
                    f"{field_name} must be True or False, not {_shown(getattr(self, field_name))}"
                )
        try:
            policy = EvictionPolicy(self.eviction_policy)
        except ValueError:
            names = ", ".join(EvictionPolicy)
            raise ConfigError(
                f"eviction_policy must be one of {names}, not {_shown(self.eviction_policy)}"
            ) from None
        object.__setattr__(self, "eviction_policy", policy)
        for field_name, choices in _CHOICES.items():
            _check_choice(field_name, getattr(self, field_name), choices)
        sharing = self.share_invalidations
        if not isinstance(sharing, bool) and sharing != "if_possible":
            raise ConfigError(
                'share_invalidations must be True, False or "if_possible", not '
                + _shown(self.share_invalidations)
            )
        directory = self.shared_memory_directory
        if directory is not None and not (
            isinstance(directory, str) and os.path.isabs(directory) and "\0" not in directory
        ):
            raise ConfigError("shared_memory_directory must be an absolute path")
        for field_name, schemes in _ADDRESSES.items():
            _check_address(field_name, getattr(self, field_name), schemes)
        for field_name in _SECRETS:
            _check_secret(field_name, getattr(self, field_name))
        if not isinstance(self.name, str) or not 1 <= len(self.name) <= 64:
            raise ConfigError("name must be a text of 1 to 64 characters")
        if not all(char.isascii() and (char.isalnum() or char in "-_.") for char in self.name):
            raise ConfigError(f"name may hold letters, digits, '-', '_' and '.': {self.name!r}")
        if self.name in {".", ".."}:
            raise ConfigError(f"name must not be that of a folder: {self.name!r}")
        if self.default_ttl_seconds > self.max_ttl_seconds:
            raise ConfigError(
                f"default_ttl_seconds ({self.default_ttl_seconds}) must not exceed"
                f" max_ttl_seconds ({self.max_ttl_seconds})"
            )

        least, most = self.adaptive_ttl_bounds
        if most > self.max_ttl_seconds:
            raise ConfigError(
                f"adaptive_ttl_max_seconds ({most}) must not exceed max_ttl_seconds"
                f" ({self.max_ttl_seconds})"
            )
        # Those who use none of it may have the shortest of lives.
        if least > most and (self.adaptive_ttl or self.adaptive_ttl_max_seconds is not None):
            raise ConfigError(
                f"adaptive_ttl_min_seconds ({least}) must not exceed the longest life that may be"
                f" chosen ({most})"
            )
        waits_for_all = self.invalidation_wait == "fleet" and self.log_address is not None
        if waits_for_all and self.max_staleness_seconds >= self.log_timeout_seconds:
            raise ConfigError(
                'with invalidation_wait="fleet", log_timeout_seconds'
                f" ({self.log_timeout_seconds}) must exceed max_staleness_seconds"
                f" ({self.max_staleness_seconds}): a host that hangs is waited for that long"
            )

    @property
    def adaptive_ttl_bounds(self) -> tuple[float, float]:
        """The shortest and the longest life that may be chosen, in seconds."""
        most = self.adaptive_ttl_max_seconds
        return self.adaptive_ttl_min_seconds, self.max_ttl_seconds if most is None else most

    @property
    def log_address(self) -> str | None:
        """Where the log is by which hosts tell each other what to invalidate; None: nowhere."""
        return self.invalidation_log or self.redis_url

    @classmethod
    def development(cls) -> Self:
        """Small, uncompressed, with short lives: easy to look into.

        Returns:
            64 MB, 10,000 entries, targets 5.0 ms and 95 %, TTLs 180 / 900 / 300 / 1800 s
            (default / max / auth / uuid), sweep every 60 s, batch 50, no compression, no warming.
        """
        return cls(
            max_size_mb=64,
            max_entries=10_000,
            target_access_time_ms=5.0,
            target_hit_rate_percent=95.0,
            default_ttl_seconds=180,
            max_ttl_seconds=900,
            auth_ttl_seconds=300,
            uuid_validation_ttl_seconds=1800,
            cleanup_interval_seconds=60,
            eviction_batch_size=50,
            compression_enabled=False,
            warming_enabled=False,
        )

    @classmethod
    def production(cls) -> Self:
        """Sized for a busy service.

        Returns:
            256 MB, 50,000 entries, targets 3.0 ms and 97 %, TTLs 300 / 1800 / 600 / 3600 s
            (default / max / auth / uuid), sweep every 30 s, batch 200, compression from
            512 bytes, warming in batches of 100.
        """
        return cls(
            max_size_mb=256,
            max_entries=50_000,
            target_access_time_ms=3.0,
            target_hit_rate_percent=97.0,
            default_ttl_seconds=300,
            max_ttl_seconds=1800,
            auth_ttl_seconds=600,
            uuid_validation_ttl_seconds=3600,
            cleanup_interval_seconds=30,
            eviction_batch_size=200,
            compression_enabled=True,
            compression_threshold_bytes=512,
            warming_enabled=True,
            warming_batch_size=100,
        )

    @classmethod
    def from_env(
        cls, prefix: str = "VELRO_CACHE_", environ: Mapping[str, str] | None = None
    ) -> Self:
        """Read settings from environment variables such as ``VELRO_CACHE_MAX_SIZE_MB=256``.

        Args:
            prefix: What the names of the variables begin with.
            environ: Where to read; None means the environment of this process.

        Returns:
            The defaults, or the preset named by ``<prefix>PRESET`` (``development`` or
            ``production``), with every variable that is set laid over them. Booleans are
            ``true``/``false``, ``1``/``0``, ``yes``/``no`` or ``on``/``off``; ``none`` stands
            for None. ``<prefix>ADMIN_TOKEN``, ``<prefix>DATABASE_URL`` and ``<prefix>PEPPER`` are
            for the command line, and no settings.

        Raises:
            ConfigError: A value cannot be read or is out of range, or a variable with this
                prefix names no setting (a misspelt one would otherwise be ignored in silence).
        """
        source = os.environ if environ is None else environ
        presets: dict[str, Callable[[], Self]] = {
            "default": cls,
            "development": cls.development,
            "production": cls.production,
        }
        preset = source.get(prefix + "PRESET", "default").strip().lower()
        if preset not in presets:
            raise ConfigError(f"{prefix}PRESET must be one of {', '.join(presets)}: {preset!r:.80}")
        known = {field.name: field for field in fields(cls)}
        changes: dict[str, Any] = {}
        for variable in sorted(source):
            if not variable.startswith(prefix) or variable[len(prefix) :] in _NO_SETTINGS:
                continue
            field_name = variable[len(prefix) :].lower()
            if field_name not in known:
                raise ConfigError(f"{variable} names no setting; known: {', '.join(known)}")
            changes[field_name] = _parse(variable, field_name, source[variable])
        return replace(presets[preset](), **changes)

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some fields changed.

        Args:
            **changes: New values by field name.

        Returns:
            A new configuration, checked like any other.

        Raises:
            ConfigError: A name is unknown or a value out of range.
        """
        unknown = sorted(set(changes) - {field.name for field in fields(self)})
        if unknown:
            raise ConfigError(f"no such setting: {', '.join(unknown)}")
        return replace(self, **changes)


def _check_number(name: str, value: object, bounds: _Range) -> None:
    wanted = "an integer" if bounds.integer else "a number"
    kinds = (int,) if bounds.integer else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds):
        raise ConfigError(f"{name} must be {wanted}, not {_shown(value)}")
    number = cast(float, value)
    # The comparison is written so that NaN fails it.
    if not bounds.low <= number <= bounds.high:
        allowed = f"{bounds.low:,.10g} to {bounds.high:,.10g}"
        raise ConfigError(f"{name} must be {wanted} from {allowed}, not {_shown(value)}")


def _check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if not isinstance(value, str) or value not in choices:
        *others, last = (f'"{choice}"' for choice in choices)
        raise ConfigError(f"{name} must be {', '.join(others)} or {last}, not {_shown(value)}")


def _check_address(name: str, value: object, schemes: tuple[str, ...]) -> None:
    # What was given instead is not shown: it may hold a password.
    if value is None:
        return
    scheme, colon, rest = value.partition("://") if isinstance(value, str) else ("", "", "")
    if not colon or scheme not in schemes or not rest or "\0" in rest:
        known = ", ".join(f"{scheme}://" for scheme in schemes)
        raise ConfigError(f"{name} must be an address that begins with one of: {known}")


def _check_secret(name: str, value: object) -> None:
    if value is None:
        return
    if not isinstance(value, str) or len(value) < _LEAST_SECRET_CHARACTERS:
        raise ConfigError(
            f"{name} must be a text of {_LEAST_SECRET_CHARACTERS} characters or more; make one"
            " with: python -c 'import secrets; print(secrets.token_urlsafe(32))'"
        )


def _shown(value: object) -> str:
    try:
        return repr(value)[:80]
    except Exception:
        # An integer of thousands of digits, or an object that cannot even say what it is.
        return f"this {type(value).__name__}"


def _parse(variable: str, field_name: str, text: str) -> object:
    cleaned = text.strip()
    if field_name in _FLAGS:
        lowered = cleaned.lower()
        if lowered in ("1", "true", "yes", "on"):
            return True
        if lowered in ("0", "false", "no", "off"):
            return False
        raise ConfigError(f"{variable} must be true or false, not {text!r:.80}")
    if field_name in _OPTIONAL and cleaned.lower() == "none":
        return None
    if field_name == "share_invalidations":
        lowered = cleaned.lower()
        known = {"true": True, "1": True, "yes": True, "on": True}
        known |= {"false": False, "0": False, "no": False, "off": False}
        return known.get(lowered, lowered)
    if field_name in _NUMBERS or field_name in _OPTIONAL_SECONDS:
        try:
            if field_name in _NUMBERS and _NUMBERS[field_name].integer:
                return int(cleaned)
            return float(cleaned)
        except ValueError:
            raise ConfigError(f"{variable} must be a number, not {text!r:.80}") from None
    return cleaned.lower() if field_name == "eviction_policy" or field_name in _CHOICES else cleaned
