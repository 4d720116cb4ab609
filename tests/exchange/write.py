"""Write a small model with the Keras installed, and what it gives, for test_exchange.py.

Example:
    python tests/exchange/write.py
"""

import os
import pathlib
import shutil

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import keras
import numpy as np

import kerasgan as kg

HERE = pathlib.Path(__file__).parent
RULES = {"default": None, "epsilon": "epsilon"}
WEIGHTS = ("mask_conv/kernel", "down_1_conv_a/kernel", "patch_2_conv/kernel")


def data():
    """Return two images and their masks, the same everywhere."""
    wave = np.sin(np.arange(2 * 32 * 32 * 3) * 0.37).reshape(2, 32, 32, 3).astype(np.float32)
    return wave, (wave[..., :1] + wave[..., 1:2] > 0).astype(np.float32)


def small_gan():
    """Return a GAN whose discriminator has spectral normalisation, with Adam and AdamW."""
    gan = kg.SegmentationGAN(
        kg.models.unet(size=32, filters=2, levels=1, seed=1),
        kg.models.patch_discriminator(size=32, filters=1, spectral_norm=True, seed=1),
    )
    gan.compile(
        keras.optimizers.Adam(1e-2, beta_1=0.5),
        keras.optimizers.AdamW(1e-2),
        losses={"cross_entropy": 10.0},
    )
    return gan


def train(gan, epochs):
    """Take that many steps."""
    gan.fit(*data(), batch_size=2, epochs=epochs, shuffle=False, verbose=0)


def given(gan):
    """Return what a model gives, by name."""
    images, masks = data()
    found = {"probability": np.asarray(gan.generator(images[:1], training=False))}
    found["logits"] = np.asarray(gan.discriminator([images[:1], 2 * masks[:1] - 1], training=False))
    for name, rule in RULES.items():
        options = {} if rule is None else {"rule": rule}
        found[name] = kg.Explainer(gan.generator, **options).explain(images[:1]).relevance
    return found


def weights_of(gan):
    """Return a few weights of both networks."""
    named = kg.models.named.named_weights
    every = {**named(gan.generator), **named(gan.discriminator)}
    return {name: every[name].numpy() for name in WEIGHTS}


if __name__ == "__main__":
    folder = HERE / f"keras_{keras.__version__[0]}"
    shutil.rmtree(folder, ignore_errors=True)
    gan = small_gan()
    train(gan, 5)
    gan.save(folder / "model")
    found = given(gan)
    train(gan, 1)
    found.update({f"next {name}": value for name, value in weights_of(gan).items()})
    np.savez_compressed(folder / "given.npz", **found)
    print(f"Wrote {folder}")
