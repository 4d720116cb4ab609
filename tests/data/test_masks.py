import io
import warnings

import numpy as np
import pytest
from PIL import Image, ImageFilter

from kerasgan.data import Samples, load_folder, masks
from kerasgan.data.masks import interpret_masks, looks_inverted, read_mask
from kerasgan.errors import KerasganError, KerasganWarning

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (12, 9, 3)).astype(np.uint8)


def test_binary_mask_is_above_half_the_range(save, tmp_path):
    grey = np.array([[0, 127, 128, 255]], np.uint8)
    np.testing.assert_array_equal(read_mask(save("a.png", grey), 1), [[0, 0, 1, 1]])
    np.testing.assert_array_equal(
        read_mask(save("a.bmp", np.stack([grey] * 3, -1)), 1), [[0, 0, 1, 1]]
    )
    deep = np.array([[0, 32767, 32768, 65535]], np.uint16)
    np.testing.assert_array_equal(read_mask(save("b.png", deep), 1), [[0, 0, 1, 1]])
    bits = np.array([[0, 1, 1, 0]], bool)
    np.testing.assert_array_equal(read_mask(save("c.png", bits), 1), bits)
    clear = np.full((1, 4, 4), 255, np.uint8)
    clear[0, :2, 3] = 0
    np.testing.assert_array_equal(read_mask(save("d.png", clear), 1), [[0, 0, 1, 1]])


def test_empty_masks_are_empty(save):
    assert not read_mask(save("a.png", np.zeros((5, 5), np.uint8)), 1).any()
    assert not read_mask(save("a.jpg", np.full((16, 16), 6, np.uint8)), 1).any()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32])
def test_label_values_are_exact(save, dtype):
    labels = RNG.integers(0, 5, (7, 6)).astype(dtype)
    np.testing.assert_array_equal(read_mask(save("m.tif", labels), 5), labels)


def test_palette_indices_and_grey_colours_are_labels(save, tmp_path):
    labels = RNG.integers(0, 3, (7, 6)).astype(np.uint8)
    colors = ((0, 0, 0), (128, 0, 0), (0, 128, 0))
    palette(labels, *colors).save(tmp_path / "m.png")
    np.testing.assert_array_equal(read_mask(str(tmp_path / "m.png"), 3), labels)
    np.testing.assert_array_equal(read_mask(str(tmp_path / "m.png"), 3, colors), labels)
    np.testing.assert_array_equal(read_mask(save("g.png", np.stack([labels] * 3, -1)), 3), labels)


def test_colour_map_is_exact(save):
    table = np.array([[0, 0, 0], [255, 0, 0], [0, 255, 1], [255, 0, 1]], np.uint8)
    labels = RNG.integers(0, 4, (7, 6))
    colors = tuple(map(tuple, table.tolist()))
    np.testing.assert_array_equal(read_mask(save("m.png", table[labels]), 4, colors), labels)
    off = table[labels]
    off[2, 3] = (254, 0, 1)
    with pytest.raises(
        KerasganError, match=r"n\.png has 1 pixels in colours.*\(254, 0, 1\) \(100 %\)\.$"
    ):
        read_mask(save("n.png", off), 4, colors)


def test_values_outside_the_classes_are_named(save):
    path = save("m.png", np.array([[0, 1, 2, 7, 9]], np.uint8))
    with pytest.raises(
        KerasganError,
        match=r"m\.png must hold values 0 to 2.*also: 7, 9\. .*\{0: 0, 1: 1, 2: 2, 7: 0, 9: 0\}",
    ):
        read_mask(path, 3)
    with pytest.raises(KerasganError, match=r"c\.png is in colour. Pass colors="):
        read_mask(save("c.png", RGB), 3)
    with pytest.raises(KerasganError, match=r"m\.jpg .*save such masks as PNG"):
        read_mask(save("m.jpg", RNG.integers(0, 3, (32, 32)).astype(np.uint8) * 90), 3)
    with pytest.raises(KerasganError, match=r"f\.tif must hold values 0 to 1.*0\.5, nan"):
        read_mask(save("f.tif", np.array([[0.5, 1, np.nan]], np.float32)), 2)


SIDE = 64
ROWS, COLUMNS = np.mgrid[:SIDE, :SIDE]
DISC = np.hypot(ROWS - 30, COLUMNS - 33) < 17
OTHER = np.hypot(ROWS - 24, COLUMNS - 40) < 12
SMALL = np.hypot(ROWS - 30, COLUMNS - 33) < 8
NOTHING = np.zeros_like(DISC)
RED, DARK, GREEN = (255, 0, 0), (128, 0, 0), (0, 255, 0)
COLORS = ((0, 0, 0), DARK, RED)


