"""A trained network in one file, to give to others and to take from strangers.

The zip holds one folder: the network's weights; `kerasgan.json` with its recipe and the function of
`kerasgan.models` that builds it, by name and arguments; `bundle.json` with its card, licence and
preprocessing; `README.md`, the card to be read; further files of the author's; and `SHA256SUMS` of
them all. Unpacked, the folder is one that `SegmentationGAN.load` takes. Nothing in it is code, and
no layer is described in it, so it opens on Keras 2 and Keras 3 alike.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import pathlib
import tempfile
import zipfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from kerasgan.data.windows import MOST_SCALE, SCALE, WINDOW
from kerasgan.errors import KerasganError, unknown_name, warn
from kerasgan.inference.card import (
    card_text,
    check_card,
    check_card_texts,
    missing_fields,
    recorded,
)
from kerasgan.inference.clean import cleaning_steps
from kerasgan.inference.export import new_path
from kerasgan.inference.members import input_size, members_of
from kerasgan.inference.predict import predict, predict_probability
from kerasgan.inference.tiling import OVERLAP, check_tiling
from kerasgan.inference.views import augmentation_views
from kerasgan.models import generator_of
from kerasgan.models.archives import (
    LIMIT,
    check_names,
    entries_of,
    load_error,
    name_in_errors,
    read_json,
    unpack,
)
from kerasgan.models.framing import framing_of, set_framing
from kerasgan.models.named import record_of, sample_output, save_weights
from kerasgan.models.preprocess import DEFAULT_PREPROCESS, NAMES, preprocess_of, set_preprocess
from kerasgan.storage import file_sha256, package_versions
from kerasgan.training import store
from kerasgan.validation import check_choice, check_number, check_size

FORMAT = 1
NETWORK, SETTINGS, META = "generator.safetensors", "kerasgan.json", "bundle.json"
CARD, SUMS = "README.md", "SHA256SUMS"
OWN = (NETWORK, SETTINGS, META, CARD, SUMS)
DATA = (".csv", ".jpg", ".json", ".md", ".png", ".txt")

# What predict is called with, and the value that each has if it is left out.
PREPROCESSING = {
    "size": None,
    "mode": "stretch",
    "overlap": OVERLAP,
    "scale": SCALE,
    "augment": False,
    "temperature": 1.0,
    "threshold": 0.5,
    "clean": (),
    "preprocess": DEFAULT_PREPROCESS,
}
MOST_PIXELS, MOST_OVERLAP = 8192, 0.95
MOST_BESIDE = 64 * 2**20


@dataclasses.dataclass(frozen=True)
class Bundle:
    """What `load_bundle` found. It can be passed wherever a model is taken.

    Attributes:
        generator: The `keras.Model` from image to mask.
        recipe: Settings that it was built with, as `kerasgan.recipes.Recipe` takes them, or None.
        fits: What each call of `fit` recorded of itself; empty if nothing was.
        card: What its author says of it, by field.
        licence: Under which it may be used; None if the author named none.
        missing: Fields of the card that should be there and are not.
        preprocessing: Options that `predict` is called with: `size`, (height, width) in pixels, and
            others where they are not the usual ones.
        versions: Of the packages that wrote it, by name.
        attachments: Further files of the author's, by name.
        sha256: Of the zip, hexadecimal.

    Example:
        >>> import kerasgan as kg
        >>> _ = kg.inference.save_bundle(model, "polyps.zip")  # doctest: +SKIP
        >>> bundle = kg.inference.load_bundle("polyps.zip")  # doctest: +SKIP
        >>> masks = bundle.predict("frames")  # doctest: +SKIP
        >>> explainer = kg.Explainer(bundle)  # doctest: +SKIP
    """

    generator: keras.Model
    recipe: dict[str, Any] | None
    fits: list[dict[str, Any]]
    card: dict[str, str]
    licence: str | None
    missing: tuple[str, ...]
    preprocessing: dict[str, Any]
    versions: dict[str, str]
    attachments: dict[str, bytes]
    sha256: str

    def predict(self, images: Any, **options: Any) -> Any:
        """Segment images as the author meant it.

        Args:
            images: As for `kerasgan.predict`.
            **options: As for `kerasgan.predict`; they go before those of the bundle.

        Returns:
            As `kerasgan.predict`.
        """
        return predict(self.generator, images, **self._with(options))

    def predict_probability(self, images: Any, **options: Any) -> Any:
        """Give the probabilities behind the masks, likewise.

        Args:
            images: As for `kerasgan.predict`.
            **options: As for `kerasgan.inference.predict_probability`.

        Returns:
            As `kerasgan.inference.predict_probability`.
        """
        decided = ("threshold", "clean")
        taken = {k: v for k, v in self._with(options).items() if k in options or k not in decided}
        return predict_probability(self.generator, images, **taken)

    def _with(self, options: dict[str, Any]) -> dict[str, Any]:
        """Options of the bundle and of the user, whose `mode` may make those of windows idle."""
        own = dict(self.preprocessing)
        if options.get("mode") not in (None, WINDOW):
            own = {name: value for name, value in own.items() if name not in ("overlap", "scale")}
        return {**own, **options}


def save_bundle(
    model: Any,
    path: str | os.PathLike,
    *,
    card: Mapping[str, str] | None = None,
    licence: str | None = None,
    preprocessing: Mapping[str, Any] | None = None,
    recipe: Mapping[str, Any] | None = None,
    attachments: Sequence[str | os.PathLike] = (),
    build: Callable[[], keras.Model] | None = None,
) -> str:
    """Write a network and all that is needed to use it to one zip.

    The zip is read again, and what it holds compared with the network, before it takes its place.

    Args:
        model: Functional `keras.Model` from image to mask, or an object with such a `.generator`.
        path: File to write, ending in .zip; it must not exist.
        card: What others have to know, as text: "segments", "intended_use", "limits",
            "training_data", "evaluation_data", "contact" and "citation", which should all be there,
            and "name", "developed_by", "version", "date", "users", "out_of_scope", "hardware",
            "training", "factors", "metrics", "results" and "ethics"; and what checklists of
            guidelines ask, such as "ethics_approval": `kerasgan.report.write` lists these fields.
        licence: Under which the weights may be used, such as "CC-BY-4.0".
        preprocessing: How to predict with it, where that is not as in training: `size`, `mode`,
            `overlap`, `scale`, `augment`, `temperature`, `threshold`, `clean`, `preprocess` (a
            name), as for `predict`.
        recipe: Settings that it was trained with; those of a `SegmentationGAN` by itself.
        attachments: Files to go with it, such as scores: .csv, .jpg, .json, .md, .png or .txt.
        build: For a network that no function of `kerasgan.models` built: a function of yours,
            without arguments, that builds it. The bundle holds its name and the weights; whoever
            loads it needs the function itself.

    Returns:
        SHA-256 of the zip, hexadecimal, to be published beside it.

    Raises:
        KerasganError: If an argument cannot be used, the network is not built by a function of
            `kerasgan.models` and there is no `build`, or the file exists or cannot be written.

    Example:
        >>> import warnings
        >>> import kerasgan as kg
        >>> model = kg.models.unet(size=32, filters=2, levels=2)
        >>> with warnings.catch_warnings():
        ...     warnings.simplefilter("ignore", kg.KerasganWarning)  # the card is not complete
        ...     digest = kg.inference.save_bundle(
        ...         model, "polyps.zip", card={"segments": "Polyps"}, licence="CC-BY-4.0"
        ...     )
        ...     bundle = kg.inference.load_bundle("polyps.zip", sha256=digest)
        >>> bundle.card, bundle.preprocessing
        ({'segments': 'Polyps'}, {'size': (32, 32)})

    Source: fields of the card, Mitchell et al. 2019 (arXiv 1810.03993).
    """
    path = pathlib.Path(path)
    if path.suffix != ".zip":
        raise KerasganError(f"Argument 'path' must end in .zip. Received: {path}")
    network = generator_of(model)
    members_of(network)
    preprocessing = dict(preprocessing or {})
    before = preprocess_of(model, preprocessing.get("preprocess"))
    if not before.named:
        raise KerasganError(
            "Argument 'preprocessing' must have a 'preprocess' that is a name, since a bundle "
            f"holds no code: one of {', '.join(NAMES)}. Received: the function '{before.name}'"
        )
    framing = framing_of([network], preprocessing.get("mode"), preprocessing.get("scale"))
    preprocessing.update(preprocess=before.name, **framing._asdict())
    function = getattr(build, "__name__", "build") if build is not None else None
    texts, licence = check_card_texts(card, licence)
    meta: dict[str, Any] = {
        "format": FORMAT,
        "licence": licence,
        "card": texts,
        "preprocessing": _check_preprocessing(preprocessing, network),
        "versions": package_versions(),
    }
    recipe = getattr(model, "recipe", None) if recipe is None else dict(recipe)
    fits = list(getattr(model, "fits", ()))
    settings = {
        "format": store.FORMAT,
        "keras": keras.__version__,
        "networks": {"generator": _entry(network, build, meta["preprocessing"]["size"], function)},
        "recipe": recipe,
        "preprocess": before.name,
        "framing": framing if "mode" in meta["preprocessing"] else None,
        "fits": fits,
        "compile": None,
    }
    files = _attached(attachments)
    with tempfile.TemporaryDirectory() as temporary, new_path(path) as part:
        save_weights(network, pathlib.Path(temporary) / NETWORK)
        files[NETWORK] = (pathlib.Path(temporary) / NETWORK).read_bytes()
        files[SETTINGS] = json.dumps(settings, indent=2, default=store.to_plain).encode()
        files[META] = json.dumps(meta, indent=2).encode()
        files[CARD] = _readme(meta, path, fits, function).encode()
        sums = [f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in sorted(files)]
        files[SUMS] = "".join(sums).encode()
        with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            for name in sorted(files):
                archive.writestr(f"{path.stem}/{name}", files[name])
        written = _read(part, LIMIT, build=build)
        if not _equal(network, written):
            raise KerasganError(
                f"'{path}' was not written: the network read back gives other masks than "
                f"'{network.name}'. Does a layer keep weights where Keras does not save them?"
            )
    _warn(written, path)
    return written.sha256


def _readme(meta: dict, path: pathlib.Path, fits: Sequence[Mapping], function: str | None) -> str:
    """The card, and how to use the bundle, in Markdown."""
    sections = {
        "Preprocessing": [f"{name}: {value}" for name, value in meta["preprocessing"].items()],
        "Training, as recorded": [f"{label}: {text}" for label, text in recorded(fits)],
        "Written by": [f"{name} {version}" for name, version in meta["versions"].items()],
    }
    stated = check_card({**meta["card"], "licence": meta["licence"]})
    built = f", build={function}" if function else ""
    return f"""{card_text(path.stem, stated, sections)}
