"""What holds for each limit of a check while Redis cannot be asked."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias, get_args

from velro_cache._engine import RateLimit
from velro_cache.exceptions import ConfigError

__all__ = [
    "OnError",
    "OnErrorByBucket",
    "OnErrors",
    "Pair",
    "Rule",
    "as_pairs",
    "as_rules",
    "check_on_error",
    "counted_here",
]

OnError = Literal["local", "allow", "deny"]

Pair: TypeAlias = tuple[str, RateLimit]
"""A name, and what it may do."""


@dataclass(frozen=True, slots=True)
class OnErrorByBucket:
    """What holds while Redis cannot be asked: one thing for the minute, another for the day.

    A limit per minute often protects something, where one per day is a matter of billing::

        OnErrorByBucket(minute="local", day="allow")

    Args:
        minute: For ``requests_per_minute`` and ``burst``: ``local``, ``allow`` or ``deny``.
        day: For ``requests_per_day``, likewise.

    Raises:
        ConfigError: One of them is something else.
    """

    minute: OnError = "local"
    day: OnError = "local"

    def __post_init__(self) -> None:
        """Refuse what nobody could do."""
        _check_word("minute", self.minute)
        _check_word("day", self.day)


OnErrors: TypeAlias = OnError | OnErrorByBucket
"""What holds for a limit: one word for both of its buckets, or one for each."""


class Rule(NamedTuple):
    """A name, what it may do, and what holds for it while Redis cannot be asked.

    ::

        await limiter.acheck_all([
            Rule("org:7", per_organisation, "allow"),
            Rule("login:7", attempts, "deny"),
        ])

    Attributes:
        key: Whose request it is, as for :meth:`RateLimiter.check`.
        limit: What they may do.
        on_error: ``local``, ``allow``, ``deny``, or an :class:`OnErrorByBucket`. None: as for the
            check, or else as for all checks of the limiter.
    """

    key: str
    limit: RateLimit
    on_error: OnErrors | None = None


def check_on_error(setting: str, given: object) -> None:
    """Refuse what says nothing about outages.

    Args:
        setting: Name of the argument, for the error.
        given: What it was.

    Raises:
        ConfigError: It is no word and no :class:`OnErrorByBucket`.
    """
    if not isinstance(given, OnErrorByBucket):
        _check_word(setting, given)


def as_pairs(asked: Iterable[Pair | Rule]) -> list[Pair]:
    """What the limiter of this process is asked, which has no outages.

    Args:
        asked: Names with limits, in either form.
    """
    return [(one.key, one.limit) if type(one) is Rule else one for one in asked]  # type: ignore[misc]


def as_rules(
    asked: Iterable[Pair | Rule], usual: OnErrors
) -> list[tuple[str, RateLimit, OnErrors]]:
    """What is asked, with what holds for each.

    Args:
        asked: Names with limits, in either form.
        usual: What holds where nothing else is said.

    Raises:
        ConfigError: A rule says something else.
        TypeError: Something is neither.
    """
    found = []
    for one in asked:
        if type(one) is Rule:
            key, limit, on_error = one
            if on_error is None:
                on_error = usual
            else:
                check_on_error("on_error", on_error)
        else:
            try:
                key, limit = one  # type: ignore[misc]
            except ValueError:
                raise TypeError("each name must be str, with a RateLimit, or a Rule") from None
            on_error = usual
        found.append((key, limit, on_error))
    return found


def counted_here(rules: Sequence[tuple[str, RateLimit, OnErrors]]) -> list[Pair] | None:
    """Say what is left of a check when Redis cannot be asked.

    Args:
        rules: Names with limits, and what holds for each.

    Returns:
        What this process is to count by itself; nothing: all is allowed. None: one of the limits
        says that nothing is let through unchecked, so nothing is, whatever the others say.
    """
    counted = []
    for key, limit, on_error in rules:
        if isinstance(on_error, OnErrorByBucket):
            minute, day = on_error.minute, on_error.day
        else:
            minute = day = on_error
        has_minute = limit.requests_per_minute is not None
        has_day = limit.requests_per_day is not None
        # A bucket that there is not has nothing to say.
        if (has_minute and minute == "deny") or (has_day and day == "deny"):
            return None
        per_minute = limit.requests_per_minute if minute == "local" else None
        per_day = limit.requests_per_day if day == "local" else None
        if per_minute is not None or per_day is not None:
            counted.append((key, RateLimit(per_minute, limit.burst, per_day)))
    return counted


def _check_word(setting: str, given: object) -> None:
    if given not in get_args(OnError):
        raise ConfigError(
            f"{setting} must be one of {', '.join(get_args(OnError))}, or an OnErrorByBucket"
        )
