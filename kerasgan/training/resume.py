"""How a run is kept in a folder while it trains, and goes on after it was stopped."""

from __future__ import annotations

import json
import os
import pathlib
import re
import shutil
import time
import types
import uuid
import warnings

import keras
import numpy as np
import tensorflow as tf

from kerasgan.errors import KerasganError, KerasganWarning
from kerasgan.models.archives import readable
from kerasgan.storage import write as write_file
from kerasgan.training import feed, workers
from kerasgan.training.checkpoint import SUMS, broken, free_space, seal
from kerasgan.training.record import differences, settings_of
from kerasgan.training.signals import StopSignals
from kerasgan.training.store import (
    NOTES,
    SETTINGS,
    rates_of,
    read_arrays,
    read_settings,
    restore_optimizers,
    write,
)

__all__ = ["KeepState", "run"]

SECONDS, SHARE = 60.0, 100  # between two states: so long, and so often the time a state takes
RUNNING = "running.npz"
STATE = re.compile(r"epoch_(?P<epoch>\d+)(_step_(?P<step>\d+))?(_state)?")
UNFINISHED = re.compile(r"\.epoch_\d+(_step_\d+)?(_state)?\.kerasgan")  # left by a killed process
KEPT_ATTRIBUTES = (
    "best",
    "wait",
    "stopped_epoch",
    "best_epoch",
    "cooldown_counter",
    "epochs_since_last_save",
    "_batches_seen_since_last_saving",
    "_last_batch_seen",
    "streak",
    "_warned",
)


def run(fit, gan, x, y, folder, initial_epoch: int, guards, callbacks, options: dict):
    """Train, or go on training, with the state kept in a folder; see `SegmentationGAN.fit`."""
    keeper = KeepState(folder, callbacks, guards)
    record = guards[-1]
    keeper.facts = {
        "data": record.entry["data"],
        "validation": record.entry["validation"],
        "settings": settings_of(gan),
    }
    epoch = keeper.restore(gan, initial_epoch)
    if keeper.restored:
        record.go_on(gan.fits, len(keeper.epochs))
    workers.check_alike(gan.distribute_strategy, folder, [epoch, keeper.step])
    first = keeper.epochs[0] if keeper.epochs else epoch
    seed = int((gan.recipe or {}).get("seed") or 0)
    options = dict(options)
    at = first, epoch, keeper.step, keeper.length
    x, y, keeper.within = feed.enter(x, y, options, seed, *at)
    keeper.data = x
    if keeper.over():
        options["epochs"] = epoch
    if keeper.restored and epoch >= options.get("epochs", 1):
        keeper.tell_ended()
    with StopSignals() as keeper.signals:
        all_callbacks = [*guards, *callbacks, keeper]
        history = fit(x, y, initial_epoch=epoch, callbacks=all_callbacks, **options)
    history.epoch, history.history = keeper.epochs, keeper.history
    return history


