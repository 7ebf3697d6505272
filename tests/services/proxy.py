"""A TCP proxy that misbehaves on demand: the network between a process and a server it uses.

It knows nothing of what it carries, so it stands before Redis and PostgreSQL alike. Each fault is
in force when the call that asks for it returns::

    with Proxy(server.port) as proxy:
        client = connect(proxy.port)
        proxy.freeze()      # connections stay, nothing moves, new ones are accepted and kept
        proxy.thaw()        # everything as it should be again
"""

from __future__ import annotations

import selectors
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Literal, Self

__all__ = ["Proxy"]

How = Literal["rst", "fin"]
Half = Literal["requests", "answers"]

_PATIENCE_SECONDS = 20.0
"""Longest wait for the proxy's own thread, which never waits for anybody itself."""
_MOST_KEPT_BYTES = 1 << 20
"""In flight for one direction of one connection; beyond it the sender has to wait, as in a
network."""
_CHUNK_BYTES = 1 << 16


class Proxy:
    """Passes connections on to a port of this machine, until it is told to misbehave.

    Args:
        target_port: Where connections go.

    Attributes:
        port: Where to connect instead; stays the same for good.
        accepted: How many connections were passed on so far.
    """

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        # Bound and never listening: nobody else can have the port while connections are refused.
        self._reservation = _bound(0)
        self.port: int = self._reservation.getsockname()[1]
        self.accepted = 0
        self._frozen = False
        self._delay_seconds = 0.0
        self._bytes_per_second: float | None = None
        self._dropped: Half | None = None
        self._pairs: list[_Pair] = []
        self._selector = selectors.DefaultSelector()
        self._bell, self._bell_rope = socket.socketpair()
        self._bell.setblocking(False)
        self._selector.register(self._bell, selectors.EVENT_READ)
        self._orders: deque[tuple[Callable[[], None], threading.Event]] = deque()
        self._closing = False
        self._listener: socket.socket | None = None
        self._listen()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def open_connections(self) -> int:
        """How many connections are passed on at this moment."""
        return len(self._pairs)

    def freeze(self) -> None:
        """Keep all connections and accept new ones, and move not one byte."""
        self._order(lambda: setattr(self, "_frozen", True))

    def delay(self, seconds: float) -> None:
        """Deliver everything that comes from now on so much later, in order."""
        self._order(lambda: setattr(self, "_delay_seconds", seconds))

    def trickle(self, bytes_per_second: float) -> None:
        """Let through so many bytes per second, in each direction of each connection."""
        self._order(lambda: setattr(self, "_bytes_per_second", bytes_per_second))

    def drop_half(self, half: Half = "answers") -> None:
        """Throw away what goes in one direction; the other one works."""
        self._order(lambda: setattr(self, "_dropped", half))

    def cut(self, how: How = "rst") -> None:
        """End all connections, by a reset or in good order; new ones are welcome."""
        self._order(lambda: self._cut(how))

    def refuse(self, how: How = "rst") -> None:
        """End all connections and refuse new ones, as if the server was not there."""

        def order() -> None:
            self._stop_listening()
            self._cut(how)

        self._order(order)

    def retarget(self, target_port: int) -> None:
        """Send new connections elsewhere: an address that moved to another server."""
        self._order(lambda: setattr(self, "_target_port", target_port))

    def thaw(self) -> None:
        """End all misbehaviour. What was held back moves on; what lost bytes is reset."""

        def order() -> None:
            self._frozen, self._dropped = False, None
            self._delay_seconds, self._bytes_per_second = 0.0, None
            for pair in [pair for pair in self._pairs if pair.has_lost_bytes]:
                self._end(pair, "rst")
            if self._listener is None:
                self._listen()

        self._order(order)

    def close(self) -> None:
        """End all connections and the thread; calling it again does nothing."""
        if not self._closing:
            self._order(lambda: setattr(self, "_closing", True))
            self._thread.join(_PATIENCE_SECONDS)
            assert not self._thread.is_alive(), "the proxy does not stop"

    def _order(self, order: Callable[[], None]) -> None:
        done = threading.Event()
        self._orders.append((order, done))
        self._bell_rope.send(b"!")
        assert done.wait(_PATIENCE_SECONDS), "the proxy does not answer"

    def _run(self) -> None:
        while not self._closing:
            if self._listener is not None:
                self._select(self._listener, 0 if self._frozen else selectors.EVENT_READ)
            now = time.monotonic()
            pauses = [pause for pair in self._pairs if (pause := self._watch(pair, now))]
            for key, events in self._selector.select(min(pauses, default=None)):
                if key.fileobj is self._bell:
                    self._obey()
                elif key.fileobj is self._listener:
                    self._accept()
                elif key.data in self._pairs:
                    self._serve(key.data, key.fileobj, events)
        self._stop_listening()
        self._cut("rst")
        self._selector.close()
        for own in (self._bell, self._bell_rope, self._reservation):
            own.close()

    def _obey(self) -> None:
        with suppress(BlockingIOError):
            self._bell.recv(_CHUNK_BYTES)
        while self._orders:
            order, done = self._orders.popleft()
            order()
            done.set()

    def _listen(self) -> None:
        self._listener = _bound(self.port)
        self._listener.listen(128)
        self._listener.setblocking(False)

    def _stop_listening(self) -> None:
        if self._listener is not None:
            self._select(self._listener, 0)
            self._listener.close()
            self._listener = None

    def _accept(self) -> None:
        # While frozen, the kernel accepts, and nobody takes the connection from it.
        if self._frozen or self._listener is None:
            return
        try:
            client, _ = self._listener.accept()
        except OSError:
            return
        try:
            # A port of this machine: it answers at once or not at all.
            server = socket.create_connection(("127.0.0.1", self._target_port), timeout=1)
        except OSError:
            _close(client, "rst")
            return
        self.accepted += 1
        for end in (client, server):
            end.setblocking(False)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._pairs.append(_Pair(client, server))

    def _watch(self, pair: _Pair, now: float) -> float | None:
        """Wait for what may move now; return after how many seconds there is something else."""
        wanted = {pair.client: 0, pair.server: 0}
        pauses = []
        if not self._frozen:
            for way in pair.ways:
                if not way.ended and way.size < _MOST_KEPT_BYTES:
                    wanted[way.source] |= selectors.EVENT_READ
                if way.queue and (pause := way.due - now) > 0:
                    pauses.append(pause)
                elif way.queue or way.must_pass_on_the_end:
                    wanted[way.sink] |= selectors.EVENT_WRITE
        for end, events in wanted.items():
            self._select(end, events, pair)
        return min(pauses, default=None)

    def _select(self, end: socket.socket, events: int, data: object = None) -> None:
        """Tell the selector what to wait for; it does not take "nothing" for an answer."""
        watched = end in self._selector.get_map()
        if watched and not events:
            self._selector.unregister(end)
        elif watched:
            self._selector.modify(end, events, data)
        elif events:
            self._selector.register(end, events, data)

    def _serve(self, pair: _Pair, end: object, events: int) -> None:
        if self._frozen:
            return
        try:
            for half, way in zip(("requests", "answers"), pair.ways, strict=True):
                if way.source is end and events & selectors.EVENT_READ:
                    way.take(self._delay_seconds, drop=self._dropped == half)
                if way.sink is end and events & selectors.EVENT_WRITE:
                    way.give(self._bytes_per_second)
        except BlockingIOError:
            return
        except OSError:
            self._end(pair, "rst")
            return
        if all(way.is_over for way in pair.ways):
            self._end(pair, "fin")

    def _cut(self, how: How) -> None:
        for pair in list(self._pairs):
            self._end(pair, how)

    def _end(self, pair: _Pair, how: How) -> None:
        self._pairs.remove(pair)
        for end in (pair.client, pair.server):
            self._select(end, 0)
            _close(end, how)