def grey(region, value=255, background=0):
    return Image.fromarray(np.where(region, value, background).astype(np.uint8))


def deep(region, value):
    return Image.fromarray(region.astype(np.uint16) * np.uint16(value))


def red(region, color=(255, 0, 0), background=(0, 0, 0)):
    return Image.fromarray(np.where(region[..., None], color, background).astype(np.uint8))


def transparent(color, alpha):
    pixels = np.zeros((SIDE, SIDE, 4), np.uint8)
    pixels[..., :3], pixels[..., 3] = color, alpha
    return Image.fromarray(pixels)


def palette(indices, *colors):
    picture = Image.fromarray(indices.astype(np.uint8))
    picture.putpalette([value for color in colors for value in color])
    return picture


def stripes(*values, width=9):
    """Levels side by side, with background between them."""
    pixels = np.zeros((SIDE, SIDE), np.uint8)
    for index, value in enumerate(values):
        pixels[8:-8, 4 + index * (width + 3) :][:, :width] = value
    return Image.fromarray(pixels)


def ring(border, within=255):
    """A disc whose border, four pixels wide, has another level."""
    wide = np.hypot(ROWS - 30, COLUMNS - 33) < 21
    return Image.fromarray(np.where(DISC, within, np.where(wide, border, 0)).astype(np.uint8))


def smooth(spread):
    distance = np.hypot(ROWS - 32, COLUMNS - 32)
    return Image.fromarray((255 * np.exp(-((distance / spread) ** 2))).astype(np.uint8))


def blurred(picture, radius):
    return picture.filter(ImageFilter.GaussianBlur(radius))


def once_jpeg(picture, quality):
    content = io.BytesIO()
    picture.save(content, "JPEG", quality=quality)
    return Image.fromarray(np.asarray(Image.open(content)))


@pytest.fixture
def load(tmp_path, save):
    """Save masks and random images, load them, and tell what was said meanwhile."""

    def load(*masks, ending="png", quality=75, **options):
        for index, mask in enumerate(masks):
            save(f"images/{index}.png", (SIDE, SIDE, 3))
            (tmp_path / "masks").mkdir(exist_ok=True)
            how = {"quality": quality} if ending == "jpg" else {}
            mask.save(tmp_path / "masks" / f"{index}.{ending}", **how)
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            samples = load_folder(tmp_path, **options)
        return samples, [str(warning.message) for warning in heard]

    return load


def refused(samples):
    """What is said of the first mask that is not read, when decoded and when batches are made."""
    with pytest.raises(KerasganError, match="Mask ") as batches:
        samples.batches(1, 16)
    with pytest.raises(KerasganError, match="Mask ") as alone:
        [samples.mask(index) for index in range(len(samples))]
    assert str(alone.value) == str(batches.value)
    return str(alone.value)


@pytest.mark.parametrize("quality", [10, 30, 50, 75, 95])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_black_and_white_jpeg_is_read_in_silence(load, capsys, quality, mode):
    masks = [grey(region).convert(mode) for region in (DISC, OTHER)]
    samples, heard = load(*masks, ending="jpg", quality=quality)
    assert (samples.colors, heard, capsys.readouterr().out) == (None, [], "")
    for index, region in enumerate((DISC, OTHER)):
        assert np.count_nonzero(samples.mask(index) != region) < 12


SILENT = {
    "white": [grey(DISC)],
    "bits": [Image.fromarray(DISC)],
    "nearly white": [grey(DISC, 252)],
    "bright for dark": [grey(DISC, 255, 3)],
    "deep": [deep(DISC, 65535), grey(OTHER)],
    "opaque": [transparent(np.where(DISC, 255, 0)[..., None], 255)],
    "half opaque": [transparent(np.where(DISC, 255, 0)[..., None], 128)],
    "clear": [transparent(0, 0), grey(DISC)],
    "palette": [palette(DISC, (0, 0, 0), (255, 255, 255))],
    "quantised": [grey(DISC).convert("P", palette=Image.Palette.ADAPTIVE)],
    "an empty one": [grey(NOTHING), grey(DISC)],
    "a full one": [grey(~NOTHING), grey(DISC)],
    "once a JPEG": [once_jpeg(grey(DISC), 97)],
}


