"""Training that writes its state between steps, and goes on from it after it was stopped."""

from __future__ import annotations

import inspect
import json
import numbers
import pathlib
import time
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasgan.errors import KerasganError, warn
from kerasgan.stack import trackable, variable_of
from kerasgan.storage import write_file
from kerasgan.training import feed, workers
from kerasgan.training.checkpoint import NOTES, StateFolder, free_space, write_checksums
from kerasgan.training.record import differences, settings_of
from kerasgan.training.signals import StopSignals

SECONDS, SHARE = 60.0, 100  # between two states: so long, and so often the time a state takes
VARIABLES, BEST = "variables", "best.npz"
OTHERS = ("validation", "unlabelled")


def run(fit, gan, x, y, pair, folder, initial_epoch: int, guards, callbacks, options: dict):
    """Train, or go on training, with the state kept in a folder; see `SegmentationGAN.fit`.

    `pair`, unless it is None, puts unlabelled batches beside those of labelled data.
    """
    record, options = guards[-1], dict(options)
    recipe = {name: value for name, value in (gan.recipe or {}).items() if name != "epochs"}
    facts = {"recipe": recipe, "settings": settings_of(gan)}
    facts.update((name, record.entry.get(name)) for name in ("data", "validation", "unlabelled"))
    state = RunState(folder, callbacks, guards, facts)
    epoch = state.restore(gan, initial_epoch)
    step = state.step
    workers.check_same_state(gan.distribute_strategy, folder, [epoch, step])
    if state.restored:
        record.go_on(gan.fits, len(state.epochs))
    first = state.epochs[0] if state.epochs else epoch
    at = first, epoch, step, state.length
    x, y, state.within = feed.continue_from(x, y, options, int(recipe.get("seed") or 0), *at)
    if pair is not None:
        x = pair(x)
        feed.set_position(x, epoch, step)
    state.data = x
    if state.stopped_early():
        options["epochs"] = epoch
    if state.restored and epoch >= options.get("epochs", 1):
        state.print_that_run_has_ended()
    all_callbacks = [*guards, *callbacks, state]
    if step:
        verbose = options.get("verbose", "auto")
        all_callbacks = _SkipSteps(
            all_callbacks,
            add_history=True,
            add_progbar=verbose != 0,
            model=gan,
            verbose=1 if verbose == "auto" else verbose,
            epochs=options.get("epochs", 1),
            steps=options.get("steps_per_epoch") or feed.length_of(x),
        )
        all_callbacks.done = step
    with StopSignals() as state.signals:
        history = fit(x, y, initial_epoch=epoch, callbacks=all_callbacks, **options)
    history.epoch, history.history = state.epochs, state.history
    return history


class _SkipSteps(keras.callbacks.CallbackList):
    """Skips the first steps of the first epoch, which were done before, and their callbacks."""

    done = 0

    def on_train_batch_begin(self, batch, logs=None):
        self.model._skips_steps = batch < self.done
        if not self.model._skips_steps:
            super().on_train_batch_begin(batch, logs)

    def on_train_batch_end(self, batch, logs=None):
        if not self.model._skips_steps:
            super().on_train_batch_end(batch, logs)
        elif self.done <= batch and self.done != self.params["steps"]:
            raise KerasganError(
                f"Argument 'resume': the run was stopped behind step {self.done} of an epoch, "
                "which 'steps_per_execution' does not divide. Give it the value it had"
            )

    def on_epoch_end(self, epoch, logs=None):
        self.done, self.model._skips_steps = 0, False
        super().on_epoch_end(epoch, logs)


