"""Runs that are each made in a process of its own, and kept: a stopped script goes on."""

import json
import multiprocessing
import os
import shutil
import sys

import kerasgan as kg
from kerasgan.storage import write_file


def facts_of(folder, train, *work, keep_model=True):
    """Return the facts of a run: those in its folder, or what `train(folder, *work)` returns.

    None if it failed.
    """
    file = folder / "facts.json"
    if not file.is_file():
        process = multiprocessing.get_context("spawn").Process(
            target=_run, args=(folder, train, work, keep_model)
        )
        process.start()
        try:
            process.join()
        finally:
            if process.is_alive():
                process.terminate()  # it writes its state first
                process.join()
        if process.exitcode not in (0, 1):
            sys.exit(process.exitcode)
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None


def _run(folder, train, work, keep_model):
    os.setsid()  # Ctrl-C is for the process that waits, which passes it on
    try:
        folder.mkdir(parents=True, exist_ok=True)
        facts = train(folder, *work)
        write_file(folder / "facts.json", json.dumps(facts, indent=2) + "\n")
    except kg.KerasganError as error:
        sys.exit(f"{folder.name}: {error}")
    shutil.rmtree(folder / "state")
    if not keep_model:
        shutil.rmtree(folder / "model")
