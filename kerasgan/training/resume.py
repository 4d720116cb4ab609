"""How a run is kept in a folder while it trains, and goes on after it was stopped."""

from __future__ import annotations

import inspect
import json
import numbers
import os
import pathlib
import re
import shutil
import time
import uuid
import warnings

import keras
import numpy as np
import tensorflow as tf

from kerasgan.errors import KerasganError, KerasganWarning
from kerasgan.stack import trackable, variable_of
from kerasgan.storage import write_file
from kerasgan.training import feed, workers
from kerasgan.training.checkpoint import SUMS, find_damage, free_space, write_checksums
from kerasgan.training.record import differences, settings_of
from kerasgan.training.signals import StopSignals

__all__ = ["RunState", "run"]

SECONDS, SHARE = 60.0, 100  # between two states: so long, and so often the time a state takes
NOTES, VARIABLES, BEST = "run.json", "variables", "best.npz"
STATE = re.compile(r"epoch_(?P<epoch>\d+)(_step_(?P<step>\d+))?(_state)?")
UNFINISHED = re.compile(r"\.epoch_\d+(_step_\d+)?(_state)?\.kerasgan")  # left by a killed process


def run(fit, gan, x, y, folder, initial_epoch: int, guards, callbacks, options: dict):
    """Train, or go on training, with the state kept in a folder; see `SegmentationGAN.fit`."""
    record, options = guards[-1], dict(options)
    recipe = {name: value for name, value in (gan.recipe or {}).items() if name != "epochs"}
    facts = {"recipe": recipe, "settings": settings_of(gan)}
    facts.update((name, record.entry[name]) for name in ("data", "validation"))
    keeper = RunState(folder, callbacks, guards, facts)
    epoch = keeper.restore(gan, initial_epoch)
    step = keeper.step
    workers.check_same_state(gan.distribute_strategy, folder, [epoch, step])
    if keeper.restored:
        record.go_on(gan.fits, len(keeper.epochs))
    first = keeper.epochs[0] if keeper.epochs else epoch
    at = first, epoch, step, keeper.length
    x, y, keeper.within = feed.continue_from(x, y, options, int(recipe.get("seed") or 0), *at)
    keeper.data = x
    if keeper.over():
        options["epochs"] = epoch
    if keeper.restored and epoch >= options.get("epochs", 1):
        keeper.tell_ended()
    all_callbacks = [*guards, *callbacks, keeper]
    if step:
        verbose = options.get("verbose", "auto")
        all_callbacks = _Entering(
            all_callbacks,
            add_history=True,
            add_progbar=verbose != 0,
            model=gan,
            verbose=1 if verbose == "auto" else verbose,
            epochs=options.get("epochs", 1),
            steps=options.get("steps_per_epoch") or feed.length_of(x),
        )
        all_callbacks.done = step
    with StopSignals() as keeper.signals:
        history = fit(x, y, initial_epoch=epoch, callbacks=all_callbacks, **options)
    history.epoch, history.history = keeper.epochs, keeper.history
    return history


class _Entering(keras.callbacks.CallbackList):
    """Passes over the steps of the first epoch that were done before: no step, no hooks."""

    done = 0

    def on_train_batch_begin(self, batch, logs=None):
        self.model._passes_over = batch < self.done
        if not self.model._passes_over:
            super().on_train_batch_begin(batch, logs)

    def on_train_batch_end(self, batch, logs=None):
        if not self.model._passes_over:
            super().on_train_batch_end(batch, logs)
        elif self.done <= batch and self.done != self.params["steps"]:
            raise KerasganError(
                f"Argument 'resume': the run was stopped behind step {self.done} of an epoch, "
                "which 'steps_per_execution' does not divide. Give it the value it had"
            )

    def on_epoch_end(self, epoch, logs=None):
        self.done, self.model._passes_over = 0, False
        super().on_epoch_end(epoch, logs)


