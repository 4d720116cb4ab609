"""Every discriminator: what it sees, what bounds it, and that it trains and can be saved."""

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from refusals import refused
from scipy.signal import correlate

import kerasgan as kg
from kerasgan.models import blocks

models = kg.models
BUILDERS = (
    models.patch_discriminator,
    models.pixel_discriminator,
    models.image_discriminator,
    models.feature_critic,
)
ALL = pytest.mark.parametrize("build", BUILDERS)
BOTH = pytest.mark.parametrize("spectral_norm", [False, True])


def pair(size=32, channels=3, classes=1, seed=0):
    rng = np.random.default_rng(seed)
    image = rng.uniform(-1, 1, (2, size, size, channels)).astype("float32")
    return image, rng.uniform(-1, 1, (2, size, size, classes)).astype("float32")


def gan_with(build, spectral_norm, adversarial="vanilla", rate=1e-2, **options):
    discriminator = build(size=32, filters=2, spectral_norm=spectral_norm)
    gan = kg.SegmentationGAN(models.unet(size=32, filters=1, levels=1), discriminator)
    optimizers = [keras.optimizers.Adam(rate) for _ in range(2)]
    gan.compile(*optimizers, losses={"dice": 1.0}, adversarial=adversarial, **options)
    return gan


def trained(gan, epochs=1):
    """Trains and returns what was logged, epoch by epoch."""
    image, signed_mask = pair()
    return gan.fit(image, (signed_mask > 0).astype("float32"), epochs=epochs, verbose=0).history


def kernels(model):
    return {
        layer.name: (layer.layer if hasattr(layer, "layer") else layer).kernel.numpy()
        for layer in model.layers
        if layer.name.endswith("_conv")
    }


def largest_singular_value(kernel):
    return np.linalg.norm(kernel.astype("float64").reshape(-1, kernel.shape[-1]), 2)


# --- All ---


@ALL
def test_spectral_norm_holds_the_largest_singular_value_at_1(build):
    model = build(size=32, filters=2, spectral_norm=True)
    for _ in range(60):
        model(pair(), training=True)
    for kernel in kernels(model).values():
        assert abs(largest_singular_value(kernel) - 1) < 0.02