@pytest.mark.parametrize("name", SILENT)
def test_what_is_plain_is_read_in_silence(load, capsys, name):
    samples, heard = load(*SILENT[name])
    assert (samples.colors, heard, capsys.readouterr().out) == (None, [], "")
    regions = {"deep": (DISC, OTHER), "clear": (NOTHING,), "an empty one": (NOTHING,)}
    for index, region in enumerate(regions.get(name, ())):
        np.testing.assert_array_equal(samples.mask(index), region)
    if name not in regions:
        assert np.array_equal(samples.mask(len(samples) - 1), DISC)


ONE_READING = {
    **{f"0 and {level}": [grey(DISC, level), grey(OTHER, level)] for level in (1, 2, 8, 128, 200)},
    **{f"0 and {level} deep": [deep(DISC, level)] for level in (1, 255, 1000)},
    "empty and 1": [grey(NOTHING), grey(DISC, 1)],
    "red": [red(DISC)],
    "dark red": [red(DISC, (128, 0, 0)), red(OTHER, (128, 0, 0))],
    "one in a channel": [red(DISC, (1, 0, 0))],
    "yellow": [red(DISC, (255, 255, 0))],
    "nearly black": [red(DISC, (0, 200, 0), (3, 2, 1))],
    "palette of black and red": [palette(DISC, (0, 0, 0), (128, 0, 0))],
    "palette of black alone": [palette(DISC, *[(0, 0, 0)] * 256)],
    "palette of 0 and 1": [palette(DISC, (0, 0, 0), (1, 1, 1))],
    "alpha over black": [transparent(0, DISC * 255)],
    "alpha among others": [transparent(0, DISC * 255), grey(OTHER)],
    "alpha 0 and 1": [transparent(0, DISC * 1)],
    "alpha 0 and 128": [transparent(255, DISC * 128)],
    "red on clear": [transparent(DISC[..., None] * [255, 0, 0], DISC * 255)],
    "grey with alpha": [Image.merge("LA", (grey(NOTHING), grey(DISC)))],
}


@pytest.mark.parametrize("name", ONE_READING)
def test_what_has_one_reading_is_read_and_told(load, capsys, name):
    samples, heard = load(*ONE_READING[name])
    said = capsys.readouterr().out
    assert heard == []
    assert said.startswith("Masks (")
    assert said.count("\n") == 1
    first = NOTHING if name == "empty and 1" else DISC
    np.testing.assert_array_equal(samples.mask(0), first)
    for index in range(1, len(samples)):
        second = DISC if name == "empty and 1" else OTHER
        np.testing.assert_array_equal(samples[index:].mask(0), second)
    ((_, mask),) = [samples[-1].batches(1, SIDE)][0].take(1)
    np.testing.assert_array_equal(mask[0, ..., 0], samples.mask(len(samples) - 1))


@pytest.mark.parametrize("kind", [np.int32, np.float32])
@pytest.mark.parametrize("level", [1, 255])
def test_wide_types_that_hold_two_whole_numbers_are_read(load, kind, level):
    samples, heard = load(Image.fromarray((DISC * level).astype(kind)), ending="tif")
    assert heard == []
    np.testing.assert_array_equal(samples.mask(0), DISC)


SOFT = {
    "bilinear": grey(DISC).resize((40, 40), Image.Resampling.BILINEAR),
    "lanczos": grey(DISC).resize((40, 40), Image.Resampling.LANCZOS),
    "enlarged": grey(DISC).resize((150, 150), Image.Resampling.BILINEAR),
    "blurred": blurred(grey(DISC), 1.5),
    "box": grey(ROWS > 30).filter(ImageFilter.BoxBlur(1)),
    "thin": blurred(grey(COLUMNS % 16 < 3), 0.5),
    "red": Image.merge("RGB", [blurred(grey(DISC), 1)] + 2 * [grey(NOTHING)]),
    "alpha": Image.merge("LA", (grey(NOTHING), blurred(grey(DISC), 1))),
}


@pytest.mark.parametrize("name", SOFT)
def test_soft_edges_are_cut_at_half(save, capsys, tmp_path, name):
    picture = SOFT[name]
    shown = np.asarray(picture.getchannel("A") if name == "alpha" else picture)
    shown = shown[..., 0] if shown.ndim == 3 else shown
    save("images/a.png", (*picture.size[::-1], 3))
    (tmp_path / "masks").mkdir()
    picture.save(tmp_path / "masks/a.png")
    np.testing.assert_array_equal(load_folder(tmp_path).mask(0), shown > 127)
    assert "foreground" in capsys.readouterr().out


