"""The subcommands of `kerasgan`, their options, what they print, and how they end.

Built on argparse: it comes with Python and answers `--help` at once, where Typer would bring three
packages and more time at every start for completion that argcomplete gives argparse as well.

What was found or done goes to stdout, in words or (`--json`) as one JSON object; progress, warnings
and errors go to stderr. Exit codes: 0 all is well, 1 something given cannot be used, 2 the command
line is wrong, 130 interrupted by Ctrl-C.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import re
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import kerasgan as kg
from kerasgan._version import __version__
from kerasgan.errors import KerasganError, KerasganWarning
from kerasgan.text import json_text
from kerasgan.validation import check_writable

PATHS = (
    "folder",
    "folders",
    "images",
    "source",
    "run",
    "model",
    "other",
    "masks",
    "unlabelled",
    "labelled",
    "config",
    "card",
)
"""Options that name what must be there already."""
IN_WORDS = (  # how messages of the library are said on a command line
    (
        r"pass images=\.\.\. and masks=\.\.\.: load_folder\(images='(.*?)', masks='(.*?)'\)",
        r"pass the one with images as FOLDER, and --masks: '\1' --masks '\2'",
    ),
    (r"pass images=\.\.\. and masks=\.\.\.", "pass the one with images as FOLDER, and --masks."),
    (r"can name them in save_bundle", "can state them in a JSON file, --card"),
    (r", or as lists of files", ""),
    (r"\bpass masks=None", "pass --no-masks"),
    (r"\bmasks=None", "--no-masks"),
    (r"\bleave '(mode)' out", r"leave --\1 out"),
    (r"\boverwrite=True", "--overwrite"),
    (
        r"Argument 'pictures' must be a folder that from_(\w+)",
        r"IMAGES must be what `kerasgan convert \1`",
    ),
    (r"\bcolors=(\[[^\]]*\])", lambda m: f"--colors '{m[1].translate(BRACKETS)}'"),
)
ADVICE = {
    "masks": " If the files lie elsewhere, pass images=... and masks=...",
    "no_masks": " For unlabelled images pass masks=None.",
}
"""What is said of a folder without images or masks only where a command has that option."""
BRACKETS = str.maketrans("()", "[]")
STOPPED = "Stopped. What was written so far is whole"
MASKS = ("png", "overlay", "coco", "nifti", "dicom-seg")
RESUMED = "Stopped. The same command with --resume continues where it stopped"


def main(words: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        words: What stands behind `kerasgan` on the command line; None for what does.

    Returns:
        The exit code.

    Example:
        >>> main(["check"])  # doctest: +SKIP
        2
    """
    words = list(sys.argv[1:] if words is None else words)
    parser = _parser()
    if not words:
        parser.print_help(sys.stderr)
        return 2
    try:
        args = parser.parse_args(words)
    except SystemExit as stop:  # argparse has said why
        file = next((word for word in words if word[:1] == "-" and os.path.lexists(word)), None)
        if stop.code and file:
            print(f"Write the file '{_one_line(file)}' as ./{_one_line(file)}", file=sys.stderr)
        return int(stop.code or 0)
    stdout, warned = sys.stdout, []
    with _warnings_on_stderr(warned):
        try:
            with contextlib.redirect_stdout(sys.stderr):
                answer = _run(args, words)
        except (KerasganError, ImportError, OSError) as error:
            return _fail(error, _shown(args))
        except KeyboardInterrupt:
            print(f"\n{RESUMED if args.command == 'train' else STOPPED}.", file=sys.stderr)
            return 130
    if args.json:
        facts = {**answer.facts, "warnings": warned}
        text = json_text(facts)
    else:
        text = "\n".join(map(_said, answer.lines))
    encoding = getattr(stdout, "encoding", None) or "utf-8"
    try:
        print(text.encode(encoding, "backslashreplace").decode(encoding), file=stdout, flush=True)
    except BrokenPipeError:  # as in `kerasgan doctor | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0 if answer.error is None else _fail(answer.error, _shown(args))


