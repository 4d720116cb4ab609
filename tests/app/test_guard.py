import asyncio

import pytest

from kerasgan.app import guard
from kerasgan.app.guard import Guard, is_local

TOKEN = "secret"


async def page(scope, receive, send):
    """What is guarded: it reads all that is sent and says how much it was."""
    size, more = 0, scope["type"] == "http"
    while more:
        message = await receive()
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
        return
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"x-frame-options", b"x")]}
    )
    await send({"type": "http.response.body", "body": str(size).encode()})


def ask(
    path="/", host="127.0.0.1:8080", method="GET", body=(b"",), kind="http", query=b"", token=None,
    listening="127.0.0.1", **headers
):  # fmt: skip
    """Ask a guarded page; return status or kind of the first answer, headers and body."""
    pairs = [(b"host", host.encode("latin-1"))] if host is not None else []
    pairs += [(k.replace("_", "-").encode(), v.encode("latin-1")) for k, v in headers.items()]
    scope = {"type": kind, "path": path, "method": method, "headers": pairs, "query_string": query}
    parts, sent = list(body), []

    async def receive():
        return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}

    async def send(message):
        sent.append(message)

    asyncio.run(Guard(page, listening, token)(scope, receive, send))
    content = b"".join(message.get("body", b"") for message in sent)
    return (
        sent[0].get("status", sent[0]["type"]),
        dict(sent[0].get("headers", ())),
        content.decode(),
    )


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost", "LOCALHOST:1", "[::1]:8080"])
def test_the_own_address_is_answered(host):
    status, headers, body = ask(host=host)
    assert (status, body) == (200, "0")
    assert headers[b"x-frame-options"] == b"DENY"
    assert b"default-src 'self'" in headers[b"content-security-policy"]


@pytest.mark.parametrize(
    "host", [None, "", "evil.example", "127.0.0.1.evil.example", "10.0.0.1", "[::1"]
)
@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_other_names_are_not(host, kind):
    """As of a page elsewhere whose name was made to lead to this computer."""
    assert ask(host=host, kind=kind)[0] == (421 if kind == "http" else "websocket.close")


@pytest.mark.parametrize("origin", ["http://evil.example", "http://localhost:8080", "null"])
def test_other_pages_may_not_ask(origin):
    assert ask(origin=origin)[0] == 403
    assert ask(origin=origin, kind="websocket")[0] == "websocket.close"


def test_the_own_page_may():
    own = "http://127.0.0.1:8080"
    assert ask(origin=own)[0] == 200
    assert ask(origin=own, kind="websocket")[0] == "websocket.accept"


@pytest.mark.parametrize("method", ["PUT", "DELETE", "TRACE", "OPTIONS"])
def test_methods(method):
    assert ask(method=method)[0] == 405


def test_what_is_sent_is_counted(monkeypatch):
    monkeypatch.setattr(guard, "MOST_BYTES", 1000)
    monkeypatch.setattr(guard, "OVERHEAD", 10)
    assert ask(method="POST", body=[b"x" * 500, b"x" * 510])[2] == "1010"
    assert ask(method="POST", body=[b"x" * 500] * 9)[0] == 413  # without saying how much comes
    assert ask(method="POST", content_length="1011")[0] == 413
    assert ask(method="POST", content_length="1010")[0] == 200
    assert ask(method="POST", content_length="-1")[0] == 400
    assert ask(method="POST", content_length="much")[0] == 400


def test_a_token_is_asked_for_once():
    elsewhere = {"listening": "0.0.0.0", "token": TOKEN, "host": "ward-3:8080"}
    assert ask(**elsewhere)[0] == 401
    assert ask(**elsewhere, kind="websocket")[0] == "websocket.close"
    assert ask(**elsewhere, query=b"token=wrong")[0] == 401
    assert ask(**elsewhere, query=b"token=%FF")[0] == 401
    assert ask("/other", **elsewhere, query=b"token=secret")[0] == 401
    status, headers, _ = ask(**elsewhere, query=b"token=secret")
    assert (status, headers[b"location"]) == (303, b"/")
    assert b"HttpOnly" in headers[b"set-cookie"]
    assert b"SameSite=Strict" in headers[b"set-cookie"]
    cookie = headers[b"set-cookie"].decode().partition(";")[0]
    assert ask(**elsewhere, cookie=cookie)[0] == 200
    assert ask(**elsewhere, cookie=cookie, kind="websocket")[0] == "websocket.accept"
    assert ask(**elsewhere, cookie=cookie, origin="http://evil.example")[0] == 403
    for broken in ("kerasgan_token=", "kerasgan_token=wrong", "a=\x80;;=", "\\"):
        assert ask(**elsewhere, cookie=broken)[0] == 401


def test_what_is_of_this_computer_alone():
    assert [is_local(host) for host in ("127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost")] == [
        True
    ] * 5
    assert [is_local(host) for host in ("0.0.0.0", "::", "10.0.0.1", "ward-3", "")] == [False] * 5
