"""Messages of the feed as they go over the wire: nothing in them is taken for something else."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from velro_cache.fastapi.feed.messages import HEARTBEAT, Message

TEXTS = st.text(st.characters(exclude_categories=[])) | st.sampled_from(
    ["\n\nevent: reload\ndata: {}", "\r\ndata: x", "\x00", "\u2028", "id: 1\r", "\ud800"]
)


@given(st.lists(TEXTS, max_size=5), st.none() | st.integers(0, 10**6))
def test_names_cannot_leave_their_field(names: list[str], retry_ms: int | None) -> None:
    text = Message("changed", {"names": names}, "0" * 32).as_event(retry_ms)
    assert text.endswith(b"\n\n") and b"\n\n" not in text[:-2] and b"\r" not in text
    lines = text.decode("ascii").split("\n")[:-2]
    fields = dict(line.split(": ", 1) for line in lines)
    expected = {"event", "id", "data"} | (set() if retry_ms is None else {"retry"})
    assert set(fields) == expected and len(lines) == len(expected)
    assert json.loads(fields["data"]) == {"names": names}


@given(st.lists(TEXTS, max_size=5))
def test_a_socket_says_the_same(names: list[str]) -> None:
    message = json.loads(Message("changed", {"names": names}, "ab").as_text())
    assert message == {"event": "changed", "id": "ab", "data": {"names": names}}


def test_a_heartbeat_is_a_comment() -> None:
    assert HEARTBEAT == b":\n\n"
