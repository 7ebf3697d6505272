"""What a metric is, and how it is read off statistics."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Literal, NamedTuple

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

__all__ = [
    "BREAKER_STATES",
    "Family",
    "Samples",
    "Stats",
    "count",
    "each",
    "level",
    "metric_of",
    "part",
    "state",
]

Stats = Mapping[str, Any]
Samples = Iterable[tuple[str, float]]

BREAKER_STATES: Final = ("closed", "half_open", "open")


class Family(NamedTuple):
    """A metric, and how to read its samples off the statistics."""

    kind: Literal["counter", "gauge"]
    name: str
    help: str
    read: Callable[[Stats], Samples]
    label: str | None = None
    """Of the samples, besides the name of what they are about."""


def count(name: str, help_text: str, key: str, of: str | None = None) -> Family:
    """A counter: one figure.

    Args:
        name: Of the metric, without ``velro_cache_`` and ``_total``.
        help_text: A sentence.
        key: Which figure.
        of: The part of the statistics it is in. None: in none.
    """
    return Family("counter", name, help_text, lambda stats: _one(stats, key, of))


def level(name: str, help_text: str, key: str, of: str | None = None, unit: float = 1) -> Family:
    """A gauge: one figure.

    Args:
        name: As for :func:`count`, and so are the following.
        help_text: A sentence.
        key: Which figure.
        of: The part.
        unit: What one of the figure is in the unit of the metric.
    """
    return Family("gauge", name, help_text, lambda stats: _one(stats, key, of, unit))


def each(name: str, help_text: str, key: str, of: str | None, label: str) -> Family:
    """A counter for each cause.

    Args:
        name: As for :func:`count`.
        help_text: A sentence.
        key: A mapping from causes to counts.
        of: The part it is in.
        label: Name of the label that holds the cause.
    """

    def read(stats: Stats) -> Samples:
        counts: Mapping[str, float] = part(stats, of).get(key, {})
        return counts.items()

    return Family("counter", name, help_text, read, label)


def state(
    name: str, help_text: str, key: str, states: tuple[str, ...], of: str | None = None
) -> Family:
    """A gauge for each state: 1 for the one it is in, 0 for all others.

    Args:
        name: As for :func:`count`.
        help_text: A sentence.
        key: Which figure.
        states: All there are.
        of: The part it is in.
    """

    def read(stats: Stats) -> Samples:
        now = part(stats, of).get(key)
        return [] if now is None else [(one, float(one == now)) for one in states]

    return Family("gauge", name, help_text, read, "state")


def part(stats: Stats, of: str | None) -> Stats:
    """A part of the statistics; nothing where there is none.

    Args:
        stats: All of them.
        of: Its name. None: all.
    """
    return stats if of is None else stats[of] or {}


def _one(stats: Stats, key: str, of: str | None, unit: float = 1) -> Samples:
    value = part(stats, of).get(key)
    # No sample says "not known"; zero would be a figure.
    return [] if value is None else [("", float(value) * unit)]


def metric_of(family: Family, about: str, stats: Mapping[str, Stats]) -> Metric:
    """A metric with what it is now.

    Args:
        family: Which.
        about: Name of the label that says what the samples are about.
        stats: Statistics by the value of that label; none where only the metric is asked for.
    """
    labels = [about] if family.label is None else [about, family.label]
    kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
    metric = kind(f"velro_cache_{family.name}", family.help, labels=labels)
    for name, figures in stats.items():
        for label, value in family.read(figures):
            metric.add_metric([name] if family.label is None else [name, label], value)
    return metric
