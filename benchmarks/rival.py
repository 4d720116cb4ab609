"""DUCK-Net, a published segmenter that the recipes are compared with.

Written from Dumitru, Peteleaza and Craciun 2023, "Using DUCK-Net for polyp image segmentation",
Scientific Reports 13:9803 (doi 10.1038/s41598-023-36940-5). What the paper leaves open is as in its
authors' code (github.com/RazvanDu/DUCK-Net): ReLU before batch norm, the kernel of six pixels in
the separated branch, He's start values there and Glorot's elsewhere, and a 1 x 1 convolution with
ReLU beside each residual pair.
"""

import keras

layers = keras.layers
FILTERS = 17  # of the smaller network that the paper reports


def duck_net(size, channels=3, classes=1, filters=FILTERS):
    """Return DUCK-Net: image in, probability of foreground out; several classes exclude each other.

    On the way down the features join those of a second path, which only shrinks the image. On the
    way up skips are added, not concatenated.
    """
    image = keras.Input((size, size, channels), name="image")
    skips, x, shrunk = [], image, image
    for level in range(5):
        x = duck_block(x, filters * 2**level)
        skips.append(x)
        x, shrunk = (
            layers.Conv2D(filters * 2 ** (level + 1), 2, 2, "same")(path) for path in (x, shrunk)
        )
        x = layers.Add()([x, shrunk])
    for width in (32, 32, 16, 16):
        x = residual(x, filters * width)
    for level in (4, 3, 2, 1, 0):
        x = layers.Add()([layers.UpSampling2D(interpolation="nearest")(x), skips[level]])
        x = duck_block(x, filters * 2 ** max(0, level - 1))
    last = "sigmoid" if classes == 1 else "softmax"
    mask = layers.Conv2D(classes, 1, activation=last, name="mask")(x)
    return keras.Model(image, mask, name="duck_net")


def duck_block(x, filters):
    """Six branches of different reach side by side, added: the paper's DUCK block."""
    x = layers.BatchNormalization()(x)
    wide = convolved(x, filters, (3, 3, 3), (1, 2, 3))
    middle = convolved(x, filters, (3, 3), (1, 2))
    separated = convolved(x, filters, ((1, 6), (6, 1)), (1, 1))
    branches = [wide, middle, separated]
    for count in (1, 2, 3):
        branch = x
        for _ in range(count):
            branch = residual(branch, filters)
        branches.append(branch)
    return layers.BatchNormalization()(layers.Add()(branches))


def residual(x, filters):
    """Two convolutions, and a 1 x 1 convolution beside them."""
    beside = convolution(x, filters, 1)
    x = layers.Add()([convolved(x, filters, (3, 3), (1, 1)), beside])
    return layers.BatchNormalization()(x)


def convolved(x, filters, kernels, dilations):
    """Convolutions one after the other, each with batch norm."""
    for kernel, dilation in zip(kernels, dilations):
        x = layers.BatchNormalization()(convolution(x, filters, kernel, dilation))
    return x


def convolution(x, filters, kernel, dilation=1):
    """A convolution with ReLU."""
    return layers.Conv2D(
        filters,
        kernel,
        padding="same",
        dilation_rate=dilation,
        activation="relu",
        kernel_initializer="he_uniform",
    )(x)
