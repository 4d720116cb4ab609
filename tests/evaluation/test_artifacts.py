import numpy as np
import pytest
from refusals import refused
from scipy import ndimage

from kerasgan.data import load_folder, planted, synthetic
from kerasgan.errors import KerasganError
from kerasgan.evaluation.artifacts import REGIONS, elsewhere, find_regions, inpaint_regions

HEIGHT, WIDTH = 240, 320


def tissue():
    y, x = np.mgrid[:HEIGHT, :WIDTH] / HEIGHT
    wave = 0.1 * np.sin(9 * x + 4 * y)
    return np.stack([0.6 + wave, 0.3 + wave, 0.25 + wave], -1)


def border():
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.minimum(x, WIDTH - 1 - x) + np.minimum(y, HEIGHT - 1 - y) < 60


def box():
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return (y >= 160) & (x < 90)


def writing(text="21/08/2019", top=100, left=6, dot=2):
    mask = np.zeros((HEIGHT, WIDTH), bool)
    for place, letter in enumerate(text):
        bits = np.array(list(f"{synthetic.GLYPHS[letter]:015b}"), int).reshape(5, 3)
        pixels = np.kron(bits, np.ones((dot, dot))) > 0
        start = left + 4 * dot * place
        mask[top : top + 5 * dot, start : start + 3 * dot] = pixels
    return mask


def gloss(count=12):
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    mask = np.zeros((HEIGHT, WIDTH), bool)
    for _ in range(count):
        cy, cx, a, b = rng.uniform((70, 130, 1.5, 1.5), (190, 280, 5, 5))
        mask |= ((y - cy) / a) ** 2 + ((x - cx) / b) ** 2 < 1
    return mask


def jaccard(a, b):
    return (a & b).sum() / (a | b).sum()


def picture(black=(), white=()):
    image = tissue()
    for mask in black:
        image[mask] = 0
    for mask in white:
        image[mask] = 0.95
    return (2 * image - 1).astype(np.float32)


@pytest.mark.parametrize("factor", [1, 4])
def test_each_region_is_found_and_no_other(factor):
    signs = writing() | writing("12:34:56", 118) | writing("047", 136)
    image = picture([border(), box()], [signs, gloss()])
    found = find_regions(image.repeat(factor, 0).repeat(factor, 1))
    found = {name: mask[::factor, ::factor] for name, mask in found.items()}
    assert tuple(found) == REGIONS
    assert sum(mask.astype(int) for mask in found.values()).max() == 1
    assert jaccard(found["square"], box()) > 0.95
    assert jaccard(found["border"], border() & ~box()) > 0.8
    assert (found["text"] & signs).sum() > 0.95 * signs.sum()
    assert found["text"].sum() < 4.5 * signs.sum()  # boxes round letters
    assert not (found["text"] & gloss()).any()
    assert (found["highlights"] & gloss()).sum() > 0.95 * gloss().sum()
    assert (found["highlights"] & ~ndimage.binary_dilation(gloss(), iterations=3)).sum() == 0


def test_nothing_is_found_where_nothing_is():
    assert not any(mask.any() for mask in find_regions(picture()).values())
    for level in (-1.0, 0.0, 1.0):  # a frame all black is all border
        found = find_regions(np.full((32, 32, 3), level))
        assert {name: mask.mean() for name, mask in found.items()} == {
            name: float(level == -1 and name == "border") for name in REGIONS
        }


def test_each_alone():
    for name, mask, kind in (
        ("square", box(), "black"),
        ("border", border(), "black"),
        ("text", writing(), "white"),
        ("highlights", gloss(), "white"),
    ):
        found = find_regions(picture(**{kind: [mask]}))
        assert (found[name] & mask).sum() > 0.9 * mask.sum()
        assert not any(found[other].any() for other in REGIONS if other != name)


def test_a_green_box_is_a_square_and_a_dark_corner_is_none():
    image = picture()
    image[box()] = (-0.9, 0.2, -0.7)
    np.testing.assert_array_equal(find_regions(image)["square"], box())
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    corner = x + (HEIGHT - 1 - y) < 130
    found = find_regions(picture([corner]))
    assert not found["square"].any()
    assert jaccard(found["border"], corner) > 0.9


def test_what_is_far_from_the_sides_is_no_text():
    assert not find_regions(picture(white=[writing(top=115, left=130)]))["text"].any()


