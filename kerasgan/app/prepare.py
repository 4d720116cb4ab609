"""The thread that makes rules ready: a network is traced for each, once, which takes seconds."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future

from kerasgan.app.network import Network

PAUSE = 0.5
"""Seconds after which it is looked again whether something may be made ready ahead."""


class Preparer:
    """Makes rules ready, one after the other: those that are asked for, then those that may be.

    What is not asked for yet is begun only while nothing else is to be done.

    Args:
        is_busy: Says whether something else is done at present.

    Example:
        >>> import kerasgan as kg
        >>> network = Network(kg.models.unet(size=32, filters=2, levels=1))
        >>> preparer = Preparer()
        >>> preparer.ask(network, "gradient").result()
        >>> network.is_ready("gradient")
        True
        >>> preparer.close()
    """

    def __init__(self, is_busy: Callable[[], bool] = lambda: False):
        self.is_busy = is_busy
        self.seconds: dict[Network, float] = {}
        self._asked: dict[tuple[Network, str], Future] = {}
        self._ahead: list[tuple[Network, str]] = []
        self._changed = threading.Condition()
        self._open = True
        self._thread = threading.Thread(target=self._work, name="kerasgan-prepare", daemon=True)
        self._thread.start()

    def ask(self, network: Network, rule: str) -> Future:
        """Have a rule made ready before all that is not asked for."""
        with self._changed:
            future = self._asked.get((network, rule))
            if future is None:
                future = Future()
                if network.is_ready(rule):
                    future.set_result(None)
                    return future
                self._asked[network, rule] = future
                self._changed.notify()
            return future

    def offer(self, network: Network, rule: str) -> None:
        """Have a rule made ready when there is nothing else to do, and room for it."""
        with self._changed:
            if (network, rule) not in self._ahead:
                self._ahead.append((network, rule))
                self._changed.notify()

    def close(self) -> None:
        """End after what is being done."""
        with self._changed:
            self._open = False
            self._changed.notify()
        self._thread.join(timeout=60)
        for future in self._asked.values():
            future.cancel()

    def _next(self) -> tuple[Network, str] | None:
        """What is to be made ready next; None once closed."""
        with self._changed:
            while self._open:
                if self._asked:
                    return next(iter(self._asked))
                while self._ahead and (
                    self._ahead[0][0].is_ready(self._ahead[0][1])
                    or not self._ahead[0][0].has_room()
                ):
                    self._ahead.pop(0)
                if self._ahead and not self.is_busy():
                    return self._ahead.pop(0)
                self._changed.wait(PAUSE if self._ahead else None)
        return None

    def _work(self) -> None:
        while (job := self._next()) is not None:
            network, rule = job
            start, failure = time.perf_counter(), None
            try:
                if not network.is_ready(rule):
                    network.prepare(rule)
                    self.seconds[network] = time.perf_counter() - start
            except BaseException as error:  # for whoever asked; the thread goes on
                failure = error
            with self._changed:
                future = self._asked.pop(job, None)
            if future is not None and failure is not None:
                future.set_exception(failure)
            elif future is not None:
                future.set_result(None)
