"""What a caller asks of freshness, checked once when it is made."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from velro_cache.exceptions import ConfigError

__all__ = ["FailMode", "Freshness"]

FailMode = Literal["raise", "stale"]
"""What becomes of a caller whose load failed or took too long. ``"raise"``: it is told so.
``"stale"``: it gets the value of before, if that ended no longer than ``stale_if_error_seconds``
ago; else it is told so."""

_LONGEST_SECONDS: Final = 31_536_000.0
_NAME: Final = re.compile(r"[A-Za-z0-9_.:-]{1,80}")
_MODES: Final = get_args(FailMode)


@dataclass(frozen=True, slots=True, kw_only=True)
class Freshness:
    """What one caller of ``get_or_load`` wants done when a value is near its end, or past it.

    Attributes:
        stale_while_revalidate_seconds: A value that ended no longer ago than this is the answer at
            once, while one load of it runs beside (RFC 5861). 0: never.
        stale_if_error_seconds: A value that ended no longer ago than this is the answer if its load
            failed or did not end within ``hard_timeout_seconds`` (with ``fail_mode="stale"``), or
            has not ended within ``soft_timeout_seconds`` (RFC 5861). 0: never.
        fail_mode: ``"raise"`` or ``"stale"``; see :data:`FailMode`.
        soft_timeout_seconds: After waiting so long for a load, a caller gets the value of before if
            it may have it; the load goes on and is stored when it ends. None: no such limit.
        hard_timeout_seconds: No caller waits longer; then ``fail_mode`` says what comes. The load
            goes on for at most ``load_timeout_seconds`` and is stored when it ends. None: a caller
            waits as long as the load may take.
        refresh_ahead: After which part of its life, between 0 and 1, the first to use a value has
            it loaded anew beside. Give or take a few percent, so that values loaded together are
            not loaded together again. None: nothing is loaded before its end.
        adaptive_ttl: Whether the life is chosen by how often such values change and are asked for.
            None: as ``adaptive_ttl`` of the configuration says.
        context: What is learned of lives is learned under this name, and shown under it in
            statistics and metrics, so it must not hold an id; 1 to 80 letters, digits or ``_.:-``.
            None: the kind of the key or the decorated function; what the application names itself
            is learned as one.

    Raises:
        ConfigError: A number is out of range, or what is asked for could have no effect: a soft
            timeout without ``stale_if_error_seconds``, say.

    What allows something is never served past its end. So whoever asks for old values has to say of
    the values that they are not ``permissive``; those that are all the same end when they end.
    """

    stale_while_revalidate_seconds: float = 0.0
    stale_if_error_seconds: float = 0.0
    fail_mode: FailMode = "raise"
    soft_timeout_seconds: float | None = None
    hard_timeout_seconds: float | None = None
    refresh_ahead: float | None = None
    adaptive_ttl: bool | None = None
    context: str | None = None

    def __post_init__(self) -> None:
        """Check every field; see the class."""
        for name in ("stale_while_revalidate_seconds", "stale_if_error_seconds"):
            _check(name, getattr(self, name), least=0.0)
        for name in ("soft_timeout_seconds", "hard_timeout_seconds"):
            if getattr(self, name) is not None:
                _check(name, getattr(self, name), least=0.001)
        if self.fail_mode not in _MODES:
            raise ConfigError(f'fail_mode must be "raise" or "stale", not {self.fail_mode!r:.80}')
        if self.refresh_ahead is not None:
            _check_part("refresh_ahead", self.refresh_ahead)
        if not (self.adaptive_ttl is None or isinstance(self.adaptive_ttl, bool)):
            raise ConfigError(f"adaptive_ttl must be a bool or None, not {self.adaptive_ttl!r:.80}")
        if not (self.context is None or _is_name(self.context)):
            raise ConfigError("context must be 1 to 80 letters, digits or _.:- (or None)")
        soft, hard = self.soft_timeout_seconds, self.hard_timeout_seconds
        keeps = self.stale_if_error_seconds > 0
        if soft is not None and hard is not None and soft >= hard:
            raise ConfigError("soft_timeout_seconds must be below hard_timeout_seconds")
        if keeps and soft is None and self.fail_mode != "stale":
            raise ConfigError(
                'stale_if_error_seconds needs fail_mode="stale" or soft_timeout_seconds'
            )
        if not keeps and (soft is not None or self.fail_mode == "stale"):
            raise ConfigError(
                'fail_mode="stale" and soft_timeout_seconds need stale_if_error_seconds above 0'
            )

    @property
    def longest_stale_seconds(self) -> float:
        """For how long past its end a value may be asked for."""
        return max(self.stale_while_revalidate_seconds, self.stale_if_error_seconds)

    def check_permissive(self, permissive: bool | Callable[[Any], bool]) -> None:
        """Refuse to be used for values that all allow something, if old ones are asked for.

        Args:
            permissive: As for ``get_or_load``.

        Raises:
            ConfigError: They do.
        """
        if permissive is True and self.longest_stale_seconds > 0:
            raise ConfigError(
                "what allows something is never served past its end: for old values, say"
                " permissive=False, or give a function that tells which values allow nothing"
            )


def _is_name(context: object) -> bool:
    return isinstance(context, str) and _NAME.fullmatch(context) is not None


def _check(name: str, value: object, least: float) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ConfigError(f"{name} must be a number of seconds, not {type(value).__name__}")
    # Written so that NaN fails it.
    if not least <= value <= _LONGEST_SECONDS:
        raise ConfigError(
            f"{name} must be {least:g} to {_LONGEST_SECONDS:,.0f} seconds, not {value!r:.80}"
        )


def _check_part(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ConfigError(f"{name} must be a number, not {type(value).__name__}")
    if not 0 < value < 1:
        raise ConfigError(f"{name} must be above 0 and below 1, not {value!r:.80}")