## Use

```python
import kerasgan as kg

bundle = kg.inference.load_bundle("{path.name}"{built})
masks = bundle.predict("folder of images")
```
"""


def _entry(network: keras.Model, build: Any, size: tuple[int, int], function: str | None) -> dict:
    """What the network is built of, as plain data."""
    record = record_of(network)
    if record is not None and build is not None:
        raise KerasganError(
            f"Argument 'build' must be left out: kerasgan builds the network, by "
            f"'{record['builder']}'"
        )
    if record is None and build is None:
        raise KerasganError(
            f"'{network.name}' is not as a function of kerasgan.models builds it, so others could "
            "not build it from its name: pass build=, a function of yours that does, and give "
            "them the function with the bundle"
        )
    if record is not None:
        return record
    return {
        "function": function,
        "size": list(size),
        "answer": sample_output(network, size).tolist(),
    }


def load_bundle(
    path: str | os.PathLike,
    *,
    sha256: str | None = None,
    limit: int = LIMIT,
    build: Callable[[], keras.Model] | None = None,
) -> Bundle:
    """Load what `save_bundle` wrote, by whomever.

    Nothing in the file is run, and nothing is left on the disk. The sums inside tell damage; that
    the file is the one its author published, `sha256` tells.

    Args:
        path: The zip.
        sha256: What its SHA-256 must be, hexadecimal, as the author published it.
        limit: Largest size in bytes, packed or unpacked; 2 GiB by default.
        build: For a network that is its author's own: the function that builds it, which they give
            you and you have read. From the file come its weights alone.

    Returns:
        The bundle.

    Raises:
        KerasganError: If the file is not the one published, is broken or too large, lacks a file or
            has others, or holds weights of another network than the one that is built.

    Example:
        >>> bundle = kg.inference.load_bundle("polyps.zip")  # doctest: +SKIP
        >>> bundle.predict("frames")[0].shape  # doctest: +SKIP
        (1080, 1350)
    """
    path = pathlib.Path(path)
    bundle = _read(path, limit, sha256, build)
    _warn(bundle, path)
    return bundle


# --- Reading ---


def _read(path: pathlib.Path, limit: int, sha256: str | None = None, build: Any = None) -> Bundle:
    if not path.is_file():
        raise KerasganError(f"Argument 'path' must be a bundle, a zip. Received: {path}, no file")
    if path.stat().st_size > limit:
        size = path.stat().st_size / 1e6
        raise load_error(path, f"it has {size:.1f} MB, above the limit of {limit / 1e6:.1f} MB")
    with name_in_errors(path), tempfile.TemporaryDirectory() as temporary, path.open("rb") as file:
        digest = file_sha256(file)
        file.seek(0)
        if sha256 is not None and digest != str(sha256).strip().lower():
            raise KerasganError(
                f"'{path.name}' is not the file that was published: its SHA-256 is {digest}, not "
                f"{sha256}. Get it anew from its author"
            )
        with zipfile.ZipFile(file) as archive:
            entries = _own_entries(archive, path, limit)
            sums = _sums(archive, entries, path)
            network = pathlib.Path(temporary) / NETWORK
            contents: dict[str, bytes] = {}
            for name in sums:
                with network.open("wb") if name == NETWORK else io.BytesIO() as target:
                    if unpack(archive, entries[name], path, target) != sums[name]:
                        raise load_error(
                            path,
                            f"'{name}' is not what its checksum in {SUMS} says. The file is "
                            "damaged or was changed: get it anew",
                        )
                    if name != NETWORK:
                        contents[name] = target.getvalue()
            meta, settings = (read_json(archive, entries[x], path) for x in (META, SETTINGS))
            _check(meta, settings, path)
        entry = settings["networks"]["generator"]
        try:
            generator = store.read_network(network.parent, "generator", entry, build)
        except KerasganError as error:
            raise load_error(path, str(error)) from error
        members_of(generator)
        preprocessing = _check_preprocessing(meta["preprocessing"], generator)
        set_preprocess(generator, preprocessing.get("preprocess", DEFAULT_PREPROCESS))
        if "mode" in preprocessing:
            set_framing(generator, preprocessing["mode"], preprocessing.get("scale"))
    return Bundle(
        generator=generator,
        recipe=settings["recipe"],
        fits=settings["fits"],
        card=meta["card"],
        licence=meta["licence"],
        missing=missing_fields({**meta["card"], "licence": meta["licence"]}),
        preprocessing=preprocessing,
        versions=meta["versions"],
        attachments={name: data for name, data in contents.items() if name not in OWN},
        sha256=digest,
    )


def _own_entries(archive: zipfile.ZipFile, path: pathlib.Path, limit: int) -> dict:
    """The archive's files without the name of their folder."""
    entries = entries_of(archive, path, limit)
    parts = {name: name.split("/") for name in entries}
    folders = {part[0] for part in parts.values()}
    outside = [name for name, part in parts.items() if len(part) != 2 or len(folders) != 1]
    if outside:
        raise load_error(
            path,
            "it must hold the files of one folder. Received: "
            f"{', '.join(map(repr, outside[:3]))}; was it made by save_bundle?",
        )
    files = {part[1]: entries[name] for name, part in parts.items()}
    strange = {name for name in files if name not in OWN and not _is_data(name)}
    check_names(files, {*OWN, *(files.keys() - strange)}, path)
    beside = sum(entry.file_size for name, entry in files.items() if name != NETWORK)
    if beside > MOST_BESIDE:
        raise load_error(
            path,
            f"beside the network it holds {beside / 1e6:.1f} MB, above the limit of "
            f"{MOST_BESIDE / 1e6:.1f} MB",
        )
    return files


