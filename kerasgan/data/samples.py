"""Finding, checking and splitting image and mask files.

A `Samples` is a list of paths: sizes are compared from headers, and no pixel is decoded here but
those of up to eight images, to warn of what would be dark. TensorFlow is imported when batches are
asked for, so that a folder is checked at once.
"""

from __future__ import annotations

import contextlib
import dataclasses
import filecmp
import hashlib
import os
import pathlib
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Callable

import numpy as np

from kerasgan.data.files import dark_shades, read_image
from kerasgan.data.folders import find_pairs, list_some, strip_suffix
from kerasgan.data.headers import check_files
from kerasgan.data.masks import Colors, interpret_masks, read_mask
from kerasgan.data.resize import to_float
from kerasgan.errors import KerasganError, warn
from kerasgan.text import normalize_unicode, read_text
from kerasgan.validation import (
    ask_groups,
    check_choice,
    check_number,
    check_seed,
    check_whole_number,
    invalid,
)

if TYPE_CHECKING:
    import tensorflow as tf

    from kerasgan.data.augment import Augmentation

FILES = ("names", "image_paths", "mask_paths")


@dataclasses.dataclass(frozen=True, repr=False)
class Samples:
    """Images and, unless unlabelled, their masks, by path. Immutable; made by `load_folder`.

    A slice, a list of positions or one position gives a smaller `Samples`.

    Args:
        names: Path of each image below its folder, without ending, with '/' between folders.
        image_paths: Files of the images.
        mask_paths: Files of the masks in the same order, or None when unlabelled.
        classes: 1 for a foreground, n > 1 for n mutually exclusive classes with the background.
        colors: (red, green, blue) of each class in the mask files, or several of them where a
            class has several; None for black and white, or labels 0 to n-1. `load_folder` puts here
            what it found the masks to hold.
        channels: 1 if images are read as grey, 3 if as colour.

    Example:
        >>> samples = Samples(("a1", "a2", "b1"), ("a1.png", "a2.png", "b1.png"), None)
        >>> samples[1:].names
        ('a2', 'b1')
        >>> samples
        <Samples: 3 unlabelled images, classes=1, first 'a1'>
    """

    names: tuple[str, ...]
    image_paths: tuple[str, ...]
    mask_paths: tuple[str, ...] | None
    classes: int = 1
    colors: Colors = None
    channels: int = 3

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        kind = "unlabelled images" if self.mask_paths is None else "images with masks"
        first = f", first {self.names[0]!r}" if self.names else ""
        return f"<Samples: {len(self)} {kind}, classes={self.classes}{first}>"

    def __getitem__(self, which: int | slice | Sequence[int]) -> Samples:
        indices = np.arange(len(self))[which].reshape(-1).tolist()
        masks = self.mask_paths
        return dataclasses.replace(
            self,
            names=tuple(self.names[i] for i in indices),
            image_paths=tuple(self.image_paths[i] for i in indices),
            mask_paths=None if masks is None else tuple(masks[i] for i in indices),
        )

    def settings(self) -> dict[str, Any]:
        """Return how images and masks are read: every field but names and paths, by name.

        Example:
            >>> Samples(("a",), ("a.png",), None).settings()
            {'classes': 1, 'colors': None, 'channels': 3}
        """
        names = [field.name for field in dataclasses.fields(self)]
        return {name: getattr(self, name) for name in names if name not in FILES}

    def _content_for_key(self) -> list:
        """Give `storage.content_key` names, the bytes of the files, and how they are read."""
        from kerasgan.storage import file_keys

        masks = None if self.mask_paths is None else file_keys(self.mask_paths)
        return [self.names, file_keys(self.image_paths), masks, self.settings()]

    def image(self, index: int) -> np.ndarray:
        """Decode an image at its original size.

        Args:
            index: Position, from 0.

        Returns:
            float32 array (height, width, channels) in [-1, 1].

        Example:
            >>> import tempfile
            >>> from kerasgan.data import synthetic
            >>> samples = synthetic.write_dataset(tempfile.mkdtemp(), count=2, size=32)
            >>> samples.image(0).shape
            (32, 32, 3)
        """
        return to_float(read_image(self.image_paths[index], self.channels))

    def mask(self, index: int) -> np.ndarray:
        """Decode a mask at its original size.

        Args:
            index: Position, from 0.

        Returns:
            uint8 array (height, width) of labels: {0, 1} for `classes=1`, else 0 to n-1.

        Raises:
            KerasganError: If unlabelled, or the file cannot be used.

        Example:
            >>> import tempfile
            >>> from kerasgan.data import synthetic
            >>> samples = synthetic.write_dataset(tempfile.mkdtemp(), count=2, size=32)
            >>> int(samples.mask(0).max())
            1
        """
        if self.mask_paths is None:
            raise KerasganError("These samples are unlabelled: they were loaded with masks=None.")
        return read_mask(self.mask_paths[index], self.classes, self.colors)

    def batches(
        self,
        batch_size: int,
        size: int | tuple[int, int] = 128,
        augment: bool | Augmentation | Mapping[str, float] = False,
        seed: int = 0,
        *,
        shuffle: bool | None = None,
        mode: str = "stretch",
        cache: str | os.PathLike = "memory",
        scale: float | None = None,
        foreground: float | None = None,
    ) -> tf.data.Dataset:
        """Give batches of images and masks, one pass over all samples an epoch.

        The dataset has an attribute `epoch`, a `tf.Variable` (int64) that each new iteration
        reads and then increments. Order and augmentation depend on (seed, epoch, position in
        these samples) alone, so after `dataset.epoch.assign(k)` the next iteration is the
        stream of epoch k, to the bit. `dataset.start` is how many batches the next iteration
        leaves out. `dataset.origin` says what it was made of, the content of the files among it.
        Datasets derived from this one (`take`, `map`) go on using the variables but do not have
        the attributes.

        Args:
            batch_size: Images in a batch, at most `len(self)`. The last batch may be smaller.
            size: Side in pixels, or (height, width).
            augment: True for `Augmentation()`, an `Augmentation` of your own, or some of its fields
                by name, as a recipe has them: `augment=gan.recipe["augment"]`.
            seed: Key of shuffling and augmentation, from 0 up.
            shuffle: Whether to shuffle in every epoch; None does so when augmenting, and else
                keeps the order of `names`.
            mode: "stretch" to fill `size`, "letterbox" to keep the aspect within black borders,
                "window" to cut from each image one window of `size` at full resolution: a new one
                in every epoch where samples are shuffled, else, as for validation, always the same.
                Images smaller than a window are filled up by reflection, as `predict` does. Scores
                of windows are not those of images: see `kerasgan.evaluate`.
            cache: "memory" keeps the resized 8-bit pixels there, of windows whole images; a folder
                keeps them in files that later runs find again.
            scale: For "window" alone: by how much images are enlarged before windows are cut, above
                0; 1 if None.
            foreground: For "window" alone: probability that a window is one that holds a random
                pixel of foreground, of a class drawn evenly among those in the image, at a random
                place in the window; 0.5 if None. The others lie anywhere, as do those of images
                without foreground or mask.

        Returns:
            Dataset of (image, mask): float32 (batch, height, width, channels) in [-1, 1] and
            float32 (batch, height, width, classes) in {0, 1}; images alone when unlabelled.

        Raises:
            KerasganError: If an argument or a file cannot be used. All files are decoded here.

        Example:
            >>> import tempfile
            >>> from kerasgan.data import synthetic
            >>> samples = synthetic.write_dataset(tempfile.mkdtemp(), count=4, size=32)
            >>> dataset = samples.batches(2, size=16, augment=True)
            >>> image, mask = next(iter(dataset))
            >>> image.shape, mask.shape
            (TensorShape([2, 16, 16, 3]), TensorShape([2, 16, 16, 1]))
        """
        from kerasgan.data import pipeline

        return pipeline.make_batches(
            self, batch_size, size, augment, seed, shuffle, mode, cache, scale, foreground
        )

    def split_by_names(self, names: str | os.PathLike | Iterable[str]) -> tuple[Samples, Samples]:
        r"""Split off the samples with given names.

        Args:
            names: A text file with one name a line, or the names. An image ending is ignored, as
                are, in a file, quotes around a name and lines that begin with `#`. Folders may be
                parted by `/` or `\`.

        Returns:
            (rest, named), both in the order they have here.

        Example:
            >>> samples = Samples(("a1", "a2", "b1"), ("a1.png", "a2.png", "b1.png"), None)
            >>> rest, test = samples.split_by_names(["a2"])
            >>> rest.names
            ('a1', 'b1')
        """
        if isinstance(names, (str, os.PathLike)):
            try:
                lines = read_text(names).splitlines()
            except (OSError, ValueError) as error:
                raise KerasganError(f"The list of names cannot be read: {error}") from error
            names = [line.strip().strip("\"'") for line in lines]
            comments = {name for name in names if name.startswith("#")}
        else:
            try:
                names, comments = list(map(os.fspath, names)), set()
            except TypeError:
                raise KerasganError(
                    f"Argument 'names' must be a text file or a list of names, such as "
                    f"{self.names[:1]}. Received: {names!r}"
                ) from None
        by_name = {normalize_unicode(name): name for name in self.names}
        wanted, unknown = set(), []
        for name in filter(str.strip, names):
            plain = normalize_unicode(name.strip())
            forms = (plain, pathlib.PureWindowsPath(plain).as_posix())
            forms = [form for one in forms for form in (strip_suffix(one), one)]
            known = next((by_name[form] for form in forms if form in by_name), None)
            if known is not None:
                wanted.add(known)
            elif name not in comments:
                unknown.append(name.strip())
        unknown = sorted(set(unknown))
        if unknown or not wanted:
            raise KerasganError(
                f"Argument 'names' must list names of these {len(self)} samples, such as "
                f"{self.names[0]!r}. Received: {list_some(unknown, 'unknown names') or 'no names'}"
            )
        return self._divide([name in wanted for name in self.names])

    def split(self, fraction: float, seed: int = 0) -> tuple[Samples, Samples]:
        """Split off a random part.

        Args:
            fraction: Share of the samples in the part, between 0 and 1; at least one goes to
                each side.
            seed: Key of the choice, which depends on it and on the names alone.

        Returns:
            (rest, part), both in the order they have here.

        Example:
            >>> samples = Samples(("a1", "a2", "b1"), ("a1.png", "a2.png", "b1.png"), None)
            >>> train, val = samples.split(0.1, seed=0)
            >>> len(train), len(val)
            (2, 1)
        """
        fraction = check_number("fraction", fraction, above=0, below=1)
        if len(self) < 2:
            raise KerasganError(f"At least two samples can be split. Received: {len(self)}")
        count = min(max(round(fraction * len(self)), 1), len(self) - 1)
        part = set(_drawn(self.names, seed)[:count])
        return self._divide([name in part for name in self.names])

    def split_groups(
        self, key: Callable[[str], Hashable], held_out: Any
    ) -> tuple[Samples, Samples]:
        """Split off whole groups: patients, surgeries, hospitals.

        Args:
            key: From a name to its group.
            held_out: A group, or a list of groups.

        Returns:
            (rest, held_out), both in the order they have here.

        Raises:
            KerasganError: If a group does not exist, nothing would be left, or the key fails.

        Example:
            >>> samples = Samples(("a1", "a2", "b1"), ("a1.png", "a2.png", "b1.png"), None)
            >>> rest, test = samples.split_groups(lambda name: name[0], "a")
            >>> test.names
            ('a1', 'a2')
        """
        groups = ask_groups("key", key, self.names)
        several = isinstance(held_out, (list, tuple, set, np.ndarray))
        try:
            wanted = set(held_out if several else [held_out])
        except TypeError as error:
            raise invalid("held_out", "hashable groups, such as text", held_out) from error
        known, unknown = (sorted(part, key=str) for part in (set(groups), wanted - set(groups)))
        if not wanted or unknown or len(wanted) == len(known):
            received = list_some([*map(repr, unknown)], "unknown groups")
            raise KerasganError(
                "Argument 'held_out' must name some, not all, of the "
                f"{list_some([*map(repr, known)], 'groups', 10)}. "
                f"Received: {received or ('all' if wanted else 'none')}"
            )
        return self._divide([group in wanted for group in groups])

    def folds(
        self, k: int, seed: int = 0, key: Callable[[str], Hashable] | None = None
    ) -> list[tuple[Samples, Samples]]:
        """Divide into k folds, each sample in exactly one.

        Args:
            k: Number of folds, from 2 to the number of samples (of groups, with `key`).
            seed: Key of the choice, which depends on it and on the names alone.
            key: From a name to its group, for groups that must not be torn apart; None for
                samples on their own.

        Returns:
            k pairs (rest, fold).

        Example:
            >>> samples = Samples(("a1", "a2", "b1"), ("a1.png", "a2.png", "b1.png"), None)
            >>> [len(fold) for rest, fold in samples.folds(3)]
            [1, 1, 1]
        """
        groups = list(self.names) if key is None else ask_groups("key", key, self.names)
        drawn = _drawn(set(groups), seed)
        k = check_whole_number("k", k, 2, len(drawn))
        fold = {group: i % k for i, group in enumerate(drawn)}
        return [self._divide([fold[group] == i for group in groups]) for i in range(k)]

    def _divide(self, chosen: Sequence[bool]) -> tuple[Samples, Samples]:
        chosen = np.asarray(chosen, bool)
        return self[~chosen], self[chosen]


