"""The command `kerasgan`: everything from a folder of images to a report, without writing code.

It stands above all rooms, and no room knows of it. The scripts of examples/ use the same functions.

- `command.py`: subcommands, options, what is printed, exit codes.
- `check.py`, `doctor.py`: what a folder holds, and what this computer has; both before training.
- `runs.py`: a training run, from the recipe to the files in its results folder.
- `tasks.py`: what is done with a trained model.
- `serve.py`: the browser app.
- `loading.py`: models, samples and JSON files from what a command line names.
"""
