"""What the training scripts share: their options, and how they begin and end."""

import argparse
import pathlib
import sys
import time

import kerasgan as kg
from kerasgan.cli import runs
from kerasgan.cli.command import add_recipe_options


def arguments(description, results, data=True):
    """Return the parser with the arguments that every training script takes."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    if data:
        parser.add_argument("--data", required=True, help="folder with images/ and masks/")
    parser.add_argument("--results", default=results, help="folder for everything that is written")
    add_recipe_options(parser.add_argument)
    parser.set_defaults(rule=kg.explain.methods.DEFAULT_RULE)
    return parser


def command():
    """Return the command line from scratch, folders elsewhere cut down to their last name."""
    script = "/".join(pathlib.Path(sys.argv[0]).absolute().parts[-2:])
    return runs.command_line("python", script, *sys.argv[1:])


def experiment(args, recipe, folder, rest, test, fraction, unlabelled=None):
    """Split off a validation part, train, report; return the folder."""
    runs.experiment(recipe, folder, rest, test, fraction, args.rule, command(), unlabelled)
    return folder


def drawn(folder, what, write):
    """Load what an earlier run drew into the results folder, or draw it now."""
    place = folder / "data"
    if place.exists():
        return kg.data.load_folder(place)
    print(f"Drawing {what} into {place}")
    return write(place)


def run(main):
    """Run a script: errors in one line, and a word on how to go on after Ctrl-C."""
    start = time.time()
    try:
        folder = main()
    except kg.KerasganError as error:
        sys.exit(f"Error: {error}")
    except KeyboardInterrupt:
        sys.exit("\nStopped. The same command with --resume continues where it stopped.")
    since = " since it was resumed" if "--resume" in sys.argv else ""
    print(f"Done in {(time.time() - start) / 60:.1f} minutes{since}. Everything is in {folder}/")