@pytest.mark.parametrize("size", [64, 128])
def test_planted_markers_and_frames_are_found(size):
    covered, shares = [], []
    for seed in range(20):
        image, _, cause = planted.scene("marker", size, seed)
        found = find_regions(image / 127.5 - 1)["text"]
        white = cause & (image.min(-1) > 150)
        covered.append((found & white).sum() / white.sum())
        shares.append((found & ~ndimage.binary_dilation(cause, iterations=2)).mean())
    assert np.mean(np.array(covered) > 0.8) >= 0.9
    assert np.mean(shares) < 0.003
    for seed in range(5):
        image, _, _ = planted.scene("frame", size, seed)
        found = find_regions(image / 127.5 - 1)["border"]
        black = image.max(-1) == 0
        assert (found & black).sum() > 0.99 * black.sum()
        dark = found & ~ndimage.binary_dilation(black, iterations=3)  # tissue in the dark beside it
        assert dark.mean() < 0.05


def test_painting_over_by_hand():
    images = np.zeros((3, 8, 8, 1))
    images[0, :, :4], images[0, :, 4:] = -0.5, 0.5
    images[1] = np.arange(64).reshape(8, 8, 1) / 64
    images[2] = images[1]
    masks = np.zeros((3, 8, 8), bool)
    masks[0, 3:5, :2] = True
    masks[1] = True
    filled = inpaint_regions(images, masks)
    np.testing.assert_allclose(filled[0][masks[0]], -0.5, atol=0.02)
    np.testing.assert_array_equal(filled[0][~masks[0]], images[0][~masks[0]])
    np.testing.assert_allclose(filled[1], images[1].mean(), rtol=1e-6)
    np.testing.assert_allclose(filled[2], images[2])
    assert not images[0][masks[0]].any() or (images[0][masks[0]] == -0.5).all()  # a copy


def test_text_is_gone_after_painting_over():
    image = picture([border()], [writing()])
    found = find_regions(image)["text"]
    filled = inpaint_regions(image[None], found[None])[0]
    assert not find_regions(filled)["text"].any()
    plain = picture([border()])
    assert np.abs(filled - plain)[found & ~border()].mean() < 0.1


def test_controls_have_the_size_and_keep_off_the_target():
    rng = np.random.default_rng(0)
    target = np.zeros((40, 40), bool)
    target[15:25, 15:25] = True
    frame = np.ones((40, 40), bool)
    frame[5:35, 5:35] = False
    patch = np.zeros((40, 40), bool)
    patch[2:8, 2:8] = True
    for mask in (frame, patch):
        for _ in range(10):
            control = elsewhere(mask, target, rng)
            assert not (control & (mask | target)).any()
            assert control.sum() == min(mask.sum(), (~mask & ~target).sum())
    assert elsewhere(patch, target, rng).any(0).sum() == 6  # the same shape
    half = np.roll(patch, (10, 15), (0, 1))  # 3 of its 6 rows on the target
    on_target = [(elsewhere(half, target, rng) & target).sum() for _ in range(20)]
    assert abs(np.mean(on_target) - (half & target).sum()) < 6
    one, again = (elsewhere(patch, target, np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(one, again)
    everywhere = np.ones((40, 40), bool)
    assert not elsewhere(everywhere, target, rng).any()
    assert not elsewhere(0 * patch > 0, target, rng).any()


def test_bad_input():
    for image in (np.zeros((32, 32, 1)), np.zeros((32, 8, 3))):
        refused("must have shape", find_regions, image)
    refused("must be finite", find_regions, np.full((32, 32, 3), np.nan))
    refused(r"must lie in \[-1, 1\]", find_regions, np.full((32, 32, 3), 255))
    with pytest.raises(KerasganError, match="'masks' must have the shape"):
        inpaint_regions(np.zeros((1, 4, 4, 3)), np.zeros((4, 4), bool))


@pytest.mark.data
def test_squares_of_real_frames(real_data):
    folder = real_data / "kvasir-seg"
    samples, _ = load_folder(folder).split_by_names(folder / "splits" / "val.txt")
    agree = []
    for index in range(0, len(samples), 22):
        image = samples.image(index)
        height, width = image.shape[:2]
        part = image[int(0.8 * height) : int(0.95 * height), int(0.05 * width) : width // 4]
        dark = np.median(part, (0, 1)).max() < -0.76
        agree.append(find_regions(image)["square"].any() == dark)
    assert np.mean(agree) > 0.8
