"""Who sent a request, for what is bounded by source.

``X-Forwarded-For`` says what anybody wrote into it. Only the part that one's own proxies wrote
counts: the list is read from its end, as long as the hops are proxies one trusts; the first that is
none is who sent the request.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Mapping
from typing import Any, Final, TypeAlias

__all__ = ["RequestSource"]

_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

_MOST_HOPS: Final = 16
"""More proxies nobody has in a row."""

_MOST_BYTES: Final = 1024
"""Of the end of the header: what is before was written by whoever is furthest away."""

_SUBSCRIBER_BITS: Final = 64
"""One holder of IPv6 addresses has a network of them; by address it would be as many sources."""


class RequestSource:
    """Tells the source of a request.

    Args:
        trusted_proxies: Networks or addresses of proxies whose ``X-Forwarded-For`` is believed.
            None: nobody's; the direct peer is the source.

    Raises:
        TypeError: ``trusted_proxies`` is a single text.
        ValueError: One of them is no network.
    """

    __slots__ = ("_networks",)

    def __init__(self, trusted_proxies: Collection[str] = ()) -> None:
        if isinstance(trusted_proxies, str):
            raise TypeError("trusted_proxies must be several networks, not one text")
        self._networks: tuple[_Network, ...] = tuple(
            ipaddress.ip_network(one) for one in trusted_proxies
        )

    def of(self, scope: Mapping[str, Any]) -> str | None:
        """The source of a request.

        Args:
            scope: The ASGI scope.

        Returns:
            An address, or a network of IPv6. None: not known, as on a Unix socket.
        """
        client = scope.get("client")
        if not client:
            return None
        peer = _address(str(client[0]))
        if peer is None:
            return str(client[0])[:64]
        if self._networks and self._trusts(peer):
            peer = self._forwarded_by(scope, peer)
        if peer.version == 6:
            return str(ipaddress.ip_network((peer, _SUBSCRIBER_BITS), strict=False))
        return str(peer)

    def _forwarded_by(self, scope: Mapping[str, Any], peer: _Address) -> _Address:
        lines = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
        text = b",".join(line[-_MOST_BYTES:] for line in lines[-_MOST_HOPS:])[-_MOST_BYTES:]
        for hop in reversed(text.decode("latin-1").rsplit(",", _MOST_HOPS)[-_MOST_HOPS:]):
            address = _address(hop.strip())
            if address is None:
                # Whoever wrote this says nothing about who asked: the hop before is what is known.
                return peer
            peer = address
            if not self._trusts(peer):
                return peer
        return peer

    def _trusts(self, address: _Address) -> bool:
        return any(address in network for network in self._networks)


def _address(text: str) -> _Address | None:
    """An address as proxies write it: alone, with a port, or in brackets."""
    if len(text) > 64:
        return None
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return address if mapped is None else mapped