class RunState(keras.callbacks.Callback):
    """Write the state of a run between its steps; `SegmentationGAN.fit` uses it.

    A state is written behind the first step, at the end of every epoch, when a signal asks the
    process to stop, and whenever the last one is older than a minute, or than a hundred times the
    time that writing it took, if that is longer.

    Args:
        folder: where the states are kept, `epoch_0001` after one epoch, `epoch_0001_step_20` within
            the next; the last two of them. A name that something else has gets `_state` behind it.
        others: the run's other callbacks; what they have counted and call best is kept too.
        guards: the callbacks that `fit` adds.
        facts: what the run must have in common with the one that wrote the states, by name.

    Example:
        >>> import tempfile
        >>> import kerasgan as kg
        >>> gan = kg.recipes.build("pix2pix", size=32, filters=2)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     RunState(folder, []).restore(gan, first_epoch=0)
        0
    """

    def __init__(self, folder, others, guards=(), facts=None):
        super().__init__()
        self.folder = pathlib.Path(folder)
        self.others, self.guards, self.facts = others, guards, facts
        self.signals = StopSignals()
        self.run = uuid.uuid4().hex
        self.data, self.within, self.restored = None, True, False
        self.step, self.length = 0, None
        self.epochs: list[int] = []
        self.history: dict[str, list[float]] = {}
        self._known: list[dict] = []
        self._begun: list[dict] = []
        self._best: list[np.ndarray] = []
        self._streak, self._now = 0, (0, 0)
        self._mine: list[pathlib.Path] = []
        self._due, self._failed = 0.0, False
        self._timely, self._number = False, 0
        self._first, self._whole = 0, True

    # --- Going on ---

    def restore(self, gan, first_epoch: int) -> int:
        """Put the last unbroken state into the networks; return the epoch to go on with."""
        if self.folder.exists() and not self.folder.is_dir():
            raise KerasganError(f"Argument 'resume' must name a folder. Received: {self.folder}")
        last, state = self._last()
        if last is None:
            return first_epoch
        self._compare(state["facts"] or {})
        self._mine, self.restored = [last], True
        self._read(gan)
        gan.fits[:] = state["fits"]
        self.run, self.epochs, self.history = state["run"], state["epochs"], state["history"]
        self.step, self.length = state["step"], state["length"]
        self._known, self._streak = state["callbacks"], state["streak"]
        for callback in self.others:
            if isinstance(callback, keras.callbacks.CSVLogger) and callback.append:
                _shorten(pathlib.Path(callback.filename), callback.sep, state["next_epoch"])
        return state["next_epoch"]

    def _compare(self, then: dict) -> None:
        """Raise unless the state was written by a run with the same data and settings."""
        found = []
        for part in self.facts or {}:
            one, other = then.get(part) or {}, self.facts[part] or {}
            above = {"recipe": "recipe.", "validation": "validation "}.get(part, "")
            if part != "recipe" or (one and other):
                found += differences(one, other, above)
        if found:
            raise KerasganError(
                f"Argument 'resume': the run in '{self.folder}' was begun with another value of "
                f"{', '.join(found)}. To train anew, start in another folder or remove this one; "
                "to go on, give back what it had"
            )

    def _read(self, gan) -> None:
        """Give all variables the values that the last state has."""
        last = self._mine[-1]
        try:
            status = _checkpoint(gan).read(str(last / VARIABLES))
            status.assert_existing_objects_matched().expect_partial()
            with np.load(last / BEST, allow_pickle=False) as stored:
                self._best = [stored[name] for name in stored.files]
        except Exception as error:  # whatever TensorFlow makes of a broken file
            raise KerasganError(
                f"Argument 'resume': '{last}' holds other variables than this run's, or is "
                f"broken; start in another folder ({error})"
            ) from error

    def tell_ended(self) -> None:
        """Say, whatever `verbose` is, that there is nothing left to do."""
        early = self.over()
        print(
            f"The run in '{self.folder}' has ended{' early' * early}, after {len(self.epochs)} "
            f"epochs: nothing was trained. With more {'patience' if early else 'epochs'} it goes "
            "on; to train anew, start in another folder"
        )

    def over(self) -> bool:
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
                        value = [self._best[place] for place in value]
                    if name != "class":
                        vars(callback)[name] = value
        else:
            self._known = []
        if self.restored and self.guards:
            self.guards[0].streak = self._streak

    def on_epoch_begin(self, epoch, logs=None):
        """Note the epoch; in one that is entered, put back what its beginning has changed."""
        feed.set_position(self.data, epoch, self.step)
        self._now = (epoch, self.step)
        if self.step:
            self._read(self.model)
        self.step = 0

    # --- Keeping ---

    def on_train_batch_begin(self, batch, logs=None):
        """Note the first of the steps that are executed together."""
        self._first = batch

    def on_train_batch_end(self, batch, logs=None):
        """Write the state behind this step if it is time."""
        steps = self.params["steps"]
        self._whole = not steps or steps % (batch + 1 - self._first) == 0
        self._now = (self._now[0], min(batch + 1, steps or batch + 1))
        if self._asked() or self._timely:
            self._keep_within()
        self._stop()

    def on_test_begin(self, logs=None):
        """Note the means over the epoch's steps, which the validation overwrites."""
        self._trained = [variable.numpy() for variable in _means(self.model)]

    def on_test_batch_end(self, batch, logs=None):
        """Write the state behind the epoch's last step if a signal came during the validation."""
        if self._asked():
            for variable, value in zip(_means(self.model), self._trained):
                variable.assign(value)
            self._keep_within()
        self._stop()

    def on_epoch_end(self, epoch, logs=None):
        """Write the state behind epoch number `epoch`."""
        self.epochs.append(epoch)
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(float(value))
        self.length = self._now[1]
        self._now = (epoch + 1, 0)
        self._keep()
        self._asked()
        self._stop()

    def on_train_end(self, logs=None):
        """Try once more to write the last state, if that failed."""
        if self._failed:
            self._keep()

    def _asked(self) -> bool:
        """Return whether a signal asks to stop; all workers must ask, and hear the same."""
        mine = [self.signals.received or 0, time.monotonic() >= self._due]
        table = workers.gather(self.model.distribute_strategy, mine)
        self._timely = bool(table[0, 1])  # by the chief's clock
        self._number = int(table[:, 0].max())
        return self._number > 0

    def _stop(self):
        if self._number:
            self.signals.received = self._number
            self.signals.check()

    def _keep_within(self):
        if self.within and self._whole:
            self._keep()

    def _keep(self):
        began = time.monotonic()
        strategy = self.model.distribute_strategy
        number, count = workers.index_and_count(strategy)
        try:
            path = self._place() if number == 0 else self.folder
            with workers.write_on_chief(strategy, path) as fresh:
                self._write(fresh)
                write_checksums(fresh)
        except (OSError, tf.errors.OpError) as error:
            if count > 1 and isinstance(error, workers.LOST_WORKER_ERRORS):
                raise
            self._failed = True
            said = (
                f"The state of the run cannot be written to '{self.folder}' "
                f"({free_space(self.folder)}): {getattr(error, 'message', error)}"
            )
            if not self._mine or count > 1:  # the others wait for what this one has not read
                raise KerasganError(f"{said}. Make room, or resume from another folder") from error
            warnings.warn(
                f"{said}. '{self._mine[-1].name}' is intact there, training goes on in memory, and "
                "the next state is tried in its turn; make room",
                KerasganWarning,
                stacklevel=2,
            )
        else:
            self._failed = False
            before = self._mine
            self._mine = [*(one for one in before if one != path), path][-2:]
            if number == 0:
                self._clear(before)
        now = time.monotonic()
        self._due = now + max(SECONDS, SHARE * (now - began))

    def _write(self, folder):
        epoch, step = self._now
        _checkpoint(self.model).write(str(folder / VARIABLES))
        best, known = [], []
        for place, (callback, begun) in enumerate(zip(self.others, self._begun)):
            found = _counted(callback, begun, self._known[place] if self._known else {})
            for name, value in found.items():
                if isinstance(value, list):
                    found[name] = list(range(len(best), len(best) + len(value)))
                    best += value
            known.append({"class": _kind(callback), **found})
        np.savez(folder / BEST, *best)
        state = {
            "run": self.run,
            "facts": self.facts,
            "fits": self.model.fits,
            "next_epoch": epoch,
            "step": step,
            "length": self.length,
            "epochs": self.epochs,
            "history": self.history,
            "callbacks": known,
            "streak": self.guards[0].streak if self.guards else 0,
        }
        write_file(folder / NOTES, json.dumps(state, default=str))

    def _place(self) -> pathlib.Path:
        """Return where the state goes; what is not this run's is never written over."""
        epoch, step = self._now
        name = f"epoch_{epoch:04d}" + (f"_step_{step}" if step else "")
        for path in (self.folder / name, self.folder / f"{name}_state"):
            mine = path in self._mine and not path.is_symlink()
            if not os.path.lexists(path) or mine or self._is_own(path):
                return path
        raise OSError(f"both '{name}' and '{name}_state' are something else there")

    def _is_own(self, path: pathlib.Path) -> bool:
        """Return whether a folder holds a state that this run has written."""
        ours = STATE.fullmatch(path.name) and not path.is_symlink()
        return bool(ours) and _run_of(path) == self.run

    def _clear(self, before: list[pathlib.Path]) -> None:
        """Remove this run's states but the last two, and what a killed process left of others."""
        for path in self.folder.iterdir():
            own = path in before or self._is_own(path)
            left = UNFINISHED.fullmatch(path.name) and not os.path.lexists(path / "old")
            if (own or left) and path not in self._mine:
                shutil.rmtree(path, ignore_errors=True)

    def _last(self):
        """Return the last state that is whole, and its content; None and None without any."""
        found = []
        for path in self.folder.glob(f"epoch_*/{NOTES}"):
            match = STATE.fullmatch(path.parent.name)
            if match and (path.parent / SUMS).is_file():
                found.append((int(match["epoch"]), int(match["step"] or 0), path.parent))
        found.sort(reverse=True)
        runs = {_run_of(folder): folder.name for *_, folder in reversed(found)}
        runs.pop(None, None)
        if len(runs) > 1:
            raise KerasganError(
                f"Argument 'resume': '{self.folder}' holds states of several runs, such as "
                f"{' and '.join(sorted(runs.values())[:2])}; move those that are not meant"
            )
        for *_, folder in found:
            fault = find_damage(folder)
            if fault is None:
                try:
                    return folder, _notes(folder / NOTES)
                except (OSError, ValueError, RecursionError) as error:
                    fault = f"'{NOTES}' cannot be read: {error}"
            warnings.warn(
                f"Argument 'resume': '{folder}' is passed over, since {fault}",
                KerasganWarning,
                stacklevel=5,
            )
        if found:
            raise KerasganError(
                f"Argument 'resume': every state in '{self.folder}' is broken; start in another "
                "folder, or remove this one"
            )
        return None, None