def _run(args: argparse.Namespace, words: list[str]) -> Any:
    own = ("command", "function", "json", "option_names")
    options = {k: v for k, v in vars(args).items() if k not in own}
    for name in PATHS:
        paths = options.get(name)
        for path in [paths] if isinstance(paths, str) else paths or ():
            if not os.path.lexists(path):
                where = args.option_names[name]
                raise KerasganError(f"Argument {where}: there is no file or folder '{path}'")
    module, _, function = args.function.partition(".")
    if module in ("tasks", "runs"):
        _ = kg.models  # TensorFlow, without its notices
    if options.get("out") is not None:
        check_writable("--out", options["out"])
    if args.command == "train":
        options["words"] = words
    return getattr(importlib.import_module(f"kerasgan.cli.{module}"), function)(**options)


def _shown(args: argparse.Namespace) -> dict[str, str]:
    """How the command line names the arguments of the functions that it calls."""
    if args.command == "convert":
        source = ("annotations",) if args.format == "coco" else ("images", "videos")
        return {**args.option_names, **dict.fromkeys(source, args.option_names["source"])}
    shown = dict(args.option_names)
    other = {"models": "model", "run": "model", "test_names": "names"}
    shown.update({theirs: shown[ours] for ours, theirs in other.items() if ours in shown})
    if args.command in ("report", "compare"):
        shown["images"] = shown["shown"]
    return shown


def _fail(error: Any, shown: Mapping[str, str]) -> int:
    print(f"Error: {_said(str(error) or type(error).__name__, shown)}", file=sys.stderr)
    return 1


def _said(text: str, shown: Mapping[str, str] | None = None) -> str:
    """A message of the library as one line of the command.

    Args:
        text: The message.
        shown: How the command line names arguments.
    """
    for option, advice in ADVICE.items():
        if shown and option not in shown:
            text = text.replace(advice, "")
    for pattern, words in IN_WORDS:
        text = re.sub(pattern, words, text)
    if shown:
        given = (shown[name] for name in ("folder", "folders", "images", "source") if name in shown)
        known = {"path": next(given, "'path'"), **shown}
        named = r"\bArgument '(\w+)'"
        text = re.sub(named, lambda m: f"Argument {known.get(m[1], repr(m[1]))}", text)
    return _one_line(text.replace(":\n- ", ": ").replace("\n- ", "; "))


