"""Who may ask the app, and how much may be sent to it.

- A web page elsewhere cannot use the app through the browser of its user: the address asked for
  (`Host`) must be one of the app's own, and a page that asks (`Origin`) must be the app's.
- Where the app listens to other computers, a token is asked for, once, and kept as a cookie.
- What is sent is counted while it arrives, and cut off at `MOST_BYTES`.
- The browser is told to load nothing from elsewhere.
"""

from __future__ import annotations

import ipaddress
import secrets
import urllib.parse
from collections.abc import Awaitable, Callable
from http.cookies import CookieError, SimpleCookie
from typing import Any

from kerasgan.app.images import MOST_BYTES

COOKIE = "kerasgan_token"
METHODS = ("GET", "HEAD", "POST")
OVERHEAD = 100_000
"""Bytes of a request beyond the file that it carries."""
HEADERS = (
    (
        b"content-security-policy",
        b"default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; object-src 'none'; "
        b"frame-ancestors 'none'; base-uri 'self'; form-action 'self'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
)


class TooLarge(Exception):
    """More was sent than may be."""


class Guard:
    """ASGI middleware in front of everything.

    Args:
        app: The application behind it.
        host: The address that the app listens at.
        token: What must be known to use the app; None where only this computer can.
    """

    def __init__(self, app: Callable[..., Awaitable[None]], host: str, token: str | None = None):
        self.app, self.host, self.token = app, host, token

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass a request on, or answer it with what is wrong."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = {
            name.lower().decode("latin-1"): v.decode("latin-1") for name, v in scope["headers"]
        }
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            await _refuse(scope, send, *refusal)
            return
        if self.token is not None and not self._knows(headers):
            await self._ask_for_token(scope, send)
            return
        started = False

        async def answer(message: Any) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                own = {name for name, _ in HEADERS}
                kept = [pair for pair in message["headers"] if pair[0].lower() not in own]
                message = {**message, "headers": [*kept, *HEADERS]}
            await send(message)

        try:
            await self.app(scope, _counted(receive), answer)
        except TooLarge:
            if not started:
                await _refuse(scope, send, 413, "The file is too large")

    def _refusal(self, scope: Any, headers: dict[str, str]) -> tuple[int, str] | None:
        host = headers.get("host", "")
        if not self._is_own(host):
            return 421, f"This address is not one of the app: {host[:80]!r}"
        origin = headers.get("origin")
        if origin is not None and urllib.parse.urlsplit(origin).netloc.lower() != host.lower():
            return 403, "Other pages may not use the app"
        if scope["type"] == "http":
            if scope["method"] not in METHODS:
                return 405, "There is nothing that takes this method"
            length = headers.get("content-length", "0")
            if not length.isdigit():
                return 400, "Content-Length is no number"
            if int(length) > MOST_BYTES + OVERHEAD:
                return 413, f"The file is larger than {MOST_BYTES / 1e6:.0f} MB"
        return None

    def _is_own(self, host: str) -> bool:
        """Say whether a host is the app's own; any is where a token is asked for."""
        if self.token is not None:
            return bool(host)
        try:
            name = urllib.parse.urlsplit(f"//{host}").hostname
        except ValueError:
            return False
        return name is not None and (name == self.host.lower() or is_local(name))

    def _knows(self, headers: dict[str, str]) -> bool:
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            return False
        return cookie is not None and self._is_token(cookie.value)

    def _is_token(self, text: str) -> bool:
        return secrets.compare_digest(text.encode("utf-8", "replace"), str(self.token).encode())

    async def _ask_for_token(self, scope: Any, send: Any) -> None:
        """Take a token from the address into a cookie; without one, say what is missing."""
        query = urllib.parse.parse_qs(scope.get("query_string", b"").decode("latin-1"))
        given = query.get("token", [""])[0]
        if scope["type"] == "http" and scope["path"] == "/" and self._is_token(given):
            kept = f"{COOKIE}={self.token}; Path=/; HttpOnly; SameSite=Strict"
            headers = [(b"location", b"/"), (b"set-cookie", kept.encode("ascii"))]
            await send({"type": "http.response.start", "status": 303, "headers": headers})
            await send({"type": "http.response.body", "body": b""})
            return
        text = "Open the whole address that `kerasgan app` printed, with ?token=... at its end"
        await _refuse(scope, send, 401, text)


def is_local(host: str) -> bool:
    """Say whether a host is this computer alone.

    Example:
        >>> is_local("127.0.0.1"), is_local("localhost"), is_local("0.0.0.0")
        (True, True, False)
    """
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _counted(receive: Any) -> Any:
    """Receive, and raise `TooLarge` once more has come than a request may hold."""
    left = MOST_BYTES + OVERHEAD

    async def count() -> Any:
        nonlocal left
        message = await receive()
        if message["type"] == "http.request":
            left -= len(message.get("body", b""))
            if left < 0:
                raise TooLarge
        return message

    return count


async def _refuse(scope: Any, send: Any, status: int, text: str) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    body = text.encode("utf-8")
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(body)).encode("ascii")),
        (b"connection", b"close"),
        *HEADERS,
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body if scope["method"] != "HEAD" else b""})
