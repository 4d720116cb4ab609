"""Ctrl-C and a scheduler's request to stop, obeyed between two steps."""

from __future__ import annotations

import os
import signal
import threading

NOTE = (
    b"\nStopping after this step, to write the state of the run. Ctrl-C again stops at once. "
    b"To continue: fit(resume=...), or --resume for scripts and the command.\n"
)


class StopSignals:
    """A context in which the first SIGINT or SIGTERM waits until `check` is called.

    Earlier handlers are restored at its end, or at a second signal. Signals that the process
    ignores stay ignored; outside the main thread nothing is changed.
    """

    def __init__(self):
        self.received: int | None = None
        self._before: dict = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                before = signal.getsignal(number)
                if before not in (signal.SIG_IGN, None):
                    self._before[number] = before
                    signal.signal(number, self._note)
        return self

    def __exit__(self, kind, error, trace):
        self._restore()
        handler = self._before.get(self.received)
        if callable(handler) and handler is not signal.default_int_handler:
            handler(self.received, None)
        if kind is None:
            self.check()

    def check(self) -> None:
        """Raise KeyboardInterrupt after SIGINT, and SystemExit with status 143 after SIGTERM."""
        if self.received == signal.SIGINT:
            raise KeyboardInterrupt
        if self.received is not None:
            raise SystemExit(128 + self.received)

    def _note(self, number, frame):
        if self.received is not None:
            self._restore()
            self.check()
        self.received = number
        os.write(2, NOTE)

    def _restore(self) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)
