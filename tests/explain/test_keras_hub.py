"""Image segmenters of keras-hub, from their configuration, with random weights."""

import keras
import numpy as np
import pytest
from refusals import refused
from styles import randomize

import kerasgan as kg
from kerasgan.explain.canonize import read_graph

pytestmark = pytest.mark.nightly  # tens of seconds
hub = pytest.importorskip("keras_hub", reason="keras-hub wants Keras 3.15 or later")
IMAGES = np.random.default_rng(0).uniform(-1, 1, (2, 32, 32, 3)).astype("float32")
ONES = np.ones((1, 32, 32, 1))


def segformer(classes=1):
    encoder = hub.models.MiTBackbone(
        layerwise_depths=[1, 1],
        num_layers=2,
        layerwise_num_heads=[1, 2],
        layerwise_sr_ratios=[2, 1],
        max_drop_path_rate=0.1,
        layerwise_patch_sizes=[7, 3],
        layerwise_strides=[4, 2],
        image_shape=(32, 32, 3),
        hidden_dims=[4, 8],
    )
    backbone = hub.models.SegFormerBackbone(image_encoder=encoder, projection_filters=8)
    return randomize(hub.models.SegFormerImageSegmenter(backbone=backbone, num_classes=classes))


def deeplab(classes=1):
    encoder = hub.models.ResNetBackbone(
        input_conv_filters=[64],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[64, 8, 8, 8],
        stackwise_num_blocks=[1, 1, 1, 1],
        stackwise_num_strides=[1, 2, 2, 2],
        block_type="basic_block",
    )
    backbone = hub.models.DeepLabV3Backbone(
        image_encoder=encoder,
        low_level_feature_key="P2",
        spatial_pyramid_pooling_key="P4",
        dilation_rates=[2, 4],
        upsampling_size=4,
    )
    return randomize(hub.models.DeepLabV3ImageSegmenter(backbone=backbone, num_classes=classes))


def of_fixed_size(model):
    image = keras.Input((32, 32, 3))
    return keras.Model(image, model(image))


@pytest.mark.parametrize(
    ("build", "rules"),
    [
        (segformer, ["attnlrp", "cp-lrp", "epsilon-gamma-box"]),
        (lambda: of_fixed_size(deeplab()), ["epsilon-gamma-box", "epsilon"]),
    ],
    ids=["SegFormer", "DeepLabV3+"],
)
def test_read_predicted_with_and_explained(build, rules):
    model = build()
    assert kg.models.final_activation(model) == "linear"
    expected = model(IMAGES, training=False).numpy()
    graph = read_graph(model, split_evenly=True)
    np.testing.assert_allclose(graph.run(IMAGES).logits, expected, rtol=1e-3, atol=1e-4)
    assert not [node for node in graph.nodes if node.type == "BatchNormalization"]
    masks = kg.predict(model, IMAGES, preprocess="[-1,1]")
    np.testing.assert_array_equal(masks, expected[..., 0] > 0)
    for rule in rules:
        explainer = kg.Explainer(model, rule, preprocess="[-1,1]")
        explainer.check(IMAGES, target=ONES)
        assert explainer.explain(IMAGES, ONES, layers=()).relevance.any()


@pytest.mark.parametrize(
    ("build", "rule", "classes"),
    [
        (segformer, "attnlrp", 2),
        (lambda n: of_fixed_size(deeplab(n)), "epsilon-gamma-box", 1),
    ],
    ids=["SegFormer", "DeepLabV3+"],
)
def test_scored_and_reported(tmp_path, build, rule, classes):
    samples = kg.data.synthetic.write_dataset(tmp_path / "drawn", count=2, size=32)
    model = build(classes)
    if classes == 2:
        with pytest.raises(kg.KerasganError, match=r"classes=2.*colors=\[0, 255\].*foreground"):
            kg.evaluate(model, samples, preprocess="[-1,1]", verbose=False)
        samples = kg.data.load_folder(tmp_path / "drawn", classes=2, colors=[0, 255])
    assert len(kg.evaluate(model, samples, preprocess="[-1,1]", verbose=False)) == 2
    settings = {"rules": rule, "images": 1, "preprocess": "[-1,1]", "verbose": False}
    kg.report.write(model, samples, tmp_path / "report", **settings)
    assert (tmp_path / "report" / "index.html").stat().st_size > 10_000


def test_an_open_size_is_named_with_the_line_that_gives_one():
    refused(r"'deep_lab.*any size.*keras\.Input", kg.Explainer, deeplab(), preprocess="[-1,1]")
