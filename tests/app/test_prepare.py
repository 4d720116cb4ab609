import threading

import pytest

from kerasgan.app.network import MOST_EXPLAINERS, Network
from kerasgan.app.prepare import Preparer

RULES = ("epsilon", "gradient", "z-plus")


class Traced:
    """What is asked of a network, in its order; it can be held up, or fail."""

    def __init__(self, failing=()):
        self.done, self.failing, self.gate = [], failing, threading.Event()
        self.room = True

    def is_ready(self, rule):
        return rule in self.done

    def has_room(self):
        return self.room

    def prepare(self, rule):
        assert self.gate.wait(30)
        if rule in self.failing:
            raise ValueError(rule)
        self.done.append(rule)


@pytest.fixture
def preparer():
    preparer = Preparer()
    yield preparer
    preparer.close()


def test_what_is_asked_for_comes_before_what_is_offered(preparer):
    network = Traced()
    first = preparer.ask(network, "first")
    for rule in ("offered", "again", "offered"):
        preparer.offer(network, rule)
    asked = preparer.ask(network, "asked")
    assert preparer.ask(network, "asked") is asked
    network.gate.set()
    first.result(30), asked.result(30)
    assert network.done[:2] == ["first", "asked"]
    preparer.ask(network, "again").result(30)
    assert sorted(network.done) == ["again", "asked", "first", "offered"]
    assert preparer.ask(network, "again").done()
    assert preparer.seconds[network] >= 0


def test_nothing_is_made_ready_ahead_while_something_else_is_done():
    busy = threading.Event()
    busy.set()
    preparer, network = Preparer(busy.is_set), Traced()
    network.gate.set()
    preparer.offer(network, "offered")
    preparer.ask(network, "asked").result(30)
    assert network.done == ["asked"]
    busy.clear()
    preparer.ask(network, "last").result(30)
    preparer.close()
    assert network.done[0] == "asked"


def test_without_room_what_was_used_is_kept(preparer):
    network = Traced()
    network.gate.set()
    network.room = False
    preparer.offer(network, "offered")
    preparer.ask(network, "asked").result(30)
    assert network.done == ["asked"]


def test_a_rule_that_fails_does_not_end_it(preparer):
    network = Traced(failing=("bad",))
    network.gate.set()
    with pytest.raises(ValueError, match="bad"):
        preparer.ask(network, "bad").result(30)
    preparer.ask(network, "good").result(30)
    assert network.done == ["good"]


def test_a_network_keeps_a_few_rules_ready(network):
    own = Network(network.model, {"mode": "stretch"})
    for rule in RULES:
        assert not own.is_ready(rule)
        own.prepare(rule)
        assert own.is_ready(rule)
    assert MOST_EXPLAINERS == 4
    assert not own.has_room()  # the default rule, which names the layers, is the fourth
    own.prepare("gamma")
    assert own.is_ready("gamma")
    assert [own.is_ready(rule) for rule in RULES] == [False, True, True]
