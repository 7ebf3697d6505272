"""Pages of other sites, too many requests, and bodies that mean harm."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from operated import BODIES, OPERATOR, PREFIX, client_of, operated

from velro_cache._engine import ManualClock
from velro_cache.fastapi.admin.rate_limit import TokenBucket
from velro_cache.manager import OptimizedCacheManager

TEN_MB = 10 * 1024 * 1024


@pytest.fixture
def full(cache: OptimizedCacheManager) -> Iterator[OptimizedCacheManager]:
    """A cache with an entry that is there afterwards, too."""
    cache.set_user_profile("u", "value")
    yield cache
    assert len(cache) == 1


def post_everywhere(
    cache: OptimizedCacheManager, content: bytes | None = None, **headers: str
) -> Iterator[tuple[str, Any]]:
    """Send a body to each changing route; None: one that it understands."""
    client = client_of(operated(cache, invalidation_burst=100))
    sent = {"content-type": "application/json"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    for path, body in BODIES.items():
        one = json.dumps(body).encode() if content is None else content
        yield path, client.post(PREFIX + path, content=one, headers=sent)


def post(cache: OptimizedCacheManager, path: str, content: bytes, **headers: str) -> Any:
    sent = {"content-type": "application/json"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    return client_of(operated(cache)).post(PREFIX + path, content=content, headers=sent)


@pytest.mark.parametrize(
    "headers",
    [
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
        {"sec_fetch_site": "something new"},
        {"sec_fetch_site": "cross-site", "origin": "http://service.example"},
        {"origin": "https://evil.example"},
        {"origin": "http://service.example.evil.example"},
        {"origin": "http://service.example:81"},
        {"origin": "http://evil.example@service.example"},
        {"origin": "null"},
        {"origin": ""},
        {"origin": "http://[", "sec_fetch_site": "none"},
        {"origin": "https://evil.example", "sec_fetch_site": "none"},
    ],
)
def test_pages_of_other_sites_change_nothing(
    full: OptimizedCacheManager, headers: dict[str, str]
) -> None:
    for path, answer in post_everywhere(full, **headers):
        assert answer.status_code == 403, path
        assert answer.json() == {"detail": "Requests of other sites are refused"}
        assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    "kind",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""],
)
def test_what_a_form_can_send_changes_nothing(full: OptimizedCacheManager, kind: str) -> None:
    for path, answer in post_everywhere(full, content_type=kind):
        assert answer.status_code == 415, path


def test_a_get_changes_nothing(full: OptimizedCacheManager) -> None:
    for path, body in BODIES.items():
        assert client_of(operated(full)).get(PREFIX + path, params=body).status_code == 405


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"sec_fetch_site": "same-origin", "origin": "https://service.example"},
        {"sec_fetch_site": "none"},
        {"origin": "http://service.example"},
        {"origin": "https://OPS.example:8443", "sec_fetch_site": "cross-site"},
        {"content_type": "application/JSON; charset=utf-8"},
    ],
)
def test_programs_and_pages_of_this_site_are_let_through(
    cache: OptimizedCacheManager, headers: dict[str, str]
) -> None:
    app = operated(cache, trusted_origins=["https://ops.example:8443"])
    sent = {"content-type": "application/json"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    answer = client_of(app).post(
        PREFIX + "/invalidate/user", content=b'{"user_id":1}', headers=sent
    )
    assert answer.status_code == 200


IDS = ("/invalidate/user", "/invalidate/generation", "/invalidate/key", "/invalidate/tags")


@pytest.mark.parametrize("path", [*IDS, "/invalidate/pattern"])
@pytest.mark.parametrize(
    "hostile",
    ["", "a\0b", "\x1b[2J", "a\nb", "x" * 2000, "\u202euser", 1.5, True, None, ["u"], {"a": 1}],
)
def test_what_is_no_name_is_refused(
    full: OptimizedCacheManager, path: str, hostile: object
) -> None:
    (field,) = BODIES[path]
    sent = [hostile] if field == "tags" else hostile
    answer = post(full, path, json.dumps({field: sent}).encode())
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", field]
    assert len(answer.content) < 2000


@pytest.mark.parametrize("path", ["/invalidate/user", "/invalidate/generation"])
@pytest.mark.parametrize(
    "hostile", ["../etc/passwd", "a/../b", "..", ".", "..\\..\\x", "a/.", " u", "u ", -1, 2**63]
)
def test_what_is_no_id_is_refused(full: OptimizedCacheManager, path: str, hostile: object) -> None:
    (field,) = BODIES[path]
    assert post(full, path, json.dumps({field: hostile}).encode()).status_code == 422


@pytest.mark.parametrize("user_id", ["ada@example.com", "auth0|5f7", "org/7", "a.b..c", "日本"])
def test_what_ids_look_like_is_let_through(cache: OptimizedCacheManager, user_id: str) -> None:
    cache.set_user_profile(user_id, 1)
    answer = post(cache, "/invalidate/user", json.dumps({"user_id": user_id}).encode())
    assert answer.json()["dropped_entries"] == 1


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", 422),
        (b"{}", 422),
        (b"[]", 422),
        (b'"u"', 422),
        (b"{", 422),
        (b'{"user_id": "u", "dry_runn": true}', 422),
        (b'{"user_id": "\xff"}', 400),
        (b'{"user_id": "\\ud800"}', 422),
        (b"[" * 60_000, 400),
        (b'{"user_id": ' + b"9" * 5000 + b"}", 400),
        (b'"' + b"x" * TEN_MB + b'"', 413),
    ],
    ids=str,
)
def test_bodies_that_mean_harm(full: OptimizedCacheManager, content: bytes, status: int) -> None:
    for path, answer in post_everywhere(full, content):
        # A field of another route's is one too many, and its value is not looked at.
        assert answer.status_code in (status, 422), path
        assert len(answer.content) < 2000
        assert answer.headers["cache-control"] == "no-store"
        if path == "/invalidate/user":
            assert answer.status_code == status


def test_what_was_not_understood_is_not_repeated(full: OptimizedCacheManager) -> None:
    answer = post(full, "/invalidate/user", b'{"user_id": ["SECRET"], "reason": {"a": "SECRET"}}')
    assert answer.status_code == 422
    assert "SECRET" not in answer.text


def test_a_body_of_unknown_length_is_not_read_to_the_end(full: OptimizedCacheManager) -> None:
    sent = 0

    def chunks() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(10):
            sent += 1
            yield b"x" * 60_000

    answer = client_of(operated(full)).post(
        PREFIX + "/clear", content=chunks(), headers={"content-type": "application/json"}
    )
    assert answer.status_code == 413


@pytest.mark.parametrize("query", [{"prefix": "a\0"}, {"prefix": "x" * 2000}, {"limit": "0"}])
@pytest.mark.parametrize("more", [{}, {"limit": "1001"}, {"limit": "many"}, {"after": "\x1b"}])
def test_wrong_questions_for_keys(
    full: OptimizedCacheManager, query: dict[str, str], more: dict[str, str]
) -> None:
    answer = client_of(operated(full)).get(PREFIX + "/keys", params=query | more)
    assert answer.status_code == 422
    assert "xxx" not in answer.text


def test_no_path_leads_out_of_the_routes(full: OptimizedCacheManager) -> None:
    client = client_of(operated(full), OPERATOR)
    for path in ("/keys/..%2f..%2fetc", "/../stats", "/keys/%00", "/invalidate/user/u", "//stats"):
        assert client.get(PREFIX + path).status_code in (404, 405), path


def test_too_many_invalidations_have_to_wait(make_cache: Any) -> None:
    clock = ManualClock()
    app = operated(make_cache(), invalidations_per_minute=6, invalidation_burst=3, clock=clock.now)
    client = client_of(app)

    def status() -> int:
        return client.post(PREFIX + "/invalidate/user", json={"user_id": 1}).status_code

    assert [status() for _ in range(5)] == [200, 200, 200, 429, 429]
    answer = client.post(PREFIX + "/clear", json={"confirm": "default"})
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "10")
    assert answer.headers["cache-control"] == "no-store"
    clock.advance(9)
    answer = client.post(PREFIX + "/clear", json={"confirm": "default"})
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
    # Looking costs nothing.
    assert client.get(PREFIX + "/stats").status_code == 200
    clock.advance(1)
    assert [status(), status()] == [200, 429]
    clock.advance(3600)
    assert [status() for _ in range(4)] == [200, 200, 200, 429]


def test_who_may_not_uses_nothing_up(cache: OptimizedCacheManager) -> None:
    app = operated(cache, invalidation_burst=1, clock=ManualClock().now)
    for _ in range(5):
        answer = client_of(app, {}).post(PREFIX + "/invalidate/user", json={"user_id": 1})
        assert answer.status_code == 401
    answer = client_of(app).post(PREFIX + "/invalidate/user", json={"user_id": 1})
    assert answer.status_code == 200


def test_a_clock_that_goes_back_gives_nothing() -> None:
    seconds = [100.0]
    bucket = TokenBucket(60, 1, lambda: seconds[0])
    assert bucket.take() is None
    seconds[0] = 50.0
    assert bucket.take() == 1.0
    seconds[0] = 51.0
    assert bucket.take() is None