class _Way:
    """One direction of one connection, and what is on its way."""

    def __init__(self, source: socket.socket, sink: socket.socket) -> None:
        self.source, self.sink = source, sink
        self.queue: deque[tuple[float, bytes]] = deque()
        self.size = 0
        self.ended = False
        self.is_over = False
        self.has_lost_bytes = False
        self._not_before = 0.0

    @property
    def due(self) -> float:
        """When the next bytes may move on."""
        return max(self.queue[0][0], self._not_before)

    @property
    def must_pass_on_the_end(self) -> bool:
        """Whether the sender is done, and the receiver has everything but does not know it."""
        return self.ended and not self.queue and not self.is_over

    def take(self, delay_seconds: float, *, drop: bool) -> None:
        data = self.source.recv(_CHUNK_BYTES)
        if not data:
            self.ended = True
        elif drop:
            self.has_lost_bytes = True
        else:
            self.queue.append((time.monotonic() + delay_seconds, data))
            self.size += len(data)

    def give(self, bytes_per_second: float | None) -> None:
        now = time.monotonic()
        while self.queue and self.due <= now:
            due, data = self.queue[0]
            # Ten portions a second, so that a trickle is not a gush with pauses.
            most = len(data) if bytes_per_second is None else max(1, int(bytes_per_second / 10))
            sent = self.sink.send(data[:most])
            self.size -= sent
            if sent < len(data):
                self.queue[0] = (due, data[sent:])
            else:
                self.queue.popleft()
            if bytes_per_second is not None:
                self._not_before = now + sent / bytes_per_second
        if self.must_pass_on_the_end:
            self.is_over = True
            self.sink.shutdown(socket.SHUT_WR)


class _Pair:
    """A connection from a client, and the one to the server that was made for it."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client, self.server = client, server
        self.ways = (_Way(client, server), _Way(server, client))

    @property
    def has_lost_bytes(self) -> bool:
        """Whether a direction misses bytes, so that nothing sensible can follow."""
        return any(way.has_lost_bytes for way in self.ways)


def _bound(port: int) -> socket.socket:
    own = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    own.bind(("127.0.0.1", port))
    return own


def _close(end: socket.socket, how: How) -> None:
    if how == "rst":
        # Lingering for no time at all means a reset.
        with suppress(OSError):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    end.close()
