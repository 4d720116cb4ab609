import threading

import pytest

from kerasgan.app.worker import Busy, Superseded, Worker


@pytest.fixture
def held():
    """A worker that does nothing until it is let go."""
    worker, gate, begun = Worker(most=3), threading.Event(), threading.Event()

    def hold():
        begun.set()
        gate.wait(30)

    worker.ask("first", hold)
    assert begun.wait(30)
    yield worker, gate
    gate.set()
    worker.close()


def test_the_newest_request_of_a_session_wins_at_its_place(held):
    worker, gate = held
    done = []
    older = worker.ask("a", lambda: done.append("older"))
    other = worker.ask("b", lambda: done.append("other"))
    newer = worker.ask("a", lambda: done.append("newer"))
    with pytest.raises(Superseded):
        older.result(5)
    gate.set()
    newer.result(5), other.result(5)
    assert done == ["newer", "other"]


def test_whoever_has_gone_is_no_trouble(held):
    """As when the app is ended by Ctrl-C while a page waits."""
    worker, gate = held
    begun, release = threading.Event(), threading.Event()
    gone = worker.ask("a", lambda: (begun.set(), release.wait(30)))
    gate.set()
    assert begun.wait(30)
    assert gone.cancel()  # while it is being done
    never = worker.ask("b", int)
    assert never.cancel()
    worker.forget("b")
    release.set()
    assert worker.ask("c", lambda: 42).result(30) == 42
    assert worker.ask("d", int).result(30) == 0
    waiting = worker.ask("e", int)
    waiting.cancel()
    worker.close()


def test_the_queue_is_bounded(held):
    worker, _ = held
    for name in "abc":
        worker.ask(name, int)
    with pytest.raises(Busy, match="Too many requests"):
        worker.ask("d", int)
    worker.ask("a", int)  # in the place of an older one


def test_an_error_is_of_whoever_asked():
    worker = Worker()

    def fail():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        worker.ask("a", fail).result(5)
    assert worker.ask("a", lambda: 1).result(5) == 1
    worker.close()
    with pytest.raises(Busy):
        worker.ask("a", int)


def test_windows_that_were_closed_are_forgotten(held):
    worker, gate = held
    gone = worker.ask("a", int)
    worker.forget("a")
    worker.forget("never there")
    with pytest.raises(Superseded):
        gone.result(5)
    left = worker.ask("b", int)
    gate.set()
    left.result(5)
