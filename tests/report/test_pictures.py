import numpy as np
import pytest
from matplotlib.colors import to_rgb
from report_pages import decode, values

from kerasgan.report import figures, pictures


def test_every_level_has_a_colour_of_its_own():
    assert len(np.unique(pictures.palette(), axis=0)) == 2 * pictures.LEVELS + 1


def test_values_survive_the_picture():
    relevance = np.random.default_rng(0).normal(size=(30, 40)) * 1e-3
    drawn = pictures.relevance_map(relevance)
    assert (drawn.height, drawn.width) == (30, 40)
    clipped = np.clip(relevance, -drawn.limit, drawn.limit)
    np.testing.assert_allclose(values(drawn), clipped, atol=drawn.limit / pictures.LEVELS / 1.99)
    assert drawn.limit == pytest.approx(np.percentile(np.abs(relevance), 99.5))


def test_what_is_laid_over_an_image_is_transparent_where_relevance_is_zero():
    relevance = np.random.default_rng(0).normal(size=(20, 30))
    relevance[:, ::3] = 0
    over = np.asarray(decode(pictures.laid_over(relevance)).convert("RGBA"))
    plain = np.asarray(decode(pictures.relevance_map(relevance).uri).convert("RGB"))
    np.testing.assert_array_equal(over[..., :3], plain)
    levels = np.abs(values(pictures.relevance_map(relevance)))
    np.testing.assert_array_equal(over[..., 3] == 0, levels == 0)
    order = np.argsort(levels, axis=None)
    assert (np.diff(over[..., 3].ravel()[order].astype(int)) >= 0).all()
    mirrored = np.asarray(decode(pictures.laid_over(-relevance)).convert("RGBA"))
    np.testing.assert_array_equal(mirrored[..., 3], over[..., 3])


def test_large_maps_are_averaged_and_empty_ones_are_zero():
    relevance = np.kron(np.arange(4.0).reshape(2, 2), np.ones((100, 100)))
    drawn = pictures.relevance_map(relevance)
    assert (drawn.height, drawn.width) == (100, 100)
    np.testing.assert_allclose(values(drawn)[[0, 0, -1, -1], [0, -1, 0, -1]], [0, 1, 2, 3])
    nothing = pictures.relevance_map(np.zeros((8, 8)))
    assert nothing.limit == 0
    assert not values(nothing).any()
    single = np.zeros((100, 100))
    single[3, 4] = -2
    assert values(pictures.relevance_map(single))[3, 4] == -2


def test_photos_keep_their_aspect_and_brightness():
    uri, size = pictures.photo(np.full((100, 200, 1), 0.5), 50)
    assert size == (25, 50)
    picture = np.asarray(decode(uri))
    assert picture.shape == (25, 50, 3)
    assert abs(int(picture.mean()) - 191) <= 1


def test_errors_are_coloured_by_what_they_are():
    truth = np.array([[1, 1, 0, 1, 0]])
    prediction = np.array([[1, 0, 1, 2, 0]])
    layer = np.asarray(decode(pictures.error_layer(truth, prediction, (1, 5))).convert("RGBA"))
    wanted = (figures.HIT, figures.MISSED, figures.EXTRA, figures.WRONG_CLASS)
    for pixel, colour in zip(layer[0], wanted):
        np.testing.assert_allclose(pixel[:3] / 255, to_rgb(colour), atol=0.003)
        assert 0 < pixel[3] < 255
    assert layer[0, 4, 3] == 0


def test_outlines_lie_on_the_edge_and_nowhere_else():
    truth = np.zeros((60, 60), int)
    truth[20:40, 20:40] = 1
    layer = np.asarray(decode(pictures.outline_layer(truth, None, (60, 60))).convert("RGBA"))
    there = layer[..., 3] > 0
    assert there[18:22, 18:42].any()
    assert not there[24:36, 24:36].any()
    assert not there[:17].any()
    yellow = (layer[..., :3] == np.rint(255 * np.array(to_rgb(figures.TRUTH)))).all(-1) & there
    assert yellow[20, 20:40].all()
    assert yellow[20:40, 20].all()
    nothing = pictures.outline_layer(truth * 0, truth * 0, (60, 60))
    assert not np.asarray(decode(nothing).convert("RGBA"))[..., 3].any()


def test_letterbox_borders_are_cut_off():
    frame = np.arange(64).reshape(8, 8)
    np.testing.assert_array_equal(pictures.inside(frame, (4, 8), "letterbox"), frame[2:6])
    np.testing.assert_array_equal(pictures.inside(frame, (4, 8), "stretch"), frame)
