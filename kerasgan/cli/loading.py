"""Models, samples and JSON files from what a command line names."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import kerasgan as kg
from kerasgan.data.alike import same_images
from kerasgan.data.folders import find_pairs
from kerasgan.data.samples import Samples, load_folder
from kerasgan.errors import KerasganError, warn
from kerasgan.text import read_text
from kerasgan.validation import check_path, check_whole_number

RUN = "run.json"

FEWEST_TO_TRAIN = 3
"""Images of a run: one to train, one to choose the epoch, one to report on."""


class Answer(NamedTuple):
    """What a subcommand found or did: for programs, for people, and what was wrong all the same."""

    facts: dict[str, Any]
    words: str | Sequence[str]
    error: str | None = None

    @property
    def lines(self) -> list[str]:
        """What is said to people: `words` is one line, or several."""
        return [self.words] if isinstance(self.words, str) else list(self.words)

    @property
    def text(self) -> str:
        """All lines."""
        return "\n".join(self.lines)


def load_model(path: str | os.PathLike) -> Any:
    """Load the model of a training run, a saved model, or a bundle."""
    found = find_model(path)
    try:
        if found.suffix == ".zip" and not found.is_dir():
            return kg.inference.load_bundle(found)
        return kg.SegmentationGAN.load(found)
    except OSError as error:
        raise KerasganError(f"Model '{path}' cannot be read: {error}") from error


def find_model(path: str | os.PathLike) -> pathlib.Path:
    """Return which folder or bundle to load for what a user names, without loading it."""
    from kerasgan.storage import last_complete  # imports TensorFlow, which `check` does not need

    path = check_path("model", path)
    if not os.path.lexists(last_complete(path)):
        raise KerasganError(f"Argument 'model': there is no file or folder '{path}'")
    if not path.is_dir():
        return path
    inside = path / "model"
    if last_complete(inside).is_dir():
        return inside
    if (path / "recipe.json").is_file():
        raise KerasganError(
            f"Argument 'model': the training in '{path}' has kept no model yet, since its first "
            "epoch was not finished. Continue it: the same command with --resume"
        )
    if not (path / "kerasgan.json").is_file():
        raise KerasganError(
            f"Argument 'model': '{path}' holds no model. Pass a folder that `kerasgan train` or "
            "SegmentationGAN.save wrote, or a bundle (.zip)"
        )
    return path


@contextlib.contextmanager
def named_out(argument: str) -> Iterator[None]:
    """Call an argument of the library '--out' in its errors."""
    try:
        yield
    except KerasganError as error:
        said = str(error).replace(f"Argument '{argument}'", "Argument '--out'")
        raise KerasganError(said) from error


def number_of(count: int, what: str) -> str:
    """Return a number of things in words, such as `1 mask` or `2 masks`."""
    return f"{count} {what}{'' if count == 1 else 's'}"


def classes_of(model: Any) -> int:
    """Return how many classes a model tells apart; 1 for a foreground."""
    return model.generator.output_shape[-1]


def options_of(model: Any, known: Iterable[str]) -> dict[str, Any]:
    """Return how the author of a bundle says to predict with it, where that can be heeded."""
    stated = dict(getattr(model, "preprocessing", {}))
    left_out = sorted(stated.keys() - {*known, "scale"})  # which the network keeps itself
    if left_out:
        warn(f"The bundle's settings {', '.join(left_out)} are not used here, only by 'predict'")
    return {name: value for name, value in stated.items() if name in known}


def places_of(folder: Any, masks: Any = None, no_masks: bool = False) -> dict[str, Any]:
    """Return which folders `load_folder` is to look into."""
    if masks is not None and no_masks:
        raise KerasganError("Pass either '--masks' or '--no-masks', and not both")
    if masks is not None:
        return {"images": folder, "masks": masks}
    return {"path": folder, "masks": None} if no_masks else {"path": folder}


def load_samples(
    folder: str | os.PathLike,
    *,
    masks: str | os.PathLike | None = None,
    no_masks: bool = False,
    classes: int = 1,
    colors: Any = None,
    names: Any = None,
    limit: int | None = None,
) -> Samples:
    """Find images and masks, then take those with given names, and the first so many of them."""
    samples = load_folder(**places_of(folder, masks, no_masks), classes=classes, colors=colors)
    if names is not None:
        samples = samples.split_by_names(names)[1]
    return first_of(samples, limit)


def options_for(
    folder: str | os.PathLike, masks: Any = None, classes: int = 1, colors: Any = None
) -> list[str]:
    """Return the words of a command line by which `load_samples` finds the same folder."""
    folder = os.fspath(folder)
    words = [f".{os.sep}{folder}" if folder.startswith("-") else folder]
    words += [] if masks is None else [f"--masks={os.fspath(masks)}"]
    words += [] if classes == 1 else ["--classes", str(classes)]
    return words + ([] if colors is None else ["--colors", json.dumps(colors)])


def first_of(samples: Samples, limit: int | None) -> Samples:
    """Return the first so many samples, or all."""
    return samples if limit is None else samples[: check_whole_number("--limit", limit, 1)]


def warn_of_known_images(
    model: str | os.PathLike, folder: str | os.PathLike, samples: Samples
) -> None:
    """Warn if a model learnt from some of the images that it is to be scored on."""
    model = pathlib.Path(model)
    runs = [place / RUN for place in (model, model.parent)]  # it may be a part of its run
    path = next((path for path in runs if path.is_file()), None)
    if path is None:
        return
    data = read_json("model", path).get("data", {})
    trained, reported = str(data.get("folder")), {*data.get("test_names", ())}
    how, advice = "were", f". For the others pass --names {path.with_name('names.txt')}"
    if os.path.realpath(folder) == os.path.realpath(trained):
        known = [name for name in samples.names if name not in reported]
    else:
        learned = _learned_images(trained, data.get("masks"), reported)
        known = [samples.names[index] for index in same_images(samples.image_paths, learned)]
        how, advice = f"show the same as images in {trained} that were", ""
    if known:
        warn(
            f"{len(known)} of these {len(samples)} images, such as {known[0]!r}, {how} used in "
            f"training: scores on them are likely too high{advice}"
        )


def _learned_images(folder: str, masks: str | None, reported: set[str]) -> list[str]:
    """Find what a run learned from, where that is still there."""
    pairs: dict[str, Any] = {}
    with contextlib.suppress(KerasganError):
        places = {"path": None, "images": None, "masks": ..., **places_of(folder, masks)}
        pairs, _ = find_pairs(**places)
    return [str(file) for name, file in pairs.items() if name not in reported]


def read_json(argument: str, path: str | os.PathLike) -> dict[str, Any]:
    """Read a JSON file that holds an object."""
    try:
        content = json.loads(read_text(path))
    except (OSError, ValueError, RecursionError) as error:
        raise KerasganError(f"Argument '--{argument}': '{path}' cannot be read: {error}") from error
    if not isinstance(content, Mapping):
        raise KerasganError(
            f"Argument '--{argument}': '{path}' must hold a JSON object, such as {{}}"
        )
    return dict(content)


def read_card(path: str | os.PathLike | None) -> dict[str, Any]:
    """Read what people say of a model, by field; fields that were left empty are not stated."""
    card = {} if path is None else read_json("card", path)
    return {name: said for name, said in card.items() if said is not None and said != ""}
