import signal
import threading

import pytest

from kerasgan.training.signals import StopSignals

INT, TERM = signal.SIGINT, signal.SIGTERM


@pytest.fixture(autouse=True)
def handlers():
    """The handlers that a process has by default; the shell's `&` takes the first away."""
    outer = signal.signal(INT, signal.default_int_handler)
    before = {number: signal.getsignal(number) for number in (INT, TERM)}
    yield before
    assert {number: signal.getsignal(number) for number in (INT, TERM)} == before
    signal.signal(INT, outer)


@pytest.mark.parametrize(("number", "error"), [(INT, KeyboardInterrupt), (TERM, SystemExit)])
def test_the_first_signal_waits_for_a_check_and_the_second_does_not(number, error):
    done = []

    def work(*steps):
        with StopSignals() as signals:
            for step in steps:
                if step == "signal":
                    signal.raise_signal(number)
                elif step == "check":
                    signals.check()
                else:
                    done.append(step)

    with pytest.raises(error) as caught:
        work("signal", "the step", "check", "another step")
    if number == TERM:
        assert caught.value.code == 143
    with pytest.raises(error):
        work("signal", "signal", "never")
    with pytest.raises(error):
        work("signal")
    assert done == ["the step"]


def test_the_callers_handler_is_asked_afterwards_and_ignored_signals_stay_so(handlers):
    came = []

    def work():
        with StopSignals() as signals:
            signal.raise_signal(INT)
            assert signals.received is None
            signal.raise_signal(TERM)
            assert not came
            signals.check()

    signal.signal(TERM, lambda number, frame: came.append(number))
    signal.signal(INT, signal.SIG_IGN)
    try:
        with pytest.raises(SystemExit):
            work()
        assert came == [TERM]
    finally:
        for number, before in handlers.items():
            signal.signal(number, before)


def test_other_threads_leave_the_handlers_alone(handlers):
    seen = []

    def work():
        with StopSignals() as signals:
            seen.append(signal.getsignal(INT))
            signals.check()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [handlers[INT]]
