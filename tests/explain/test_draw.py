"""Pictures of explanations, read back as pixels."""

import numpy as np
import pytest
from matplotlib.image import imread
from refusals import refused
from toys import IMAGES, shared_explainer

import kerasgan as kg
from kerasgan import targets
from kerasgan.errors import KerasganWarning
from kerasgan.explain import Explanation
from kerasgan.explain.draw import (
    cells_of,
    draw,
    in_colours,
    layers_to_show,
    overlay,
    to_picture,
)


def made(relevance, layers=(), classes=1):
    logits = np.full((len(relevance), 8, 8, classes), -1.0, "float32")
    logits[:, 2:6, 2:6, -1] = 1
    images = IMAGES[: len(relevance)]
    arrays = {
        "images": images,
        "relevance": relevance,
        "logits": logits,
        "target": (logits > 0).astype("float32"),
    }
    arrays.update({f"layers/{name}": array for name, array in dict(layers).items()})
    names = {name: name for name in dict(layers)}
    return Explanation(arrays, names)


def colours(axis):
    return axis.get_images()[0].get_array()


def test_zero_is_white_in_the_middle_and_channels_are_summed():
    relevance = np.zeros((1, 8, 8, 3), "float32")
    relevance[0, 0, 0] = [3, -1, -1]
    relevance[0, 7, 7] = [-4, 1, 1]
    relevance[0, 4, 4] = [2, -1, -1]
    picture = colours(draw(made(relevance)).axes[2])
    red, blue, white, other = picture[0, 0], picture[7, 7], picture[4, 4], picture[3, 3]
    assert red[0] > red[2] + 0.2
    assert blue[2] > blue[0] + 0.2
    assert np.array_equal(white, other)
    assert white[:3].min() > 0.95


def test_images_of_a_column_share_a_scale_and_columns_have_their_own():
    small = np.random.default_rng(0).normal(size=(2, 8, 8, 1)).astype("float32")
    small[1] = small[0] / 4
    limit = np.percentile(np.abs(small), 99.5)
    figure = draw(made(small, {"a": 1000 * small, "b": small[:, :4, :4]}), layers=["a", "b"])
    assert [axis.get_title() for axis in figure.axes[:6]] == [
        "image",
        *(
            f"{title}\n±{limit:.2g}"
            for title in ("relevance over the image", "relevance of pixels")
        ),
        f"a\n8 × 8\n±{float(f'{1000 * limit:.2g}'):g}",
        f"b\n4 × 4\n±{np.percentile(np.abs(small[:, :4, :4]), 99.5):.2g}",
        "predicted mask",
    ]
    strong, weak = colours(figure.axes[2]), colours(figure.axes[8])
    np.testing.assert_allclose(strong, colours(figure.axes[3]), atol=1e-5)
    clipped = np.clip(small[..., 0] / limit, -1, 1)
    for picture, values in zip((strong, weak), clipped):
        np.testing.assert_allclose(picture, in_colours(values, 1.0), atol=1e-5)
    assert "one scale" in figure.axes[-1].get_ylabel()


def test_an_overlay_is_transparent_exactly_where_relevance_is_zero():
    rng = np.random.default_rng(0)
    image = rng.uniform(size=(8, 8, 3))
    grey = np.repeat((image * [0.299, 0.587, 0.114]).sum(-1)[..., None], 3, -1)
    relevance = rng.normal(size=(8, 8)) * (rng.uniform(size=(8, 8)) > 0.5)
    over = overlay(image, relevance, 1.0)
    same = np.isclose(over, grey, rtol=0, atol=1e-12).all(-1)
    np.testing.assert_array_equal(same, relevance == 0)
    opaque = np.abs(relevance) >= 1
    assert opaque.any()
    np.testing.assert_allclose(over[opaque], in_colours(relevance, 1.0)[opaque, :3], atol=1e-6)


