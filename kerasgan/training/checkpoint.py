"""States of a run on disk: folders with checksums, of which the last two are kept."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import re
import shutil
import uuid
from collections.abc import Iterator
from typing import Any

from kerasgan.errors import KerasganError, warn
from kerasgan.storage import file_sha256

NOTES, SUMS = "run.json", "checksums.json"
STATE = re.compile(r"epoch_(?P<epoch>\d+)(_step_(?P<step>\d+))?(_state)?")
UNFINISHED = re.compile(r"\.epoch_\d+(_step_\d+)?(_state)?\.kerasgan")  # left by a killed process


class StateFolder:
    """The folder that `fit(resume=...)` names, with a state in each folder within.

    These are called `epoch_0001` after one epoch, `epoch_0001_step_20` within the next, and where
    something else has that name, `epoch_0001_state`.

    Attributes:
        run: Name that the run gave itself.
        states: Paths of this run's last two states, the newest last.
    """

    def __init__(self, path):
        self.path, self.run = pathlib.Path(path), uuid.uuid4().hex
        self.states: list[pathlib.Path] = []

    def read_last(self) -> dict | None:
        """Return the notes of the last undamaged state, which is then this run's; None without."""
        if self.path.exists() and not self.path.is_dir():
            raise KerasganError(f"Argument 'resume' must name a folder. Received: {self.path}")
        candidates = []
        for path in self.path.glob(f"epoch_*/{NOTES}"):
            match = STATE.fullmatch(path.parent.name)
            if match and (path.parent / SUMS).is_file():
                candidates.append((int(match["epoch"]), int(match["step"] or 0), path.parent))
        candidates.sort(reverse=True)
        runs = {_run_of(state): state.name for *_, state in reversed(candidates)}
        runs.pop(None, None)
        if len(runs) > 1:
            raise KerasganError(
                f"Argument 'resume': '{self.path}' holds states of several runs, such as "
                f"{' and '.join(sorted(runs.values())[:2])}; move those that are not meant"
            )
        for *_, state in candidates:
            damage = find_damage(state)
            if damage is None:
                try:
                    notes = _read_notes(state / NOTES)
                except (OSError, ValueError, RecursionError) as error:
                    damage = f"'{NOTES}' cannot be read: {error}"
                else:
                    self.run, self.states = notes["run"], [state]
                    return notes
            warn(f"Argument 'resume': '{state}' is passed over, since {damage}")
        if candidates:
            raise KerasganError(
                f"Argument 'resume': every state in '{self.path}' is broken; start in another "
                "folder, or remove this one"
            )
        return None

    def new_path(self, epoch: int, step: int) -> pathlib.Path:
        """Return where a state goes; what is not this run's is never written over."""
        name = f"epoch_{epoch:04d}" + (f"_step_{step}" if step else "")
        for path in (self.path / name, self.path / f"{name}_state"):
            known = path in self.states and not path.is_symlink()
            if not os.path.lexists(path) or known or self._is_own(path):
                return path
        raise OSError(f"both '{name}' and '{name}_state' are something else there")

    def add(self, path: pathlib.Path, clean: bool) -> None:
        """Note a new state; `clean` removes older ones, and what a killed process left."""
        before = self.states
        self.states = [*(state for state in before if state != path), path][-2:]
        for other in self.path.iterdir() if clean else ():
            own = other in before or self._is_own(other)
            left = UNFINISHED.fullmatch(other.name) and not os.path.lexists(other / "old")
            if (own or left) and other not in self.states:
                shutil.rmtree(other, ignore_errors=True)

    def _is_own(self, path: pathlib.Path) -> bool:
        named = STATE.fullmatch(path.name) and not path.is_symlink()
        return bool(named) and _run_of(path) == self.run


def _run_of(state: pathlib.Path) -> str | None:
    """Return the name that a run has given itself; None for what is no state of a run."""
    try:
        run = json.loads((state / NOTES).read_text(encoding="utf-8")).get("run")
    except (OSError, ValueError, AttributeError, RecursionError):
        return None
    return run if isinstance(run, str) else None


def _read_notes(path: pathlib.Path) -> dict:
    """Read the notes of a state; raise a ValueError unless they are as they were written."""
    notes = json.loads(path.read_text(encoding="utf-8"))
    kinds: dict[str, Any] = {
        "run": str,
        "facts": (dict, type(None)),
        "fits": list,
        "next_epoch": int,
        "step": int,
    }
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


def write_checksums(folder: pathlib.Path) -> None:
    """Write the SHA-256 sums of a folder's files into the folder."""
    sums = {path.name: file_sha256(path) for path in sorted(folder.iterdir())}
    (folder / SUMS).write_text(json.dumps(sums, indent=2), encoding="utf-8")


def find_damage(folder: pathlib.Path) -> str | None:
    """Return what does not agree with the folder's checksums; None if all does, or it has none."""
    try:
        if not (folder / SUMS).exists():
            return None
        sums = json.loads((folder / SUMS).read_text(encoding="utf-8"))
        for name, wanted in sums.items():
            if file_sha256(folder / name) != wanted:
                return f"'{name}' has changed since it was written"
    except FileNotFoundError as error:
        return f"'{pathlib.Path(error.filename).name}' is missing"
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        return f"it cannot be read: {error}"
    return None


@contextlib.contextmanager
def hold_folder(folder: pathlib.Path) -> Iterator[None]:
    """Refuse a folder that another run writes to; while a `with` block lasts, others refuse it.

    Where the system or the disk has no such locks, nothing is refused.
    """
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(ImportError, OSError):  # the first state tells what is wrong
            import fcntl

            folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, handle)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise KerasganError(
                    f"Argument 'resume': another run is writing to '{folder}' now. Wait until it "
                    "has ended, or start in another folder"
                ) from None
        yield


def free_space(folder: pathlib.Path) -> str:
    """Return the free space where a folder is or would be, in words."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        return f"{shutil.disk_usage(folder).free / 2**20:,.1f} MiB free"
    except OSError:
        return "free space unknown"
