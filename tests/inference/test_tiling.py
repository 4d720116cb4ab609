"""Windows over images of any size: what must hold whatever the numbers are."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasgan.data.windows import reflection
from kerasgan.inference.tiling import make_frame
from kerasgan.inference.views import augmentation_views

SIDE = st.integers(1, 90)
WINDOW = st.integers(8, 40)
OVERLAP = st.floats(0, 0.95)
SCALE = st.floats(0.3, 3)
SEED = st.integers(0, 2**32 - 1)


def noise(seed, *shape):
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


@settings(max_examples=80, deadline=None)
@given(SIDE, SIDE, WINDOW, WINDOW, OVERLAP, SCALE)
def test_windows_cover_every_pixel_once(height, width, tall, wide, overlap, scale):
    """Weights are positive wherever a window is, and add up to one at every pixel."""
    frame = make_frame(np.zeros((height, width, 1)), (tall, wide), "window", overlap, scale)
    total = np.zeros((*frame.pixels.shape[:2], 1))
    for tile, (top, left) in enumerate(frame.corners):
        assert 0 <= top <= frame.pixels.shape[0] - tall
        assert 0 <= left <= frame.pixels.shape[1] - wide
        weights = frame.weights(tile)
        assert weights.shape == (tall, wide, 1)
        assert weights.min() > 0
        frame.cut(total, tile)[...] += weights
    np.testing.assert_allclose(total, 1, atol=1e-5)
    assert len(set(frame.corners)) == len(frame.corners)
    assert frame.inside(total).shape[:2] == frame.box[2:]


@settings(max_examples=60, deadline=None)
@given(SIDE, SIDE, WINDOW, WINDOW, OVERLAP, SEED)
def test_what_is_cut_and_blended_is_what_was_there(height, width, tall, wide, overlap, seed):
    image = noise(seed, height, width, 2)
    frame = make_frame(image, (tall, wide), "window", overlap, 1.0)
    whole = None
    for tile in range(len(frame.corners)):
        whole = frame.blend(whole, tile, frame.cut(frame.pixels, tile))
    np.testing.assert_allclose(frame.inside(whole), image, atol=1e-5)
    rows, columns = reflection(frame.box, frame.window)
    np.testing.assert_array_equal(frame.pixels, image[np.ix_(rows, columns)])
    assert set(rows) == set(range(height))
    assert set(columns) == set(range(width))


@settings(max_examples=60, deadline=None)
@given(SIDE, WINDOW, st.floats(0, 0.95))
def test_neighbouring_windows_overlap_at_least_as_asked(length, window, overlap):
    frame = make_frame(np.zeros((length, window, 1)), (window, window), "window", overlap, 1.0)
    tops = sorted({top for top, _ in frame.corners})
    assert tops[0] == 0
    assert tops[-1] == max(length, window) - window
    steps = np.diff(tops)
    assert (steps > 0).all()
    # windows begin at whole pixels, so a step may be half a pixel longer at either end
    assert (steps <= max(1, window * (1 - overlap)) + 1).all()


@settings(max_examples=40, deadline=None)
@given(st.sampled_from([False, "flips", True]), st.integers(2, 12), st.integers(2, 12), SEED)
def test_views_are_all_different_and_undone(augment, height, width, seed):
    batch = noise(seed, 3, height, width, 2)
    views = augmentation_views(augment, (height, width))
    seen = [view.apply(batch) for view in views]
    for view, turned in zip(views, seen):
        np.testing.assert_array_equal(view.undo(turned), batch)
    assert len({turned.tobytes() for turned in seen}) == len(views)
