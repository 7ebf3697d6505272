"""The tables of metrics, and the alerts, say what the code does."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from pages import ROOT, blocks, table_with

from velro_cache.prometheus.api_keys import API_KEY_FAMILIES
from velro_cache.prometheus.families import FAMILIES
from velro_cache.prometheus.family import Family
from velro_cache.prometheus.rate_limits import RATE_LIMIT_FAMILIES

PAGE = ROOT / "docs" / "statistics.md"
(RULES,) = [block.code for block in blocks(PAGE) if block.language == "yaml"]


def name_of(family: Family) -> str:
    return f"velro_cache_{family.name}" + ("_total" if family.kind == "counter" else "")


def test_every_metric_of_api_keys_is_there() -> None:
    rows = table_with(PAGE, "Metric of API keys")
    assert [row["Metric of API keys"].strip("`") for row in rows] == [
        name_of(family) for family in API_KEY_FAMILIES
    ]
    assert not any(family.label for family in API_KEY_FAMILIES)


def test_every_metric_of_rate_limits_is_there_with_its_label() -> None:
    rows = table_with(PAGE, "Metric of rate limits")
    assert [(row["Metric of rate limits"].strip("`"), row["Label"]) for row in rows] == [
        (name_of(family), f"`{family.label}`" if family.label else "-")
        for family in RATE_LIMIT_FAMILIES
    ]


def test_alerts_are_about_metrics_that_there_are() -> None:
    families = (*FAMILIES, *API_KEY_FAMILIES, *RATE_LIMIT_FAMILIES)
    named = re.findall(r"velro_cache_\w+", RULES)
    assert len(named) == RULES.count("expr:") == 3
    assert set(named) <= {name_of(family) for family in families}


@pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool: make test-tools")
def test_promtool_reads_the_alerts(tmp_path: Path) -> None:
    (tmp_path / "rules.yml").write_text(RULES, encoding="utf-8")
    checked = subprocess.run(
        ["promtool", "check", "rules", str(tmp_path / "rules.yml")],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "3 rules found" in checked.stdout


@pytest.mark.skipif(shutil.which("promtool") is None, reason="no promtool: make test-tools")
def test_alerts_come_when_they_should_and_not_before(tmp_path: Path) -> None:
    # What they say is for people, and of no matter here.
    rules = re.sub(r" +annotations:\n +summary:.*\n", "", RULES)
    (tmp_path / "rules.yml").write_text(rules, encoding="utf-8")
    (tmp_path / "tests.yml").write_text(OUTAGES, encoding="utf-8")
    checked = subprocess.run(
        ["promtool", "test", "rules", "tests.yml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


# A figure each minute: refreshed at minute 10 and then no more; a database that is away from
# minute 5 to 8; a Redis that is away from minute 5 to 13.
OUTAGES = """
rule_files: [rules.yml]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - {series: 'velro_cache_api_keys_refresh_age_seconds{cache="a"}', values: '0+60x9 0+60x60'}
      - {series: 'velro_cache_api_keys_unavailable_total{cache="a"}', values: '7x4 10+3x3 19x60'}
      - {series: 'velro_cache_rate_limit_breaker_state{limiter="b",state="closed"}',
         values: '1x4 0x8 1x60'}
      - {series: 'velro_cache_rate_limit_breaker_state{limiter="b",state="open"}',
         values: '0x4 1x8 0x60'}
    alert_rule_test:
      - {alertname: ApiKeysNotRefreshed, eval_time: 9m}
      - {alertname: ApiKeysNotRefreshed, eval_time: 40m}
      - {alertname: ApiKeysNotRefreshed, eval_time: 47m, exp_alerts: [{exp_labels: {cache: a}}]}
      - {alertname: ApiKeysCannotBeChecked, eval_time: 4m}
      - {alertname: ApiKeysCannotBeChecked, eval_time: 8m, exp_alerts: [{exp_labels: {cache: a}}]}
      - {alertname: ApiKeysCannotBeChecked, eval_time: 20m}
      - {alertname: RateLimitsWithoutRedis, eval_time: 5m}
      - alertname: RateLimitsWithoutRedis
        eval_time: 7m
        exp_alerts: [{exp_labels: {limiter: b, state: closed}}]
      - {alertname: RateLimitsWithoutRedis, eval_time: 15m}
"""
