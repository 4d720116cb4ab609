"""What a mask file means: from its pixels to labels.

For `classes=1` a mask has two tones, background and foreground. Without colours these are black
and white. `interpret_masks` tells from the masks of a folder whether they are two others. Masks
that are read later must show the same two, exactly or with soft edges, or they are refused.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple, Optional, Union

import numpy as np
from PIL import Image, ImageChops

from kerasgan.data.files import composite_on_black, decode_upright, is_int32, open_picture
from kerasgan.errors import KerasganError

Color = tuple[int, int, int]
Colors = Optional[tuple[Union[Color, tuple[Color, ...]], ...]]

MAX_INSPECTED = 64
_MAX_PIXELS_INSPECTED = 1 << 26
_TOLERATED = 4  # pixels that no reading is refused for
_PHOTO = 256  # colours, more than a mask shows
_BLACK_AND_WHITE = ((0, 0, 0), (255, 255, 255))
_JPEG_ADVICE = " JPEG does not keep values exactly: save such masks as PNG."


class MaskInterpretation(NamedTuple):
    """What the masks of a folder mean."""

    colors: Colors
    note: str
    questions: tuple[str, ...]


class _MaskPixels(NamedTuple):
    """Grey values (height, width) or colours (height, width, 3); white is 0 where unknown.

    A palette file that is read as its colours has its `indices` besides.
    """

    values: np.ndarray
    white: int
    lossy: bool
    source: str = ""
    indices: np.ndarray | None = None


class _AmbiguousMask(KerasganError):
    """A mask that does not fit its reading: what is wrong with it."""


def read_mask(path: str, classes: int, colors: Colors = None) -> np.ndarray:
    """Decode a mask file to labels.

    - `classes=1`: two tones, background and foreground, black and white unless `colors` says
      otherwise. Each pixel belongs to the nearer of the two. Pixels between them must lie at edges,
      as smoothing and JPEG make them: a file with a third tone is refused, and so is one that is
      neither black nor holds foreground. Where the picture shows one colour only, its alpha channel
      is the mask.
    - `classes=n`, no colours: values 0 to n-1 are the labels, exactly; in a palette file they are
      the palette's indices.
    - `classes=n` with `colors`, or several colours for one class: compared exactly. JPEG changes
      colours, so JPEG colour maps are refused.
    """
    try:
        if classes > 1 and colors is None:
            return _exact_labels(path, classes)
        pixels = _mask_pixels(path, given=colors is not None)
        if colors is None:
            return _binary_labels(pixels, None)[0]
        table = [color if np.ndim(color) == 2 else (color,) for color in colors]
        if pixels.indices is not None and _names_indices(table, pixels):
            pixels = _MaskPixels(pixels.indices, 255, pixels.lossy, "indices")
        if len(table) == 2 and len(table[0]) == len(table[1]) == 1:
            return _binary_labels(pixels, (table[0][0], table[1][0]))[0]
        return _match_colors(pixels, table)
    except _AmbiguousMask as problem:
        raise KerasganError(f"Mask {path} {problem}") from None


def interpret_masks(names: Sequence[str], paths: Sequence[str]) -> MaskInterpretation:
    """Tell from up to 64 masks, spread over a folder, what its masks mean for `classes=1`."""
    masks, unclear, others, inspected, sources, soft = [], [], [], [], Counter(), 0
    pixels_left = _MAX_PIXELS_INSPECTED
    for index in _spread(names):
        if pixels_left <= 0 and len(inspected) >= _TOLERATED:
            break
        try:
            pixels = _mask_pixels(paths[index])
        except _AmbiguousMask as problem:
            unclear.append(f"Mask {paths[index]} {problem}")
            continue
        except KerasganError:
            continue
        pixels_left -= pixels.values.size
        inspected.append(index)
        sources[pixels.source] += 1
        try:
            labels, intermediate = _binary_labels(pixels, None)
        except _AmbiguousMask:
            others.append(paths[index])
        else:
            soft += bool(intermediate and not pixels.lossy)
            masks.append((names[index], labels))
    if unclear:
        return MaskInterpretation(None, "", (unclear[0],))
    colors, tally = None, Counter()
    if others or not any(labels.any() for _, labels in masks):
        lossy, apart = False, True
        for pixels in (_mask_pixels(paths[index]) for index in inspected):
            held = _tally(pixels)
            tally.update(held)
            lossy, apart = lossy | pixels.lossy, apart and len(held) < 3
    if others:
        colors = _other_tones(tally)
        try:
            masks = colors and [(names[i], read_mask(paths[i], 1, colors)) for i in inspected]
        except KerasganError:
            masks = None
        if masks is None:
            question = (
                f"What the masks mean is not clear: {len(others)} of {len(inspected)} inspected, "
                f"such as {others[0]}, are not white on black, nor one other tone alone. Together "
                f"they hold {_tally_text(tally)}.{_advice(tally, lossy, apart)}"
            )
            return MaskInterpretation(None, "", (question,))
    notes = []
    if colors is not None:
        shown = ", ".join(_color_text(color) for color in colors)
        notes.append(
            f"hold {_color_text(colors[0])} and {_color_text(colors[1])}: the latter is read as "
            f"foreground (colors=[{shown}])"
        )
    if soft:
        notes.append(
            f"have soft edges ({soft} of them): a pixel belongs to the value, background or "
            "foreground, that it is nearer to"
        )
    if sources["alpha"]:
        notes.append(f"are kept in the alpha channel ({sources['alpha']} of them) and read from it")
    if sources["indices"]:
        notes.append(
            f"have palettes that show two indices alike ({sources['indices']} of them): the "
            "indices are read"
        )
    note = "; they ".join(notes)
    note = note and f"Masks ({len(inspected)} inspected) {note}."
    return MaskInterpretation(colors, note, _questions(masks, colors, tally))


def looks_inverted(labels: np.ndarray) -> bool:
    """Say whether a mask has foreground at the border and in more than half of it, but not all."""
    return bool(_border_mean(labels) > 0.9 and 0.5 < labels.mean() < 1)


def _border_mean(labels: np.ndarray) -> float:
    edge = (labels[0], labels[-1], labels[:, 0], labels[:, -1])
    return float(np.concatenate(edge).mean())


def _questions(masks: list, colors: Colors, tally: Counter) -> tuple[str, ...]:
    """Texts for masks that can be read, but perhaps mean something else."""
    if not any(labels.any() for _, labels in masks):
        if len(masks) < 2 and max(map(max, tally), default=0) == 0:
            return ()
        return (
            f"All {len(masks)} masks that were inspected are empty: they hold {_tally_text(tally)}."
            " There is nothing to learn in them.",
        )
    masks = [(name, labels) for name, labels in masks if labels.any() and not labels.all()]
    if not masks:
        return ()
    background, foreground = (_color_text(color) for color in colors or _BLACK_AND_WHITE)
    swapped = f"colors=[{foreground}, {background}]"
    around = np.mean([_border_mean(labels) for _, labels in masks])
    share = np.mean([labels.mean() for _, labels in masks])
    if around > 0.8 and share > 0.5:
        return (
            f"Masks show the foreground all around: of {len(masks)} masks inspected, {share:.0%} "
            f"of all pixels and {around:.0%} of those at the border are {foreground}. If the "
            f"objects are what is {background}, pass {swapped} to load_folder; if not, "
            f"colors=[{background}, {foreground}] says so.",
        )
    inverted = [name for name, labels in masks if looks_inverted(labels)]
    return (inverted_message(inverted, len(masks)),) if inverted else ()


def inverted_message(names: Sequence[str], total: int) -> str:
    """The warning of masks that look inverted, where the others do not."""
    few = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    return (
        f"{len(names)} of {total} masks may be inverted: {few}. They show foreground all around "
        "and background within, the others do not. Look at them, and invert those that are wrong."
    )


def _spread(names: Sequence[str]) -> list[int]:
    """Positions of up to 64 names, one from each of as many equal stretches."""
    ends = np.linspace(0, len(names), min(len(names), MAX_INSPECTED) + 1).astype(int)
    key = lambda index: hashlib.sha256(names[index].encode()).digest()  # noqa: E731
    return [min(range(a, b), key=key) for a, b in zip(ends, ends[1:])]


def _other_tones(tally: Counter) -> Colors:
    """The one pair of tones, black and another, that masks can show; or None."""
    black, others = (0, 0, 0), [color for color in tally if max(color) > 0]
    if len(tally) == 2 and len(others) == 1 and black in tally:
        return black, others[0]
    colored = [c for c, _ in tally.most_common() if max(c) - min(c) > 32 and max(c) >= 96]
    return (black, colored[0]) if colored else None


def _mask_pixels(path: str, given: bool = False) -> _MaskPixels:
    """The pixels that hold the mask, grey or coloured, also if these are its alpha channel."""
    with open_picture(path) as picture:
        lossy = picture.format in ("JPEG", "MPO")
        picture = decode_upright(picture)
        if picture.mode == "F" or is_int32(picture):
            return _MaskPixels(np.asarray(picture), 0, lossy)
        if picture.mode.startswith("I"):
            return _MaskPixels(np.asarray(picture).astype(np.int32), 65535, lossy)
        source, indices = "", np.asarray(picture) if picture.mode == "P" else None
        if picture.has_transparency_data:
            picture, source = _without_alpha(picture, given)
        elif picture.mode == "P" and _shows_alike(picture):
            return _MaskPixels(indices, 255, lossy, "indices")
        if picture.mode not in ("1", "L"):
            picture = composite_on_black(picture, "RGB")
            picture = _grey(picture, lossy) or picture
        elif picture.mode == "1":
            picture = picture.convert("L")
        return _MaskPixels(np.asarray(picture), 255, lossy, source, indices)


def _names_indices(table: Sequence[Sequence[Color]], pixels: _MaskPixels) -> bool:
    """Say whether colours cannot be those that a palette shows, but are its indices."""
    named = {color for colors in table for color in colors}
    used = {(index,) * 3 for index in np.unique(pixels.indices).tolist()}
    return used <= named and not set(_tally(pixels)) <= named


def _without_alpha(picture: Image.Image, given: bool) -> tuple[Image.Image, str]:
    """The picture laid over black, or its alpha channel where that alone holds the mask."""
    rgba = (picture.convert("LA") if picture.mode == "La" else picture).convert("RGBA")
    alpha = rgba.getchannel("A")
    least, most = alpha.getextrema()
    if least == most:
        plain = rgba.convert("RGB")
        if most == 0 and any(low != high for low, high in plain.getextrema()):
            raise _AmbiguousMask(
                "is transparent everywhere, but holds colours that cannot be seen: is it empty, or "
                "do these show the mask? Save it without transparency."
            )
        return (plain if most else Image.new("L", picture.size)), ""
    opaque = np.asarray(alpha)
    colors = np.asarray(rgba)[..., :3].astype(np.int16)
    seen = colors[opaque > 0]
    color = np.median(seen, axis=0)
    if np.abs(seen - color).max() <= 8:
        like = np.abs(colors - color).max(-1) <= 8
        if color.max() <= 8 and like.all():
            return alpha, "alpha"
        if color.max() > 8 and (like.all() or np.count_nonzero(like != (opaque > 0)) <= _TOLERATED):
            return composite_on_black(picture, "RGB"), ""
    laid = composite_on_black(picture, "RGB")
    if np.count_nonzero((colors.max(-1) > 127) != (opaque > 127)) <= _TOLERATED:
        return laid, ""
    if given or len(np.unique(_codes(np.asarray(laid)))) > 2:
        return laid, ""
    raise _AmbiguousMask(
        "shows one region in its colours and another in its alpha channel. Save the one that is "
        "the mask, without transparency."
    )


def _shows_alike(picture: Image.Image) -> bool:
    """Say whether the palette of a palette file shows some of its indices alike."""
    palette = picture.getpalette() or []
    shown = [tuple(palette[i : i + 3]) for i in range(0, len(palette), 3)]
    used = {0, 1, *np.unique(np.asarray(picture)).tolist()}
    shown = [shown[index] for index in used if index < len(shown)]
    return len(set(shown)) < len(shown)


def _grey(picture: Image.Image, lossy: bool) -> Image.Image | None:
    """A picture in RGB as grey, or None if it is coloured."""
    red, green, blue = picture.split()
    if red.tobytes() == green.tobytes() == blue.tobytes():
        return red
    apart = max(ImageChops.difference(one, green).getextrema()[1] for one in (red, blue))
    # A dark tint may be a label, as in (1, 0, 0), which grey would lose.
    alike = apart <= 32 if lossy else apart <= 16 and green.getextrema()[1] > 127
    return picture.convert("L") if alike else None


def _binary_labels(pixels: _MaskPixels, pair: tuple[Color, Color] | None) -> tuple[np.ndarray, int]:
    """Labels of a mask of two tones, and how many pixels lie between these."""
    values, white, lossy = pixels[:3]
    if pair is None:
        if not white:
            raise _AmbiguousMask(
                f"holds signed, 32-bit or floating point values ({values.dtype}), whose half range "
                f"is unknown: {_tally_text(_tally(pixels))}. Save it with 8 bits, or pass "
                "colors=[background, foreground] if it holds two whole numbers."
            )
        if values.dtype == np.uint8 and values.ndim == 2:
            if not ((values - np.uint8(1)) < 254).any():  # 0 and 255 alone
                return (values >> 7), 0
            return (values > 127).astype(np.uint8), _check_edges(pixels, values, values)
        pair = tuple((round(c * white / 255),) * 3 for c in (0, 255))
    elif white == 65535 and max(map(max, pair)) <= 255 < values.max():
        pair = tuple(tuple(257 * value for value in color) for color in pair)
    low, high = (np.asarray(color) for color in pair)
    grey = values.ndim == 2 and all(len(set(color)) == 1 for color in pair)
    if grey:
        low, high = low[:1], high[:1]
        values = values[..., None]
    elif values.ndim == 2:
        values = np.repeat(values[..., None], 3, axis=-1)
    bright = (values == high).all(-1)
    if ((values == low).all(-1) | bright).all():
        return bright.astype(np.uint8), 0
    direction = (high - low).astype(np.float32)
    length = np.abs(direction).max()
    levels = values.reshape(-1, values.shape[-1])
    if length < (128 if lossy else 64) or not np.isfinite(levels).all():
        raise _AmbiguousMask(_not_binary(pixels, pair))
    offset = values - low.astype(np.float32)
    fraction = offset @ direction / (direction @ direction)
    off_axis = np.abs(offset - fraction[..., None] * direction).max(-1) / length
    beyond = np.abs(fraction - 0.5) - 0.5
    outlying = np.maximum(off_axis, beyond) > (0.3 if lossy else 0.07)
    if np.count_nonzero(outlying) > _TOLERATED:
        raise _AmbiguousMask(_not_binary(pixels, pair))
    shown = (255 * fraction.clip(0, 1)).round().astype(np.uint8)
    codes = values[..., 0] if grey else _codes(values)
    return (fraction > 0.5).astype(np.uint8), _check_edges(pixels, shown, codes, pair)


def _not_binary(pixels: _MaskPixels, pair: tuple[Color, Color] | None) -> str:
    """What is wrong with a mask that is not of two tones, and which argument settles it."""
    tally = _tally(pixels)
    background, foreground = map(_color_text, pair or _BLACK_AND_WHITE)
    return (
        f"is not of two tones, {background} for background and {foreground} for foreground, with "
        f"edges between them: it holds {_tally_text(tally)}.{_advice(tally, pixels.lossy)}"
    )


def _advice(tally: Counter, lossy: bool, apart: bool = False) -> str:
    """Which argument settles what colours mean; `apart` if no mask holds more than two of them."""
    levels = sorted(tally)
    if sum(max(color) - min(color) > 32 for color in levels) > _PHOTO:
        return " It looks like a photo: are the folders of images and masks exchanged?"
    if lossy:
        return _JPEG_ADVICE
    if len(levels) > 12 or levels[0][0] < 0:
        return (
            " If these are probabilities or a heat map, or have very soft edges, threshold them "
            "yourself, and save 0 and 255; if they number objects, save the mask above 0."
        )
    if len(levels) == 1:
        return f" Pass colors=[0, {_color_text(levels[0])}] if that is foreground."
    if len(levels) == 2:
        first, second = (_color_text(color) for color, _ in tally.most_common())
        return (
            f" Pass colors=[{first}, {second}] if {first} is the background, "
            f"colors=[{second}, {first}] if {second} is."
        )
    return _level_advice(levels, apart)


def _level_advice(levels: Sequence[Color], apart: bool) -> str:
    names = [_color_text(color) for color in levels]
    several = f"classes={len(names)}, colors=[{', '.join(names)}]"
    void = not apart and (255, 255, 255) in levels and max(map(max, levels[:-1])) <= 64
    labels = [0, *[1] * (len(names) - 2), 0 if void else 1]
    shown = ", ".join(f"{name}: {label}" for name, label in zip(names, labels))
    text = (
        f" If each is a class, pass {several}; if some are foreground and the others background, "
        f"give each a 1 or a 0, as in colors={{{shown}}}."
    )
    if void:
        text += (
            " Where 255 marks pixels to be ignored: no pixel is left out of training and scores, "
            "so it has to be given to background or foreground."
        )
    return text


def _check_edges(pixels: _MaskPixels, shown: np.ndarray, codes: np.ndarray, pair=None) -> int:
    """Count the pixels between two tones, at 0 and 255 in `shown`; refuse what is a third tone."""
    lossy = pixels.lossy
    near = 32 if lossy else 8
    intermediate = (shown - np.uint8(near + 1)) < 254 - 2 * near
    count = np.count_nonzero(intermediate)
    if lossy and count <= _TOLERATED:
        return count
    dark, bright = shown <= near, shown >= 255 - near
    brights = np.count_nonzero(bright)
    if not lossy:
        if not brights:
            raise _AmbiguousMask(_not_binary(pixels, pair))
        flat = _local_range(codes) == 0
        for end in (dark, bright):
            values, counts = np.unique(codes[end], return_counts=True)
            if len(values) < 2:
                continue
            others = end & (codes != values[counts.argmax()])
            number = np.count_nonzero(others)
            alone = len(values) == 2 and not count and len(np.unique(codes)) == 3
            if number > _TOLERATED and (alone or np.count_nonzero(flat & others) > 0.2 * number):
                raise _AmbiguousMask(_not_binary(pixels, pair))
    if count <= _TOLERATED:
        return count
    core = intermediate & (shown > 25) & (shown < 230)
    plain = core & (_local_range(shown) <= 16)
    stray = intermediate & ~(_dilate(dark) & _dilate(bright))
    single = not lossy and np.bincount(shown[intermediate]).max() > 0.6 * count
    smooth = np.count_nonzero(core) > 6 * brights + 16
    if single or smooth or np.count_nonzero(stray | plain) > max(_TOLERATED, 0.2 * count):
        raise _AmbiguousMask(_not_binary(pixels, pair))
    return count


def _local_range(values: np.ndarray) -> np.ndarray:
    """Greatest minus least value of each pixel and its eight neighbours."""
    padded, ends = np.pad(values, 1, mode="edge"), []
    for pick in (np.maximum, np.minimum):
        rows = pick(pick(padded[:-2], padded[1:-1]), padded[2:])
        ends.append(pick(pick(rows[:, :-2], rows[:, 1:-1]), rows[:, 2:]))
    return ends[0] - ends[1]


def _dilate(mask: np.ndarray) -> np.ndarray:
    """Pixels at most eight rows and columns (a block of JPEG's) from those of a mask."""
    for _ in ("rows", "columns"):
        for step in (1, 2, 4, 1):
            wide = mask.copy()
            wide[step:] |= mask[:-step]
            wide[:-step] |= mask[step:]
            mask = wide
        mask = mask.T
    return mask


def _exact_labels(path: str, classes: int) -> np.ndarray:
    with open_picture(path) as picture:
        lossy = picture.format in ("JPEG", "MPO")
        picture = decode_upright(picture)
        values = np.asarray(picture)
        if picture.mode != "P" and picture.has_transparency_data:
            values = np.asarray(_without_alpha(picture, given=True)[0])
        elif values.ndim == 3:
            values = np.asarray(composite_on_black(picture, "RGB"))
    pixels = _MaskPixels(values, 255, lossy)
    if values.ndim == 3:
        if (values != values[..., :1]).any():
            raise _AmbiguousMask(
                f"is in colour. Pass colors=[...], one colour for each of the {classes} classes, "
                f"or save it with grey values 0 to {classes - 1}. It holds "
                f"{_tally_text(_tally(pixels))}."
            )
        values = values[..., 0]
    outside = np.unique(values[(values < 0) | (values >= classes) | (values % 1 != 0)])
    if outside.size or (lossy and values.any()):
        received = f" also: {_values_text(outside)}" if outside.size else ": a JPEG"
        raise _AmbiguousMask(
            f"must hold values 0 to {classes - 1} for classes={classes}. Received{received}."
            + (_JPEG_ADVICE if lossy else _label_advice(pixels, classes))
        )
    return values.astype(np.uint8)


def _match_colors(pixels: _MaskPixels, table: Sequence[Sequence[Color]]) -> np.ndarray:
    values = pixels.values
    if values.ndim == 2:
        values = np.repeat(values[..., None], 3, axis=-1)
    codes = _codes(values)
    labels = np.full(codes.shape, 255, np.uint8)
    for label, colors in enumerate(table):
        for color in colors:
            labels[codes == _codes(np.asarray(color))] = label
    strange = labels == 255
    if strange.any():
        raise _AmbiguousMask(
            f"has {strange.sum()} pixels in colours outside colors={_colors_text(table)}: "
            f"{_tally_text(_tally(pixels, strange))}." + (_JPEG_ADVICE if pixels.lossy else "")
        )
    return labels


def _label_advice(pixels: _MaskPixels, classes: int) -> str:
    tally = _tally(pixels)
    levels = sorted(tally)
    if levels == sorted(_BLACK_AND_WHITE):
        return " Leave classes out for one foreground, or pass colors=[0, 255] for two classes."
    text = f" It holds {_tally_text(tally)}."
    names = [_color_text(color) for color in levels]
    if len(levels) == classes and levels[0][0] >= 0:
        return f"{text} If these are the classes, pass colors=[{', '.join(names)}]."
    labels = [str(label) for label in range(classes)]
    others = [f"{name}: 0" for name in names if name not in labels]
    if len(others) > 6 or levels[0][0] < 0:
        return text
    same = [f"{label}: {label}" for label in labels]
    same = same if classes <= 8 else [f"**{{i: i for i in range({classes})}}"]
    shown = ", ".join([*same, *others])
    return (
        f"{text} No pixel is left out of training and scores, so give each level to a class, for "
        f"example the background: colors={{{shown}}}."
    )


def _codes(colors: np.ndarray) -> np.ndarray:
    """One whole number a colour."""
    return colors.astype(np.int64) @ np.array([1 << 32, 1 << 16, 1])


def _tally(pixels: _MaskPixels, where: np.ndarray | None = None) -> Counter:
    """How many pixels there are of each colour; -1 stands for what no colour can be."""
    values = pixels.values if where is None else pixels.values[where]
    if pixels.values.ndim == 3:
        codes, counts = np.unique(_codes(values), return_counts=True)
        parts = np.stack([codes >> 32, codes >> 16 & 65535, codes & 65535], -1).tolist()
        return Counter(dict(zip(map(tuple, parts), counts.tolist())))
    if values.dtype == np.uint8:
        counts = np.bincount(values.ravel(), minlength=256)
        levels = np.flatnonzero(counts)
        counts = counts[levels]
    else:
        with np.errstate(invalid="ignore"):
            whole = (values >= 0) & (values <= 65535) & (values % 1 == 0)
        levels, counts = np.unique(np.where(whole, values, -1.0), return_counts=True)
    return Counter({(int(level),) * 3: n for level, n in zip(levels, counts.tolist())})


def _tally_text(tally: Counter) -> str:
    total = sum(tally.values())
    shown = sorted(color for color, _ in tally.most_common(12))
    text = ", ".join(f"{_color_text(color)} ({_percent(tally[color] / total)})" for color in shown)
    return text + (f" and {len(tally) - 12} more" if len(tally) > 12 else "")


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if share < 0.0995 else f"{100 * share:.0f} %"


def _color_text(color: Color) -> str:
    if color[0] < 0:
        return "values that are no whole numbers from 0 to 65535"
    return str(color[0]) if len(set(color)) == 1 else str(tuple(color))


def _colors_text(table: Sequence[Sequence[Color]]) -> str:
    if all(len(colors) == 1 for colors in table):
        return f"[{', '.join(_color_text(colors[0]) for colors in table)}]"
    pairs = [f"{_color_text(c)}: {label}" for label, colors in enumerate(table) for c in colors]
    return f"{{{', '.join(pairs)}}}"


def _values_text(values) -> str:
    shown = ", ".join(map(str, values.tolist()[:6]))
    return shown + (f" and {len(values) - 6} more" if len(values) > 6 else "")
