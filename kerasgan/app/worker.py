"""The thread that predicts and explains: a bounded queue where the newest request wins."""

from __future__ import annotations

import collections
import contextlib
import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future, InvalidStateError
from typing import Any

from kerasgan.errors import KerasganError

MOST_WAITING = 32


class Superseded(Exception):
    """A request was not begun, since a newer one of the same session came."""


class Busy(KerasganError):
    """More requests wait than the queue takes."""


class Answer(Future):
    """What was asked for. Whoever asked may have gone meanwhile, as when the app is ended."""

    def set_result(self, result: Any) -> None:
        """Give the answer, if it is still wanted."""
        with contextlib.suppress(InvalidStateError):
            super().set_result(result)

    def set_exception(self, exception: BaseException | None) -> None:
        """Say why there is none, likewise."""
        with contextlib.suppress(InvalidStateError):
            super().set_exception(exception)


class Worker:
    """Does one thing after the other, in a thread of its own.

    Of each session one request waits at most: a newer one takes its place in the queue, and the
    older one's future raises `Superseded`.

    Example:
        >>> worker = Worker()
        >>> worker.ask("one window", lambda: 6 * 7).result()
        42
        >>> worker.close()
    """

    def __init__(self, most: int = MOST_WAITING):
        self.most = most
        self._waiting: collections.OrderedDict[Hashable, tuple[Future, Callable[[], Any]]]
        self._waiting = collections.OrderedDict()
        self._changed = threading.Condition()
        self._open, self._works = True, False
        self._thread = threading.Thread(target=self._work, name="kerasgan-app", daemon=True)
        self._thread.start()

    def ask(self, session: Hashable, work: Callable[[], Any]) -> Future:
        """Put work into the queue.

        Raises:
            Busy: If too many sessions wait already.
        """
        future = Answer()
        with self._changed:
            older = self._waiting.get(session)
            if not self._open or (older is None and len(self._waiting) >= self.most):
                raise Busy("Too many requests wait. Try again in a few seconds")
            self._waiting[session] = future, work
            self._changed.notify()
        if older is not None:
            older[0].set_exception(Superseded())
        return future

    def forget(self, session: Hashable) -> None:
        """Take what a session waits for out of the queue."""
        with self._changed:
            older = self._waiting.pop(session, None)
        if older is not None:
            older[0].set_exception(Superseded())

    def is_busy(self) -> bool:
        """Whether something is done, or waits."""
        return self._works or bool(self._waiting)

    def close(self) -> None:
        """Let nothing more in, and end after what is being done."""
        with self._changed:
            self._open = False
            left = list(self._waiting.values())
            self._waiting.clear()
            self._changed.notify()
        for future, _ in left:
            future.set_exception(Superseded())
        self._thread.join(timeout=60)

    def _work(self) -> None:
        while True:
            with self._changed:
                while self._open and not self._waiting:
                    self._changed.wait()
                if not self._open:
                    return
                _, (future, work) = self._waiting.popitem(last=False)
                self._works = True
            try:
                future.set_result(work())
            except BaseException as error:  # for whoever asked; the thread goes on
                future.set_exception(error)
            self._works = False
            del future, work
