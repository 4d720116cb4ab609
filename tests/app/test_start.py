import ast
import importlib.util
import pathlib
import socket

import pytest

import kerasgan as kg
from kerasgan.app import start
from kerasgan.cli.command import main

ROOM = pathlib.Path(start.__file__).parent
FILES, SERVE = sorted(ROOM.glob("*.py")), ROOM.parent / "cli" / "serve.py"


def test_a_port_in_use_is_said_before_anything_is_loaded():
    with start.listen("127.0.0.1", 0) as opened:
        port = opened.getsockname()[1]
        with pytest.raises(kg.KerasganError, match=f"'--port': {port} is in use"):
            start.listen("127.0.0.1", port)
    start.listen("127.0.0.1", port).close()


@pytest.mark.parametrize("port", [-1, 65536])
def test_ports_that_there_are_not(port):
    with pytest.raises(kg.KerasganError, match="'--port' must be a whole number"):
        start.listen("127.0.0.1", port)


@pytest.mark.parametrize("host", ["192.0.2.1", "no such host", "x" * 70])
def test_addresses_that_are_not_of_this_computer(host):
    with pytest.raises(kg.KerasganError, match="'--host' must be an address"):
        start.listen(host, 0)


def test_a_token_for_others_alone():
    assert start.make_token("127.0.0.1") is None
    token = start.make_token("0.0.0.0")
    assert len(token) >= 32
    with start.listen("127.0.0.1", 0) as opened:
        port = opened.getsockname()[1]
        assert start.address_of(opened, "127.0.0.1", None) == f"http://127.0.0.1:{port}/"
        there = f"http://{socket.gethostname()}:{port}/?token={token}"
        assert start.address_of(opened, "0.0.0.0", token) == there


def test_the_extra_that_is_missing_is_named(monkeypatch, capsys, tmp_path):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "nicegui" else found(name)
    )
    assert main(["app", str(tmp_path)]) == 1
    assert "pip install 'kerasgan[app]'" in capsys.readouterr().err


@pytest.mark.parametrize("file", [*FILES, SERVE], ids=lambda file: file.name)
def test_what_the_extra_brings_is_imported_when_the_app_starts(file):
    """Not with the module: kerasgan imports without it."""
    names = set()
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom):
            names.add(node.module.partition(".")[0])
        elif isinstance(node, ast.Import):
            names.update(alias.name.partition(".")[0] for alias in node.names)
    assert not names & {"nicegui", "fastapi", "starlette", "uvicorn"}


def test_what_cannot_be_used(capsys, tmp_path):
    pytest.importorskip("nicegui", reason="NiceGUI is not installed")
    assert main(["app", str(tmp_path / "nothing")]) == 1
    assert "there is no file or folder" in capsys.readouterr().err
    assert main(["app", str(tmp_path), "--images", str(tmp_path / "nothing")]) == 1
    assert "'--images'" in capsys.readouterr().err
    assert main(["app", str(tmp_path), "--port", "0"]) == 1
    assert "Error: " in capsys.readouterr().err