class RunState(keras.callbacks.Callback):
    """Write the state of a run between its steps, and restore it; `SegmentationGAN.fit` uses it.

    A state is written behind the first step, at the end of every epoch, when a signal asks the
    process to stop, and whenever the last one is older than a minute, or than a hundred times the
    time that writing it took, if that is longer.

    `others` are the user's callbacks, whose counts and best values are kept too; `guards` those
    that `fit` adds; `facts` what a run that goes on must have in common with the state, by name.
    """

    def __init__(self, folder, others, guards=(), facts=None):
        super().__init__()
        self.folder = StateFolder(folder)
        self.others, self.guards, self.facts = others, guards, facts
        self.signals = StopSignals()
        self.data, self.within, self.restored = None, True, False
        self.step, self.length = 0, None
        self.epochs: list[int] = []
        self.history: dict[str, list[float]] = {}
        self._known: list[dict] = []  # of the other callbacks, from the state
        self._begun: list[dict] = []  # of the same, when training began
        self._best: list[np.ndarray] = []
        self._streak, self._now = 0, (0, 0)
        self._due, self._failed = 0.0, False
        self._timely, self._number = False, 0
        self._first, self._whole = 0, True

    # --- Going on ---

    def restore(self, gan, first_epoch: int) -> int:
        """Put the last undamaged state into the networks; return the epoch to go on with."""
        notes = self.folder.read_last()
        if notes is None:
            return first_epoch
        self._compare(notes["facts"] or {})
        self.restored = True
        self._read(gan)
        gan.fits[:] = notes["fits"]
        self.epochs, self.history = notes["epochs"], notes["history"]
        self.step, self.length = notes["step"], notes["length"]
        self._known, self._streak = notes["callbacks"], notes["streak"]
        for callback in self.others:
            if isinstance(callback, keras.callbacks.CSVLogger) and callback.append:
                path = pathlib.Path(callback.filename)
                _remove_rows_from(path, callback.sep, notes["next_epoch"])
        return notes["next_epoch"]

    def _compare(self, then: dict) -> None:
        """Raise unless the state was written by a run with the same data and settings."""
        changes = []
        for part in self.facts or {}:
            one, other = then.get(part) or {}, self.facts[part] or {}
            above = {"recipe": "recipe."}.get(part, f"{part} " if part in OTHERS else "")
            if part != "recipe" or (one and other):
                changes += differences(one, other, above)
        if changes:
            raise KerasganError(
                f"Argument 'resume': the run in '{self.folder.path}' was begun with another value "
                f"of {', '.join(changes)}. To train anew, start in another folder or remove this "
                "one; to go on, give back what it had"
            )

    def _read(self, gan) -> None:
        """Give all variables the values that the last state has."""
        state = self.folder.states[-1]
        try:
            status = _checkpoint(gan).read(str(state / VARIABLES))
            status.assert_existing_objects_matched().expect_partial()
            with np.load(state / BEST, allow_pickle=False) as stored:
                self._best = [stored[name] for name in stored.files]
        except Exception as error:  # whatever TensorFlow makes of a broken file
            raise KerasganError(
                f"Argument 'resume': '{state}' holds other variables than this run's, or is "
                f"broken; start in another folder ({error})"
            ) from error

    def print_that_run_has_ended(self) -> None:
        """Say, whatever `verbose` is, that there is nothing left to do."""
        early = self.stopped_early()
        print(
            f"The run in '{self.folder.path}' has ended{' early' * early}, after "
            f"{len(self.epochs)} epochs: nothing was trained. With more "
            f"{'patience' if early else 'epochs'} it goes on; to train anew, start in another "
            "folder"
        )

    def stopped_early(self) -> bool:
        """Return whether early stopping had ended the run, and would do so again."""
        return any(
            known.get("stopped_epoch")
            and known.get("wait", 0) >= getattr(callback, "patience", np.inf)
            for callback, known in zip(self.others, self._known)
        )

    def on_train_begin(self, logs=None):
        """Give the other callbacks back what they knew, which they have just forgotten."""
        self._begun = [dict(vars(callback)) for callback in self.others]
        if [known["class"] for known in self._known] == [_kind(one) for one in self.others]:
            for callback, known in zip(self.others, self._known):
                for name, value in known.items():
                    if isinstance(value, list):
                        value = [self._best[index] for index in value]
                    if name != "class":
                        vars(callback)[name] = value
        else:
            self._known = []
        if self.restored and self.guards:
            self.guards[0].streak = self._streak

    def on_epoch_begin(self, epoch, logs=None):
        """Note the epoch; where it was begun before, restore what its beginning has changed."""
        feed.set_position(self.data, epoch, self.step)
        self._now = (epoch, self.step)
        if self.step:
            self._read(self.model)
        self.step = 0

    # --- Writing ---

    def on_train_batch_begin(self, batch, logs=None):
        """Note the first of the steps that are executed together."""
        self._first = batch

    def on_train_batch_end(self, batch, logs=None):
        """Write the state behind this step if it is time."""
        steps = self.params["steps"]
        self._whole = not steps or steps % (batch + 1 - self._first) == 0
        self._now = (self._now[0], min(batch + 1, steps or batch + 1))
        if self._is_asked_to_stop() or self._timely:
            self._write_within_epoch()
        self._stop()

    def on_test_begin(self, logs=None):
        """Note the means over the epoch's steps, which the validation overwrites."""
        self._trained = [variable.numpy() for variable in _means(self.model)]

    def on_test_batch_end(self, batch, logs=None):
        """Write the state behind the epoch's last step if a signal came during the validation."""
        if self._is_asked_to_stop():
            for variable, value in zip(_means(self.model), self._trained):
                variable.assign(value)
            self._write_within_epoch()
        self._stop()

    def on_epoch_end(self, epoch, logs=None):
        """Write the state behind an epoch."""
        self.epochs.append(epoch)
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(float(value))
        self.length = self._now[1]
        self._now = (epoch + 1, 0)
        self._write()
        self._is_asked_to_stop()
        self._stop()

    def on_train_end(self, logs=None):
        """Try once more to write the last state, if that failed."""
        if self._failed:
            self._write()

    def _is_asked_to_stop(self) -> bool:
        """Return whether a signal came to any worker; all workers must call this alike."""
        mine = [self.signals.received or 0, time.monotonic() >= self._due]
        table = workers.gather(self.model.distribute_strategy, mine)
        self._timely = bool(table[0, 1])  # by the chief's clock
        self._number = int(table[:, 0].max())
        return self._number > 0

    def _stop(self):
        if self._number:
            self.signals.received = self._number
            self.signals.check()

    def _write_within_epoch(self):
        if self.within and self._whole:
            self._write()

    def _write(self):
        began = time.monotonic()
        strategy, states = self.model.distribute_strategy, self.folder
        index, count = workers.index_and_count(strategy)
        try:
            path = states.new_path(*self._now) if index == 0 else states.path
            with workers.write_on_chief(strategy, path) as folder:
                self._write_to(folder)
                write_checksums(folder)
        except (OSError, tf.errors.OpError) as error:
            if count > 1 and isinstance(error, workers.LOST_WORKER_ERRORS):
                raise
            self._failed = True
            failure = (
                f"The state of the run cannot be written to '{states.path}' "
                f"({free_space(states.path)}): {getattr(error, 'message', error)}"
            )
            if not states.states or count > 1:  # the others wait for what this one has not read
                raise KerasganError(
                    f"{failure}. Make room, or resume from another folder"
                ) from error
            warn(
                f"{failure}. '{states.states[-1].name}' is intact there, training goes on in "
                "memory, and the next state is tried in its turn; make room"
            )
        else:
            self._failed = False
            states.add(path, clean=index == 0)
        now = time.monotonic()
        self._due = now + max(SECONDS, SHARE * (now - began))

    def _write_to(self, folder):
        epoch, step = self._now
        _checkpoint(self.model).write(str(folder / VARIABLES))
        best: list[np.ndarray] = []
        callbacks = []
        for index, (callback, begun) in enumerate(zip(self.others, self._begun)):
            counts = _counts_of(callback, begun, self._known[index] if self._known else {})
            for name, value in counts.items():
                if isinstance(value, list):
                    counts[name] = list(range(len(best), len(best) + len(value)))
                    best += value
            callbacks.append({"class": _kind(callback), **counts})
        np.savez(folder / BEST, *best)
        notes = {
            "run": self.folder.run,
            "facts": self.facts,
            "fits": self.model.fits,
            "next_epoch": epoch,
            "step": step,
            "length": self.length,
            "epochs": self.epochs,
            "history": self.history,
            "callbacks": callbacks,
            "streak": self.guards[0].streak if self.guards else 0,
        }
        write_file(folder / NOTES, json.dumps(notes, default=str))