SEVERAL_READINGS = {
    "four organs": ([stripes(63, 126, 189, 252)], {0: 0, 63: 1, 126: 0, 189: 0, 252: 0}),
    "labels": ([stripes(1, 2, 3)], {0: 0, 1: 1, 2: 0, 3: 0}),
    "three levels": ([stripes(128, 255)], {0: 0, 128: 1, 255: 0}),
    "labels of several files": ([grey(DISC, 1), grey(OTHER, 2)], {0: 0, 1: 1, 2: 1}),
    "levels of several files": ([grey(DISC, 128), grey(OTHER)], {0: 0, 128: 1, 255: 1}),
    "scales of several files": ([grey(DISC, 1), grey(OTHER)], {0: 0, 1: 1, 255: 1}),
    "from one": ([grey(DISC, 2, 1)], [1, 2]),
    "void around": ([ring(255, 1)], {0: 0, 1: 1, 255: 0}),
    "grey void around": ([ring(128)], {0: 0, 128: 0, 255: 1}),
    "two whites": ([ring(254)], {0: 0, 254: 0, 255: 1}),
    "deep labels": ([deep(np.asarray(stripes(1, 2)), 999)], {0: 0, 999: 1, 1998: 0}),
    "red on white": ([red(DISC, background=(255, 255, 255))], [255, (255, 0, 0)]),
    "two colours": ([red(DISC, (253, 231, 37), (68, 1, 84))], [(68, 1, 84), (253, 231, 37)]),
    "red and green": ([red(DISC), red(OTHER, GREEN)], {0: 0, RED: 1, GREEN: 0}),
    "white and red": ([grey(DISC), red(OTHER)], {0: 0, 255: 1, RED: 1}),
    "dark and light red": ([red(DISC), red(OTHER, DARK)], {0: 0, RED: 1, DARK: 1}),
    "palette": ([palette(np.asarray(stripes(1, 2)), *COLORS)], {0: 0, DARK: 1, RED: 0}),
}  # fmt: skip


@pytest.mark.parametrize("name", SEVERAL_READINGS)
def test_several_readings_are_asked_about_and_settled_by_colors(load, capsys, name):
    masks, colors = SEVERAL_READINGS[name]
    samples, heard = load(*masks)
    assert len(heard) == 1
    assert samples.colors is None
    words = refused(samples)
    for text in (heard[0], words):
        assert ".png" in text
        assert "%)" in text
        assert "colors=" in text
    assert all(f"{level} (" in heard[0] for level in colors)
    settled, heard = load(*masks, colors=colors)
    assert (heard, capsys.readouterr().out) == ([], "")
    known = colors if isinstance(colors, dict) else {color: i for i, color in enumerate(colors)}
    for index, mask in enumerate(masks):
        shown = np.asarray(mask if mask.mode == "I;16" else mask.convert("RGB"))
        shown = np.repeat(shown[..., None], 3, -1) if shown.ndim == 2 else shown
        expected = sum((shown == color).all(-1) * label for color, label in known.items())
        np.testing.assert_array_equal(settled.mask(index), expected)


NO_MASK = {
    "probabilities": smooth(20),
    "a narrow bump": smooth(8),
    "a ramp": Image.fromarray((ROWS * 4).astype(np.uint8)),
    "noise": Image.fromarray(RNG.integers(0, 256, (SIDE, SIDE)).astype(np.uint8)),
    "fractions": Image.fromarray(DISC.astype(np.float32) / 2),
    "colour and alpha": transparent(OTHER[..., None] * 255, DISC * 255),
    "colour against alpha": transparent(DISC[..., None] * 255, ~DISC * 255),
    "colour within alpha": transparent(SMALL[..., None] * 255, DISC * 255),
    "alpha within colour": transparent(DISC[..., None] * 255, SMALL * 255),
    "unseen colour": transparent(DISC[..., None] * 255, 0),
    "a photo": transparent(RNG.integers(0, 256, (SIDE, SIDE, 3)), DISC * 255),
}


@pytest.mark.parametrize("name", NO_MASK)
def test_what_is_no_mask_is_refused(load, name):
    samples, heard = load(NO_MASK[name], ending="tif" if name == "fractions" else "png")
    assert len(heard) == 1
    assert "masks/0." in heard[0]
    assert "masks/0." in refused(samples)


