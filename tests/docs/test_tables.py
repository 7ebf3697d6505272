"""The tables of the documentation say what the code does."""

from __future__ import annotations

import dataclasses
import inspect
import re
from pathlib import Path
from typing import Any

import pytest
from pages import ROOT, table_with

from velro_cache._engine import ManualClock, key_kinds
from velro_cache.authorization.check_statistics import CheckStatistics
from velro_cache.authorization.high_performance import HighPerformanceAuthorizationService
from velro_cache.config import OptimizedCacheConfig
from velro_cache.exceptions import ConfigError
from velro_cache.l2 import MemoryL2
from velro_cache.manager import OptimizedCacheManager
from velro_cache.prometheus.families import FAMILIES
from velro_cache.warming import PredictionLimits, Warmers, WarmReport

DOCS = ROOT / "docs"
SETTINGS = table_with(DOCS / "configuration.md", "Field")
KINDS = table_with(DOCS / "keys-and-tags.md", "Kind")


def _shown(value: object) -> str:
    """A value as the table of settings writes it."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    return f"{value:,}"


def _name(row: dict[str, str]) -> str:
    return row["Field"].strip("`")


def _choices(row: dict[str, str]) -> list[str]:
    return row["Range"].split(", ")


def _make(**fields: Any) -> OptimizedCacheConfig:
    """A configuration in which the lives do not contradict each other."""
    if "default_ttl_seconds" in fields:
        fields.setdefault("max_ttl_seconds", max(3600, fields["default_ttl_seconds"]))
    if "max_ttl_seconds" in fields:
        fields.setdefault("default_ttl_seconds", max(0.01, min(300, fields["max_ttl_seconds"])))
    return OptimizedCacheConfig(**fields)


def test_table_of_settings_lists_every_field_in_order() -> None:
    fields = [field.name for field in dataclasses.fields(OptimizedCacheConfig)]
    assert [_name(row) for row in SETTINGS] == fields


@pytest.mark.parametrize("row", SETTINGS, ids=_name)
def test_default_and_presets_are_those_of_the_table(row: dict[str, str]) -> None:
    name = _name(row)
    default = _shown(getattr(OptimizedCacheConfig(), name))
    assert row["Default"] == default
    for preset in ("development", "production"):
        value = _shown(getattr(getattr(OptimizedCacheConfig, preset)(), name))
        assert value == (default if row[preset] == "-" else row[preset]), preset


@pytest.mark.parametrize("row", [row for row in SETTINGS if " to " in row["Range"]], ids=_name)
def test_ranges_are_those_of_the_table(row: dict[str, str]) -> None:
    name = _name(row)
    limits = re.fullmatch(r"([\d.,]+) to ([\d.,]+)(?P<text> of .*)?", row["Range"])
    assert limits
    low, high = (float(limit.replace(",", "")) for limit in limits.groups()[:2])
    if limits["text"]:
        _make(**{name: "x" * int(low)}), _make(**{name: "x" * int(high)})
        outside: list[Any] = ["x" * int(low - 1), "x" * int(high + 1)]
    elif isinstance(getattr(OptimizedCacheConfig(), name), int) and row["Unit"] != "seconds":
        _make(**{name: int(low)}), _make(**{name: int(high)})
        outside = [int(low) - 1, int(high) + 1, low + 0.5]
    else:
        _make(**{name: low}), _make(**{name: high})
        outside = [low - 1e-7, high * 1.001, float("nan")]
    for value in outside:
        with pytest.raises(ConfigError, match=name):
            _make(**{name: value})


@pytest.mark.parametrize("row", [row for row in SETTINGS if row["Unit"] == "name"], ids=_name)
def test_names_are_those_of_the_table(row: dict[str, str]) -> None:
    for choice in _choices(row):
        _make(**{_name(row): choice})
    with pytest.raises(ConfigError) as error:
        _make(**{_name(row): "other"})
    allowed = str(error.value).partition(", not ")[0]
    every = {choice for row in SETTINGS if row["Unit"] == "name" for choice in _choices(row)}
    assert every & set(re.findall(r"\w+", allowed)) == set(_choices(row))


def test_table_of_kinds_shows_every_key() -> None:
    shown = [(row["Kind"].strip("`"), row["Key"].strip("`")) for row in KINDS]
    assert shown == [(name, pattern) for name, pattern, _ in key_kinds()]


@pytest.mark.parametrize("row", KINDS, ids=lambda row: row["Kind"])
def test_tags_and_life_of_kinds_are_those_of_the_table(row: dict[str, str]) -> None:
    kind = row["Kind"].strip("`")
    clock = ManualClock()
    config = OptimizedCacheConfig(
        default_ttl_seconds=10, auth_ttl_seconds=20, uuid_validation_ttl_seconds=40
    )
    cache = OptimizedCacheManager(config, clock=clock)
    ids = re.findall(r"\{(\w+)\}", row["Key"])
    store = getattr(cache, f"set_{kind}")
    life = getattr(config, row["Life"].strip("`"))

    store(*ids, "value")
    clock.advance(life - 1)
    assert len(cache.keys()) == 1
    clock.advance(1)
    assert cache.keys() == []
    for tag in re.findall(r"`([^`]+)`", row["Tags"]):
        store(*ids, "value")
        assert cache.invalidate_by_tags([re.sub(r"\{(\w+)\}", r"\1", tag)]) == 1, tag
    for other in {row["Kind"].strip("`") for row in KINDS} - {kind}:
        store(*ids, "value")
        assert cache.invalidate_by_tags([other]) == 0


def test_priorities_are_those_of_the_engine() -> None:
    source = (ROOT / "src" / "engine" / "keys.rs").read_text(encoding="utf-8")
    written = re.findall(r'name: "(\w+)",.*?priority: (\d+),', source, re.DOTALL)
    assert [(row["Kind"].strip("`"), row["Priority"]) for row in KINDS] == written


def test_page_of_shared_values_lists_every_option() -> None:
    options = {row["Setting"].strip("`"): row for row in table_with(DOCS / "l2.md", "Setting")}
    fields = {field.name for field in dataclasses.fields(OptimizedCacheConfig)}
    assert set(options) == {name for name in fields if name.startswith("l2_")} | {
        "redis_url",
        "name",
    }
    for name, row in options.items():
        assert row["Default"] == _shown(getattr(OptimizedCacheConfig(), name))


def test_page_of_statistics_lists_every_figure_of_the_cache() -> None:
    rows = table_with(DOCS / "statistics.md", "Key")
    assert {row["Key"].strip("`") for row in rows} == set(OptimizedCacheManager().get_stats())
    inner = table_with(DOCS / "statistics.md", "Key of `latency_ns`")
    latency = OptimizedCacheManager().get_stats()["latency_ns"]
    assert {row["Key of `latency_ns`"].strip("`") for row in inner} == set(latency)


@pytest.mark.parametrize("part", ["sharing", "log", "l2"])
def test_page_of_statistics_lists_every_figure_between_processes_and_hosts(
    tmp_path: Path, part: str
) -> None:
    log = f"sqlite:///{tmp_path / 'log.db'}"
    config = OptimizedCacheConfig(name=f"tables-{part}", invalidation_log=log)
    with OptimizedCacheManager(config, l2=MemoryL2()) as cache:
        shown = {row[f"Key of `{part}`"].strip("`") for row in _table_of(part)}
        assert shown == set(cache.get_stats()[part])


def test_page_of_statistics_lists_every_metric() -> None:
    shown = {row["Metric"].strip("`"): row["Label"] for row in _metrics()}
    made = {
        f"velro_cache_{family.name}" + ("_total" if family.kind == "counter" else ""): (
            f"`{family.label}`" if family.label else "-"
        )
        for family in FAMILIES
    }
    assert shown == made


def _metrics() -> list[dict[str, str]]:
    return table_with(DOCS / "statistics.md", "Metric")


def _table_of(part: str) -> list[dict[str, str]]:
    return table_with(DOCS / "statistics.md", f"Key of `{part}`")


def test_page_of_statistics_lists_every_figure_of_the_checks() -> None:
    rows = table_with(DOCS / "statistics.md", "Key of `middleware_stats`")
    shown = {row["Key of `middleware_stats`"].strip("`") for row in rows}
    assert shown == set(CheckStatistics().as_dict())


def test_page_of_statistics_lists_every_figure_of_the_authorization_service() -> None:
    service = HighPerformanceAuthorizationService(_Nobody(), OptimizedCacheManager())
    metrics = service.get_performance_metrics()
    more = {row["Key of `operations`"].strip("`") for row in _table_of("operations")}
    for figures in (*metrics["operations"].values(), metrics["total"]):
        assert set(figures) == set(CheckStatistics().as_dict()) | more
    text = (DOCS / "statistics.md").read_text(encoding="utf-8")
    for name in (*metrics, *metrics["operations"], *service.get_detailed_cache_metrics()):
        assert f"`{name}`" in text
    denies = {row["Key of `denies`"].strip("`") for row in _table_of("denies")}
    assert denies == set(service.get_detailed_cache_metrics()["denies"])
    eager = {row["Key of `eager`"].strip("`") for row in _table_of("eager")}
    assert eager == set(service.get_detailed_cache_metrics()["eager"])


class _Nobody:
    """Has the methods of a service; is asked nothing."""

    validate_generation_media_access: Any = print
    validate_direct_ownership: Any = print
    validate_team_access: Any = print
    validate_project_access: Any = print


def test_page_of_warming_lists_every_figure_and_option() -> None:
    page = DOCS / "warming.md"
    figures = {
        row["Figure of a report"].strip("`") for row in table_with(page, "Figure of a report")
    }
    assert figures == {field.name for field in dataclasses.fields(WarmReport)}
    for method in ("register", "keep_hot"):
        rows = table_with(page, f"Option of `{method}`")
        shown = {
            name.strip("`"): row
            for row in rows
            for name in row[f"Option of `{method}`"].split(", ")
        }
        options = {
            name: parameter.default
            for name, parameter in inspect.signature(getattr(Warmers, method)).parameters.items()
            if parameter.kind is parameter.KEYWORD_ONLY
        }
        assert set(shown) == set(options)
        for name, default in options.items():
            if default is not None and name != "priority":
                written = shown[name]["Default"].strip("`")
                assert written == (str(default) if isinstance(default, bool) else f"{default:g}")


def test_page_of_warming_lists_every_limit_and_figure_of_prediction() -> None:
    rows = {row["Limit"].strip("`"): row for row in table_with(DOCS / "warming.md", "Limit")}
    limits = {field.name: field.default for field in dataclasses.fields(PredictionLimits)}
    assert list(rows) == list(limits)
    for name, default in limits.items():
        written = rows[name]["Default"]
        assert written == (str(default) if isinstance(default, bool) else f"{default:g}"), name
        if name == "hash_ids":
            continue
        low, high = (float(one.replace(",", "")) for one in rows[name]["Range"].split(" to "))
        kind = type(default)
        PredictionLimits(**{name: kind(low)}), PredictionLimits(**{name: kind(high)})
        for outside in (kind(low) - 1, kind(high) + 1):
            with pytest.raises(ValueError, match=name):
                PredictionLimits(**{name: outside})
    figures = table_with(DOCS / "warming.md", "Figure of `prediction`")
    cache = OptimizedCacheManager()
    cache.warmers.predict({})
    assert [row["Figure of `prediction`"].strip("`") for row in figures] == list(
        cache.get_stats()["prediction"]
    )


def test_page_of_the_service_lists_every_option() -> None:
    rows = table_with(DOCS / "authorization-service.md", "Option")
    parameters = inspect.signature(HighPerformanceAuthorizationService).parameters
    assert {row["Option"].strip("`") for row in rows} == set(parameters) - {"inner"}