def _sums(archive: zipfile.ZipFile, entries: dict, path: pathlib.Path) -> dict[str, str]:
    text = io.BytesIO()
    unpack(archive, entries[SUMS], path, text)
    pairs = [line.split("  ", 1) for line in text.getvalue().decode("utf-8").splitlines()]
    if any(len(pair) != 2 for pair in pairs):
        raise load_error(path, f"its entry '{SUMS}' is broken")
    sums = {name: digest for digest, name in pairs}
    check_names(entries, {*sums, SUMS}, path)
    return sums


def _check(meta: Any, settings: Any, path: pathlib.Path) -> None:
    texts = (str, type(None))
    try:
        if meta["format"] > FORMAT:
            raise KerasganError(f"'{path.name}' was written by a newer kerasgan; upgrade it")
        for part in (meta["card"], meta["versions"]):
            if not all(isinstance(text, str) for text in part.values()):
                raise TypeError("texts are expected")
        if not isinstance(meta["licence"], texts) or not isinstance(meta["preprocessing"], dict):
            raise TypeError("a licence or the preprocessing is of the wrong kind")
        store.check_settings(settings, path)
    except KerasganError:
        raise
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise load_error(path, f"'{META}' or '{SETTINGS}' is broken ({error!r})") from error


# --- Parts of a bundle ---


