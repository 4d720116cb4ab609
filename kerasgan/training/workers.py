"""One run on several machines: who writes, what all agree on, what the loss of one means."""

from __future__ import annotations

import contextlib
import functools
import pathlib
import tempfile
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from kerasgan.errors import KerasganError
from kerasgan.storage import atomic_replace

__all__ = [
    "check_same_state",
    "gather",
    "index_and_count",
    "explain_lost_workers",
    "write_on_chief",
]

LOST_WORKER_ERRORS = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.InternalError,
)
"""What TensorFlow raises where another worker does not answer any more."""


def index_and_count(strategy: tf.distribute.Strategy) -> tuple[int, int]:
    """Return the number of this worker, 0 for the chief, and how many there are.

    Example:
        >>> index_and_count(tf.distribute.get_strategy())
        (0, 1)
    """
    resolver = strategy.cluster_resolver
    if resolver is None:
        return 0, 1
    jobs = resolver.cluster_spec().as_dict()
    chiefs, workers = (len(jobs.get(job, ())) for job in ("chief", "worker"))
    first = chiefs if resolver.task_type == "worker" else 0
    return first + int(resolver.task_id or 0), max(chiefs + workers, 1)


def gather(strategy: tf.distribute.Strategy, numbers) -> np.ndarray:
    """Return the numbers of all workers, by their own; all must ask at the same point.

    Args:
        strategy: of the run.
        numbers: of this worker, whole, below 2^24.

    Returns:
        Array (workers, numbers).

    Example:
        >>> gather(tf.distribute.get_strategy(), [3, 4]).tolist()
        [[3.0, 4.0]]
    """
    index, count = index_and_count(strategy)
    table = np.zeros((count, len(numbers)), np.float32)
    table[index] = numbers
    if count == 1:
        return table
    return _sum(strategy)(tf.constant(table)).numpy() / (strategy.num_replicas_in_sync // count)


@functools.lru_cache(maxsize=1)
def _sum(strategy):
    def add(table):
        context = tf.distribute.get_replica_context()
        own = tf.identity(table)  # on this device
        return context.all_reduce(tf.distribute.ReduceOp.SUM, own)

    @tf.function
    def total(table):
        return strategy.experimental_local_results(strategy.run(add, (table,)))[0]

    return total


def check_same_state(strategy: tf.distribute.Strategy, folder, numbers) -> None:
    """Raise, on every worker, unless all found the same state in the folder.

    Args:
        strategy: of the run.
        folder: for the error.
        numbers: epoch and step of the state that this worker found.

    Raises:
        KerasganError: naming what each worker found.

    Example:
        >>> check_same_state(tf.distribute.get_strategy(), "run", [1, 20])
    """
    table = gather(strategy, numbers)
    if (table != table[0]).any():
        found = "; ".join(
            f"worker {n}: {epoch:g}, {step:g}" for n, (epoch, step) in enumerate(table)
        )
        raise KerasganError(
            f"Argument 'resume' must name one folder that all machines share. In '{folder}' the "
            f"workers found states of different epochs and steps ({found})"
        )


@contextlib.contextmanager
def write_on_chief(
    strategy: tf.distribute.Strategy,
    folder: pathlib.Path,
    check: Callable[[pathlib.Path], None] | None = None,
) -> Iterator[pathlib.Path]:
    """Give the chief a new folder, as `atomic_replace` does, and the others one to throw away.

    All must fill theirs: the variables of batch normalisation are read by all workers together.

    Args:
        strategy: of the run.
        folder: what to replace.
        check: as for `kerasgan.storage.atomic_replace`.

    Yields:
        An empty folder.

    Raises:
        OSError: if it cannot be written.

    Example:
        >>> folder = pathlib.Path(tempfile.mkdtemp()) / "notes"
        >>> with write_on_chief(tf.distribute.get_strategy(), folder) as fresh:
        ...     _ = (fresh / "note.txt").write_text("kept")
        >>> (folder / "note.txt").read_text()
        'kept'
    """
    if index_and_count(strategy)[0] == 0:
        with atomic_replace(folder, check) as fresh:
            fresh.mkdir()
            yield fresh
    else:
        with tempfile.TemporaryDirectory() as fresh:
            yield pathlib.Path(fresh)


def explain_lost_workers(method):
    """Make a method of a Keras model say what to do when a worker of its job has gone."""

    @functools.wraps(method)
    def watched(self, *args, **kwargs):
        index, count = index_and_count(self.distribute_strategy)
        try:
            return method(self, *args, **kwargs)
        except LOST_WORKER_ERRORS as error:
            if count == 1:
                raise
            raise KerasganError(
                f"Worker {index} of {count} has lost another one, and stops: {error.message}. "
                "Start all workers again; with the same folder as 'resume' the run goes on from "
                "its last state"
            ) from error

    return watched