def _one_line(text: str) -> str:
    """A text with escapes for what is no letter, such as a line break in the name of a file."""
    escaped = (c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return "".join(escaped)


@contextlib.contextmanager
def _warnings_on_stderr(warned: list[str]) -> Iterator[None]:
    """Tell a warning of kerasgan in one line, and note it."""

    def show(message: Any, category: type, *rest: Any) -> None:
        if not issubclass(category, KerasganWarning):
            return before(message, category, *rest)
        warned.append(str(message))
        print(f"Warning: {_said(str(message))}", file=sys.stderr)
        return None

    with warnings.catch_warnings():
        before, warnings.showwarning = warnings.showwarning, show
        warnings.simplefilter("always", KerasganWarning)
        yield


# --- The options ---


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kerasgan",
        description="Segment medical images and explain each mask.",
        epilog="From a folder with images/ and masks/ to a report:\n\n"
        "  kerasgan check FOLDER --out check.png\n"
        "  kerasgan train FOLDER --out RUN\n"
        "  kerasgan report FOLDER --model RUN --names RUN/names.txt --out REPORT\n\n"
        "kerasgan COMMAND --help explains each. `kerasgan doctor` says what is installed.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"kerasgan {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def command(name: str, function: str, text: str, example: str) -> Any:
        part = commands.add_parser(
            name,
            help=text[0].lower() + text[1:].split(". ")[0].rstrip("."),
            description=text,
            epilog=f"Example:\n  {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        shown: dict[str, str] = {}
        part.set_defaults(function=function, option_names=shown)

        def add(*names: str, **how: Any) -> None:
            option = part.add_argument(*names, **how)
            named = option.option_strings
            shown[option.dest] = f"'{named[0]}'" if named else option.metavar or option.dest.upper()

        add("--json", action="store_true", help="print one JSON object")
        return add

    add = command(
        "check",
        "check.check",
        "Print what a folder holds and how it will be read. Decodes every file, trains nothing.",
        "kerasgan check Kvasir-SEG --out check.png",
    )
    add("folder", metavar="FOLDER", help="folder with images/ and masks/, or x.png and x_mask.png")
    add("--out", metavar="FILE", help="picture of some images and masks to write")
    _add_masks(add, no_masks=True)
    add("--classes", type=int, default=1, help="1 for a foreground, n > 1 with the background")

    add = command(
        "train",
        "runs.train_folder",
        "Train on a folder, score and explain the part kept for it. RUN, which is then a model to "
        "all\nother commands, gets the networks, tables, pictures, bundle.zip, and run.json, which "
        "describes\nthe run.",
        "kerasgan train Kvasir-SEG --out RUN --recipe fast --epochs 16",
    )
    add("folder", metavar="FOLDER", nargs="?", help="folder with images/ and masks/")
    add("--out", metavar="RUN", required=True, help="folder for everything that is written")
    add(
        "--config",
        metavar="FILE",
        help="run.json of another run: used for options left out",
    )
    add(
        "--test-names",
        metavar="FILE",
        help="file with the names of images to report on; else splits/val.txt, or a tenth",
    )
    add("--unlabelled", metavar="FOLDER", help="images without masks to learn from too")
    _add_masks(add)
    add("--classes", type=int, help="1 for a foreground, n > 1 with the background")
    add_recipe_options(add)
    commands.choices["train"].set_defaults(recipe=None, seed=None)

    add = command(
        "predict",
        "tasks.predict",
        "Segment images. Writes each mask as PNG, of the image's size, or in another format. For\n"
        "dicom-seg and nifti IMAGES is a folder that `kerasgan convert` wrote: masks go back to "
        "where\nits pictures came from.",
        "kerasgan predict frames --model RUN --out masks",
    )
    add("images", metavar="IMAGES", help="a folder of images, or one image")
    _add_model(add)
    add("--out", metavar="MASKS", required=True, help="folder for the masks; of coco a .json file")
    add("--format", choices=MASKS, default="png", help="png if left out")
    add(
        "--segments",
        type=_json,
        metavar="JSON",
        help='coco, dicom-seg: what labels 1 to n are, \'["liver", "lesion"]\'; of dicom-seg also '
        'with codes, \'[{"name": "liver", "type": ["10200004", "SCT", "Liver"]}]\'',
    )
    add("--threshold", type=float, help="probability that counts; 0.5, or as a bundle says")
    _add_views(add)
    add("--overwrite", action="store_true", help="replace masks of earlier runs")

    add = command(
        "rank",
        "tasks.rank",
        "List which unlabelled images to label next. Writes a table: rank, name, score, and the\n"
        "name of an image that has a mask or is higher in the list and looks almost the same, if\n"
        "there is one: such images come last. The same command continues after Ctrl-C.",
        "kerasgan rank frames --model RUN --out next.csv --count 50 --labelled Kvasir-SEG",
    )
    add("images", metavar="IMAGES", help="a folder of images")
    add(
        "--model",
        dest="models",
        action="append",
        metavar="RUN",
        help="a run, a saved model, or a bundle; several times for the networks of an ensemble",
    )
    add("--out", metavar="FILE", required=True, help="table to write, CSV; it must not exist")
    add(
        "--by",
        choices=("disagreement", "discriminator", "entropy", "random"),
        default="disagreement",
        help="disagreement of views or networks, the discriminator's doubt, or the pixels' entropy",
    )
    add("--count", type=int, metavar="N", help="list N images; all if left out")
    add("--labelled", metavar="FOLDER", help="images with masks; those almost like them come last")
    add("--seed", type=int, default=0, help="of random; 0")

    add = command(
        "evaluate",
        "tasks.evaluate",
        "Score the masks of a model against true ones. Prints means and 95 %% intervals.",
        "kerasgan evaluate Kvasir-SEG --model RUN --names RUN/names.txt --out scores",
    )
    add(
        "folders", metavar="FOLDER", nargs="+", help="with masks; the first is compared with others"
    )
    _add_model(add)
    add("--out", metavar="FOLDER", help="folder for scores.csv, a row per image, and scores.txt")
    _add_masks(add)
    first = "text file of the images to score, of the first FOLDER; all if left out"
    add("--names", metavar="FILE", help=first)
    sets = "distances, surface, objects, centreline, calibration, all"
    add("--scores", nargs="+", metavar="SET", help=f"further scores: {sets}")
    add("--threshold", type=float, help="probability that counts; 0.5, or as a bundle says")
    add("--augment", action="store_true", help="average over flips and right angles")

    add = command(
        "explain",
        "tasks.explain",
        "Show how much each pixel contributed to the masks of a model. Writes a picture and the\n"
        "arrays of each.",
        "kerasgan explain frames --model RUN --out heatmaps --rule epsilon",
    )
    add("images", metavar="IMAGES", help="a folder of images, or one image")
    _add_model(add)
    add("--out", metavar="HEATMAPS", required=True, help="folder for pictures and arrays")
    add("--rule", help="how to explain; `kerasgan doctor` lists the names")
    add("--target", default="prediction", help="what to explain: prediction, border")
    add("--layers", nargs="*", metavar="LAYER", help="to show, such as down_2; three if left out")
    add("--limit", type=int, metavar="N", help="explain the first N images only")
    add(
        "--format",
        choices=("png", "dicom-map"),
        default="png",
        help="png (with arrays) if left out; dicom-map: IMAGES is what `kerasgan convert dicom` "
        "wrote",
    )

    add = command(
        "report",
        "tasks.report",
        "Write a report about a model. One HTML page: scores, failures, explanations, model card.",
        "kerasgan report Kvasir-SEG --model RUN --names RUN/names.txt --out report",
    )
    _add_model(add)
    add("--card", metavar="FILE", help="JSON: what only you know; a report's card.json, filled in")
    add("--shortcuts", action="store_true", help="look for shortcuts too; takes longer")
    _add_report(add)

    add = command(
        "compare",
        "tasks.compare",
        "Write a report about several models. All see the same images.",
        "kerasgan compare Kvasir-SEG --model RUN_1 --model mine=RUN_2 --out both",
    )
    add(
        "--model",
        dest="models",
        action="append",
        required=True,
        metavar="NAME=RUN",
        help="twice or more: RUN or NAME=RUN; the others are compared with the first",
    )
    _add_report(add)

    add = command(
        "bundle",
        "tasks.bundle",
        "Pack the model of a run into one file, to share. It holds no code.",
        "kerasgan bundle RUN --out polyps.zip --card card.json --licence CC-BY-4.0",
    )
    add("run", metavar="RUN", help="what `kerasgan train` wrote, or a saved model")
    add("--out", metavar="FILE", required=True, help="the zip to write; it must not exist")
    add("--card", metavar="FILE", help="JSON with the fields of the model's card")
    add("--licence", help="under which the weights may be used, as CC-BY-4.0")
    add("--limit", type=float, default=20, metavar="MB", help="largest size in MB; 20")

    add = command(
        "export",
        "tasks.export",
        "Write a network for where there is no kerasgan. ONNX or TensorFlow's SavedModel.",
        "kerasgan export RUN --out polyps.onnx",
    )
    add("model", metavar="RUN", help="what `kerasgan train` wrote, a saved model or a bundle")
    add("--out", metavar="PATH", required=True, help="a file that ends in .onnx, or a folder")
    add("--explain", metavar="RULE", help="write the explainer by this rule instead: a SavedModel")

    add = command(
        "convert",
        "tasks.convert",
        "Turn medical files into a folder of images and masks. Needs the extra of the format.",
        "kerasgan convert dicom CT --masks SEG --window 40 400 --out slices",
    )
    add("format", choices=("dicom", "nifti", "coco", "video", "pictures"), help="of the source")
    add("source", metavar="SOURCE", help="file or folder; of COCO the JSON file")
    add("--out", metavar="FOLDER", required=True, help="new, or a conversion that was interrupted")
    add("--masks", metavar="PATH", help="dicom, nifti: file or folder with the masks")
    add(
        "--window", nargs=2, type=float, metavar=("LEVEL", "WIDTH"), help="dicom, nifti: grey scale"
    )
    add("--classes", type=int, help="dicom, nifti: n > 1 keeps labels 0 to n - 1")
    add("--axis", help="nifti: axial, coronal or sagittal")
    add("--images", metavar="FOLDER", help="coco: where its file names start from")
    add("--categories", nargs="+", metavar="NAME", help="coco: which to draw; all if left out")
    add("--every", type=int, metavar="N", help="video: every Nth frame")
    add("--times", nargs="+", type=float, metavar="SECOND", help="video: these moments")
    add("--low", type=float, help="pictures: the value that becomes black")
    add("--high", type=float, help="pictures: the value that becomes white")

    add = command(
        "app",
        "serve.app",
        "Show images in the browser: mask, probability, and an explanation of any pixel, of one\n"
        "model or of two side by side. Ctrl-C ends it. Only this computer can open the page;\n"
        "with another --host a token is asked for. Needs the extra app.",
        "kerasgan app RUN --images Kvasir-SEG",
    )
    add("model", metavar="RUN", help="what `kerasgan train` wrote, a saved model or a bundle")
    add("other", metavar="OTHER", nargs="?", help="another, to be compared with it")
    add("--images", metavar="FOLDER", help="images to choose from, with masks or without")
    add("--host", default="127.0.0.1", help="address to listen at; 127.0.0.1")
    add("--port", type=int, default=8080, help="port to listen at; 8080. 0 for any that is free")

    command(
        "doctor",
        "doctor.doctor",
        "Print what is installed, and how to install what is missing.",
        "kerasgan doctor",
    )
    if "_ARGCOMPLETE" in os.environ:
        importlib.import_module("argcomplete").autocomplete(parser)
    return parser


def add_recipe_options(add: Any) -> None:
    """Add the options of a training run: those of its recipe, and how it is explained."""
    add("--resume", action="store_true", help="continue the run in that folder")
    add("--recipe", default="fast", metavar="NAME", help="networks and losses; fast")
    add("--size", type=int, help="height and width in pixels; the recipe's if left out")
    add("--filters", type=int, help="width of the generator; the recipe's if left out")
    add("--epochs", type=int, help="passes over the training images; the recipe's if left out")
    add("--batch-size", type=int, help="images a step; the recipe's if left out")
    add("--learning-rate", type=float, help="Adam's; the recipe's if left out")
    add("--precision", help="float32, bfloat16 (where the processor has it) or float16 (GPUs)")
    weight = "weight of that loss; the recipe's if left out"
    add("--l1", type=float, help=weight)
    add("--cross-entropy", type=float, help=weight)
    add("--dice", type=float, help=weight)
    add("--adversarial-weight", type=float, help="0 trains without the discriminator")
    add("--rule", metavar="NAME", help="for explaining")
    add("--seed", type=int, default=0, help="of start values, order, augmentation and dropout")
    add(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="any other field of the recipe, as often as wanted: --set adversarial=hinge",
    )


def _add_model(add: Any) -> None:
    add("--model", metavar="RUN", required=True, help="a run, a saved model, or a bundle (.zip)")


def _add_masks(add: Any, no_masks: bool = False) -> None:
    add("--masks", metavar="FOLDER", help="folder of the masks, where FOLDER holds images alone")
    if no_masks:
        add("--no-masks", action="store_true", help="the images have no masks, or not to be used")
    add(
        "--colors",
        type=_json,
        metavar="JSON",
        help="how masks show each class, background first: '[0, 128]' or '[[0,0,0],[255,0,0]]'",
    )


def _add_views(add: Any) -> None:
    add("--mode", help="stretch, letterbox or window: how images are brought to the model's size")
    add("--augment", action="store_true", help="average over flips and right angles")


def _add_report(add: Any) -> None:
    add("folder", metavar="FOLDER", help="folder with images/ and, for scores, masks/")
    add("--out", metavar="REPORT", required=True, help="folder to write")
    add("--names", metavar="FILE", help="text file of the images to report on; all if left out")
    _add_masks(add, no_masks=True)
    add("--rules", nargs="+", metavar="RULE", help="to explain by; `kerasgan doctor` lists them")
    add("--shown", type=int, metavar="N", help="images shown in full; 24, or 12 to compare")
    add("--limit", type=int, metavar="N", help="report on the first N images only")
    _add_views(add)
    add("--overwrite", action="store_true", help="replace an earlier report")


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise argparse.ArgumentTypeError(f"not JSON: {text!r}") from None