def load_folder(
    path: str | os.PathLike | None = None,
    *,
    images: str | os.PathLike | None = None,
    masks: str | os.PathLike | None = ...,
    classes: int = 1,
    colors: Sequence[int | Sequence[int]] | Mapping[Any, int] | None = None,
    channels: int | None = None,
) -> Samples:
    """Find the images in a folder, and their masks.

    Image and mask belong together if their paths below their folders agree but for the ending
    and for `_mask`, `_segmentation`, `_label`, `_gt`, `_seg` and the like at the end of the mask's
    name, or where all names agree without such marks at either end, and without `image`, `img`,
    `frame`, `scan` or nnU-Net's `_0000` in those of images. Three layouts are found in `path`, each
    with sub-folders:

    - `images/x.jpg` with `masks/x.jpg` or `.png` (Kvasir-SEG, Kvasir-Instrument, EndoVis), also
      as `case1/images/x.jpg`; files elsewhere are left alone,
    - `x.jpg` with `x_mask.png` beside it, or `case1/image.png` with `case1/mask.png`, where there
      is no folder named masks,
    - `x.jpg` with `masks/x.png`, where there is no folder named images.

    Folders may also be called image, img(s), frame(s), scan(s), and mask, label(s), gt,
    ground_truth, annotation(s), segmentation(s), seg, in any case, or imagesTr and labelsTr; two of
    one kind in one place are an error. With `masks=None` the images are all files in the folder for
    images, or, where there is none, all that are not in one for masks, and not named as the mask of
    an image beside them.

    For `classes=1` without `colors` up to 64 masks, spread over the folder, are looked at to tell
    what masks mean. What was found is printed unless it is white on black, and stands in `colors`
    of the samples. If that is not clear, or masks may be inverted, a warning says what to pass; a
    mask that does not fit is an error when it is read.

    Args:
        path: A folder in one of these layouts.
        images: Instead of `path`, the folder with the images.
        masks: With `images`, the folder with the masks. None for unlabelled images.
        classes: 1 for masks of a foreground, n > 1 for n mutually exclusive classes, background
            included.
        colors: How masks show each class, background first: grey values or (red, green, blue),
            from 0 to 255 (to 65535 in 16-bit files). Or the class of each value, as in
            `{0: 0, 1: 1, 255: 0}`, so that a class may have several. Compared exactly, but for soft
            edges between two colours. None for label values 0 to n-1 or, for `classes=1`, what the
            masks show: white on black, or black and one other tone.
        channels: Read images as grey (1) or colour (3). None: grey if all are, else colour.

    Returns:
        The samples, in order of their names.

    Raises:
        KerasganError: If a folder is missing or empty, an image has no mask or a mask no image,
            their sizes differ or an EXIF orientation leaves open how they lie on each other, two
            files bear one name, or a file is no readable picture.

    Example:
        >>> import tempfile
        >>> from kerasgan.data import synthetic
        >>> folder = tempfile.mkdtemp()
        >>> written = synthetic.write_dataset(folder, count=2, size=32)
        >>> load_folder(folder)
        <Samples: 2 images with masks, classes=1, first 'polyp_0000'>
    """
    classes, colors = _check_classes(classes, colors)
    channels = check_choice("channels", channels, (1, 3, None))
    image_files, mask_files = find_pairs(path, images, masks)
    names = sorted(image_files)
    image_paths = tuple(str(image_files[name]) for name in names)
    headers = check_files(image_files, mask_files)
    inspected = image_paths[:: -(-len(names) // 8)]
    dark = {file: shades for file in inspected if (shades := dark_shades(file)) is not None}
    if 2 * len(dark) > len(inspected):
        file = max(dark, key=dark.get)
        warn(
            f"Image {file} has 16 bits, of which the upper 8 are read, and these hold "
            f"{dark[file]} shades only. Stretch such images first with "
            "kerasgan.data.convert.from_pictures"
        )
    mask_paths = None
    if mask_files is not None:
        mask_paths = tuple(str(mask_files[name]) for name in names)
        _warn_of_copied_images(names, image_paths, mask_paths)
        if classes == 1 and colors is None:
            colors, note, questions = interpret_masks(names, mask_paths)
            if note:
                print(note)
            for question in questions:
                warn(question)
    if channels is None:
        channels = max(header.channels for header in headers)
    return Samples(tuple(names), image_paths, mask_paths, classes, colors, channels)


def _warn_of_copied_images(names: Sequence[str], images: Sequence[str], masks: Sequence[str]):
    """Warn if some masks, spread over the folder, are their images once more."""
    spread = range(0, len(names), -(-len(names) // 8))
    copies = [names[i] for i in spread if _is_copy(images[i], masks[i])]
    if copies:
        warn(
            f"Of {len(spread)} masks inspected, {list_some(copies, 'are copies of their images')}: "
            "a network would learn to give back what it is shown. Look at the folder of the masks"
        )


def _is_copy(image: str, mask: str) -> bool:
    """Whether two files are the same, and show more than one tone."""
    if not filecmp.cmp(image, mask, shallow=False):
        return False
    with contextlib.suppress(KerasganError):
        pixels = read_image(image, 1)
        return bool(pixels.min() < pixels.max())
    return False


def _check_classes(classes: int, colors: Any) -> tuple[int, tuple | None]:
    classes = check_whole_number("classes", classes, 1, 255)
    if colors is None:
        return classes, None
    needed = max(classes, 2)
    expected = (
        f"Argument 'colors' must list {needed} different colours for classes={classes}, "
        "background first, or give each colour a class from 0 up, as in {0: 0, 1: 1, 255: 0}; each "
        "colour a grey value or (red, green, blue), whole numbers from 0 to 65535."
    )
    try:
        pairs = colors.items() if isinstance(colors, Mapping) else zip(colors, range(len(colors)))
        table = [(_triple(color), label) for color, label in pairs]
    except (TypeError, ValueError):
        raise KerasganError(f"{expected} Received: {colors!r}") from None
    different = len({color for color, _ in table}) == len(table)
    if not different or {label for _, label in table} != set(range(needed)):
        raise KerasganError(f"{expected} Received: {colors!r}")
    shown = [tuple(c for c, label in table if label == index) for index in range(needed)]
    return classes, tuple(one[0] if len(one) == 1 else one for one in shown)


def _triple(color: Any) -> tuple[int, int, int]:
    values = (color,) * 3 if np.ndim(color) == 0 else tuple(color)
    whole = tuple(int(value) for value in values)
    if len(whole) != 3 or whole != values or not all(0 <= value <= 65535 for value in whole):
        raise ValueError
    return whole


def _drawn(names: Iterable[Hashable], seed: int) -> list:
    """The names in a random order that depends on nothing but each name and the seed."""
    check_seed(seed)
    return sorted(names, key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).digest())
