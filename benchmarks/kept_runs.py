"""Runs that are each made in a process of its own, and kept: a stopped script goes on.

And what the scripts that make such runs share: options, the settings of a folder, their end.
"""

import json
import multiprocessing
import os
import shutil
import sys

import kerasgan as kg
from kerasgan.cli import doctor
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


def add_data_options(add):
    """Add the options that say which images there are, and which are reported on."""
    add("--data", required=True, help="folder with images/ and masks/")
    add("--test-names", help="file with the names to report on (splits/val.txt in the data)")


def check_settings(folder, settings):
    """Raise if the folder holds runs of other settings, or made on another machine."""
    file, settings = folder / "settings.json", json.loads(json.dumps(settings))
    if not file.is_file():
        write_file(file, json.dumps(settings, indent=2) + "\n")
    then = json.loads(file.read_text(encoding="utf-8"))
    changed = [name for name in settings if then.get(name) != settings[name]]
    if changed:
        raise kg.KerasganError(
            f"The runs in '{folder}' were made with another {', '.join(changed)}. Give back what "
            "they had, or pass another --results"
        )


def on_machines(found=({},)):
    """Return what runs were made on by their facts, or this machine; the end of a sentence."""
    here = doctor.machine()
    machines = [{**here, **facts} for facts in found]
    texts = dict.fromkeys(
        f"on {machine['processor']}, {', '.join(machine['gpus']) or 'no GPU'}, Python "
        f"{machine['python']}, TensorFlow {machine['tensorflow']}, Keras {machine['keras']}"
        for machine in machines
    )
    return f"{' and '.join(texts)}."


def run_script(main):
    """Run a script: errors in one line, and a word on how to go on after Ctrl-C."""
    try:
        main()
    except kg.KerasganError as error:
        sys.exit(f"Error: {error}")
    except KeyboardInterrupt:
        sys.exit("\nStopped. The same command goes on where it stopped.")


def _run(folder, train, work, keep_model):
    os.setsid()  # Ctrl-C is for the process that waits, which passes it on
    try:
        folder.mkdir(parents=True, exist_ok=True)
        facts = {**train(folder, *work), **doctor.machine()}
        write_file(folder / "facts.json", json.dumps(facts, indent=2) + "\n")
    except kg.KerasganError as error:
        sys.exit(f"{folder.name}: {error}")
    shutil.rmtree(folder / "state")
    if not keep_model:
        shutil.rmtree(folder / "model")
