"""Networks that tell real masks from generated ones."""

from __future__ import annotations

import keras
from keras import layers

from kerasgan.models import blocks
from kerasgan.models.named import register_builder
from kerasgan.validation import check_size


@register_builder
def patch_discriminator(
    size: int = 512,
    channels: int = 3,
    classes: int = 1,
    filters: int = 64,
    spectral_norm: bool = False,
    seed: int = 0,
) -> keras.Model:
    """Build the paper's PatchGAN, which classifies image and mask by patches of 70 x 70 pixels.

    Five 4 x 4 convolutions on the concatenated image and mask: `filters` (stride 2), twice as many
    (stride 2), four times (stride 2), eight times (stride 1), one (stride 1), each padded by one
    pixel and with a bias; batch norm on the middle three; LeakyReLU 0.2. The output is the logit
    of a real mask; the paper's sigmoid lies in the loss.

    Args:
        size: height and width in pixels, a power of two from 32 up.
        channels: channels of the image, from 1 up.
        classes: channels of the mask, from 1 up.
        filters: channels behind the first convolution, from 1 up; 64 in the paper.
        spectral_norm: whether each kernel is divided by its largest singular value in every step
            (tensorflow-addons' layer), in place of batch norm.
        seed: int, for the kernels' start values.

    Returns:
        A functional `keras.Model`: [image (batch, size, size, channels) in [-1, 1], mask
        (batch, size, size, classes) in [-1, 1]] -> logits (batch, size/8 - 2, size/8 - 2, 1).

    Example:
        >>> import kerasgan as kg
        >>> kg.models.patch_discriminator(size=256, filters=2).output_shape
        (None, 30, 30, 1)

    Source: Isola et al. 2017 (arXiv 1611.07004), as used in arXiv 2111.01665; spectral
    normalisation: Miyato et al. 2018 (arXiv 1802.05957).
    """
    blocks.check_power_of_two(size)
    inputs = discriminator_inputs(size, channels, classes, filters)
    x = layers.Concatenate(name="pair")(inputs)
    for level, (width, stride) in enumerate([(1, 2), (2, 2), (4, 2), (8, 1)], start=1):
        x = layers.ZeroPadding2D(name=f"patch_{level}_pad")(x)
        x = conv(x, filters * width, 4, "patch", level, spectral_norm, seed, strides=stride)
        x = activated(x, f"patch_{level}", level > 1 and not spectral_norm)
    x = layers.ZeroPadding2D(name="patch_5_pad")(x)
    x = conv(x, 1, 4, "patch", 5, spectral_norm, seed)
    return keras.Model(inputs, logits_output(x), name="patch_discriminator")


@register_builder
def pixel_discriminator(
    size: int | tuple[int, int] = 128,
    channels: int = 3,
    classes: int = 1,
    filters: int = 64,
    spectral_norm: bool = False,
    seed: int = 0,
) -> keras.Model:
    """Build a PixelGAN, which classifies image and mask at each pixel by itself.

    Three 1 x 1 convolutions on the concatenated image and mask: `filters`, twice as many, one;
    batch norm on the second; LeakyReLU 0.2. It sees colours under the mask, but no shape.

    Arguments and inputs are those of `patch_discriminator`, but `size` is any int or (height,
    width), and so is the size of the logits, (batch, height, width, 1).

    Example:
        >>> import kerasgan as kg
        >>> kg.models.pixel_discriminator(size=(32, 48), filters=2).output_shape
        (None, 32, 48, 1)

    Source: Isola et al. 2017 (arXiv 1611.07004), sections 4.4 and 6.2.
    """
    inputs = discriminator_inputs(size, channels, classes, filters)
    x = layers.Concatenate(name="pair")(inputs)
    for level in (1, 2):
        x = conv(x, filters * level, 1, "pixel", level, spectral_norm, seed)
        x = activated(x, f"pixel_{level}", level > 1 and not spectral_norm)
    x = conv(x, 1, 1, "pixel", 3, spectral_norm, seed)
    return keras.Model(inputs, logits_output(x), name="pixel_discriminator")


