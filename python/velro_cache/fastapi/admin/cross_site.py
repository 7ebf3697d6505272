"""Whether a request that changes something may come from a page of another site.

Browsers send credentials along with requests of any page. Two things stop that here: a body of a
kind that no form can send, and what browsers say about where a request comes from.
"""

from collections.abc import Collection
from urllib.parse import urlsplit

from fastapi import HTTPException, Request
from fastapi.requests import HTTPConnection

__all__ = ["checked_origins", "refuse_other_pages", "refuse_other_sites"]


def checked_origins(origins: Collection[str]) -> frozenset[str]:
    """Refuse what is no origin, when the router is made.

    Args:
        origins: Such as ``https://ops.example``.

    Returns:
        The same, to be compared with.

    Raises:
        ValueError: One has no scheme or no host, or more than these and a port.
    """
    if isinstance(origins, str):
        raise ValueError("trusted_origins is a list of texts, not one text")
    for origin in origins:
        scheme, _, rest = origin.partition("://")
        if scheme not in ("http", "https") or not rest or set(rest) & set("/?#@*\\ "):
            raise ValueError(f"trusted_origins: {origin!r:.80} is not like https://ops.example")
    return frozenset(origin.lower() for origin in origins)


def refuse_other_sites(request: Request, trusted_origins: Collection[str]) -> None:
    """Let through programs, pages of the same host, and pages that are trusted by name.

    Args:
        request: One that changes something.
        trusted_origins: Other origins whose pages may.

    Raises:
        HTTPException: 403: a page of another site sent it. 415: its body is not JSON.
    """
    kinds = request.headers.getlist("content-type")
    if len(kinds) != 1 or kinds[0].partition(";")[0].strip().lower() != "application/json":
        raise HTTPException(415, "Send JSON, with Content-Type: application/json")
    refuse_other_pages(request, trusted_origins)


def refuse_other_pages(connection: HTTPConnection, trusted_origins: Collection[str]) -> None:
    """Let through programs, pages of the same host, and pages that are trusted by name.

    Args:
        connection: The request or WebSocket.
        trusted_origins: Other origins whose pages may.

    Raises:
        HTTPException: 403: a page of another site sent it.
    """
    origins = {origin.lower() for origin in connection.headers.getlist("origin")}
    if origins and origins <= set(trusted_origins):
        return
    sites = set(connection.headers.getlist("sec-fetch-site"))
    # "same-site" would trust every other subdomain; "none" is the user's own doing.
    if not sites <= {"same-origin", "none"}:
        raise HTTPException(403, "Requests of other sites are refused")
    # A page cannot set this header, so it is right even where a proxy has rewritten the host.
    if sites == {"same-origin"}:
        return
    hosts = {host.lower() for host in connection.headers.getlist("host")}
    # Pages without an origin, and those in a sandbox, say "null", which is nobody's host.
    if any(_host_of(origin) not in hosts for origin in origins):
        raise HTTPException(403, "Requests of other sites are refused")


def _host_of(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc or None
    except ValueError:
        return None
