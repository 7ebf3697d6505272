"""What the admin routes say and do, for whoever may ask."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from operated import BODIES, OPERATOR, PREFIX, client_of, operated
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from services.redis import until
from velro_cache._engine import ManualClock
from velro_cache.config import OptimizedCacheConfig
from velro_cache.fastapi import velro_lifespan
from velro_cache.fastapi.admin.wide import is_wide
from velro_cache.manager import OptimizedCacheManager
from velro_cache.prometheus import CacheCollector, RateLimitCollector
from velro_cache.rate_limit import RateLimit, RateLimiter

SECRET = "s3cret-" * 6
# Warming changes something, too, and invalidates nothing.
INVALIDATIONS = {path: body for path, body in BODIES.items() if path != "/warm"}
NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)


class Admin:
    """The admin routes of one cache, as an operator sees them."""

    def __init__(self, cache: OptimizedCacheManager, **options: Any) -> None:
        self.client = client_of(operated(cache, **options))

    def get(self, path: str, **query: Any) -> Any:
        answer = self.client.get(PREFIX + path, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, status: int = 200, **body: Any) -> Any:
        answer = self.client.post(PREFIX + path, json=body)
        assert answer.status_code == status, answer.text
        return answer.json()


@pytest.fixture
def admin(cache: OptimizedCacheManager) -> Admin:
    return Admin(cache, now=lambda: NOON)


@pytest.fixture
def filled(cache: OptimizedCacheManager) -> OptimizedCacheManager:
    for user in ("ada", "ben"):
        cache.set_user_profile(user, {"card": SECRET})
        cache.set_generation_access("g", user, {"card": SECRET})
    cache.set("quota:*", 1, tags=["team:t"])
    return cache


@pytest.fixture
def silent(tmp_path: Path) -> Iterator[OptimizedCacheManager]:
    """A cache whose log cannot be reached."""
    config = OptimizedCacheConfig(
        name="silent",
        invalidation_log=f"redis://operator:{SECRET}@127.0.0.1:1/0",
        log_timeout_seconds=0.05,
        shared_memory_directory=str(tmp_path),
    )
    with OptimizedCacheManager(config) as cache:
        yield cache


def test_statistics_are_those_of_the_cache(admin: Admin, cache: OptimizedCacheManager) -> None:
    cache.set_user_profile("ada", 1)
    cache.get_user_profile("ada"), cache.get_user_profile("ben")
    stats = admin.get("/stats")
    assert (stats["total_requests"], stats["cache_hits"], stats["hit_rate_percent"]) == (2, 1, 50)
    assert stats["families"] == {"auth:user": {"requests": 2, "hits": 1, "hit_rate_percent": 50.0}}
    assert sum(life["sets"] for life in stats["lives"]) == stats["sets"] == 1
    assert stats["sharing"]["state"] == "shared"
    assert stats["log"] is None
    targets = admin.get("/targets")
    assert targets["is_measured"]
    assert not targets["meeting_hit_rate_target"]
    assert targets["target_hit_rate_percent"] == 95.0


def test_settings_are_shown_without_addresses_and_keys(silent: OptimizedCacheManager) -> None:
    config = silent.config.replace(l2_signing_key=SECRET)
    silent._config = config
    answer = Admin(silent).get("/config")
    assert answer["settings"]["max_entries"] == 10_000
    assert answer["settings"]["eviction_policy"] == "adaptive"
    assert answer["hidden_settings"] == ["invalidation_log", "l2_signing_key"]
    assert not {"invalidation_log", "redis_url", "l2_signing_key"} & set(answer["settings"])


def test_no_answer_holds_a_value_or_an_address(
    filled: OptimizedCacheManager, silent: OptimizedCacheManager
) -> None:
    silent.set_user_profile("ada", {"card": SECRET})
    for cache in (filled, silent):
        admin = Admin(cache)
        for path in ("/stats", "/targets", "/config", "/keys", "/invalidations", "/metrics"):
            text = admin.client.get(PREFIX + path).text
            assert SECRET not in text, path
            assert "127.0.0.1" not in text, path


def test_keys_come_in_pages(admin: Admin, cache: OptimizedCacheManager) -> None:
    cache.set_many({f"job:{number:03}": number for number in range(25)})
    cache.set("jobs", 1)
    found: list[str] = []
    after: str | None = ""
    while after is not None:
        page = admin.get("/keys", prefix="job:", after=after, limit=10)
        assert page["is_complete"]
        found += page["keys"]
        after = page["next_after"]
        # What comes and goes elsewhere moves no page.
        cache.set("job:000a", 1)
    assert found == [f"job:{number:03}" for number in range(25)]


def test_wildcards_in_a_prefix_are_none(admin: Admin, filled: OptimizedCacheManager) -> None:
    assert admin.get("/keys", prefix="quota:*")["keys"] == ["quota:*"]
    assert admin.get("/keys", prefix="*")["keys"] == []
    assert admin.get("/keys", prefix="[a]")["keys"] == []
    assert len(admin.get("/keys")["keys"]) == 5


@pytest.mark.parametrize(
    ("path", "body", "dropped"),
    [
        ("/invalidate/user", {"user_id": "ada"}, 2),
        ("/invalidate/user", {"user_id": 7}, 0),
        ("/invalidate/generation", {"generation_id": "g"}, 2),
        ("/invalidate/tags", {"tags": ["team:t", "user:ben"]}, 3),
        ("/invalidate/pattern", {"pattern": "auth:user:*"}, 2),
        ("/invalidate/key", {"key": "auth:user:ada:profile"}, 1),
        ("/invalidate/key", {"key": "auth:user:nobody:profile"}, 0),
    ],
)
def test_invalidates_what_is_named(
    admin: Admin, filled: OptimizedCacheManager, path: str, body: dict[str, Any], dropped: int
) -> None:
    tried = admin.post(path, dry_run=True, **body)
    assert len(filled) == 5
    assert tried["dropped_entries"] is None
    assert tried["holds"] is None
    assert tried["would_drop_entries"] in (dropped, None)
    assert (tried["would_drop_entries"] is None) == (path in NOT_COUNTED)
    done = admin.post(path, reason="left the team", **body)
    assert (done["dropped_entries"], done["holds"]) == (dropped, "host")
    assert len(filled) == 5 - dropped
    # A dry run is no invalidation.
    (entry,) = admin.get("/invalidations")["invalidations"]
    assert entry["action"] == path.rpartition("/")[2]


NOT_COUNTED = {"/invalidate/user", "/invalidate/generation", "/invalidate/tags"}


def test_clearing_needs_the_name(admin: Admin, filled: OptimizedCacheManager) -> None:
    assert "name of the cache" in admin.post("/clear", 409, confirm="other")["detail"]
    assert len(filled) == 5
    assert admin.post("/clear", confirm="default")["dropped_entries"] == 5
    assert len(filled) == 0


def test_patterns_for_everything_need_the_name(admin: Admin, filled: OptimizedCacheManager) -> None:
    for confirm in ({}, {"confirm": "other"}, {"confirm": None}):
        admin.post("/invalidate/pattern", 409, pattern="*", **confirm)
    assert len(filled) == 5
    assert admin.post("/invalidate/pattern", pattern="*", dry_run=True)["would_drop_entries"] == 5
    done = admin.post("/invalidate/pattern", pattern="*", confirm="default")
    assert done["dropped_entries"] == 5


@pytest.mark.parametrize(
    "pattern", ["*", "**", "*?*", "?*", "[!x]*", "[]x]*", "*:*", "*:*:*:*", "a*", "*e*", "[a-z]*"]
)
def test_what_names_nearly_nothing_is_wide(pattern: str) -> None:
    assert is_wide(pattern)


@pytest.mark.parametrize("pattern", ["auth:*", "*:user:7:*", "quota:[*]", "job[0-9]", "abc"])
def test_what_names_something_is_not(pattern: str) -> None:
    assert not is_wide(pattern)


def test_who_did_what_and_why_is_written_down(
    admin: Admin, filled: OptimizedCacheManager, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "velro_cache"):
        admin.post("/invalidate/user", user_id="ada", reason="left")
        admin.post("/invalidate/tags", tags=[f"t{number}" for number in range(12)])
    newest, oldest = admin.get("/invalidations")["invalidations"]
    assert oldest == {
        "at": "2030-01-01T12:00:00Z",
        "cache": "default",
        "made": "over_http",
        "actor": "ada",
        "request_id": None,
        "reason": "left",
        "action": "user",
        "names": ["ada"],
        "names_count": 1,
        "wait": "host",
        "outcome": "done",
        "dropped_entries": 2,
    }
    assert newest["names"] == [f"t{number}" for number in range(10)]
    assert newest["names_count"] == 12
    assert admin.get("/invalidations", limit=1)["invalidations"] == [newest]
    first, _ = (record.velro_cache_audit for record in caplog.records)  # type: ignore[attr-defined]
    assert first == oldest


def test_the_audit_log_is_bounded(cache: OptimizedCacheManager) -> None:
    admin = Admin(cache, audit_size=3)
    for number in range(5):
        admin.post("/invalidate/user", user_id=number)
    entries = admin.get("/invalidations")["invalidations"]
    # Of older ones, the journal of the cache knows less.
    assert [entry["names"] for entry in entries] == [[str(number)] for number in (4, 3, 2, 1, 0)]
    assert [entry["wait"] for entry in entries] == ["host", "host", "host", None, None]
    assert {entry["actor"] for entry in entries} == {"ada"}


@pytest.mark.parametrize("path", sorted(INVALIDATIONS))
@pytest.mark.parametrize("wait", ["bus", "fleet"])
def test_what_others_have_not_acknowledged_holds_here(
    silent: OptimizedCacheManager, path: str, wait: str
) -> None:
    admin = Admin(silent)
    silent.set_user_profile("u", 1, permissive=False)
    body = INVALIDATIONS[path] | ({"confirm": "silent"} if path == "/clear" else {})
    answer = admin.post(path, 503, wait=wait, **body)
    assert (answer["holds"], answer["wanted"]) == ("host", wait)
    assert "Invalidated on this host" in answer["detail"]
    assert answer["dropped_entries"] == (0 if path.endswith("generation") else 1)
    (entry,) = admin.get("/invalidations")["invalidations"]
    assert entry["outcome"] == "not_acknowledged"
    assert SECRET not in str(answer)


def test_a_stopped_cache_says_so(admin: Admin, cache: OptimizedCacheManager) -> None:
    cache.stop()
    assert "stopped" in admin.post("/invalidate/user", 503, user_id="ada")["detail"]
    (entry,) = admin.get("/invalidations")["invalidations"]
    assert entry["outcome"] == "failed"
    assert admin.client.get(PREFIX + "/health/ready").status_code == 503


def test_alive_and_ready(admin: Admin) -> None:
    assert admin.get("/health/live") == {"status": "alive"}
    assert admin.get("/health/ready") == {"ready": True, "checks": {"started": True, "table": True}}


def test_not_ready_without_news_from_the_log(silent: OptimizedCacheManager) -> None:
    answer = Admin(silent).client.get(PREFIX + "/health/ready")
    assert answer.status_code == 503
    assert answer.json()["checks"] == {"started": True, "table": True, "lease": False}
    assert Admin(silent).get("/health/live")
    assert Admin(silent, ready_without_lease=True).get("/health/ready")["ready"]


def test_ready_with_news_from_the_log(tmp_path: Path) -> None:
    config = OptimizedCacheConfig(
        name="heard",
        invalidation_log=f"sqlite:///{tmp_path / 'log.db'}",
        shared_memory_directory=str(tmp_path),
    )
    with OptimizedCacheManager(config) as cache:
        cache.invalidate_by_tags(["any"], wait="bus")
        admin = Admin(cache)
        done = admin.post("/invalidate/user", user_id="u", wait="fleet")
        assert done["holds"] == "fleet"
        stats = admin.get("/stats")["log"]
        assert stats["has_error"] is False
        assert stats["published_invalidations"] >= 2
        answer = admin.client.get(PREFIX + "/health/ready")
        assert answer.json()["checks"]["lease"] is (answer.status_code == 200)


def test_not_ready_before_it_is_warm(cache: OptimizedCacheManager) -> None:
    warm: list[Any] = [False]
    admin = Admin(cache, is_warm=lambda: warm[0])
    assert admin.client.get(PREFIX + "/health/ready").status_code == 503
    warm[0] = "nearly"
    assert admin.client.get(PREFIX + "/health/ready").status_code == 503
    warm[0] = True
    assert admin.get("/health/ready")["checks"]["warm"]


def test_prometheus_reads_the_metrics(admin: Admin, filled: OptimizedCacheManager) -> None:
    filled.get_user_profile("ada")
    answer = admin.client.get(PREFIX + "/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    samples = {
        (sample.name, sample.labels.get("family")): sample.value
        for family in parse(answer.text)
        for sample in family.samples
    }
    assert samples["velro_cache_hits_total", "auth:user"] == 1
    assert samples["velro_cache_entries", None] == 5


def test_openmetrics_where_it_is_asked_for(admin: Admin) -> None:
    accept = {"accept": "application/openmetrics-text; version=1.0.0"}
    answer = admin.client.get(PREFIX + "/metrics", headers=accept)
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert {family.name for family in parse_openmetrics(answer.text)} > {"velro_cache_hits"}


def test_the_metrics_of_limits_stand_beside_those_of_the_cache(
    cache: OptimizedCacheManager,
) -> None:
    limiter = RateLimiter(name="of-the-app")
    app = operated(cache, collectors=[RateLimitCollector(limiter)])
    client = client_of(app, OPERATOR)
    limiter.check("org", RateLimit())
    for _ in range(2):
        answer = client.get(PREFIX + "/metrics")
        found = {
            (sample.name, sample.labels.get("limiter"), sample.labels.get("outcome")): sample.value
            for family in parse(answer.text)
            for sample in family.samples
        }
        assert found["velro_cache_rate_limit_decisions_total", "of-the-app", "allowed"] == 1
        assert ("velro_cache_entries", None, None) in found


def test_collectors_nobody_could_show_are_refused_when_the_router_is_made(
    cache: OptimizedCacheManager,
) -> None:
    collector = RateLimitCollector(RateLimiter())
    wrong: list[tuple[type[Exception], str, dict[str, Any]]] = [
        (ValueError, "Duplicated", {"collectors": [collector, collector]}),
        (ValueError, "Duplicated", {"collectors": [CacheCollector(cache)]}),
        (ValueError, "left out", {"collectors": [collector], "metrics": False}),
        (TypeError, "no collector", {"collectors": [RateLimiter()]}),
    ]
    for error, says, options in wrong:
        with pytest.raises(error, match=says):
            operated(cache, **options)


def test_the_cache_is_that_of_the_application(clock: ManualClock) -> None:
    config = OptimizedCacheConfig(name="of-the-app")
    app = operated(None)
    app.router.lifespan_context = velro_lifespan(config)
    with client_of(app) as client:
        assert client.get(PREFIX + "/stats").json()["cache"] == "of-the-app"


def test_below_another_prefix(cache: OptimizedCacheManager) -> None:
    client = client_of(operated(cache, prefix="/ops"), OPERATOR)
    assert client.get("/ops/stats").status_code == 200
    assert client.get(PREFIX + "/stats").status_code == 404


def test_with_the_table_lost_nothing_counts_as_done(tmp_path: Path) -> None:
    folder = tmp_path / "memory"
    folder.mkdir()
    config = OptimizedCacheConfig(name="lost", shared_memory_directory=str(folder))
    with OptimizedCacheManager(config) as cache:
        admin = Admin(cache)
        # Nobody can make another one: a file lies where its folder is to be.
        (tables,) = folder.iterdir()
        shutil.rmtree(tables)
        tables.touch()
        until(lambda: admin.get("/stats")["sharing"]["state"] == "lost", "it is noticed")
        answer = admin.client.get(PREFIX + "/health/ready")
        assert (answer.status_code, answer.json()["checks"]["table"]) == (503, False)
        for path, body in INVALIDATIONS.items():
            confirmed = body | ({"confirm": "lost"} if path == "/clear" else {})
            refused = admin.post(path, 503, **confirmed)
            assert refused["holds"] == "process"
            assert "take it for not done" in refused["detail"]
        entries = admin.get("/invalidations")["invalidations"]
        assert {entry["outcome"] for entry in entries} == {"not_shared"}
        tables.unlink()