class KeepState(keras.callbacks.Callback):
    """Write the state of a run between its steps; `SegmentationGAN.fit` uses it.

    A state is written behind the first step, at the end of every epoch, when a signal asks the
    process to stop, and whenever the last one is older than a minute, or than a hundred times the
    time that writing it took, if that is longer.

    Args:
        folder: where the states are kept, `epoch_0001` after one epoch, `epoch_0001_step_20` within
            the next; the last two of them. A name that something else has gets `_state` behind it.
        others: the run's other callbacks; what they call best so far is kept too.
        guards: the callbacks that `fit` adds.

    Example:
        >>> import tempfile
        >>> import kerasgan as kg
        >>> gan = kg.recipes.build("pix2pix", size=32, filters=2)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     KeepState(folder, []).restore(gan, first_epoch=0)
        0
    """

    def __init__(self, folder, others, guards=()):
        super().__init__()
        self._supports_tf_logs = True
        self.folder = pathlib.Path(folder)
        self.others = others
        self.guards = list(guards)
        self.signals = StopSignals()
        self.run = uuid.uuid4().hex
        self.facts: dict | None = None
        self.restored = False
        self.data, self.within = None, True
        self.step, self.length = 0, None
        self.epochs: list[int] = []
        self.history: dict[str, list[float]] = {}
        self._kept: dict[str, list[dict]] = {}
        self._best: dict[int, list[np.ndarray]] = {}
        self._running: dict[str, np.ndarray] = {}
        self._steps, self._shown = None, False
        self._now = (0, 0)
        self._mine: list[pathlib.Path] = []
        self._due, self._failed = 0.0, False
        self._timely, self._number = False, 0

    # --- Going on ---

    def restore(self, gan, first_epoch: int) -> int:
        """Put the last unbroken state into the networks; return the epoch to go on with."""
        if self.folder.exists() and not self.folder.is_dir():
            raise KerasganError(f"Argument 'resume' must name a folder. Received: {self.folder}")
        last, state = self._last()
        if last is None:
            return first_epoch
        settings = read_settings(last)
        then, now = settings["recipe"] or {}, gan.recipe or {}
        for name in sorted((then.keys() & now.keys()) - {"epochs"}):
            if then[name] != now[name]:
                raise KerasganError(
                    f"Argument 'resume': the run in '{self.folder}' has the recipe's '{name}' at "
                    f"{then[name]!r}, this one at {now[name]!r}; start in another folder"
                )
        self._compare(state.get("facts"))
        self.run = _run_of(last) or self.run
        gan.fits[:] = settings["fits"]
        for name in settings["networks"]:
            network = getattr(gan, name)
            try:
                if network is None:
                    raise ValueError(f"this run has no {name}")
                network.load_weights(last / f"{name}.keras")
            except Exception as error:  # whatever Keras makes of a broken file
                raise KerasganError(
                    f"Argument 'resume': '{last}' holds another {name} than this run's, or is "
                    f"broken; start in another folder ({error})"
                ) from error
        restore_optimizers(gan, last)
        self.epochs, self.history = state["epochs"], state["history"]
        self.step, self.length = state.get("step", 0), state.get("length")
        self._steps = state.get("steps")
        self._kept = {"others": state["callbacks"], "guards": state.get("guards", [])}
        with readable(last / "best.npz"):
            stored = read_arrays(last / "best.npz")
            for name in sorted(stored, key=lambda name: [int(x) for x in name.split("_")]):
                self._best.setdefault(int(name.split("_")[0]), []).append(stored[name])
        if (last / RUNNING).is_file():
            self._running = read_arrays(last / RUNNING)
        self._set(gan, "rate", _rates(gan))
        self._mine, self.restored = [last], True
        for callback in self.others:
            if isinstance(callback, keras.callbacks.CSVLogger) and callback.append:
                _shorten(pathlib.Path(callback.filename), callback.sep, state["next_epoch"])
        return state["next_epoch"]

    def _compare(self, then: dict | None) -> None:
        """Raise unless the state was written by a run with the same data and settings."""
        if self.facts is None:
            return
        if then is None:
            warnings.warn(
                f"Argument 'resume': the run in '{self.folder}' was begun by an earlier kerasgan, "
                "which kept no note of its data and settings. It goes on; make sure that they are "
                "what they were, or start in another folder",
                KerasganWarning,
                stacklevel=5,
            )
            return
        found = []
        for part, above in (("settings", ""), ("data", ""), ("validation", "validation ")):
            one, other = then.get(part) or {}, self.facts.get(part) or {}
            found += differences(one, other, above)
        if found:
            raise KerasganError(
                f"Argument 'resume': the run in '{self.folder}' was begun with another value of "
                f"{', '.join(found)}. To train anew, start in another folder or remove this one; "
                "to go on, give back what it had"
            )

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
        pairs = zip(self.others, self._kept.get("others", []))
        return any(
            kept.get("stopped_epoch")
            and kept.get("wait", 0) >= getattr(callback, "patience", np.inf)
            for callback, kept in pairs
        )

    def on_train_begin(self, logs=None):
        """Give the other callbacks back what they knew, which they have just forgotten."""
        for name, callbacks in (("others", self.others), ("guards", self.guards)):
            kept = self._kept.get(name, [])
            if len(kept) != len(callbacks):
                continue
            for number, (callback, known) in enumerate(zip(callbacks, kept)):
                if type(callback).__name__ != known["class"]:
                    continue
                vars(callback).update({k: v for k, v in known.items() if k != "class"})
                if name == "others" and number in self._best:
                    callback.best_weights = self._best[number]
        if "counter" in self._running:
            self.model._train_counter.assign(self._running["counter"])
        if self.step:
            self._enter(self.params["steps"])

    def _enter(self, steps):
        """Make Keras begin within the epoch."""
        if None not in (self._steps, steps) and self._steps != steps:
            raise KerasganError(
                f"Argument 'resume': the run in '{self.folder}' was stopped within an epoch of "
                f"{self._steps} steps; here an epoch has {steps}. Go on with the same data and "
                "batch size, or start in another folder"
            )
        if not self.within:
            raise KerasganError(
                f"Argument 'resume': the run in '{self.folder}' was stopped within an epoch, which "
                "these data cannot enter. Go on with data of the same kind"
            )
        model = self.model
        self._shown = steps is None or self.step >= steps
        begin = self.step - 1 if self._shown else self.step

        def counters(steps, epoch, mode=None):
            model._training_state = None
            return epoch, begin

        model._training_state = types.SimpleNamespace(
            maybe_load_initial_counters_from_ckpt=counters
        )
        if self._shown:  # Keras wants a step, so the last one is shown once more.
            step = model.train_function

            def shown(iterator):
                model.train_function = step
                return model.get_metrics_result()

            model.train_function = shown

    def on_epoch_begin(self, epoch, logs=None):
        """Note the epoch; in one that is entered, put back the means over its steps so far."""
        self._now = (epoch, self.step)
        if self.step:
            self._set(self.model, "metric", _means(self.model))
            self._set(self.model, "rate", _rates(self.model))
        self.step, self._running = 0, {}

    def _set(self, gan, kind, variables):
        for number, variable in enumerate(variables):
            value = self._running.get(f"{kind}_{number}")
            if value is not None:
                variable.assign(value)

    # --- Keeping ---

    def on_train_batch_end(self, batch, logs=None):
        """Write the state behind this step if it is time."""
        self._now = (self._now[0], batch + 1)
        if self._asked() or self._timely:
            self._keep_within(_means(self.model))
        self._stop()

    def on_test_begin(self, logs=None):
        """Note the means over the epoch's steps, which the validation overwrites."""
        self._trained = [variable.numpy() for variable in _means(self.model)]

    def on_test_batch_end(self, batch, logs=None):
        """Write the state behind the epoch's last step if a signal came during the validation."""
        if self._asked():
            self._keep_within(self._trained)
        self._stop()

    def on_epoch_end(self, epoch, logs=None):
        """Write the state behind epoch number `epoch`."""
        self.epochs.append(epoch)
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(float(value))
        if self._shown:  # The data may not have been asked for a single batch.
            feed.begin(self.data, epoch + 1)
            self._shown = False
        self.length = self._now[1]
        self._now = (epoch + 1, 0)
        self._keep([])
        self._asked()
        self._stop()

    def on_train_end(self, logs=None):
        """Try once more to write the last state, if that failed."""
        if self._failed:
            self._keep([])

    def _asked(self) -> bool:
        """Return whether a signal asks to stop; all workers must ask, and hear the same."""
        strategy = self.model.distribute_strategy
        mine = [self.signals.received or 0, time.monotonic() >= self._due]
        table = workers.everyone(strategy, mine)
        self._timely = bool(table[0, 1])  # by the chief's clock
        self._number = int(table[:, 0].max())
        return self._number > 0

    def _stop(self):
        if self._number:
            self.signals.received = self._number
            self.signals.check()

    def _keep_within(self, means):
        if self.within:
            self._keep(means)

    def _keep(self, means):
        began = time.monotonic()
        strategy = self.model.distribute_strategy
        number, count = workers.place(strategy)
        try:
            path = self._place() if number == 0 else self.folder
            with workers.writing(strategy, path) as fresh:
                self._write(fresh, means)
                seal(fresh)
        except OSError as error:
            self._failed = True
            said = (
                f"The state of the run cannot be written to '{self.folder}' "
                f"({free_space(self.folder)}): {error}"
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

    def _write(self, folder, means):
        epoch, step = self._now
        write(self.model, folder)
        best = {}
        for number, callback in enumerate(self.others):
            for place, value in enumerate(getattr(callback, "best_weights", None) or []):
                best[f"{number}_{place}"] = value
        np.savez(folder / "best.npz", **best)
        running = {"counter": self.model._train_counter.numpy()}
        for kind, values in (("metric", means), ("rate", _rates(self.model))):
            values = [x.numpy() if isinstance(x, tf.Variable) else x for x in values]
            running.update((f"{kind}_{n}", value) for n, value in enumerate(values))
        np.savez(folder / RUNNING, **running)
        state = {
            "run": self.run,
            "facts": self.facts,
            "next_epoch": epoch,
            "step": step,
            "steps": self.params["steps"],
            "length": self.length,
            "epochs": self.epochs,
            "history": self.history,
            "callbacks": [_known(callback) for callback in self.others],
            "guards": [_known(callback) for callback in self.guards],
        }
        write_file(folder / NOTES, json.dumps(state))

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
            if match and any((path.parent / name).is_file() for name in (SUMS, SETTINGS)):
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
            fault = broken(folder)
            if fault is None:
                try:
                    return folder, _notes(folder / NOTES)
                except (OSError, ValueError, RecursionError) as error:
                    fault = f"'run.json' cannot be read: {error}"
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
    kinds = {"next_epoch": int, "epochs": list, "history": dict, "callbacks": list}
    if not isinstance(notes, dict) or not all(isinstance(notes.get(k), kinds[k]) for k in kinds):
        raise ValueError("it lacks what a state has")
    counts = [notes.get(name) or 0 for name in ("step", "steps", "length")]
    numbers = [notes["next_epoch"], *notes["epochs"], *counts]
    callbacks = [*notes["callbacks"], *(notes.get("guards") or [])]
    if not all(isinstance(number, int) and number >= 0 for number in numbers):
        raise ValueError("an epoch or a step is no number from 0 up")
    if not all(isinstance(one, dict) and "class" in one for one in callbacks):
        raise ValueError("a callback has no class")
    facts = [notes.get("facts")]
    facts += facts[0].values() if isinstance(facts[0], dict) else []
    if not all(isinstance(part, (dict, type(None))) for part in facts):
        raise ValueError("what it was trained on is no table")
    return notes


def _known(callback) -> dict:
    known = {k: _number(v) for k, v in vars(callback).items() if k in KEPT_ATTRIBUTES}
    return {"class": type(callback).__name__, **known}


def _number(value):
    return value if value is None or isinstance(value, (bool, int)) else float(value)


def _means(gan) -> list:
    return [variable for metric in gan.metrics for variable in metric.variables]


def _rates(gan) -> list:
    """The variables of the optimizers that are not among their `variables`."""
    found = []
    for optimizer in (gan.optimizer, gan.discriminator_optimizer):
        found += rates_of(optimizer)
        scale = getattr(optimizer, "_loss_scale", None)
        found += list(scale._weights.values()) if hasattr(scale, "_weights") else []
    return found


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
