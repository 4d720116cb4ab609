"""Weights of the networks of test_agreement.py, in Keras' layouts, and what they explain.

Only NumPy is needed: agreement_constants.py builds the same networks in PyTorch from them.
"""

import numpy as np

WIDTH, HEADS, TOKENS = 8, 2, 16
EPSILON = 1e-3  # of every normalisation


def normed(**kernels):
    """Convolutions without bias, each with a batch norm: scale, shift, mean and variance."""
    shapes = {}
    for name, kernel in kernels.items():
        shapes |= {name: [kernel], f"{name}_norm": [(kernel[-1],)] * 4}
    return shapes


def attention(bias):
    """Kernels of query, key, value and output, each followed by its bias."""
    into = [(WIDTH, HEADS, WIDTH // HEADS), (HEADS, WIDTH // HEADS)]
    out = [(HEADS, WIDTH // HEADS, WIDTH), (WIDTH,)]
    return (into * 3 + out)[:: 1 if bias else 2]


def dense(inputs, outputs, bias=True):
    """Kernel and bias."""
    return [(inputs, outputs), (outputs,)][: 2 if bias else 1]


def gated_block(name):
    """No biases, two RMS norms (scale), a gate with SiLU."""
    return {
        f"{name}_norm_a": [(WIDTH,)],
        f"{name}_attention": attention(bias=False),
        f"{name}_norm_b": [(WIDTH,)],
        f"{name}_gate": dense(WIDTH, 12, bias=False),
        f"{name}_up": dense(WIDTH, 12, bias=False),
        f"{name}_down": dense(12, WIDTH, bias=False),
    }


TOKENISED = {"patches": [(2, 2, 3, WIDTH), (WIDTH,)], "positions": [(TOKENS, WIDTH)]}
SHAPES = {
    "unet": {
        "one": [(3, 3, 3, 4), (4,)],
        "one_norm": [(4,)] * 4,
        "two": [(3, 3, 4, 5), (5,)],
        "two_norm": [(5,)] * 4,
        "three": [(3, 3, 5, 1), (5,)],  # depthwise
        "three_norm": [(5,)] * 4,
        "four": [(1, 1, 5, 6), (6,)],
        "five": [(2, 2, 6, 6), (6,)],
        "five_norm": [(6,)] * 4,
        "up_five": [(2, 2, 5, 6), (5,)],  # transposed
        "up_five_norm": [(5,)] * 4,
        "back_three": [(3, 3, 11, 5), (5,)],
        "back_two": [(3, 3, 10, 5), (5,)],
        "back_two_norm": [(5,)] * 4,
        "up_two": [(4, 4, 4, 5), (4,)],  # transposed
        "up_two_norm": [(4,)] * 4,
        "back_one": [(3, 3, 8, 5), (5,)],
        "head": dense(5, 1),
    },
    "resnet": {
        **normed(stem=(3, 3, 3, 4)),
        **normed(a1=(3, 3, 4, 4), a2=(3, 3, 4, 4)),
        **normed(b1=(1, 1, 4, 2), b2=(3, 3, 2, 2), b3=(1, 1, 2, 8), b0=(1, 1, 4, 8)),
        "head": dense(8, 3),
    },
    "gated transformer": {
        **TOKENISED,
        **gated_block("a"),
        **gated_block("b"),
        "norm": [(WIDTH,)],
        "head": dense(WIDTH, 4, bias=False),
    },
    "segformer": {
        "patches": [(3, 3, 3, WIDTH), (WIDTH,)],
        "patches_norm": [(WIDTH,)] * 2,
        "norm_a": [(WIDTH,)] * 2,
        "reduce": [(2, 2, WIDTH, WIDTH), (WIDTH,)],
        "reduce_norm": [(WIDTH,)] * 2,
        "attention": attention(bias=True),
        "norm_b": [(WIDTH,)] * 2,
        "up": dense(WIDTH, 16),
        "mix": [(3, 3, 16, 1), (16,)],  # depthwise
        "down": dense(16, WIDTH),
        "norm": [(WIDTH,)] * 2,
        "decode": dense(WIDTH, 6),
        **normed(fuse=(1, 1, 6, 6)),
        "head": [(1, 1, 6, 1), (1,)],
    },
}
OUTPUTS = {"resnet": (1, 1, 3)}
# LXT adds its epsilon without a sign. These are the first seeds with which its relevance moves by
# less than 1e-5 of the largest if every epsilon is a ten-thousandth of what it is.
SEEDS = {"gated transformer": 2, "segformer": 3}


def draw(network):
    """The weights of a network by layer, an image, and the weights of a target."""
    rng = np.random.default_rng(SEEDS.get(network, 0))
    weights = {}
    for name, shapes in SHAPES[network].items():
        if "norm" in name:
            scale = rng.uniform(0.5, 1.5, shapes[0])
            shift, mean = rng.normal(0, 0.3, (2, *shapes[0]))
            weights[name] = [scale, shift, mean, rng.uniform(0.5, 1.5, shapes[0])][: len(shapes)]
        else:
            spread = [min(0.4, np.sqrt(2 / np.prod(shape[:-1]))) for shape in shapes]
            weights[name] = [rng.normal(0, s, shape) for s, shape in zip(spread, shapes)]
    image = rng.uniform(-1, 1, (8, 8, 3))
    return weights, image, rng.normal(size=OUTPUTS.get(network, (8, 8, 1)))
