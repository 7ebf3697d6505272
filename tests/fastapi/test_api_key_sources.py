"""Who sent a request: what proxies one trusts have written, and nothing that anybody can write."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from keyed import FORMAT, Kit, answer_of, behind_keys, scope_of

from velro_cache.fastapi.api_keys.sources import RequestSource

TRUSTED = ["10.0.0.0/8", "192.0.2.1", "fd00::/8"]


def source(forwarded: list[bytes], peer: str = "10.0.0.1", trusted: list[str] = TRUSTED) -> object:
    headers = [(b"x-forwarded-for", value) for value in forwarded]
    return RequestSource(trusted).of(scope_of(*headers, client=(peer, 1)))


@pytest.mark.parametrize(
    ("forwarded", "expected"),
    [
        ([], "10.0.0.1"),
        ([b"203.0.113.7"], "203.0.113.7"),
        ([b"1.1.1.1, 203.0.113.7"], "203.0.113.7"),
        ([b"1.1.1.1, 203.0.113.7, 10.9.9.9"], "203.0.113.7"),
        ([b"1.1.1.1", b"203.0.113.7, 10.9.9.9", b"10.8.8.8"], "203.0.113.7"),
        ([b"203.0.113.7:4711"], "203.0.113.7"),
        ([b"[2001:db8::7]:4711"], "2001:db8::/64"),
        ([b"2001:db8::7"], "2001:db8::/64"),
        ([b"::ffff:203.0.113.7"], "203.0.113.7"),
        ([b"203.0.113.7, unknown"], "10.0.0.1"),
        ([b"203.0.113.7, , 10.9.9.9"], "10.9.9.9"),
        ([b"203.0.113.7, \xff\xff"], "10.0.0.1"),
        ([b"10.1.1.1, 10.2.2.2"], "10.1.1.1"),
        ([b"203.0.113.7," + b" " * 100_000 + b"198.51.100.1"], "198.51.100.1"),
        ([b"9.9.9.9," * 100_000 + b"198.51.100.1"], "198.51.100.1"),
        ([b",".join([b"10.0.0.2"] * 500)], "10.0.0.2"),
    ],
)
def test_the_last_hop_that_is_no_proxy_is_the_source(forwarded: list[bytes], expected: str) -> None:
    assert source(forwarded) == expected


def test_nobody_else_is_believed() -> None:
    assert source([b"1.1.1.1"], peer="203.0.113.7") == "203.0.113.7"
    assert source([b"1.1.1.1"], trusted=[]) == "10.0.0.1"
    assert source([b"1.1.1.1"], peer="fe80::1%eth0") == "fe80::/64"


def test_a_unix_socket_has_no_address() -> None:
    assert RequestSource(TRUSTED).of(scope_of(client=None)) is None
    assert RequestSource(TRUSTED).of(scope_of(client=("testclient", 1))) == "testclient"


@given(st.lists(st.binary(max_size=40), max_size=4))
def test_whatever_is_written_there_is_no_error(forwarded: list[bytes]) -> None:
    assert isinstance(source(forwarded), str)


@pytest.mark.parametrize(("trusted", "second"), [((), 503), (["192.0.2.1"], 403)])
async def test_a_source_that_is_believed_has_a_budget_of_its_own(
    trusted: list[str], second: int
) -> None:
    # One source may use a fifth of it: one question at once.
    kit = Kit(misses_per_second=5.0, miss_burst=10)
    with kit.manager:
        app = behind_keys(kit, trusted_proxies=trusted)
        statuses = []
        for client in (b"198.51.100.1", b"198.51.100.2"):
            made_up = (b"x-api-key", FORMAT.generate().encode())
            answer = await answer_of(app, scope_of((b"x-forwarded-for", client), made_up))
            statuses.append(answer[0])
    assert statuses == [403, second]


async def test_made_up_keys_fill_no_log(caplog: pytest.LogCaptureFixture) -> None:
    """Anybody can make them, as fast as he likes."""
    kit = Kit(misses_per_second=5.0, miss_burst=10)
    with kit.manager:
        app = behind_keys(kit)
        statuses = []
        for _ in range(30):
            scope = scope_of((b"x-api-key", FORMAT.generate().encode()))
            statuses.append((await answer_of(app, scope))[0])
        assert {403, 503} == set(statuses)
        assert kit.cache.stats()["misses_refused"] > 20
    assert caplog.text == ""
