import json

import keras
import numpy as np
import pytest
from refusals import refused

import kerasgan as kg


def test_paper_is_what_the_paper_has():
    recipe = kg.recipes.get("paper")
    assert (recipe.size, recipe.filters, recipe.batch_size, recipe.epochs) == (512, 64, 8, 10)
    assert (recipe.learning_rate, recipe.beta_1, recipe.l1) == (2e-3, 0.5, 100)
    assert not recipe.augment
    gan = kg.recipes.build("paper", size=32, filters=2)
    assert gan.optimizer.get_config()["learning_rate"] == pytest.approx(2e-3)
    assert gan.discriminator_optimizer.get_config()["beta_1"] == 0.5


@pytest.mark.parametrize("name", ["fast", "strong"])
def test_fast_and_strong_are_a_residual_unet_against_a_steady_judge(name):
    gan = kg.recipes.build(name, size=32, filters=2, discriminator_filters=2)
    assert gan.generator.name == "residual_unet"
    assert isinstance(gan.optimizer, keras.optimizers.AdamW)
    assert gan.optimizer.global_clipnorm == 1
    assert float(gan.discriminator_optimizer.learning_rate) == pytest.approx(2e-4)
    kinds = {type(layer).__name__ for layer in gan.discriminator.layers}
    assert "SpectralNormalization" in kinds
    assert "BatchNormalization" not in kinds
    assert gan._trained_generator is not gan.generator


def test_pretrained_begin_from_imagenet_weights_without_a_judge(tmp_path, monkeypatch):
    for name, size, encoder in [("pretrained-fast", 160, "lite0"), ("pretrained", 256, "lite2")]:
        recipe = kg.recipes.get(name)
        assert (recipe.size, recipe.encoder) == (size, f"efficientnet_{encoder}")
        assert (recipe.weights, recipe.frozen_stages) == ("imagenet", 2)
    gan = kg.recipes.build("pretrained-fast", size=32, filters=1)
    assert gan.discriminator is None
    kernel = gan.generator.get_layer("block7a_project_conv").get_weights()[0]
    assert not gan.generator.get_layer("block2b_project_bn").trainable
    assert gan.generator.get_layer("block3a_expand_conv").trainable
    known = kg.models.encoder_unet(32, encoder="efficientnet_lite0", weights="imagenet")
    np.testing.assert_array_equal(kernel, known.get_layer("block7a_project_conv").get_weights()[0])
    gan.save(tmp_path / "model")
    monkeypatch.setattr("importlib.util.find_spec", lambda *_: None)  # as without the extra
    again = kg.SegmentationGAN.load(tmp_path / "model").generator
    np.testing.assert_array_equal(kernel, again.get_layer("block7a_project_conv").get_weights()[0])


@pytest.mark.parametrize("name", ["few-labels", "other-clinic"])
def test_few_labels_and_other_clinic_are_the_fast_pretrained_with_unlabelled_images(name):
    few, fast = (vars(kg.recipes.get(name)) for name in (name, "pretrained-fast"))
    changed = {field for field in few if few[field] != fast[field]}
    assert changed - {"epochs"} == {"name", "unlabelled_losses", "unlabelled_rampup"}


def test_augmentation_is_named_by_its_fields():
    recipe = kg.recipes.get("pix2pix", augment={"rotation": 90})
    assert recipe.augmentation() == kg.data.Augmentation(rotation=90)
    assert kg.recipes.get("pix2pix", augment=False).augmentation() is False
    with pytest.raises(kg.KerasganError, match=r"'rotaton'. Did you mean 'rotation'"):
        kg.recipes.get("pix2pix", augment={"rotaton": 90})
    refused("'augment' must be True, False, or fields", kg.recipes.get, "pix2pix", augment="much")