def _check_preprocessing(options: dict[str, Any], network: keras.Model) -> dict[str, Any]:
    """Return what `predict` is to be called with, or raise; options may be a stranger's."""
    for name in options:
        check_choice("preprocessing", name, PREPROCESSING)
    given = {**PREPROCESSING, **options}
    member = members_of(network)[0]
    size = input_size(member.network, given["size"])
    check_size("size", size)
    check_tiling(given["mode"], given["overlap"], given["scale"])
    augmentation_views(given["augment"], size)
    check_number("temperature", given["temperature"], above=0)
    cleaned = cleaning_steps(given["clean"])
    threshold, classes = given["threshold"], network.outputs[0].shape[-1]
    fixed = classes > 1 and not member.labels
    number = isinstance(threshold, (int, float)) and not isinstance(threshold, bool)
    if not number or not 0 < threshold < 1 or (fixed and threshold != 0.5):
        raise KerasganError(
            "Argument 'preprocessing' must have a 'threshold' between 0 and 1, 0.5 for several "
            f"classes. Received: {threshold!r}"
        )
    if max(size) > MOST_PIXELS or given["scale"] > MOST_SCALE or given["overlap"] > MOST_OVERLAP:
        raise KerasganError(
            f"Argument 'preprocessing' must have a 'size' up to {MOST_PIXELS}, a 'scale' up to "
            f"{MOST_SCALE} and an 'overlap' up to {MOST_OVERLAP}. Received: {options!r}"
        )
    if not isinstance(given["preprocess"], str):
        raise unknown_name("preprocess", given["preprocess"], NAMES)
    given.update(clean=list(cleaned), preprocess=preprocess_of(network, given["preprocess"]).name)
    default: dict[str, Any] = {**PREPROCESSING, "clean": []}
    return {"size": size, **{k: v for k, v in given.items() if k != "size" and v != default[k]}}