def _checkpoint(gan) -> tf.train.Checkpoint:
    """All variables that a step of training changes."""
    networks = [[variable_of(each) for each in one.variables] for one in gan._networks()]
    optimizers = [trackable(optimizer) for optimizer, _ in gan._rates]
    return tf.train.Checkpoint(networks=networks, optimizers=optimizers, means=_means(gan))


def _means(gan) -> list[tf.Variable]:
    return [variable_of(each) for metric in gan.metrics for each in metric.variables]


def _kind(callback) -> str:
    return type(callback).__name__


def _counted(callback, begun: dict, known: dict) -> dict:
    """Numbers and lists of arrays that a callback has changed since training began.

    Args:
        callback: of the user.
        begun: its attributes as they were then.
        known: what an earlier process has kept.
    """
    kinds = type(callback).__mro__
    settings = {name for kind in kinds for name in inspect.signature(kind.__init__).parameters}
    found = {}
    for name, value in vars(callback).items():
        if name in settings or (begun.get(name) is value and name not in known):
            continue
        if isinstance(value, numbers.Real) and not isinstance(value, bool):
            found[name] = int(value) if isinstance(value, numbers.Integral) else float(value)
        elif (
            isinstance(value, list)
            and value
            and all(isinstance(part, (np.ndarray, np.generic)) for part in value)
        ):
            found[name] = value
    return found