@pytest.mark.parametrize("quality", [30, 75, 95])
@pytest.mark.parametrize("levels", [(126, 252), (63, 126, 189, 252), (128,)])
def test_labels_smeared_by_jpeg_are_refused(load, quality, levels):
    samples, heard = load(stripes(*levels), ending="jpg", quality=quality)
    assert len(heard) == 1
    for text in (heard[0], refused(samples)):
        assert "0.jpg" in text
        assert "PNG" in text
    with pytest.raises(KerasganError, match=r"0\.jpg.* JPEG.*PNG"):
        read_mask(samples.mask_paths[0], len(levels) + 1)


def test_low_labels_in_jpeg_do_not_pass_for_empty_masks(load):
    samples, heard = load(stripes(1, 2), ending="jpg")
    assert "are empty: they hold 0" in heard[0]
    with pytest.raises(KerasganError, match="JPEG does not keep values"):
        read_mask(samples.mask_paths[0], 3)


@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_white_paper_is_doubted_until_colors_settle_it(load, ending, capsys):
    masks = [grey(~DISC), grey(~OTHER)]
    samples, heard = load(*masks, ending=ending)
    assert len(heard) == 1
    assert "colors=[255, 0]" in heard[0]
    assert samples.mask(0).mean() > 0.5
    for colors, region in (([255, 0], DISC), ([0, 255], ~DISC)):
        samples, heard = load(*masks, ending=ending, colors=colors)
        assert (heard, capsys.readouterr().out) == ([], "")
        assert np.count_nonzero(samples.mask(0) != region) < 12


def test_white_paper_of_other_kinds(load):
    assert "colors=[1, 0]" in load(grey(~DISC, 1))[1][0]
    assert "colors=[(255, 0, 0), 0]" in load(red(~DISC))[1][0]
    samples, _ = load(deep(~DISC, 65535), colors=[255, 0])
    np.testing.assert_array_equal(samples.mask(0), DISC)
    soft = blurred(grey(~DISC), 1)
    samples, heard = load(soft, colors=[255, 0])
    assert heard == []
    np.testing.assert_array_equal(samples.mask(0), np.asarray(soft) < 128)


def test_masks_inverted_among_others_are_named(load):
    _, heard = load(grey(DISC), grey(~OTHER), grey(OTHER))
    assert len(heard) == 1
    assert "1 of 3 masks may be inverted: 1." in heard[0]


def test_large_objects_are_no_doubt(load):
    large = np.hypot(ROWS - 30, COLUMNS - 33) < 36
    assert large.mean() > 0.8
    assert load(grey(large), grey(ROWS > 12), grey(COLUMNS < 50))[1] == []
    assert [looks_inverted(mask) for mask in (large, ~DISC, ~NOTHING)] == [False, True, False]


def test_a_later_mask_that_does_not_fit_is_named(load, tmp_path):
    samples, _ = load(*[grey(DISC, 1)] * 3)
    grey(DISC, 2).save(samples.mask_paths[1])
    assert "masks/1.png" in refused(samples)
    stripes(1, 2).save(samples.mask_paths[1])
    assert "masks/1.png" in refused(samples)
    assert samples[[0, 2]].batches(2, 16) is not None
    plain = Samples(samples.names, samples.image_paths, samples.mask_paths)
    assert "masks/0.png" in refused(plain)


def test_decision_travels_with_the_samples_and_keys_caches(load, tmp_path):
    samples, _ = load(*[grey(DISC, 1)] * 4)
    for part in (samples[:2], samples[1], *samples.split(0.5), *samples.folds(2)[0]):
        assert part.colors == ((0, 0, 0), (1, 1, 1))
    cached = tmp_path / "cache"
    samples.batches(1, 16, cache=cached)
    with pytest.raises(KerasganError, match="two tones"):
        Samples(samples.names, samples.image_paths, samples.mask_paths).batches(1, 16, cache=cached)


def test_two_scales_of_one_foreground_are_no_ignored_value(load):
    _, (heard,) = load(grey(DISC, 1), grey(OTHER))
    assert "colors={0: 0, 1: 1, 255: 1}" in heard
    assert "ignored" not in heard