@register_builder
def mask_discriminator(
    size: int | tuple[int, int] = 128,
    channels: int = 3,
    classes: int = 1,
    filters: int = 64,
    spectral_norm: bool = False,
    seed: int = 0,
) -> keras.Model:
    """Build a fully convolutional discriminator that sees the mask alone, not the image.

    Five 4 x 4 convolutions of stride 2: `filters`, 2, 4 and 8 times as many, one; LeakyReLU 0.2
    between, no batch norm. Where few masks are known, a discriminator that sees the image can learn
    these images by heart; this one can only know what masks look like.

    Arguments and inputs are those of `patch_discriminator`, but `size` is any int or (height,
    width); the logits are (batch, height/32, width/32, 1), rounded up.

    Example:
        >>> import kerasgan as kg
        >>> kg.models.mask_discriminator(size=96, filters=2).output_shape
        (None, 3, 3, 1)

    Source: Hung et al. 2018 (arXiv 1802.07934), section 3.3.
    """
    inputs = discriminator_inputs(size, channels, classes, filters)
    x = inputs[1]
    for level in range(1, 6):
        how = {"strides": 2, "padding": "same"}
        how["kernel_initializer"] = keras.initializers.HeNormal(seed=1000 * seed + 100 + level)
        width = filters * 2 ** (level - 1) if level < 5 else 1
        x = conv(x, width, 4, "mask", level, spectral_norm, seed, **how)
        x = activated(x, f"mask_{level}", False) if level < 5 else x
    return keras.Model(inputs, logits_output(x), name="mask_discriminator")


@register_builder
def image_discriminator(
    size: int = 128,
    channels: int = 3,
    classes: int = 1,
    filters: int = 64,
    spectral_norm: bool = False,
    seed: int = 0,
) -> keras.Model:
    """Build an ImageGAN, which classifies image and mask as a whole.

    4 x 4 convolutions of stride 2 halve the concatenated image and mask until 4 x 4 pixels are
    left: `filters`, then 2, 4, 8, 8, ... times as many; batch norm on all but the first; LeakyReLU
    0.2. One more 4 x 4 convolution makes of these the logit.

    Arguments and inputs are those of `patch_discriminator`; the logits are (batch, 1).

    Example:
        >>> import kerasgan as kg
        >>> kg.models.image_discriminator(size=64, filters=2).output_shape
        (None, 1)

    Source: Isola et al. 2017 (arXiv 1611.07004), section 4.4; Radford et al. 2016
    (arXiv 1511.06434) for the convolutions.
    """
    blocks.check_power_of_two(size)
    inputs = discriminator_inputs(size, channels, classes, filters)
    x = layers.Concatenate(name="pair")(inputs)
    levels, halving = size.bit_length() - 3, {"strides": 2, "padding": "same"}
    for level in range(1, levels + 1):
        width = filters * min(8, 2 ** (level - 1))
        x = conv(x, width, 4, "image", level, spectral_norm, seed, **halving)
        x = activated(x, f"image_{level}", level > 1 and not spectral_norm)
    x = conv(x, 1, 4, "image", levels + 1, spectral_norm, seed)
    x = layers.Flatten(name="image_flat")(x)
    return keras.Model(inputs, logits_output(x), name="image_discriminator")