def _run_of(folder: pathlib.Path) -> str | None:
    """Return the name that a run has given itself; None for what is no state of a run."""
    try:
        run = json.loads((folder / NOTES).read_text(encoding="utf-8")).get("run")
    except (OSError, ValueError, AttributeError, RecursionError):
        return None
    return run if isinstance(run, str) else None


def _notes(path: pathlib.Path) -> dict:
    """Read what a state says of its run; raise a ValueError unless it is as it was written."""
    notes = json.loads(path.read_text(encoding="utf-8"))
    kinds = {"run": str, "facts": (dict, type(None)), "fits": list, "next_epoch": int, "step": int}
    kinds.update(length=(int, type(None)), epochs=list, history=dict, callbacks=list, streak=int)
    for name, kind in kinds.items():
        if not isinstance(notes, dict) or not isinstance(notes.get(name), kind):
            raise ValueError(f"its '{name}' is not what a state has")
    counts = [notes["next_epoch"], notes["step"], notes["length"] or 0, *notes["epochs"]]
    tables = [*notes["fits"], *notes["callbacks"], *(notes["facts"] or {}).values()]
    if not all(isinstance(number, int) and number >= 0 for number in counts):
        raise ValueError("an epoch or a step is no number from 0 up")
    if not all(isinstance(table, (dict, type(None))) for table in tables):
        raise ValueError("a fit, a callback or a fact is no table")
    if not all("class" in callback for callback in notes["callbacks"]):
        raise ValueError("a callback has no class")
    return notes


def _shorten(path: pathlib.Path, separator: str, epochs: int) -> None:
    """Take the rows out of a CSVLogger's file that the resumed run will write again."""
    if not path.is_file():
        return
    lines = path.read_bytes().decode("utf-8", "replace").splitlines(keepends=True)
    numbers = [line.split(separator)[0] for line in lines]
    kept = [
        line
        for line, number in zip(lines, numbers)
        if line.endswith("\n") and not (number.isdigit() and int(number) >= epochs)
    ]
    if kept != lines:
        write_file(path, "".join(kept))
