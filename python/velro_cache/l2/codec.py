"""What is kept for one key: the value, and all that must be known to believe it.

An envelope is two bytes (version, kind of seal) and what the seal made of the body; the body is a
row of MessagePack objects: generation and number of the log's entry the loading host had applied
before it loaded, end of the value's life on the wall clock, whether it is permissive, its tags, and
the value as :mod:`velro_cache.l2.values` writes it. Nothing is ever unpickled.

Reading is bounded: at most 1 MiB, no container that was not paid for with bytes, a limited depth;
and it ends in an envelope or in a :class:`RefusedValueError`, whatever the bytes.
"""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from velro_cache.exceptions import ConfigError
from velro_cache.l2.refused import RefusedValueError
from velro_cache.l2.seal import Seal
from velro_cache.l2.values import Part, ValueNotSharedError, flatten, rebuild

__all__ = ["MAX_ENVELOPE_BYTES", "Codec", "Envelope"]

MAX_ENVELOPE_BYTES: Final = 1 << 20
"""A decision takes a few hundred bytes. What is much larger is faster loaded than read here."""

_VERSION: Final = 1
_MOST_TAGS: Final = 1000
_END: Final = object()


class Envelope(NamedTuple):
    """A value with what must be known to believe it."""

    generation: str
    """The life of the log in which it was loaded."""
    sequence: int
    """The log's entry that the loading host had applied before it began to load."""
    expires_at: float
    """End of its life, in seconds on the wall clock."""
    permissive: bool
    """Whether it allows something, so that it must be known to be of now."""
    tags: tuple[str, ...]
    """By what it is invalidated, besides its key."""
    value: Any


class Codec:
    """Writes and reads envelopes.

    Args:
        name: That of the cache; an envelope of another one is refused.
        seal: How they are sealed.

    Raises:
        ConfigError: The package ``msgpack`` is not installed.
    """

    __slots__ = ("_msgpack", "_name", "_seal", "_start")

    def __init__(self, name: str, seal: Seal) -> None:
        try:
            import msgpack
        except ImportError as error:
            raise ConfigError(
                "values shared between hosts need the package msgpack:"
                " pip install 'velro-cache[redis]'"
            ) from error
        self._msgpack: Any = msgpack
        self._seal = seal
        self._start = bytes([_VERSION, seal.mode])
        self._name = name.encode()

    def encode(self, key: str, envelope: Envelope) -> bytes:
        """Write an envelope.

        Args:
            key: The key it is for.
            envelope: What to write.

        Returns:
            At most :data:`MAX_ENVELOPE_BYTES`.

        Raises:
            ValueNotSharedError: The value is of a type that is not shared, or too large.
        """
        if len(envelope.tags) > _MOST_TAGS:
            raise ValueNotSharedError("size")
        about = (
            envelope.generation,
            envelope.sequence,
            envelope.expires_at,
            envelope.permissive,
            len(envelope.tags),
            *envelope.tags,
        )
        ext_type = self._msgpack.ExtType
        pack = self._msgpack.Packer(unicode_errors="surrogatepass").pack
        body = b"".join(
            [
                pack(ext_type(*part) if type(part) is Part else part)
                for part in (*about, *flatten(envelope.value, MAX_ENVELOPE_BYTES))
            ]
        )
        sealed = self._start + self._seal.close(self._context(key), body)
        if len(sealed) > MAX_ENVELOPE_BYTES:
            raise ValueNotSharedError("size")
        return sealed

    def decode(self, key: str, data: bytes) -> Envelope:
        """Read an envelope.

        Args:
            key: The key it was asked for under.
            data: Whatever the backend returned.

        Returns:
            The envelope, as it was written for this very key by a host with the same settings.

        Raises:
            RefusedValueError: It is anything else.
        """
        if type(data) is not bytes:
            raise RefusedValueError("not_bytes")
        if len(data) > MAX_ENVELOPE_BYTES:
            raise RefusedValueError("size")
        if data[:1] != self._start[:1]:
            raise RefusedValueError("version")
        if data[:2] != self._start:
            # Made without a key by whoever likes, or with one that is not known here.
            raise RefusedValueError("settings")
        body = self._seal.open(self._context(key), data[2:])
        try:
            return _read(self._objects(body))
        except Exception as error:
            # Anything may come of bytes from outside; it is never more than one value not shared.
            raise RefusedValueError("content") from error

    def _objects(self, body: bytes) -> Iterator[Any]:
        # Every object takes more bytes than it claims, since containers of MessagePack's own,
        # which set memory aside for what they claim, are not allowed to hold anything.
        size = len(body)
        unpacker = self._msgpack.Unpacker(
            raw=False,
            unicode_errors="surrogatepass",
            strict_map_key=False,
            ext_hook=Part,
            max_buffer_size=size + 1,
            max_str_len=size,
            max_bin_len=size,
            max_ext_len=size,
            max_array_len=0,
            max_map_len=0,
        )
        unpacker.feed(body)
        read: int = 0
        for part in unpacker:
            read = unpacker.tell()
            yield part
        if read != size:
            raise ValueError("the last object is cut off")

    def _context(self, key: str) -> bytes:
        # A name holds no zero byte.
        return self._start + self._name + b"\0" + key.encode("utf-8", "surrogatepass")


def _read(parts: Iterator[Any]) -> Envelope:
    generation, sequence, expires_at = next(parts), next(parts), next(parts)
    permissive, count = next(parts), next(parts)
    kinds = (type(generation), type(sequence), type(expires_at), type(permissive), type(count))
    if kinds != (str, int, float, bool, int) or sequence < 0 or not 0 <= count <= _MOST_TAGS:
        raise ValueError("not what stands at the beginning of a body")
    tags = tuple(next(parts) for _ in range(count))
    if any(type(tag) is not str for tag in tags):
        raise ValueError("a tag that is no text")
    value = rebuild(parts)
    if next(parts, _END) is not _END:
        raise ValueError("something stands after the value")
    return Envelope(generation, sequence, expires_at, permissive, tags, value)