def test_changes_are_taken_and_checked():
    gan = kg.recipes.build("pix2pix", size=64, classes=2, filters=3, channels=1)
    assert gan.generator.input_shape == (None, 64, 64, 1)
    assert gan.recipe["classes"] == 2
    refused(r"one of paper, .*\. Received: 'pixtopix'. Did you", kg.recipes.build, "pixtopix")
    refused(r"'filterz'. Did you mean 'filters'", kg.recipes.build, "pix2pix", filterz=3)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("size", 100),
        ("generator", "unit"),
        ("discriminator", "patch"),
        ("discriminator_filters", 0),
        ("weight_decay", -1),
        ("beta_1", 1.0),
        ("filters", 0),
        ("epochs", -1),
        ("batch_size", "8"),
        ("learning_rate", -1e-3),
        ("dice", float("nan")),
        ("adversarial_weight", None),
        ("l1", float("inf")),
        ("r1", float("nan")),
        ("seed", "0"),
        ("seed", -1),
        ("size", 2**40),
        ("filters", 10**9),
        ("classes", 256),
        ("spectral_norm", 1),
        ("schedule", ["cosine"]),
        ("adversarial", {}),
        ("adversarial", "hinged"),
        ("schedule", "cosin"),
        ("precision", "float64"),
        ("label_smoothing", 1.0),
        ("warmup", 1.0),
        ("ema_momentum", 1.0),
    ],
)
def test_settings_out_of_range_are_named(field, value):
    refused(f"'{field}' must be", kg.recipes.get, "pix2pix", **{field: value})


def test_json_round_trip_and_errors(tmp_path):
    recipe = kg.recipes.get("pix2pix", seed=5)
    path = tmp_path / "recipe.json"
    recipe.save(path)
    assert kg.recipes.Recipe.load(path) == recipe
    assert json.loads(path.read_text())["seed"] == 5
    path.write_text('{"name": "pix2pix", "sead": 5}')
    refused(r"recipe\.json.*'sead'. Did you mean 'seed'", kg.recipes.Recipe.load, path)
    for text in ("{", "[]", "{}"):
        path.write_text(text)
        refused(r"recipe\.json", kg.recipes.Recipe.load, path)
    refused("cannot be read", kg.recipes.Recipe.load, tmp_path / "nowhere.json")


def test_a_recipe_names_encoder_and_weights(tmp_path):
    changes = {
        "generator": "encoder_unet",
        "encoder": "vgg16",
        "adversarial_weight": 0.0,
        "size": 96,
        "filters": 1,
    }
    gan = kg.recipes.build("fast", **changes)
    assert gan.generator.input_shape == (None, 96, 96, 3)
    assert gan.generator.get_layer("block5_conv3")
    gan.save(tmp_path / "model")
    again = kg.SegmentationGAN.load(tmp_path / "model")
    assert again.recipe["encoder"] == "vgg16"
    weights = tmp_path / "no.h5"
    with pytest.raises(kg.KerasganError, match=r"'weights' must be None.*no\.h5"):
        kg.recipes.build("fast", **changes, weights=str(weights))
    refused("'weights' must be None.*Received: ''", kg.recipes.build, "fast", **changes, weights="")
    refused(
        "'frozen_stages' must be 0 where 'weights' is None",
        kg.recipes.build,
        "pretrained",
        weights=None,
    )


@pytest.mark.parametrize("field", ["encoder", "weights", "frozen_stages"])
def test_an_encoder_needs_its_generator(field):
    told = f"'{field}' goes with .*'encoder_unet'.*residual.* Write: "
    with pytest.raises(kg.KerasganError, match=told) as error:
        kg.recipes.get("strong", size=64, **{field: "imagenet"})
    recipe = eval(str(error.value).split("Write: ")[1])
    assert (recipe.name, recipe.generator) == ("strong", "encoder_unet")
    assert recipe.weights == ("imagenet" if field == "weights" else None)


@pytest.mark.parametrize("encoder", ["resnet5", "ResNet50", "efficientnet_lite9", "", 3, ["vgg16"]])
def test_an_unknown_encoder_is_told_at_once(encoder, tmp_path):
    with pytest.raises(kg.KerasganError, match="'encoder' must be one of resnet50, vgg16"):
        kg.recipes.get("fast", generator="encoder_unet", encoder=encoder)
    file = tmp_path / "recipe.json"
    file.write_text(json.dumps({"name": "a", "generator": "encoder_unet", "encoder": encoder}))
    refused("'encoder' must be one of", kg.recipes.Recipe.load, file)
    assert kg.recipes.get("fast", generator="encoder_unet").encoder is None


def test_a_size_that_the_networks_cannot_halve_is_refused():
    for changes in (
        {"size": 96},
        {"size": 96, "generator": "encoder_unet"},
        {"size": 80, "generator": "encoder_unet", "adversarial_weight": 0.0},
    ):
        refused("'size' must be a", kg.recipes.get, "fast", **changes)
