"""The feed over a real server: who hears what, and when a connection ends."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import httpx
import pytest
from fastapi import FastAPI, Request, WebSocket
from fastapi.requests import HTTPConnection
from fed import Fed, bearer, listening
from serving import Serve
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from velro_cache.authorization.identity import Identity
from velro_cache.config import OptimizedCacheConfig
from velro_cache.fastapi import (
    RequestIdMiddleware,
    RequireIdentity,
    create_invalidation_feed_router,
    velro_lifespan,
)
from velro_cache.manager import OptimizedCacheManager

LIMIT_SECONDS = 30


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + LIMIT_SECONDS
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)


def invalidate(client: httpx.Client, tag: str) -> None:
    assert client.post("/invalidate", params={"tag": tag}).status_code == 200


def socket_of(client: httpx.Client, user: str, query: str = "", **options: Any) -> ClientConnection:
    url = f"ws://127.0.0.1:{client.base_url.port}/feed/socket{query}"
    return connect(url, additional_headers=bearer(user) if user else {}, **options)


def heard(connection: ClientConnection) -> tuple[str, Any]:
    message = json.loads(connection.recv(timeout=LIMIT_SECONDS))
    return message["event"], message.get("data")


class TestWhoHearsWhat:
    def test_a_client_hears_of_its_own_user_alone(self, serve: Serve) -> None:
        client = serve(Fed().app)
        with listening(client, "ada") as ada, listening(client, "bob") as bob:
            invalidate(client, "user:bob")
            assert next(bob)[:2] == ("changed", {"names": ["user"]})
            invalidate(client, "user:ada")
            # The first that Ada hears is her own.
            name, data, last_id = next(ada)
            assert (name, data) == ("changed", {"names": ["user"]})
            assert last_id is not None and "bob" not in str(data)

    def test_wildcards_reach_whom_they_cover(self, serve: Serve) -> None:
        client = serve(Fed().app)
        with listening(client, "ada") as ada, listening(client, "bob") as bob:
            client.post("/wildcard", params={"pattern": "auth:*:bob:permissions"})
            assert next(bob)[0] == "changed"
            client.post("/wildcard", params={"pattern": "auth:user:*"})
            assert next(bob)[0] == "changed"
            assert next(ada)[0] == "changed"

    def test_a_cache_that_is_given_is_the_one_even_while_it_is_empty(self, serve: Serve) -> None:
        own = OptimizedCacheManager(OptimizedCacheConfig(share_invalidations=False))
        client = serve(Fed(cache=own, max_lifetime_seconds=10).app)
        with listening(client, "ada") as ada:
            own.invalidate_by_tags(["user:ada"])
            assert next(ada)[:2] == ("changed", {"names": ["user"]})

    def test_everything_is_a_reload(self, serve: Serve) -> None:
        client = serve(Fed().app)
        with listening(client, "ada") as ada:
            client.post("/clear")
            assert next(ada)[:2] == ("reload", {"reason": "everything"})

    def test_resources_are_watched_where_the_application_lets_one(self, serve: Serve) -> None:
        fed = Fed()
        fed.users.watchable = {("ada", "generation:g1"), ("ada", "folder:f 1")}
        client = serve(fed.app)
        watch = ["generation:g1", "folder:f 1"]
        with listening(client, "ada", watch=watch) as ada:
            invalidate(client, "generation:g2")
            invalidate(client, "generation:g1")
            assert next(ada)[1] == {"names": ["generation:g1"]}
            client.post("/wildcard", params={"pattern": "auth:gen:g1:user:ada:access:*"})
            assert next(ada)[1] == {"names": ["generation:g1"]}
            invalidate(client, "folder:f 1")
            assert next(ada)[1] == {"names": ["folder:f 1"]}

    def test_a_resource_that_may_be_watched_no_more_is_named_once_more(self, serve: Serve) -> None:
        fed = Fed()
        fed.users.watchable = {("ada", "generation:g1"), ("ada", "generation:g2")}
        client = serve(fed.app)
        with listening(client, "ada", watch=["generation:g1", "generation:g2"]) as ada:
            fed.users.watchable.discard(("ada", "generation:g1"))
            invalidate(client, "generation:g1")
            assert next(ada)[1] == {"names": ["generation:g1"]}
            assert next(ada)[:2] == ("unwatched", {"names": ["generation:g1"]})
            invalidate(client, "generation:g1")
            invalidate(client, "generation:g2")
            assert next(ada)[1] == {"names": ["generation:g2"]}

    @pytest.mark.parametrize(
        ("names", "status"),
        [
            (["generation:other"], 403),
            (["user:bob"], 422),
            (["session:bob"], 422),
            (["auth:user"], 422),
            (["generation"], 422),
            (["generation:"], 422),
            (["generation:\n\ndata: x"], 422),
            (["generation:" + "x" * 257], 422),
            ([f"generation:{n}" for n in range(33)], 422),
            (["Generation:g1"], 422),
        ],
    )
    def test_other_names_are_refused(self, serve: Serve, names: list[str], status: int) -> None:
        fed = Fed()
        client = serve(fed.app)
        answer = client.get("/feed/events", params={"watch": names}, headers=bearer("ada"))
        assert answer.status_code == status
        # Nothing of it is repeated.
        assert names[0].partition(":")[2] in ("", "user") or names[0] not in answer.text
        assert fed.router.clients == 0

    @pytest.mark.parametrize("nonsense", ["yes", 1, object()])
    def test_what_is_not_true_lets_nobody_watch(self, serve: Serve, nonsense: Any) -> None:
        fed = Fed()
        fed.users.watch_answer = nonsense
        client = serve(fed.app)
        answer = client.get("/feed/events?watch=generation:g1", headers=bearer("ada"))
        assert answer.status_code == 403

    def test_without_a_filter_nothing_else_can_be_watched(self, serve: Serve) -> None:
        client = serve(Fed(may_watch=None).app)
        answer = client.get("/feed/events?watch=generation:g1", headers=bearer("ada"))
        assert answer.status_code == 403


class TestComingAgain:
    def test_who_missed_nothing_is_told_nothing(self, serve: Serve) -> None:
        client = serve(Fed().app)
        with listening(client, "ada") as ada:
            invalidate(client, "user:ada")
            _, _, last_id = next(ada)
        invalidate(client, "user:bob")
        with listening(client, "ada", headers={"Last-Event-ID": str(last_id)}) as ada:
            assert ada.hello[2] == last_id
            invalidate(client, "user:ada")
            assert next(ada)[0] == "changed"

    def test_who_missed_something_is_told_to_reload(self, serve: Serve) -> None:
        client = serve(Fed().app)
        with listening(client, "ada") as ada:
            last_id = ada.hello[2]
        with listening(client, "eve") as eve:
            invalidate(client, "user:ada")
            # Once she has heard, the worker has looked at both.
            invalidate(client, "user:eve")
            assert next(eve)[0] == "changed"
        with listening(client, "ada", headers={"Last-Event-ID": str(last_id)}) as ada:
            assert next(ada)[:2] == ("reload", {"reason": "missed"})

    @pytest.mark.parametrize("last_id", ["0" * 32, "x", "é", "9" * 5000])
    def test_an_id_of_no_message_is_a_reload(self, serve: Serve, last_id: str) -> None:
        client = serve(Fed().app)
        with listening(client, "ada", last_event_id=last_id) as ada:
            assert next(ada)[:2] == ("reload", {"reason": "missed"})

    def test_the_id_of_another_user_is_of_no_use(self, serve: Serve) -> None:
        client = serve(Fed().app)
        invalidate(client, "user:bob")
        with listening(client, "bob") as bob:
            last_id = bob.hello[2]
        with listening(client, "ada", last_event_id=last_id) as ada:
            assert ada.hello[2] != last_id
            assert next(ada)[0] == "reload"


class TestWhoIsLetIn:
    def test_nobody_without_credentials(self, serve: Serve) -> None:
        client = serve(Fed().app)
        assert client.get("/feed/events").status_code == 401
        wrong = {"Authorization": "Bearer wrong"}
        assert client.get("/feed/events", headers=wrong).status_code == 401
        for user in ("", " "):
            with pytest.raises(InvalidStatus, match="401"):
                socket_of(client, user)

    @pytest.mark.parametrize("answer", [False, None.__class__, 1.5, "", {"user_id": "ada"}])
    def test_nobody_whom_the_guard_does_not_name(self, serve: Serve, answer: Any) -> None:
        fed = Fed()
        fed.users.answer = answer
        client = serve(fed.app)
        status = client.get("/feed/events", headers=bearer("ada")).status_code
        assert status == (403 if answer is False else 500)
        with pytest.raises((InvalidStatus, ConnectionClosed)):
            socket_of(client, "ada").recv(timeout=LIMIT_SECONDS)
        assert fed.router.clients == 0

    def test_nobody_whose_rights_end_while_the_guard_answers(self, serve: Serve) -> None:
        # What was invalidated before a client joined is told to nobody: it has to be asked after.
        fed = Fed(max_lifetime_seconds=0.5)
        client = serve(fed.app)

        def bar(cache: OptimizedCacheManager) -> None:
            fed.users.barred = {"ada"}
            cache.invalidate_user_data("ada")

        fed.users.then = bar
        assert client.get("/feed/events", headers=bearer("ada")).status_code == 401
        fed.users.then, fed.users.barred = bar, set()
        with pytest.raises(InvalidStatus, match="401"):
            socket_of(client, "ada")
        until(lambda: fed.router.clients == 0)

    def test_nobody_who_is_another_when_asked_again(self, serve: Serve) -> None:
        fed = Fed(max_lifetime_seconds=0.5)
        client = serve(fed.app)
        names = iter([Identity("ada"), Identity("bob")] * 2)

        class Changing:
            async def __call__(self, connection: HTTPConnection) -> Identity:
                return next(names)

        # Older versions of FastAPI do not read annotations of objects if they are texts.
        Changing.__call__.__annotations__["connection"] = HTTPConnection
        fed.app.dependency_overrides[fed.users] = Changing()
        assert client.get("/feed/events", headers=bearer("ada")).status_code == 403
        with pytest.raises(InvalidStatus, match="403"):
            socket_of(client, "ada")
        until(lambda: fed.router.clients == 0)

    @pytest.mark.parametrize("hears", ["events", "socket"])
    def test_a_resource_that_is_taken_away_while_the_filter_answers_is_not_watched(
        self, serve: Serve, hears: str
    ) -> None:
        fed = Fed(max_lifetime_seconds=20)
        client = serve(fed.app)

        def take(cache: OptimizedCacheManager) -> None:
            fed.users.watchable.clear()
            cache.invalidate_generation_data("g1")

        async def may_watch(user_id: Any, kind: str, resource_id: str) -> Any:
            fed.users.then = fed.users.then or take if fed.users.watchable else None
            return await fed.users.may_watch(user_id, kind, resource_id)

        fed.router._options = replace(fed.router._options, may_watch=may_watch)
        fed.users.watchable = {("ada", "generation:g1")}
        told: list[Any] = []
        if hears == "events":
            with listening(client, "ada", watch="generation:g1") as ada:
                told = [next(ada)[:2], next(ada)[:2]]
        else:
            with socket_of(client, "ada", "?watch=generation:g1") as one:
                assert heard(one)[0] == "hello"
                told = [heard(one), heard(one)]
        names = {"names": ["generation:g1"]}
        assert told == [("changed", names), ("unwatched", names)]

    @pytest.mark.parametrize("hears", ["events", "socket"])
    def test_a_filter_that_refuses_or_fails_leaves_nobody_behind(
        self, serve: Serve, hears: str
    ) -> None:
        fed = Fed()
        client = serve(fed.app)
        for answer, status in ((None, 403), (TimeoutError(), 503), (OSError("secret"), 500)):
            fed.users.watch_answer = answer
            if hears == "events":
                got = client.get("/feed/events?watch=generation:g1", headers=bearer("ada"))
                assert got.status_code == status and "secret" not in got.text
            else:
                with pytest.raises(InvalidStatus, match=str(status)):
                    socket_of(client, "ada", "?watch=generation:g1")
            until(lambda: fed.router.clients == 0)

    def test_no_page_of_another_site(self, serve: Serve) -> None:
        client = serve(Fed(trusted_origins=["https://app.example"]).app)
        cookie = {"Cookie": "session=token-of-ada"}
        for headers in (
            {"Origin": "https://evil.example"},
            {"Origin": "null"},
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"},
        ):
            answer = client.get("/feed/events", headers=cookie | headers)
            assert answer.status_code == 403
            url = f"ws://127.0.0.1:{client.base_url.port}/feed/socket"
            with pytest.raises(InvalidStatus, match="403"):
                connect(url, additional_headers=cookie | headers)
        own = f"http://127.0.0.1:{client.base_url.port}"
        for origin in ("https://app.example", own):
            with client.stream("GET", "/feed/events", headers=cookie | {"Origin": origin}) as one:
                assert one.status_code == 200

    def test_no_more_than_there_is_room_for(self, serve: Serve) -> None:
        fed = Fed(max_clients=3, max_clients_per_user=2)
        client = serve(fed.app)
        with listening(client, "ada"), listening(client, "ada"):
            answer = client.get("/feed/events", headers=bearer("ada"))
            assert (answer.status_code, answer.headers["retry-after"]) == (429, "5")
            with socket_of(client, "ada") as one, pytest.raises(ConnectionClosed) as closed:
                one.recv(timeout=LIMIT_SECONDS)
            assert closed.value.rcvd is not None and closed.value.rcvd.code == 1013
            with listening(client, "bob"):
                assert client.get("/feed/events", headers=bearer("eve")).status_code == 429
        until(lambda: fed.router.clients == 0)
        with listening(client, "ada"), listening(client, "ada"):
            pass


class TestHowItEnds:
    def test_the_guard_is_asked_again_when_the_user_changes(self, serve: Serve) -> None:
        fed = Fed()
        client = serve(fed.app)
        with listening(client, "ada") as ada:
            calls = fed.users.calls
            invalidate(client, "user:bob")
            invalidate(client, "user:ada")
            next(ada)
            assert fed.users.calls == calls + 1
            fed.users.barred = {"ada"}
            invalidate(client, "user:ada")
            assert [event[:2] for event in ada] == [("ended", {"reason": "refused"})]
        assert client.get("/feed/events", headers=bearer("ada")).status_code == 401

    @pytest.mark.parametrize(
        ("answer", "reason"),
        [("bob", "refused"), (False, "refused"), (OSError("secret"), "unavailable")],
    )
    def test_not_knowing_and_being_another_end_it(
        self, serve: Serve, answer: Any, reason: str
    ) -> None:
        fed = Fed()
        client = serve(fed.app)
        with listening(client, "ada") as ada:
            fed.users.answer = answer
            invalidate(client, "user:ada")
            assert [event[1] for event in ada] == [{"reason": reason}]

    def test_a_filter_that_fails_ends_it(self, serve: Serve) -> None:
        fed = Fed()
        fed.users.watchable = {("ada", "generation:g1")}
        client = serve(fed.app)
        with listening(client, "ada", watch="generation:g1") as ada:
            fed.users.watch_answer = OSError("secret")
            invalidate(client, "generation:g1")
            assert [event[1] for event in ada] == [{"reason": "unavailable"}]

    def test_it_ends_with_the_token(self, serve: Serve) -> None:
        moments = [datetime(2030, 1, 1, tzinfo=UTC).timestamp()]
        fed = Fed(now=lambda: moments[0], heartbeat_seconds=0.01)
        fed.users.fields = {"expires_at": datetime(2030, 1, 1, 0, 1, tzinfo=UTC)}
        client = serve(fed.app)
        with listening(client, "ada") as ada:
            assert next(ada)[0] == ""
            moments[0] += timedelta(minutes=1).total_seconds()
            ended = [event for event in ada if event[0]]
            assert [event[1] for event in ended] == [{"reason": "expired"}]

    def test_it_ends_after_its_longest_life(self, serve: Serve) -> None:
        client = serve(Fed(max_lifetime_seconds=0.05).app)
        with listening(client, "ada") as ada:
            assert [event[1] for event in ada] == [{"reason": "lifetime"}]
        with socket_of(client, "ada") as one, pytest.raises(ConnectionClosed):
            while True:
                assert heard(one)[0] in ("hello", "ended")

    def test_silence_has_signs_of_life(self, serve: Serve) -> None:
        client = serve(Fed(heartbeat_seconds=0.01).app)
        with listening(client, "ada") as ada:
            assert [next(ada)[0] for _ in range(3)] == ["", "", ""]

    def test_a_client_that_is_gone_is_forgotten(self, serve: Serve) -> None:
        fed = Fed()
        client = serve(fed.app)
        with listening(client, "ada"), listening(client, "ada"), socket_of(client, "ada") as one:
            assert heard(one)[0] == "hello"
            assert fed.router.clients == 3
        until(lambda: fed.router.clients == 0)


class TestSockets:
    def test_hears_the_same(self, serve: Serve) -> None:
        fed = Fed(heartbeat_seconds=0.05)
        fed.users.watchable = {("ada", "team:t1")}
        client = serve(fed.app)
        with socket_of(client, "ada", "?watch=team:t1") as one:
            assert heard(one) == ("hello", {"heartbeat_seconds": 0.05})
            assert heard(one)[0] == "heartbeat"
            invalidate(client, "team:t1")
            messages = iter(lambda: heard(one), None)
            assert next(m for m in messages if m[0] != "heartbeat") == (
                "changed",
                {"names": ["team:t1"]},
            )
            fed.users.barred = {"ada"}
            invalidate(client, "user:ada")
            assert next(m for m in messages if m[0] != "heartbeat") == (
                "ended",
                {"reason": "refused"},
            )
            with pytest.raises(ConnectionClosed) as closed:
                heard(one)
            assert closed.value.rcvd is not None and closed.value.rcvd.code == 1008

    def test_a_refusal_has_the_id_of_its_request(self, serve: Serve) -> None:
        fed = Fed()
        fed.app.add_middleware(RequestIdMiddleware)
        client = serve(fed.app)
        with pytest.raises(InvalidStatus, match="401") as refused:
            url = f"ws://127.0.0.1:{client.base_url.port}/feed/socket"
            connect(url, additional_headers={"X-Request-ID": "r-1"})
        assert refused.value.response.headers.get_all("x-request-id") == ["r-1"]

    def test_who_writes_is_cut_off(self, serve: Serve) -> None:
        fed = Fed()
        client = serve(fed.app)
        with socket_of(client, "ada") as one:
            assert heard(one)[0] == "hello"
            one.send("hello?")
            with pytest.raises(ConnectionClosed) as closed:
                heard(one)
            assert closed.value.rcvd is not None and closed.value.rcvd.code == 1008
        until(lambda: fed.router.clients == 0)


class TestMany:
    def test_a_client_that_never_reads_costs_bounded_memory_and_is_cut_off(
        self, serve: Serve
    ) -> None:
        fed = Fed(send_timeout_seconds=0.2, max_names=1000)
        fed.users.watchable = {("ada", f"generation:{n:0200}") for n in range(40)}
        client = serve(fed.app)
        query = "&".join(f"watch=generation:{n:0200}" for n in range(40))
        head = f"GET /feed/events?{query} HTTP/1.1\r\nHost: x\r\n"
        head += "Authorization: Bearer token-of-ada\r\n\r\n"
        with socket.socket() as one:
            # As little as the system takes, so that it is soon full.
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            one.connect(("127.0.0.1", client.base_url.port))
            one.sendall(head.encode())
            until(lambda: fed.router.clients == 1)
            (hub,) = fed.router._hubs.values()
            (listener,) = hub._clients

            def flood() -> bool:
                client.post("/wildcard", params={"pattern": "auth:gen:*"})
                assert len(listener.news) <= 41
                return fed.router.clients == 0

            until(flood)

    def test_many_clients_hear_of_their_own(self, serve: Serve) -> None:
        fed = Fed(max_clients_per_user=60)
        client = serve(fed.app)
        port = client.base_url.port
        sockets: list[socket.socket] = []
        try:
            for number in range(200):
                one = socket.create_connection(("127.0.0.1", port))
                head = "GET /feed/events HTTP/1.1\r\nHost: x\r\n"
                head += f"Authorization: Bearer token-of-user-{number % 100}\r\n\r\n"
                one.sendall(head.encode())
                sockets.append(one)
            until(lambda: fed.router.clients == 200)
            invalidate(client, "user:user-7")
            for number, one in enumerate(sockets):
                one.settimeout(LIMIT_SECONDS)
                if number % 100 == 7:
                    text = b""
                    while b"event: changed" not in text:
                        text += one.recv(4096)
        finally:
            for one in sockets:
                one.close()
        until(lambda: fed.router.clients == 0)


class TestMaking:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"guard": None}, "guard is missing"),
            ({"prefix": "feed"}, "prefix"),
            ({"prefix": "/feed/"}, "prefix"),
            ({"prefix": "/{x}"}, "prefix"),
            ({"trusted_origins": ["app.example"]}, "trusted_origins"),
            ({"poll_interval_seconds": 0}, "poll_interval_seconds"),
            ({"heartbeat_seconds": float("nan")}, "heartbeat_seconds"),
            ({"send_timeout_seconds": -1}, "send_timeout_seconds"),
            ({"max_lifetime_seconds": float("inf")}, "max_lifetime_seconds"),
            ({"max_clients": 0}, "max_clients"),
            ({"max_clients_per_user": True}, "max_clients_per_user"),
            ({"max_names": 1001}, "max_names"),
        ],
    )
    def test_wrong_settings_are_told_at_once(self, options: Any, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            create_invalidation_feed_router(**{"guard": Fed().users, **options})

    def test_a_guard_is_an_async_function_of_the_connection(self) -> None:
        async def two(one: object, other: object) -> str:
            return "ada"

        for guard in (lambda connection: "ada", two, "guard", 1):
            with pytest.raises(TypeError, match="guard must"):
                create_invalidation_feed_router(guard=guard)  # type: ignore[arg-type]

    def test_a_guard_says_what_its_argument_is(self) -> None:
        # Else FastAPI takes it for a parameter of the query, and answers every client with 422.
        async def bare(connection):  # type: ignore[no-untyped-def]
            return "ada"

        async def text(connection: str) -> str:
            return "ada"

        async def other_scope(connection: WebSocket) -> str:
            return "ada"

        for guard in (bare, text, other_scope):
            with pytest.raises(TypeError, match="connection: HTTPConnection"):
                create_invalidation_feed_router(guard=guard)

    def test_a_guard_may_say_so_in_any_way_fastapi_reads(self, serve: Serve) -> None:
        async def request(one: Request) -> str:
            return "ada"

        async def annotated(one: Annotated[HTTPConnection, "who asks"]) -> str:
            return "ada"

        app = FastAPI(lifespan=velro_lifespan())
        for number, guard in enumerate((request, annotated, RequireIdentity())):
            app.include_router(create_invalidation_feed_router(guard, prefix=f"/feed{number}"))
        client = serve(app)
        for number in range(2):
            with client.stream("GET", f"/feed{number}/events") as stream:
                assert stream.status_code == 200