def test_an_ignored_value_beside_labels_is_asked_about(load):
    masks = [ring(255, 1)]
    samples, _ = load(*masks, classes=2)
    assert "colors={0: 0, 1: 1, 255: 0}" in refused(samples)
    settled, _ = load(*masks, classes=2, colors={0: 0, 1: 1, 255: 0})
    np.testing.assert_array_equal(settled.mask(0), DISC)
    samples, _ = load(*masks, classes=21)
    advice = "{**{i: i for i in range(21)}, 255: 0}"
    assert f"colors={advice}" in refused(samples)
    settled, _ = load(*masks, classes=21, colors=eval(advice))
    np.testing.assert_array_equal(settled.mask(0), DISC)
    samples, _ = load(stripes(63, 126), classes=3)
    assert "colors=[0, 63, 126]" in refused(samples)
    samples, _ = load(grey(DISC), classes=2)
    assert "Leave classes out" in refused(samples)


def test_masks_that_cannot_be_decoded_are_left_to_their_reading(load, tmp_path):
    samples, _ = load(grey(DISC), grey(OTHER))
    path = tmp_path / "masks/0.png"
    path.write_bytes(path.read_bytes()[:-60])
    assert interpret_masks(samples.names, samples.mask_paths) == (None, "", ())
    assert load_folder(tmp_path).colors is None
    with pytest.raises(KerasganError, match=r"0\.png cannot be read"):
        samples.batches(1, 16)


def test_look_is_bounded_and_the_same_each_time(load, monkeypatch):
    samples, _ = load(*[grey(DISC)] * 3)
    names = [f"{index:04}" for index in range(1000)]
    opened = []

    decode = masks._mask_pixels
    monkeypatch.setattr(
        masks, "_mask_pixels", lambda path: opened.append(path) or decode(samples.mask_paths[0])
    )
    for _ in range(2):
        opened.clear()
        interpret_masks(names, names)
        assert len(opened) == 64
        assert np.diff([0, *map(int, opened), 1000]).max() <= 2 * 1000 // 64 + 1


@pytest.mark.data
def test_real_masks_are_read_in_silence(real_data, capsys):
    for name in ("kvasir-seg", "endovis15-rigid"):
        with warnings.catch_warnings():
            warnings.simplefilter("error", KerasganWarning)
            samples = load_folder(real_data / name)
        assert (samples.colors, capsys.readouterr().out) == (None, "")
        for index in range(0, len(samples), 37):
            with Image.open(samples.mask_paths[index]) as picture:
                expected = np.asarray(picture.convert("L")) > 127
            np.testing.assert_array_equal(samples.mask(index), expected)


LABELS = np.zeros((12, 9), np.uint8)
LABELS[3:8, 2:6], LABELS[0] = 1, 255


def test_values_of_a_palette_file_may_be_its_indices_or_its_colours(tmp_path):
    """An ignored index 255 has a colour of its own; the advice names indices."""
    labels, path = LABELS, str(tmp_path / "m.png")
    others = [(i, 1, 2) for i in range(253)]
    palette(labels, (0, 0, 0), (128, 0, 0), *others, (224, 224, 192)).save(path)
    with pytest.raises(KerasganError, match=r"colors=\{0: 0, 1: 1, 255: 0\}"):
        read_mask(path, 2)
    grey, red, cream = (0, 0, 0), (128, 0, 0), (224, 224, 192)
    by_index = ((grey, (255, 255, 255)), (1, 1, 1))
    for classes in (1, 2):
        for colors in (by_index, ((grey, cream), red)):
            np.testing.assert_array_equal(read_mask(path, classes, colors), labels == 1)
    with pytest.raises(KerasganError, match="outside colors"):
        read_mask(path, 2, ((grey, (254, 254, 254)), (1, 1, 1)))


def test_grey_levels_that_a_palette_shows_are_its_colours(tmp_path):
    labels, pair = LABELS % 2, ((0, 0, 0), (1, 1, 1))
    palette(labels, *pair[::-1]).save(tmp_path / "m.png")
    np.testing.assert_array_equal(read_mask(str(tmp_path / "m.png"), 1, pair), 1 - labels)


def test_colours_that_no_pixel_has_do_not_hide_a_palette(tmp_path):
    shown = [(0, 0, 0), (128, 0, 0), *[(0, 0, 0)] * 253, (224, 224, 192)]
    palette(LABELS, *shown).save(tmp_path / "m.png")
    colors = (((0, 0, 0), (224, 224, 192)), (128, 0, 0))
    np.testing.assert_array_equal(read_mask(str(tmp_path / "m.png"), 1, colors), LABELS == 1)
