"""Asks the admin routes of a service, with nothing but the standard library.

The credential comes from the environment, never from the command line, where every user of the
machine could read it. It goes to the address that was named and nowhere else: redirects are not
followed, and over unencrypted HTTP it is sent to this machine only, unless allowed.
"""

import argparse
import http.client
import json
import os
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

__all__ = [
    "TOKEN_VARIABLE",
    "AdminClient",
    "AdminError",
    "add_connection_options",
    "client_for",
    "printable",
    "read_figures",
    "read_recommendations",
]

TOKEN_VARIABLE: Final = "VELRO_CACHE_ADMIN_TOKEN"  # noqa: S105 - the name of a variable
_DEFAULT_URL: Final = "http://127.0.0.1:8000/admin/cache"

_REFUSED: Final = 1
_NOT_UNDERSTOOD: Final = 2
_NOT_REACHED: Final = 3
_NO_CREDENTIAL: Final = 4

_MOST_ANSWER_BYTES: Final = 16 * 1024 * 1024
_MOST_SHOWN_CHARACTERS: Final = 500
_SOMETHING_ELSE: Final = "what answers there are not the admin routes of a cache"
_FIGURES: Final = {
    *("cache", "process_id", "total_requests", "cache_hits", "hit_rate_percent", "sets"),
    *("average_access_time_ms", "total_entries", "max_entries", "total_size_mb", "max_size_mb"),
    *("evicted_entries", "expired_entries", "invalidated_entries", "oversize_rejects"),
    *("stale_rejects", "lock_timeouts", "fail_closed_lookups", "stale_served_lookups"),
    *("latency", "families", "lives", "sharing", "log"),
}
"""What the commands make use of."""
_THIS_MACHINE: Final = ("localhost", "127.0.0.1", "::1")


class AdminError(Exception):
    """A service was not asked, or did not do what it was asked.

    Args:
        message: For the user. Holds no credential.
        exit_status: 1: the service says no; 3: it was not reached, or something else answers; 4:
            the credential is missing or was refused.
    """

    def __init__(self, message: str, exit_status: int) -> None:
        super().__init__(message)
        self.exit_status = exit_status


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect would take the credential to an address nobody named."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Follow none."""
        return None


class AdminClient:
    """Asks one service.

    Args:
        url: Address of the admin routes, with their prefix.
        token: Credential, sent as ``Authorization: Bearer``.
        timeout_seconds: Longest wait for a connection, and for each piece of an answer.
        allow_http: Whether the credential may go unencrypted to another machine.

    Raises:
        AdminError: The address cannot be used; nothing was sent.
    """

    def __init__(
        self, url: str, token: str, timeout_seconds: float = 10.0, *, allow_http: bool = False
    ) -> None:
        self._url = _checked(url, allow_http)
        self._token = token
        self._timeout_seconds = timeout_seconds
        handlers: list[Any] = [_NoRedirects()]
        if self._url.startswith("http:"):
            # A proxy would read what it carries.
            handlers.append(urllib.request.ProxyHandler({}))
        self._opener = urllib.request.build_opener(*handlers)

    def get(self, path: str, **query: str | int) -> dict[str, Any]:
        """Ask for something.

        Args:
            path: Below the prefix, such as ``/stats``.
            **query: Parameters.

        Returns:
            The answer.

        Raises:
            AdminError: There is none, or it says no.
        """
        question = f"?{urlencode(query)}" if query else ""
        status, answer = self._ask("GET", path + question, None)
        if status != 200:
            raise _says_no(status, answer)
        return answer

    def post(self, path: str, body: Mapping[str, Any]) -> tuple[int, dict[str, Any]]:
        """Have something done.

        Args:
            path: Below the prefix, such as ``/clear``.
            body: What to send.

        Returns:
            200, or 202 for what goes on, and the answer; or 503 and what holds all the same.

        Raises:
            AdminError: There is no answer, or it says no.
        """
        status, answer = self._ask("POST", path, json.dumps(body).encode())
        if status not in (200, 202) and not (status == 503 and "holds" in answer):
            raise _says_no(status, answer)
        return status, answer

    def _ask(self, method: str, path: str, body: bytes | None) -> tuple[int, dict[str, Any]]:
        headers = {"Authorization": f"Bearer {self._token}", "Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        request = urllib.request.Request(  # noqa: S310 - the scheme is checked
            self._url + path, data=body, headers=headers, method=method
        )
        try:
            with self._opener.open(request, timeout=self._timeout_seconds) as response:
                return response.status, _decoded(response.read(_MOST_ANSWER_BYTES + 1))
        except urllib.error.HTTPError as error:
            with error:
                return error.code, _refusal(error)
        except urllib.error.URLError as error:
            raise self._not_reached(error.reason) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise self._not_reached(error) from None

    def _not_reached(self, reason: object) -> AdminError:
        why = str(reason) or type(reason).__name__
        return AdminError(f"{self._url} was not reached: {_shown(why)}", _NOT_REACHED)


def add_connection_options(parser: argparse.ArgumentParser) -> None:
    """Add what all commands that ask a service have in common."""
    parser.add_argument(
        "--url", default=_DEFAULT_URL, help=f"address of the admin routes (default: {_DEFAULT_URL})"
    )
    parser.add_argument(
        "--timeout", type=_seconds, default=10.0, metavar="SECONDS", help="longest wait (10)"
    )
    parser.add_argument(
        "--allow-http",
        action="store_true",
        help="send the credential unencrypted to another machine",
    )
    parser.epilog = f"The credential is read from {TOKEN_VARIABLE}."


