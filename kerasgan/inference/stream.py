"""Images through networks: from any source, in views and windows, a batch at a time."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import itertools
import os
import pathlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import keras
import numpy as np

from kerasgan.data import Samples, load_folder
from kerasgan.data.resize import check_image
from kerasgan.errors import KerasganError, unknown_name
from kerasgan.inference.members import Member, input_size, members_of, with_input_shape
from kerasgan.inference.tiling import OVERLAP, Frame, check_tiling, make_frame
from kerasgan.inference.views import View, augmentation_views
from kerasgan.models.framing import framing_of
from kerasgan.models.preprocess import (
    Preprocess,
    check_range,
    check_whole_values,
    preprocess_of,
)
from kerasgan.validation import check_whole_number

Finish = Callable[[int, np.ndarray, tuple[int, int]], Any]


class Tile(NamedTuple):
    """One window of one image."""

    image: int
    frame: Frame
    number: int


def _with_known_options(function: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
    """Refuse an option that a function does not have by what it may have meant."""
    parameters = inspect.signature(function).parameters
    known = [name for name, one in parameters.items() if one.kind is one.KEYWORD_ONLY]

    @functools.wraps(function)
    def checked(*arguments: Any, **options: Any) -> Iterator[Any]:
        for name in options:
            if name not in parameters:
                raise unknown_name("options", name, known)
        return function(*arguments, **options)

    return checked


@_with_known_options
def iterate_logits(
    model: Any,
    images: Any,
    finish: Finish,
    *,
    size: int | tuple[int, int] | None = None,
    mode: str | None = None,
    overlap: float = OVERLAP,
    scale: float | None = None,
    augment: bool | str = False,
    batch_size: int = 8,
    preprocess: str | Callable[[np.ndarray], Any] | None = None,
    average: bool = True,
    verbose: bool = False,
) -> Iterator[Any]:
    """Run networks over one image after the other, holding a few batches in memory.

    While a batch passes through the networks, threads read the next one and finish the last.

    Logits are averaged over the views of test-time augmentation and over the members of an
    ensemble, and blended where windows overlap.

    Args:
        model: A functional `keras.Model` from image to mask, an object with such a `.generator`, or
            a list of these, whose logits are averaged: an ensemble.
        images: `Samples`; the path of a folder or of one image file; a float array (batch, height,
            width, channels) in [-1, 1]; or a list of such arrays (height, width, channels).
        finish: A function from position, logits (float32, (height, width, classes), without a
            letterbox's border) and image size to what is wanted. Called in a thread.
        size: Side in pixels or (height, width) at which the network runs. Needed where the network
            takes any size; else None or the size it takes.
        mode: "stretch" or "letterbox": images are resized; "window": the network runs over the
            image in windows of its own size. Smaller images are filled up by reflection. None for
            what its training or its bundle says, else "stretch". To resize images otherwise than in
            training is a `KerasganWarning`.
        overlap: Share of a window that the next one covers again, at least, from 0 to below 1.
            For "window" alone, as `scale`.
        scale: By how much images are enlarged before they are cut into windows: what was 300 pixels
            wide at a scale of 0.5 is 150 wide to the network. None for the scale of its training
            on windows, else 1.
        augment: Test-time augmentation: True for the eight flips and right angles (the four flips
            where the network is not square), "flips" for the four flips, False for none.
        batch_size: Images or windows that pass through a network at once.
        preprocess: What the network takes, where it was not trained on images in [-1, 1]: "[0,1]",
            "[0,255]", "imagenet" or "caffe" (the modes "torch" and "caffe" of
            `keras.applications`); or a function from a batch, float32 (batch, height, width,
            channels) in [-1, 1], to that. None for what its bundle says, else [-1, 1], of which a
            `KerasganWarning` tells once for a network that kerasgan did not make; "[-1,1]" says
            that it is so.
        average: Whether logits are averaged over views and members. If not, `finish` gets those of
            each pass: float32 (height, width, passes, classes).
        verbose: Whether to show a progress bar.

    Yields:
        What `finish` returns.

    Raises:
        KerasganError: If model, images or an option cannot be used, an image holds NaN or lies
            outside [-1, 1], or a network gives NaN. Arrays that all lie from 0 to 1 are a
            `KerasganWarning`.

    Example:
        >>> import kerasgan as kg
        >>> model = kg.models.unet(size=32, filters=2, levels=2)
        >>> shapes = lambda index, logits, image_size: (logits.shape, image_size)
        >>> list(iterate_logits(model, np.zeros((1, 48, 64, 3)), shapes, mode="window"))
        [((48, 64, 1), (48, 64))]
    """
    members = members_of(with_input_shape(model, images, size))
    (window,) = {input_size(member.network, size) for member in members}
    mode, scale = framing_of([member.network for member in members], mode, scale)
    check_tiling(mode, overlap, scale)
    views = augmentation_views(augment, window)
    check_whole_number("batch_size", batch_size, 1)
    before = [preprocess_of(member.network, preprocess) for member in members]
    for member, each in zip(members, before):
        check_whole_values(member.network, each)
    names, load = image_source(images, members[0].network)
    if not isinstance(images, (Samples, str, os.PathLike)):
        check_range(images, before[0])

    def prepare(index: int) -> Frame:
        return make_frame(load(index), window, mode, overlap, scale)

    def finished() -> Iterator[Any]:
        while done:
            yield done.popleft().result()
            bar.add(1)

    bar = keras.utils.Progbar(len(names), unit_name="image", verbose=bool(verbose))
    sums: dict[int, np.ndarray] = {}
    done: deque[Future] = deque()
    pool = ThreadPoolExecutor(min(8, os.cpu_count() or 1))
    try:
        rest = _tiles(_ahead(pool, prepare, range(len(names)), 2 * batch_size))
        while tiles := list(itertools.islice(rest, batch_size)):
            batch = np.stack([tile.frame.cut(tile.frame.pixels, tile.number) for tile in tiles])
            passes = _passes(members, before, views, batch, [names[t.image] for t in tiles])
            if average:
                logits = sum(passes) / np.float32(len(passes))
            else:
                logits = np.concatenate(passes, -1)
            yield from finished()
            for tile, values in zip(tiles, logits):
                whole = tile.frame.blend(sums.pop(tile.image, None), tile.number, values)
                if tile.number < len(tile.frame.corners) - 1:
                    sums[tile.image] = whole
                    continue
                inside, image_size = tile.frame.inside(whole), tile.frame.image_size
                if not average:
                    inside = inside.reshape(*inside.shape[:2], len(passes), -1)
                done.append(pool.submit(finish, tile.image, inside, image_size))
        yield from finished()
    finally:
        pool.shutdown(cancel_futures=True)


def to_samples(images: Any) -> Samples | None:
    """Return `Samples` or a path as `Samples`, and None for anything else."""
    if isinstance(images, (str, os.PathLike)):
        path = pathlib.Path(images)
        if path.is_file():
            return Samples((path.stem,), (str(path),), None)
        return load_folder(path, masks=None)
    if isinstance(images, Samples):
        return images
    listed = list(images) if _is_list(images) else []
    if listed and all(isinstance(each, (str, os.PathLike)) for each in listed):
        return _from_list([pathlib.Path(each) for each in listed])
    return None


def _from_list(files: list[pathlib.Path]) -> Samples:
    """Return files as `Samples`, called by their paths below the folder that holds all of them."""
    for file in files:
        if not file.is_file():
            what = "a folder, beside others" if file.is_dir() else "not there"
            raise KerasganError(f"Argument 'images' lists {file}, which is {what}")
    above = os.path.commonpath([file.absolute().parent for file in files])
    names = [file.absolute().relative_to(above) for file in files]
    plain = [name.with_suffix("") for name in names]
    names = names if len(set(plain)) < len(set(names)) else plain
    return Samples(tuple(name.as_posix() for name in names), tuple(map(str, files)), None)


def _is_list(images: Any) -> bool:
    """Whether images come one by one: in a list, or in an array or column of one axis."""
    return isinstance(images, (list, tuple)) or len(getattr(images, "shape", ())) == 1


def is_array(images: Any) -> bool:
    """Whether all images are in one array."""
    return hasattr(images, "shape") and not _is_list(images)


def _ahead(
    pool: Executor, function: Callable[[int], Any], items: Iterable[int], count: int
) -> Iterator[Any]:
    """What a function makes of each item, in order, up to `count` of them begun ahead."""
    items = iter(items)
    begun = deque(pool.submit(function, item) for item in itertools.islice(items, count))
    while begun:
        yield begun.popleft().result()
        begun.extend(pool.submit(function, item) for item in itertools.islice(items, 1))


def _tiles(frames: Iterable[Frame]) -> Iterator[Tile]:
    for index, frame in enumerate(frames):
        for number in range(len(frame.corners)):
            yield Tile(index, frame, number)


def _passes(
    members: Sequence[Member],
    before: Sequence[Preprocess],
    views: Sequence[View],
    batch: np.ndarray,
    names: Sequence[str],
) -> list[np.ndarray]:
    """Logits of a batch under each view by each member, brought back to how the batch lay."""
    passes = []
    for view in views:
        seen = np.ascontiguousarray(view.apply(batch))
        for member, preprocess in zip(members, before):
            logits = member.logits(preprocess(seen))
            for name, values in zip(names, logits):
                if not np.isfinite(values).all():
                    raise KerasganError(
                        f"Network '{member.network.name}' gave NaN or infinity for {name}: its "
                        "weights, or what preprocess returns, are not finite"
                    )
            passes.append(view.undo(logits))
    return passes


def _advice_on(images: Any) -> str:
    if hasattr(images, "take") and hasattr(images, "element_spec"):
        return "; pass list(dataset.unbatch().as_numpy_iterator()), of images without masks"
    return "; pass list(images)" if hasattr(images, "__next__") else ""


def image_source(
    images: Any, network: keras.Model
) -> tuple[list[str], Callable[[int], np.ndarray]]:
    """The name of every image, and a function from position to an image that the network takes."""
    samples, channels = to_samples(images), network.inputs[0].shape[-1]
    if samples is not None:
        if channels not in (None, 1, 3):
            raise KerasganError(
                f"Argument 'model' must take images of 1 or 3 channels to read files. Received: "
                f"a network of {channels} channels; pass arrays"
            )
        samples = dataclasses.replace(samples, channels=channels or samples.channels)
        names, load = list(samples.names), samples.image
    elif is_array(images) or _is_list(images):
        images = np.asarray(images) if is_array(images) else list(images)
        if is_array(images) and images.ndim != 4:
            raise KerasganError(
                "Argument 'images' must be an array (batch, height, width, channels); pass "
                f"image[None] for a single one. Received: shape {images.shape}"
            )
        names, load = [f"images[{i}]" for i in range(len(images))], images.__getitem__
    else:
        raise KerasganError(
            "Argument 'images' must be Samples, a path, an array or a list of paths or arrays. "
            f"Received: {type(images).__name__}{_advice_on(images)}"
        )
    if not names:
        raise KerasganError("Argument 'images' must hold at least one image. Received: none")

    def load_checked(index: int) -> np.ndarray:
        image = check_image(load(index), f"images[{index}]")
        if channels not in (None, image.shape[-1]):
            raise KerasganError(
                f"Argument 'images' must have {channels} channels, as the input of "
                f"'{network.name}'. Received: {image.shape[-1]} in images[{index}]"
            )
        return image

    return names, load_checked
