"""Starts the app: the address that it listens at, its server, and what is said if it cannot."""

from __future__ import annotations

import contextlib
import errno
import importlib.util
import os
import secrets
import socket
import tempfile
from collections.abc import Sequence
from typing import Any

from kerasgan.errors import KerasganError, install_command
from kerasgan.validation import check_whole_number

MOST_CONNECTIONS = 128
PATIENCE = 5
"""Seconds that open connections have to end once the app is stopped."""


def require_packages() -> None:
    """Refuse to start without what the extra `app` brings."""
    if importlib.util.find_spec("nicegui") is None:
        raise KerasganError(f"The app needs NiceGUI, which is missing: {install_command('app')}")


def listen(host: str, port: int) -> socket.socket:
    """Open the port, before a model is loaded in vain.

    Args:
        host: Name or number of an address of this computer.
        port: From 1 to 65535, or 0 for any that is free.

    Raises:
        KerasganError: If the port is in use or may not be used, or the host is not of this
            computer.
    """
    port = check_whole_number("--port", port, 0, 65535)
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        opened = socket.socket(family, kind)
    except (OSError, UnicodeError) as error:
        raise KerasganError(f"Argument '--host' must be an address. Received: {host!r}") from error
    try:
        if os.name == "posix":  # a port that was just left can be taken again
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(address)
        opened.listen(MOST_CONNECTIONS)
    except OSError as error:
        opened.close()
        if error.errno == errno.EADDRINUSE:
            raise KerasganError(
                f"Argument '--port': {port} is in use on {host}. Pass another, or 0 for any that "
                "is free"
            ) from error
        if error.errno == errno.EACCES:
            raise KerasganError(
                f"Argument '--port': {port} may not be used. Pass one from 1024 up"
            ) from error
        raise KerasganError(
            f"Argument '--host' must be an address of this computer. Received: {host!r} "
            f"({error.strerror})"
        ) from error
    return opened


def address_of(opened: socket.socket, host: str, token: str | None) -> str:
    """The address to open in a browser."""
    port = opened.getsockname()[1]
    shown = f"[{host}]" if ":" in host else host
    if host in ("0.0.0.0", "::", ""):
        shown = socket.gethostname()
    return f"http://{shown}:{port}/" + (f"?token={token}" if token else "")


def make_token(host: str) -> str | None:
    """A new token where other computers can reach the app; None where they cannot."""
    from kerasgan.app.guard import is_local

    return None if is_local(host) else secrets.token_urlsafe(24)


def serve(
    networks: Sequence[Any],
    images: Any,
    opened: socket.socket,
    host: str,
    token: str | None = None,
) -> None:
    """Serve the page until Ctrl-C.

    Args:
        networks: One or two of `kerasgan.app.network.Network`.
        images: A `kerasgan.app.images.Images`.
        opened: Of `listen`.
        host: As of `listen`.
        token: Of `make_token`.
    """
    with tempfile.TemporaryDirectory() as kept:
        os.environ.setdefault("NICEGUI_STORAGE_PATH", kept)  # else a folder where it was started
        import uvicorn
        from fastapi import FastAPI
        from nicegui import ui

        from kerasgan.app.guard import Guard
        from kerasgan.app.page import add_page
        from kerasgan.app.prepare import Preparer
        from kerasgan.app.worker import Worker
        from kerasgan.explain.methods import DEFAULT_RULE

        worker = Worker()
        preparer = Preparer(worker.is_busy)
        for network in networks:
            worker.ask(network, network.try_prediction)
            preparer.ask(network, DEFAULT_RULE)
        web = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
        add_page(networks, images, worker, preparer)
        ui.run_with(
            web,
            title="kerasgan",
            dark=None,
            language="en-US",
            tailwind=False,
            show_welcome_message=False,
            message_history_length=20,
            reconnect_timeout=10,
        )
        config = uvicorn.Config(
            Guard(web, host, token),
            log_level="warning",
            access_log=False,
            server_header=False,
            limit_concurrency=MOST_CONNECTIONS,
            timeout_graceful_shutdown=PATIENCE,
        )
        try:
            with contextlib.suppress(KeyboardInterrupt):  # which is how the app is ended
                uvicorn.Server(config).run(sockets=[opened])
        finally:
            opened.close()
            worker.close()
            preparer.close()