def client_for(options: argparse.Namespace) -> AdminClient:
    """Make a client from the options and the environment.

    Raises:
        AdminError: There is no credential, or the address cannot be used.
    """
    token = os.environ.get(TOKEN_VARIABLE, "").strip()
    if not token:
        raise AdminError(f"set {TOKEN_VARIABLE} to the credential of an operator", _NO_CREDENTIAL)
    if not all("!" <= char <= "~" for char in token):
        raise AdminError(
            f"{TOKEN_VARIABLE} is no token: it holds spaces or the like", _NO_CREDENTIAL
        )
    return AdminClient(options.url, token, options.timeout, allow_http=options.allow_http)


def read_figures(client: AdminClient) -> dict[str, Any]:
    """Read the statistics of a worker, and the targets they are to be compared with.

    Args:
        client: Whom to ask.

    Returns:
        The answer of ``/stats``; from that of ``/targets`` and the figures, whether they are met.
        Targets are the same in all workers, so it does not matter which of them answers.

    Raises:
        AdminError: There is no answer, or it is none of the admin routes.
    """
    stats, targets = client.get("/stats"), client.get("/targets")
    if not _FIGURES.issubset(stats):
        raise AdminError(_SOMETHING_ELSE, _NOT_REACHED)
    try:
        rate, mean_ms = targets["target_hit_rate_percent"], targets["target_access_time_ms"]
        return {
            **stats,
            "target_hit_rate_percent": rate,
            "target_access_time_ms": mean_ms,
            "meeting_hit_rate_target": not stats["total_requests"]
            or stats["hit_rate_percent"] >= rate,
            "meeting_access_time_target": stats["average_access_time_ms"] <= mean_ms,
        }
    except (KeyError, TypeError):
        raise AdminError(_SOMETHING_ELSE, _NOT_REACHED) from None


def read_recommendations(client: AdminClient) -> dict[str, Any]:
    """Read what the figures of a worker suggest.

    Args:
        client: Whom to ask.

    Returns:
        ``recommendations`` and ``what_if``, and ``process_id`` of the worker that answered, which
        may be another one than that of earlier answers.

    Raises:
        AdminError: There is no answer, or it is none of the admin routes.
    """
    answer = client.get("/recommendations")
    try:
        # What the command prints, and so has to be there.
        for finding in answer["recommendations"]:
            " ".join(finding[name] for name in ("severity", "title", "detail", "action"))
        for one in (answer["what_if"] or {"estimates": ()})["estimates"]:
            _ = (one["change"], 0.0 + one["factor"], 0.0 + (one["estimated_hit_rate"] or 0.0))
        _ = 0.0 + (answer["what_if"] or {"measured_hit_rate": 0.0})["measured_hit_rate"]
    except (KeyError, TypeError):
        raise AdminError(_SOMETHING_ELSE, _NOT_REACHED) from None
    return answer


def _checked(url: str, allow_http: bool) -> str:
    wrong = AdminError("--url must be like https://service.example/admin/cache", _NOT_UNDERSTOOD)
    try:
        parts = urlsplit(url)
        host = parts.hostname
        _ = parts.port
    except ValueError:
        raise wrong from None
    if parts.scheme not in ("http", "https") or not host or parts.query or parts.fragment:
        raise wrong
    if not url.isascii() or not url.isprintable() or " " in url:
        raise wrong
    if parts.username is not None:
        raise AdminError(
            f"--url must hold no credential; it belongs into {TOKEN_VARIABLE}", _NO_CREDENTIAL
        )
    if parts.scheme == "http" and host not in _THIS_MACHINE and not allow_http:
        raise AdminError(
            "the credential would go unencrypted over the network; use https://, or --allow-http",
            _NOT_REACHED,
        )
    return url.rstrip("/")


def _decoded(content: bytes) -> dict[str, Any]:
    if len(content) > _MOST_ANSWER_BYTES:
        raise AdminError("the answer is too long to be one of the admin routes", _NOT_REACHED)
    try:
        answer = json.loads(content)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        raise AdminError(_SOMETHING_ELSE, _NOT_REACHED)
    return answer


def _refusal(error: urllib.error.HTTPError) -> dict[str, Any]:
    """What a refusal says; whoever refuses need not be the admin routes."""
    try:
        answer = json.loads(error.read(_MOST_ANSWER_BYTES))
    except (OSError, http.client.HTTPException, ValueError, RecursionError):
        answer = None
    answer = answer if isinstance(answer, dict) else {}
    after = error.headers.get("Retry-After")
    return answer | ({"retry_after": after} if after else {})


def _says_no(status: int, answer: Mapping[str, Any]) -> AdminError:
    detail = answer.get("detail")
    if isinstance(detail, list):
        detail = "; ".join(
            f"{'.'.join(map(str, one.get('loc', [])))}: {one.get('msg')}"
            for one in detail
            if isinstance(one, dict)
        )
    said = f": {_shown(str(detail))}" if detail else ""
    if status in (401, 403):
        return AdminError(f"the service refuses the credential ({status}){said}", _NO_CREDENTIAL)
    if status == 404 or 300 <= status < 400:
        return AdminError(
            f"there are no such admin routes at this address ({status}){said}", _NOT_REACHED
        )
    if "retry_after" in answer:
        said += f"; try again in {_shown(str(answer['retry_after']))} s"
    return AdminError(f"the service says no ({status}){said}", _REFUSED)


def printable(text: str) -> str:
    """Make a text of somebody else's fit for a terminal: it could hold commands to it.

    Args:
        text: Whatever; its lines stay lines.
    """
    return "".join(char if char.isprintable() or char == "\n" else " " for char in text)


def _shown(text: str) -> str:
    return printable(text).replace("\n", " ")[:_MOST_SHOWN_CHARACTERS]


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.01 <= seconds <= 600:
        raise argparse.ArgumentTypeError(f"must be a number from 0.01 to 600: {text!r:.40}")
    return seconds
