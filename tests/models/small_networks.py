"""Every network of `kerasgan.models`, small, with inputs and with weights that all matter."""

import numpy as np
from stacks import path_of, tf

import kerasgan as kg

GENERATORS = {
    "unet": {"levels": 2},
    "residual_unet": {"levels": 2},
    "attention_unet": {"levels": 2},
    "nested_unet": {"levels": 2},
    "pix2pix_generator": {},
    "encoder_unet": {"encoder": "vgg16"},
    "segformer": {"depths": (1, 1, 1, 1)},
    "convnext_unet": {"depths": (1, 2)},
}
DISCRIMINATORS = (
    "patch_discriminator",
    "pixel_discriminator",
    "mask_discriminator",
    "image_discriminator",
    "feature_critic",
)
BUILT = {
    **GENERATORS,
    **{name: {} for name in DISCRIMINATORS},
    **{f"{name}, spectral": {"spectral_norm": True} for name in DISCRIMINATORS},
}


def build(name, **options):
    function = getattr(kg.models, name.partition(",")[0])
    return function(**{"size": 32, "filters": 2, **BUILT[name], **options})


def numbers(shape, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype("float32")


def inputs_of(model):
    given = [numbers((2, *x.shape[1:]), seed) for seed, x in enumerate(model.inputs)]
    return given if len(given) > 1 else given[0]


def randomize(model):
    """Gives biases, norms and scales of layers other values than those they start from."""
    rng = np.random.default_rng(0)
    for weight in model.weights:
        name = path_of(weight)
        if "variance" in name or "gamma" in name or "_scale/" in name:
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
        elif any(part in name for part in ("bias", "beta", "mean")):
            weight.assign(rng.normal(0, 0.2, weight.shape))
    assert any(tf.as_dtype(weight.dtype).is_floating for weight in model.weights)
    return model


def linear_growth(side, factor=2):
    """The matrix that stretches a line of pixels by linear interpolation between centres."""
    matrix = np.zeros((factor * side, side))
    for row in range(factor * side):
        place = np.clip((row + 0.5) / factor - 0.5, 0, side - 1)
        low = int(place)
        matrix[row, low] += 1 - (place - low)
        matrix[row, min(low + 1, side - 1)] += place - low
    return matrix
