"""What stands in headers is whatever somebody wrote: it is refused quickly, and kept nowhere."""

from __future__ import annotations

import logging
import socket
import tracemalloc
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from keyed import FORMAT, Kit, answer_of, behind_keys, scope_of
from serving import Serve

from velro_cache.api_keys import KeyMalformed
from velro_cache.fastapi.api_keys.finding import KeyFinder

PLAIN = FORMAT.generate().encode()
FINDER = KeyFinder(("Authorization", "X-API-Key"))


@pytest.fixture
def kit() -> Iterator[Kit]:
    kit = Kit()
    with kit.manager:
        kit.keys.add(PLAIN.decode())
        yield kit


@pytest.mark.parametrize("start", [b"", b"Bearer "], ids=["alone", "bearer"])
@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\x00",
        PLAIN + b"\x00",
        b"\x00" + PLAIN,
        PLAIN[:-1],
        PLAIN + b"A",
        PLAIN.upper(),
        PLAIN[:10] + b" " + PLAIN[10:],
        PLAIN + b"," + PLAIN,
        PLAIN + b"\r\nX-Other: 1",
        b'"' + PLAIN + b'"',
        b"\xff\xfe\xfd",
        "vk_test_ключ".encode(),
        b"\xc3\x28",
        b" " * 100_000,
        b"A" * 10_000_000,
        PLAIN * 100_000,
        b"vk_test_" + b"A" * 38,
        b"' OR 1=1 --",
        b"../../etc/passwd",
        b"${jndi:ldap://x}",
    ],
    ids=lambda value: repr(value[:24]),
)
async def test_no_key_is_401_and_nobody_is_asked(kit: Kit, start: bytes, value: bytes) -> None:
    app = behind_keys(kit)
    name = b"authorization" if start else b"x-api-key"
    status, _, body = await answer_of(app, scope_of((name, start + value)))
    assert status == 401
    assert kit.keys.questions == 0
    assert len(body) < 200


@pytest.mark.parametrize("spaces", [1, 2, 50, 900])
async def test_spaces_around_a_key_are_no_part_of_it(kit: Kit, spaces: int) -> None:
    value = b"bEARER " + b" " * spaces + PLAIN + b" " * min(spaces, 20)
    assert (await answer_of(behind_keys(kit), scope_of((b"authorization", value))))[0] == 200


@pytest.mark.parametrize(
    "headers",
    [
        [(b"x-api-key", PLAIN), (b"x-api-key", PLAIN)],
        [(b"x-api-key", PLAIN), (b"x-api-key", b"other")],
        [(b"authorization", b"Bearer " + PLAIN), (b"authorization", b"Bearer " + PLAIN)],
        [(b"authorization", b"Basic YTpi"), (b"authorization", b"Bearer " + PLAIN)],
        [(b"authorization", b"Bearer " + PLAIN), (b"authorization", b"Basic YTpi")],
        [(b"authorization", b"Bearer " + PLAIN), (b"x-api-key", b"other")],
        [(b"x-api-key", PLAIN), (b"authorization", b"Bearer other")],
        [(b"x-api-key", PLAIN), (b"authorization", b"Bearer ")],
        [(b"authorization", b"Basic a"), (b"x-api-key", PLAIN), (b"authorization", b"Basic a")],
    ],
)
async def test_two_credentials_are_none(kit: Kit, headers: list[tuple[bytes, bytes]]) -> None:
    for order in (headers, headers[::-1]):
        status, answered, _ = await answer_of(behind_keys(kit), scope_of(*order))
        assert status == 401
        assert b'error="invalid_token"' in answered[b"www-authenticate"]
    assert kit.keys.questions == 0


@given(
    st.lists(
        st.tuples(
            st.sampled_from([b"authorization", b"x-api-key", b"x-other"]),
            st.one_of(
                st.binary(max_size=60),
                st.sampled_from([PLAIN, b"Bearer " + PLAIN, b"bearer", b"Basic x"]),
            ),
        ),
        max_size=5,
    )
)
def test_the_finder_finds_one_key_or_none_or_says_no(headers: list[tuple[bytes, bytes]]) -> None:
    try:
        found = FINDER.find({"headers": headers})
    except KeyMalformed as error:
        assert PLAIN.decode() not in str(error)
        return
    given = [
        value.strip(b" \t") if name == b"x-api-key" else value[7:].strip(b" \t")
        for name, value in headers
        if name == b"x-api-key" or (name == b"authorization" and value[:7].lower() == b"bearer ")
    ]
    assert set(given) == ({found} if given else set())
    assert given or found is None


async def test_a_flood_of_made_up_keys_takes_no_memory(kit: Kit) -> None:
    app = behind_keys(kit)
    await answer_of(app, scope_of((b"x-api-key", b"A" * 5000)))
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(3000):
            name = (b"x-api-key", b"%d" % number * 900)
            assert (await answer_of(app, scope_of(name)))[0] == 401
        assert tracemalloc.get_traced_memory()[0] - before < 500_000
    finally:
        tracemalloc.stop()


async def test_no_key_is_in_logs_answers_or_statistics(
    kit: Kit, caplog: pytest.LogCaptureFixture
) -> None:
    unknown = FORMAT.generate()
    kit.keys.error = None
    told = ""
    with caplog.at_level(logging.DEBUG):
        app = behind_keys(kit, problem_details=True, query_parameter="key")
        for scope in (
            scope_of((b"x-api-key", PLAIN)),
            scope_of((b"x-api-key", unknown.encode())),
            scope_of((b"x-api-key", PLAIN + b"x")),
            scope_of((b"x-api-key", PLAIN), (b"authorization", b"Bearer " + unknown.encode())),
            scope_of(query_string=b"key=" + unknown.encode()),
        ):
            told += str(await answer_of(app, scope))
        kit.keys.error = ConnectionError(unknown)
        kit.cache.clear()
        told += str(await answer_of(app, scope_of((b"x-api-key", FORMAT.generate().encode()))))
        told += str(kit.cache.stats()) + repr(kit.cache) + repr(app) + repr(kit.manager)
    for key in (PLAIN.decode(), unknown):
        # The endpoint tells the id alone; not even the part that may be shown.
        assert key[8:] not in told
        assert key[8:] not in caplog.text


def test_a_real_server_survives_them_all(kit: Kit, serve: Serve) -> None:
    client = serve(behind_keys(kit))
    address = (client.base_url.host, client.base_url.port)
    for value in (b"\x00", b"\xff\xfe", b"A" * 1_000_000, b"Bearer \x01", b" " * 20_000):
        with socket.create_connection(address, timeout=20) as raw:
            raw.sendall(
                b"GET /whose HTTP/1.1\r\nHost: t\r\nConnection: close\r\nX-API-Key: "
                + value
                + b"\r\n\r\n"
            )
            answered = b""
            try:
                while part := raw.recv(65536):
                    answered += part
            except ConnectionError:
                # The server had enough of it.
                pass
            assert not answered or answered.split()[1] in (b"400", b"401", b"431")
    assert client.get("/whose", headers={"X-API-Key": PLAIN.decode()}).status_code == 200
