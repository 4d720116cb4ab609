"""One run on several machines: who writes, what all must agree on, and lost workers."""

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

LOST_WORKER_ERRORS = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.InternalError,
)
"""What TensorFlow raises where another worker does not answer any more."""


def index_and_count(strategy: tf.distribute.Strategy) -> tuple[int, int]:
    """Return the number of this worker, 0 for the chief, and how many there are."""
    resolver = strategy.cluster_resolver
    if resolver is None:
        return 0, 1
    jobs = resolver.cluster_spec().as_dict()
    chiefs, workers = (len(jobs.get(job, ())) for job in ("chief", "worker"))
    first = chiefs if resolver.task_type == "worker" else 0
    return first + int(resolver.task_id or 0), max(chiefs + workers, 1)


def gather(strategy: tf.distribute.Strategy, numbers) -> np.ndarray:
    """Return an array (workers, numbers) of whole numbers below 2^24; all workers must call it."""
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
    """Raise, on every worker, unless all read the same epoch and step from the folder."""
    table = gather(strategy, numbers)
    if (table != table[0]).any():
        states = "; ".join(
            f"worker {n}: {epoch:g}, {step:g}" for n, (epoch, step) in enumerate(table)
        )
        raise KerasganError(
            f"Argument 'resume' must name one folder that all machines share. In '{folder}' the "
            f"workers found states of different epochs and steps ({states})"
        )


@contextlib.contextmanager
def write_on_chief(
    strategy: tf.distribute.Strategy,
    folder: pathlib.Path,
    check: Callable[[pathlib.Path], None] | None = None,
) -> Iterator[pathlib.Path]:
    """Give the chief a new folder to fill, as `atomic_replace` does, and the others one to discard.

    All must write to theirs: the variables of batch normalisation are read by all workers together.
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
