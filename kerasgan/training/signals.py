"""Ctrl-C and a scheduler's request to stop, granted between two steps."""

from __future__ import annotations

import os
import signal
import threading

__all__ = ["StopSignals"]

NOTE = b"\nStopping after this step, to keep the run's state; once more to stop at once.\n"


class StopSignals:
    """Within the block, SIGINT and SIGTERM are noted instead of obeyed, the first time.

    Whoever does the work calls `check` where it may stop. The handlers that were there before come
    back at the end of the block, or at the second signal. Signals that the process ignores stay
    ignored; outside the main thread nothing is noted.

    Example:
        >>> with StopSignals() as signals:
        ...     signals.check()
        >>> signals.received is None
        True
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
        self._put_back()
        theirs = self._before.get(self.received)
        if callable(theirs) and theirs is not signal.default_int_handler:
            theirs(self.received, None)
        if kind is None:
            self.check()

    def check(self) -> None:
        """Stop if a signal has come.

        Raises:
            KeyboardInterrupt: after SIGINT.
            SystemExit: after SIGTERM, with the exit status 143.
        """
        if self.received == signal.SIGINT:
            raise KeyboardInterrupt
        if self.received is not None:
            raise SystemExit(128 + self.received)

    def _note(self, number, frame):
        if self.received is not None:
            self._put_back()
            self.check()
        self.received = number
        os.write(2, NOTE)

    def _put_back(self) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)