def _checkpoint(gan) -> tf.train.Checkpoint:
    """All variables that a step of training changes."""
    networks = [[variable_of(each) for each in one.variables] for one in gan._networks()]
    optimizers = [trackable(optimizer) for optimizer, _ in gan._rates]
    return tf.train.Checkpoint(networks=networks, optimizers=optimizers, means=_means(gan))


def _means(gan) -> list[tf.Variable]:
    return [variable_of(each) for metric in gan.metrics for each in metric.variables]


def _kind(callback) -> str:
    return type(callback).__name__


def _counts_of(callback, begun: dict, known: dict) -> dict:
    """Numbers and lists of arrays that a callback has changed since training began.

    `begun` are its attributes as they were then, `known` what an earlier process has kept.
    """
    classes = type(callback).__mro__
    settings = {name for kind in classes for name in inspect.signature(kind.__init__).parameters}
    counts: dict[str, Any] = {}
    for name, value in vars(callback).items():
        if name in settings or (begun.get(name) is value and name not in known):
            continue
        if isinstance(value, numbers.Real) and not isinstance(value, bool):
            counts[name] = int(value) if isinstance(value, numbers.Integral) else float(value)
        arrays = (np.ndarray, np.generic)
        if isinstance(value, list) and value and all(isinstance(x, arrays) for x in value):
            counts[name] = value
    return counts


def _remove_rows_from(path: pathlib.Path, separator: str, epoch: int) -> None:
    """Take the rows out of a CSVLogger's file that the resumed run will write again."""
    if not path.is_file():
        return
    lines = path.read_bytes().decode("utf-8", "replace").splitlines(keepends=True)

    def stays(line: str) -> bool:
        number = line.split(separator)[0]
        return line.endswith("\n") and not (number.isdigit() and int(number) >= epoch)

    rest = [line for line in lines if stays(line)]
    if rest != lines:
        write_file(path, "".join(rest))
