"""The tables about rate limits say what the code does."""

from __future__ import annotations

import dataclasses
import inspect
import re

from pages import ROOT, table_with

from velro_cache.rate_limit import Decision, RateLimit, RateLimiter, RateLimitStatistics

PAGE = ROOT / "docs" / "rate-limits.md"


def first_column(title: str) -> list[str]:
    return [name for row in table_with(PAGE, title) for name in re.findall(r"`(\w+)`", row[title])]


def test_every_field_of_a_limit_is_there_with_its_default() -> None:
    rows = table_with(PAGE, "Field of `RateLimit`")
    usual = RateLimit()
    for row in rows:
        name = row["Field of `RateLimit`"].strip("`")
        assert row["Default"] == f"{getattr(usual, name):,}"
    assert len(rows) == 3


def test_every_argument_of_a_limiter_is_there_with_its_default() -> None:
    told = {
        row["Argument of `RateLimiter`"].strip("`"): row["Default"].strip("`")
        for row in table_with(PAGE, "Argument of `RateLimiter`")
    }
    arguments = inspect.signature(RateLimiter).parameters
    # The mode has a table of its own.
    told["mode"] = '"local"'
    assert set(told) == set(arguments)
    for name, parameter in arguments.items():
        default = parameter.default
        shown = (
            f'"{default}"' if isinstance(default, str) else f"{default:,}" if default else "None"
        )
        assert told[name] == shown, name


def test_every_attribute_of_a_decision_is_there() -> None:
    public = {name for name in dir(Decision) if not name.startswith("_")}
    assert set(first_column("Attribute of `Decision`")) == public - {"headers"}


def test_every_statistic_is_there() -> None:
    fields = [field.name for field in dataclasses.fields(RateLimitStatistics)]
    assert sorted(first_column("Field of `RateLimitStatistics`")) == sorted(fields)