def test_saved_and_loaded_where_kerasgan_alone_is_imported(tmp_path):
    gans = [gan_with(*args, "hinge") for args in ((BUILDERS[0], True), (BUILDERS[3], False))]
    folders = [tmp_path / "patch", tmp_path / "critic"]
    for gan, folder in zip(gans, folders):
        for weight in gan.discriminator.weights:
            weight.assign_add(0.01 * tf.ones_like(weight))
        gan.save(folder)
        again = kg.SegmentationGAN.load(folder)
        np.testing.assert_array_equal(again.discriminator(pair()), gan.discriminator(pair()))
    script = (
        "import sys, kerasgan as kg, numpy as np\n"
        "for folder in sys.argv[1:]:\n"
        "    gan = kg.SegmentationGAN.load(folder)\n"
        "    print(float(np.sum(gan.discriminator([np.ones((1, 32, 32, n)) for n in (3, 1)]))))\n"
    )
    command = [sys.executable, "-c", script, *map(str, folders)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert len(printed) == 2
    for gan, there in zip(gans, printed):
        here = gan.discriminator([np.ones((1, 32, 32, n)) for n in (3, 1)])
        assert float(there) == pytest.approx(float(np.sum(here)), rel=1e-4)


# --- Those with logits ---


def test_the_patch_discriminator_is_the_published_one():
    model = models.patch_discriminator(size=512, channels=3, classes=3)
    assert sum(int(np.prod(w.shape)) for w in model.trainable_weights) == 2_769_601
    for size in (32, 64, 256):
        model = models.patch_discriminator(size=size, filters=1, channels=1, classes=2)
        assert model.output_shape == (None, size // 8 - 2, size // 8 - 2, 1)


@pytest.mark.filterwarnings("ignore:The discriminator is too strong")
@pytest.mark.parametrize(("build", "spectral_norm"), list(zip(BUILDERS[:3], (False, True, False))))
def test_learns_to_tell_true_from_drawn(build, spectral_norm):
    gan = gan_with(build, spectral_norm)
    gan.generator.trainable = False
    history = trained(gan, epochs=30)
    assert history["discriminator_loss"][-1] < history["discriminator_loss"][0]
    assert history["discriminator_accuracy"][-1] > 0.5


@pytest.mark.parametrize(("size", "levels"), [(32, 3), (64, 4), (256, 6)])
def test_image_discriminator_says_one_thing_of_each_image(size, levels):
    model = models.image_discriminator(size=size, filters=1)
    assert model.output_shape == (None, 1)
    assert model.get_layer(f"image_{levels}_conv").output.shape[1:3] == (4, 4)
    assert model.get_layer(f"image_{levels + 1}_conv").output.shape[1:] == (1, 1, 1)


def reach(model, row, column):
    """Which pixels of the image an output depends on."""
    image, signed_mask = (tf.constant(part[:1]) for part in pair())
    with tf.GradientTape() as tape:
        tape.watch(image)
        output = tf.reshape(model([image, signed_mask]), model.output_shape[1:])
        output = output[row, column, 0] if output.shape.rank == 3 else output[0]
    return tf.reduce_any(tape.gradient(output, image)[0] != 0, -1).numpy()


def test_pixel_discriminator_sees_a_pixel_alone():
    seen = reach(models.pixel_discriminator(size=32, filters=4), 5, 20)
    assert np.argwhere(seen).tolist() == [[5, 20]]


def test_image_discriminator_sees_all():
    assert reach(models.image_discriminator(size=32, filters=4), 0, 0).all()


def test_pixel_discriminator_has_the_parameters_of_its_layers():
    model = models.pixel_discriminator(size=32, channels=3, classes=2, filters=4)
    assert model.count_params() == (5 * 4 + 4) + (4 * 8 + 8) + 4 * 8 + (8 + 1)


def test_mask_discriminator_sees_the_mask_alone():
    for spectral_norm in (False, True):
        model = models.mask_discriminator(
            size=(40, 64), channels=1, classes=2, filters=3, spectral_norm=spectral_norm
        )
        assert model.output_shape == (None, 2, 2, 1)
        image, signed_mask = tf.ones((1, 40, 64, 1)), tf.ones((1, 40, 64, 2))
        with tf.GradientTape() as tape:
            tape.watch([image, signed_mask])
            output = model([image, signed_mask])
        by_image, by_mask = tape.gradient(output, [image, signed_mask])
        assert by_image is None
        assert np.any(by_mask)
    widths = [2, 3, 6, 12, 24, 1]
    wanted = sum(16 * a * b + b for a, b in zip(widths, widths[1:]))
    assert models.mask_discriminator(classes=2, filters=3).count_params() == wanted


# --- The critic ---


def test_critic_multiplies_image_and_mask_by_class():
    model = models.feature_critic(size=(32, 16), channels=2, classes=3, filters=1)
    rng = np.random.default_rng(0)
    image = rng.uniform(-1, 1, (2, 32, 16, 2)).astype("float32")
    signed_mask = rng.uniform(-1, 1, (2, 32, 16, 3)).astype("float32")
    masked = [image * (signed_mask[..., [k]] + 1) / 2 for k in range(3)]
    expected = np.concatenate(masked, axis=-1).reshape(2, -1)
    np.testing.assert_allclose(model([image, signed_mask])[:, : 32 * 16 * 6], expected, atol=1e-6)


def test_critic_against_float64_convolutions():
    """Stage by stage, with batch norms at their start values, by scipy's correlation."""
    model = models.feature_critic(size=32, channels=1, classes=1, filters=2)
    image, signed_mask = pair(channels=1)
    received = model([image, signed_mask]).numpy()[0]
    x = (image * (signed_mask + 1) / 2)[0].astype("float64")
    parts = [x.ravel()]
    for level, (side, weight) in enumerate(zip((7, 5, 4, 4, 4, 3), (1, 2, 2, 2, 2, 4)), start=1):
        kernel = model.get_layer(f"stage_{level}_conv").kernel.numpy().astype("float64")
        new = -(-x.shape[0] // 2)
        before = max(0, 2 * (new - 1) + side - x.shape[0])
        low, high = before // 2, before - before // 2
        padded = np.pad(x, [(low, high), (low, high), (0, 0)])
        planes = [
            correlate(padded, kernel[..., k], "valid")[::2, ::2, 0] for k in range(kernel.shape[-1])
        ]
        x = np.stack(planes, axis=-1)
        x = x if level == 1 else 0.05 * x / np.sqrt(1 + 1e-5)
        x = np.where(x > 0, x, 0.2 * x)
        assert x.shape[0] == new
        parts.append(weight * x.ravel())
    assert len(received) == sum(map(len, parts))
    for expected in parts:  # by themselves: each is much smaller than the one before
        found, received = np.split(received, [len(expected)])
        np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


@BOTH
def test_critic_widens_what_the_generator_narrows(spectral_norm):
    gan = gan_with(models.feature_critic, spectral_norm, "segan", run_eagerly=True)
    gan.generator.trainable = False
    history = trained(gan, epochs=10)
    lost = history["discriminator_loss"]
    assert lost[-1] < lost[0] < 0
    assert lost == pytest.approx([-value for value in history["adversarial_loss"]])


def test_critic_weights_stay_within_their_limit():
    gan = gan_with(models.feature_critic, False, "segan", rate=1.0, run_eagerly=True)
    trained(gan, epochs=2)
    largest = [float(tf.reduce_max(tf.abs(w))) for w in gan.discriminator.trainable_weights]
    assert len(largest) == 6 + 2 * 5
    assert max(largest) == pytest.approx(0.05)


@pytest.mark.parametrize("limit", [0, -1, True, "0.05", float("nan"), None])
def test_wrong_limit_is_named(limit):
    refused(r"'limit' must be a finite number above 0\. Received", blocks.WeightClip, limit)