def _warn(bundle: Bundle, path: pathlib.Path) -> None:
    if bundle.missing:
        warn(
            f"The card of '{path.name}' leaves out: {', '.join(bundle.missing)}. Who uses the "
            "model cannot know them; its author can name them in save_bundle"
        )


def _is_data(name: str) -> bool:
    return pathlib.PurePath(name).suffix.lower() in DATA


def _attached(paths: Sequence[str | os.PathLike]) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    for path in map(pathlib.Path, [paths] if isinstance(paths, (str, os.PathLike)) else paths):
        if not _is_data(path.name) or path.name in OWN or path.name in files:
            raise KerasganError(
                f"Argument 'attachments' must be files of {', '.join(DATA)}, of different names, "
                f"none of them called as one of the bundle's own. Received: {path}"
            )
        try:
            files[path.name] = path.read_bytes()
        except OSError as error:
            raise KerasganError(f"'{path}' cannot be read: {error}") from error
    return files


def _equal(network: keras.Model, bundle: Bundle) -> bool:
    shape = (*bundle.preprocessing["size"], network.inputs[0].shape[-1])
    images = np.random.default_rng(0).uniform(-1, 1, (1, *shape)).astype(np.float32)
    ours, theirs = (np.asarray(x(images, training=False)) for x in (network, bundle.generator))
    return bool(np.allclose(ours, theirs, rtol=0, atol=1e-6))
