"""The proxy does to connections what it says, and nothing else."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Generator

import pytest

from services.proxy import Proxy

PATIENCE = 20.0
"""Seconds after which something that should have happened counts as never happening."""
A_MOMENT = 0.15
"""Seconds for which nothing must come. Too short a moment can only miss a fault."""


class EchoServer:
    """Sends back whatever comes, and hangs up when the client has."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.heard = bytearray()
        threading.Thread(target=self._run, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._echo, args=(connection,), daemon=True).start()

    def _echo(self, connection: socket.socket) -> None:
        with connection:
            try:
                while data := connection.recv(65536):
                    self.heard += data
                    connection.sendall(data)
            except OSError:
                pass


@pytest.fixture
def server() -> Generator[EchoServer]:
    echo = EchoServer()
    yield echo
    echo.close()


@pytest.fixture
def proxy(server: EchoServer) -> Generator[Proxy]:
    with Proxy(server.port) as between:
        yield between


def connect(proxy: Proxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=PATIENCE)


def read(client: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count and (more := client.recv(count - len(data))):
        data += more
    return data


def ask(client: socket.socket, data: bytes = b"hello") -> bytes:
    client.sendall(data)
    return read(client, len(data))


def nothing_comes(client: socket.socket) -> bool:
    client.settimeout(A_MOMENT)
    try:
        return client.recv(1) is None
    except TimeoutError:
        return True
    finally:
        client.settimeout(PATIENCE)


def test_it_passes_on_what_comes_both_ways_and_the_end_of_it(proxy: Proxy) -> None:
    data = bytes(range(256)) * 8000
    with connect(proxy) as client:
        sender = threading.Thread(target=client.sendall, args=(data,))
        sender.start()
        assert read(client, len(data)) == data
        sender.join()
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""
    assert proxy.accepted == 1


def test_many_connections_do_not_mix(proxy: Proxy) -> None:
    clients = [connect(proxy) for _ in range(20)]
    for number, client in enumerate(clients):
        client.sendall(b"%03d" % number)
    assert [read(client, 3) for client in clients] == [b"%03d" % number for number in range(20)]
    for client in clients:
        client.close()


def test_frozen_nothing_moves_and_thawed_nothing_is_missing(
    proxy: Proxy, server: EchoServer
) -> None:
    with connect(proxy) as client:
        assert ask(client) == b"hello"
        proxy.freeze()
        client.sendall(b"later")
        assert nothing_comes(client)
        assert bytes(server.heard) == b"hello"
        with connect(proxy) as newcomer:
            newcomer.sendall(b"me too")
            assert nothing_comes(newcomer)
            assert proxy.accepted == 1
            proxy.thaw()
            assert read(client, 5) == b"later"
            assert read(newcomer, 6) == b"me too"


def test_a_delay_delays_and_keeps_the_order(proxy: Proxy) -> None:
    with connect(proxy) as client:
        proxy.delay(0.1)
        began = time.monotonic()
        client.sendall(b"a")
        client.sendall(b"b")
        assert read(client, 2) == b"ab"
        # Once on the way there and once on the way back.
        assert time.monotonic() - began >= 0.2


def test_a_trickle_is_slow(proxy: Proxy) -> None:
    with connect(proxy) as client:
        proxy.trickle(1000)
        began = time.monotonic()
        assert ask(client, b"x" * 400) == b"x" * 400
        assert time.monotonic() - began >= 0.3
        proxy.thaw()
        assert ask(client, b"y" * 100_000) == b"y" * 100_000


def test_a_reset_and_an_orderly_end(proxy: Proxy) -> None:
    with connect(proxy) as client:
        assert ask(client) == b"hello"
        proxy.cut("rst")
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    with connect(proxy) as client:
        assert ask(client) == b"hello"
        proxy.cut("fin")
        assert client.recv(1) == b""
    with connect(proxy) as client:
        assert ask(client) == b"hello"


def test_refusing_ends_old_connections_and_new_ones_until_it_is_over(proxy: Proxy) -> None:
    client = connect(proxy)
    assert ask(client) == b"hello"
    proxy.refuse()
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    client.close()
    with pytest.raises(ConnectionRefusedError):
        connect(proxy)
    proxy.thaw()
    with connect(proxy) as client:
        assert ask(client) == b"hello"


def test_lost_answers_do_not_come_back_and_the_connection_ends(
    proxy: Proxy, server: EchoServer
) -> None:
    with connect(proxy) as client, connect(proxy) as quiet:
        assert ask(client) == ask(quiet) == b"hello"
        proxy.drop_half("answers")
        client.sendall(b"again")
        assert nothing_comes(client)
        assert bytes(server.heard) == b"hellohelloagain"
        proxy.thaw()
        with pytest.raises(ConnectionResetError):
            client.recv(1)
        assert ask(quiet) == b"hello"


def test_lost_requests_never_arrive(proxy: Proxy, server: EchoServer) -> None:
    with connect(proxy) as client:
        assert ask(client) == b"hello"
        proxy.drop_half("requests")
        client.sendall(b"again")
        assert nothing_comes(client)
        assert bytes(server.heard) == b"hello"


def test_new_connections_go_to_the_new_server(proxy: Proxy) -> None:
    other = EchoServer()
    with connect(proxy) as old:
        assert ask(old) == b"hello"
        proxy.retarget(other.port)
        with connect(proxy) as new:
            assert ask(new, b"other") == b"other"
        assert ask(old) == b"hello"
    assert bytes(other.heard) == b"other"
    other.close()


def test_a_server_that_is_not_there_is_a_reset(server: EchoServer) -> None:
    free = socket.create_server(("127.0.0.1", 0))
    port = free.getsockname()[1]
    free.close()
    with Proxy(port) as proxy, pytest.raises(ConnectionResetError), connect(proxy) as client:
        client.recv(1)


def test_it_stops_in_the_middle_of_every_fault(server: EchoServer) -> None:
    for fault in ("freeze", "refuse", "drop_half"):
        proxy = Proxy(server.port)
        with connect(proxy) as client:
            client.sendall(b"hello")
            getattr(proxy, fault)()
            proxy.close()
            proxy.close()
            with pytest.raises(ConnectionRefusedError):
                connect(proxy)