def test_an_overlay_grows_with_relevance_and_treats_signs_alike():
    strengths = np.linspace(0, 1, 11)
    white = np.ones((1, 11, 3))
    away = {s: np.abs(overlay(white, s * strengths[None], 1.0) - 1).sum(-1)[0] for s in (1, -1)}
    for distances in away.values():
        assert (np.diff(distances) > 0).all()
    images = [np.full((1, 1, 3), value) for value in (0.2, 0.7)]
    for strength in strengths:
        shown = {
            sign: [overlay(image, np.array([[sign * strength]]), 1.0) for image in images]
            for sign in (1, -1)
        }
        seen = [float((high - low).mean() / 0.5) for low, high in shown.values()]
        assert seen[0] == pytest.approx(seen[1])  # as much of the image shows through


def test_an_overlay_of_a_coarse_map_covers_the_image():
    relevance = np.array([[1.0, 0.0], [0.0, -1.0]])
    over = overlay(np.full((6, 4, 3), 0.5), relevance)
    changed = np.abs(over - 0.5).max(-1) > 1e-9
    np.testing.assert_array_equal(changed, np.kron(relevance != 0, np.ones((3, 2))) > 0)


@pytest.mark.parametrize("shape", [(128, 9), (129, 256), (300, 2), (2, 257, 130)])
def test_large_maps_are_averaged_over_equal_cells(shape):
    maps = np.random.default_rng(0).normal(size=shape)
    cells, step = cells_of(maps), -(-max(shape[-2:]) // 128)
    for *outer, y, x in np.ndindex(cells.shape):
        block = maps[(*outer, slice(step * y, step * y + step), slice(step * x, step * x + step))]
        np.testing.assert_allclose(cells[(*outer, y, x)], block.mean())
    assert max(cells.shape[-2:]) <= 128


def test_dots_at_every_second_pixel_are_not_drawn():
    dots = np.tile([[2.0, 0.0], [0.0, 0.0]], (128, 128)).astype("float32")[None, ..., None]
    picture = colours(draw(made(dots)).axes[2])
    assert picture.shape[:2] == (128, 128)
    assert np.ptp(picture, (0, 1)).max() == 0


def test_picks_layers_worth_a_look():
    sizes = {"tiny": 2, "down": 8, "middle": 9, "up": 10, "most": 11, "last": 12}
    layers = {name: np.ones((1, size, size, 2), "float32") for name, size in sizes.items()}
    figure = draw(made(np.zeros((1, 8, 8, 3), "float32"), layers))
    shown = [axis.get_title().split("\n")[0] for axis in figure.axes]
    assert shown[3:6] == ["middle", "up", "most"]


@pytest.mark.parametrize("classes", [1, 3])
def test_written(tmp_path, classes):
    made(IMAGES, classes=classes).plot(tmp_path / "e.png")
    picture = imread(tmp_path / "e.png")
    assert picture.shape[0] > 600
    assert picture[..., :3].std() > 0.1


def test_nothing_to_see():
    e = made(np.zeros((1, 8, 8, 3), "float32"))
    e.logits[:] = -1
    picture = colours(draw(e).axes[2])
    assert np.ptp(picture[..., :3]) == 0 or picture[..., :3].min() > 0.95


def test_at_most_eight_rows():
    relevance = np.zeros((9, 8, 8, 3), "float32")
    e = made(relevance)
    e.images = np.zeros((9, 8, 8, 3))
    assert len(draw(e).axes) == 8 * 4 + 1


def test_unknown_layer():
    refused("No relevance at a layer 'b'", made(IMAGES, {"a": IMAGES}).plot, layers=["b"])


def test_to_picture():
    assert to_picture(np.full((2, 2, 3), -1.0)).max() == 0
    assert to_picture(np.ones((2, 2, 1))).tolist() == np.ones((2, 2, 3)).tolist()
    grey = to_picture(np.array([0, 255], "uint8").reshape(1, 2, 1))
    assert grey[0, :, 0].tolist() == [0, 1]


def lines(axis):
    """Lines of a panel, full and dotted: the box around each, in pixels."""
    boxes = {"full": [], "dotted": []}
    for drawn in axis.collections:
        kind = "full" if drawn.get_linestyle()[0][1] is None else "dotted"
        boxes[kind] += [path.get_extents().extents.round() for path in drawn.get_paths()]
    return {kind: [box.tolist() for box in found] for kind, found in boxes.items()}


def legend(figure):
    return [text.get_text() for one in figure.legends for text in one.get_texts()]


def test_what_is_explained_is_outlined_and_the_prediction_dotted_where_it_is_another():
    e = made(np.ones((2, 8, 8, 3), "float32"))
    same = lines(draw(e).axes[2])
    assert len(same["full"]) == 1
    assert not same["dotted"]
    assert legend(draw(e)) == ["predicted mask, which is explained"]
    e.target[1] = 0
    e.target[1, 2, 3:5] = -1
    figure = draw(e)
    assert lines(figure.axes[2]) == same
    found = lines(figure.axes[6])
    assert found["dotted"] == same["full"]
    (box,) = found["full"]
    assert box[0] >= 2
    assert box[3] <= 3
    assert len(legend(figure)) == 2
    assert not legend(draw(e, outlines=False))
    assert lines(draw(e, outlines=False).axes[6]) == {"full": [], "dotted": []}


@pytest.mark.parametrize("weight", [0, 1])
def test_all_or_no_pixels_explained_is_said_and_has_no_outline(weight):
    e = made(np.ones((1, 8, 8, 3), "float32"))
    e.target[:] = weight
    figure = draw(e)
    assert not lines(figure.axes[0])["full"]
    assert lines(figure.axes[0])["dotted"]
    assert legend(figure) == ["predicted mask"]
    assert ("all" if weight else "no") in figure.axes[0].texts[0].get_text()


@pytest.mark.parametrize("side", [1, 3])
def test_thin_structures_keep_their_outline(side):
    from kerasgan.explain.draw import panels, show

    mask = np.zeros((512, 512), bool)
    mask[100 : 100 + side, 50:400] = True
    mask[300:400, 300:400] = True
    _, axes = panels(1, 1, (2, 2))
    show(axes[0, 0], "", np.zeros((512, 512, 3)), 0, outline=mask, heat=True)
    assert len(lines(axes[0, 0])["full"]) == 1
    paths = axes[0, 0].collections[0].get_paths()[0].vertices
    assert paths[:, 1].min() < 101
    assert np.ptp(paths[paths[:, 1] < 110][:, 0]) > 340


def below(figure, row=0, columns=4):
    return [text.get_text() for text in figure.axes[row * columns].texts]


def share(e):
    explained = (e.target * e.logits).sum(dtype="float64")
    return f"{100 * e.relevance.sum(dtype='float64') / explained:.0f} %"


def test_rule_and_target_are_named_and_the_share_of_the_pixels_told(tmp_path):
    e = shared_explainer("z-plus").explain(IMAGES[:1], np.ones((1, 8, 8, 1)), layers=())
    e.save(tmp_path / "e.npz")
    for drawn in (e, Explanation.load(tmp_path / "e.npz")):
        figure = draw(drawn)
        assert figure.get_suptitle() == "rule: z-plus · target: given weights"
        assert share(e) in below(figure)[0]


def test_each_row_names_its_own_target():
    chosen = [targets.Pixel(3, 4), targets.Pixel(3, 4) - targets.Pixel(0, 0)]
    e = shared_explainer("gradient").explain(IMAGES[:2], chosen, layers=())
    figure = draw(e)
    assert "below each row" in figure.get_suptitle()
    assert below(figure) == ["Pixel(y=3, x=4)"]
    assert below(figure, 1) == ["Pixel(y=3, x=4) - Pixel(y=0, x=0)"]


def test_images_are_named_below_their_rows(tmp_path):
    names = ["costs_$5_to_$9", "b/_^{"]
    e = shared_explainer("gradient").explain(IMAGES[:2], targets.Pixel(3, 4), layers=())
    figure = e.plot(tmp_path / "e.png", names=names)
    assert [below(figure), below(figure, 1)] == [[names[0]], [names[1]]]
    assert "target: Pixel(y=3, x=4)" in figure.get_suptitle()
    whole = shared_explainer("z-plus").explain(IMAGES[:2], np.ones((2, 8, 8, 1)), layers=())
    for row, (text,) in enumerate(below(draw(whole, names=tuple(names)), n) for n in range(2)):
        assert text.startswith(f"{names[row]}; all pixels are explained")
    long = [f"{'folder/' * 20}{n}" for n in range(2)]
    ends = [below(draw(e, names=long), row)[0][-2:] for row in range(2)]
    assert ends == ["/0", "/1"]
    for wrong in (names[:1], "ab", [1, 2], 3, []):
        refused("'names' must be a text for each of the 2 images", e.plot, names=wrong)


def test_the_share_is_left_out_where_the_ledger_cannot_tell():
    one = targets.Pixel(3, 4)
    explainer = shared_explainer("epsilon")
    assert len(below(draw(explainer.explain(IMAGES[:1], one, layers=())))) == 1
    through = {"down_1": [0]}
    assert not below(draw(explainer.explain(IMAGES[:1], one, layers=(), through=through)))
    with pytest.warns(KerasganWarning, match="empty"):
        e = explainer.explain(IMAGES[:1], one - one, layers=())
    assert below(draw(e)) == ["no pixels are explained"]
    logits = e.logits[0, ..., 0]
    cancel = np.zeros((1, 8, 8, 1), "float32")
    cancel[0, 0, 0], cancel[0, 5, 5] = 1 / logits[0, 0], -0.99 / logits[5, 5]
    assert not below(draw(explainer.explain(IMAGES[:1], cancel, layers=())))


def test_a_file_that_names_neither_rule_nor_target_is_drawn():
    figure = draw(made(IMAGES))
    assert figure.get_suptitle() == ""
    assert not below(figure)


def test_the_colour_bar_has_numbers_where_one_scale_holds():
    relevance = np.zeros((1, 8, 8, 1), "float32")
    relevance[0, :4], relevance[0, 4:] = 1500, -1500
    ends = [text.get_text() for text in draw(made(relevance)).axes[-1].get_yticklabels()]
    assert ends == ["−1500\nagainst", "0", "1500\nfor"]
    columns = draw(made(relevance, {"a": relevance}), layers=["a"]).axes
    assert [text.get_text() for text in columns[-1].get_yticklabels()] == ["against", "0", "for"]


@pytest.mark.parametrize(
    ("build", "options"),
    [
        ("pix2pix_generator", {"filters": 2}),
        pytest.param("unet", {"filters": 2, "levels": 5}, marks=pytest.mark.nightly),
        pytest.param("residual_unet", {"filters": 2}, marks=pytest.mark.nightly),
        ("attention_unet", {"filters": 2}),
        pytest.param("nested_unet", {"filters": 2, "levels": 4}, marks=pytest.mark.nightly),
        ("segformer", {"filters": 4}),
        pytest.param(
            "encoder_unet", {"filters": 2, "encoder": "mobilenet_v2"}, marks=pytest.mark.nightly
        ),
        ("encoder_unet", {"filters": 2, "encoder": "efficientnet_lite0"}),
    ],
)
def test_layers_that_are_shown_lie_on_the_way_down(build, options):
    network = getattr(kg.models, build)(size=64, **options)
    shown = layers_to_show(network, (64, 64))
    assert [network.get_layer(name).output.shape[1] for name in shown] == [16, 8, 4]
    if build == "encoder_unet":
        assert all(name.endswith("add") for name in shown), shown
    if build == "attention_unet":
        image = np.random.default_rng(0).uniform(-1, 1, (1, 64, 64, 3)).astype(np.float32)
        found = kg.Explainer(network, rule="gradient").explain(image, layers=shown).layers
        assert list(found) == shown


def test_layers_that_are_shown_of_a_shallow_network():
    network = kg.models.unet(size=32, filters=2, levels=1)
    assert layers_to_show(network, (32, 32)) == ["middle_act_b"]