@register_builder
def feature_critic(
    size: int | tuple[int, int] = 128,
    channels: int = 3,
    classes: int = 1,
    filters: int = 64,
    spectral_norm: bool = False,
    seed: int = 0,
) -> keras.Model:
    """Build SegAN's critic, which gives features of the image within the mask.

    The image is multiplied by the mask, once for each class. Six convolutions of stride 2, of side
    7, 5, 4, 4, 4, 3 and with 1, 2, 4, 8, 8, 8 times `filters` channels, without bias, with batch
    norm on all but the first and LeakyReLU 0.2, follow. The output holds the masked image and what
    each convolution made of it, those of the stages times 1, 2, 2, 2, 2, 4. It is no logit: train
    with `adversarial="segan"`, by which the critic widens and the generator narrows the mean
    distance of the features of real and generated mask. Every trained weight, those of the batch
    norms too, is kept within [-0.05, 0.05], or else that distance could grow without a limit.

    Args:
        size: height and width in pixels, an int or (height, width), from 1 up.
        channels: channels of the image, from 1 up.
        classes: channels of the mask, from 1 up.
        filters: channels behind the first convolution, from 1 up; 64 in the paper.
        spectral_norm: whether each kernel is divided by its largest singular value in every step
            (tensorflow-addons' layer), in place of batch norm and limits.
        seed: int, for the kernels' start values.

    Returns:
        A functional `keras.Model`: [image (batch, height, width, channels) in [-1, 1], mask
        (batch, height, width, classes) in [-1, 1]] -> features (batch, n).

    Example:
        >>> import kerasgan as kg
        >>> kg.models.feature_critic(size=32, filters=1).output_shape
        (None, 3568)

    Source: Xue et al. 2018 (arXiv 1706.01805), equation 2; weights and limits of its published
    code.
    """
    inputs = image, signed_mask = discriminator_inputs(size, channels, classes, filters)
    height, width = image.shape[1:3]
    mask = layers.Rescaling(0.5, 0.5, name="mask")(signed_mask)
    mask = layers.Reshape((height, width, classes, 1), name="mask_by_class")(mask)
    x = layers.Reshape((height, width, 1, channels), name="image_by_class")(image)
    x = layers.Multiply(name="masked_by_class")([x, mask])
    x = layers.Reshape((height, width, classes * channels), name="masked")(x)
    features = [layers.Flatten(name="masked_flat")(x)]
    sides, widths, weights = (7, 5, 4, 4, 4, 3), (1, 2, 4, 8, 8, 8), (1, 2, 2, 2, 2, 4)
    clip = None if spectral_norm else blocks.WeightClip(0.05)
    settings = {"strides": 2, "padding": "same", "use_bias": False, "kernel_constraint": clip}
    scale = keras.initializers.Constant(0.05)
    limits = {"gamma_initializer": scale, "gamma_constraint": clip, "beta_constraint": clip}
    for level, (side, width, weight) in enumerate(zip(sides, widths, weights), start=1):
        x = conv(x, filters * width, side, "stage", level, spectral_norm, seed, **settings)
        x = activated(x, f"stage_{level}", level > 1 and not spectral_norm, **limits)
        flat = layers.Flatten(name=f"stage_{level}_flat")(x)
        features.append(layers.Rescaling(weight, name=f"stage_{level}_weighted")(flat))
    features = layers.Concatenate(name="features")(features)
    return keras.Model(inputs, logits_output(features), name="feature_critic")


# --- Parts ---


def discriminator_inputs(size, channels: int, classes: int, filters: int) -> list:
    """Check the arguments, and return the inputs: image, and mask in [-1, 1]."""
    blocks.check_counts(channels=channels, classes=classes, filters=filters)
    size = check_size("size", size)
    image = keras.Input((*size, channels), name="image")
    return [image, keras.Input((*size, classes), name="signed_mask")]


def conv(x, width: int, side: int, name: str, level: int, spectral_norm: bool, seed: int, **how):
    """Apply the convolution of a level, with spectral normalisation or not."""
    name = f"{name}_{level}_conv"
    inner = f"{name}_inner" if spectral_norm else name
    how = {**blocks.conv_settings(seed, 100 + level), **how}
    layer = layers.Conv2D(width, side, name=inner, **how)
    return blocks.apply_spectral_norm(layer, x, name) if spectral_norm else layer(x)


def activated(x, name: str, normalized: bool, **settings):
    """Apply batch norm, or not, and LeakyReLU."""
    if normalized:
        x = blocks.batch_norm(f"{name}_bn", **settings)(x)
    return layers.LeakyReLU(0.2, name=f"{name}_act")(x)


def logits_output(x):
    """Apply the last layer, whose output has the precision of weights."""
    return layers.Activation("linear", dtype=blocks.full_precision(), name="logits")(x)
