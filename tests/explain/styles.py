"""Segmenters in the styles of other people's code, and models that cannot be explained.

A style is a function of the image's size, of channels, and of the activation at the end (None for
logits); it gives a model that maps images to masks, put together the way public code does it.
`build` gives it random weights. `BAD` holds models that an explanation has to refuse.
"""

from __future__ import annotations

import functools
import tempfile

import keras
import numpy as np
from stacks import tf

from kerasgan.stack import KERAS_3

L = keras.layers
STYLES, BAD = {}, {}
ATTENTION = set()
FULL_RANGE = set()  # these take images from 0 to 255


def style(attention=False, full_range=False):
    def register(function):
        STYLES[function.__name__] = function
        ATTENTION.update({function.__name__} if attention else ())
        FULL_RANGE.update({function.__name__} if full_range else ())
        return function

    return register


def segmenter(**options):
    """Registers a function from an image, its size and channels to what the mask is made of."""

    def register(function):
        @functools.wraps(function)
        def segmenter(size=16, width=4, last="sigmoid"):
            image = picture(size)
            return keras.Model(image, head(function(image, size, width), last))

        return style(**options)(segmenter)

    return register


def bad(*words, rule="epsilon", when="build"):
    """Registers a model; the error has to hold these words, such as a layer's name."""

    def register(function):
        BAD[function.__name__] = (function, words, rule, when)
        return function

    return register


def build(name, seed=0, **options):
    """A style's model with random weights, biases and norm statistics."""
    model = STYLES[name](**options)
    return model if name == "saved_model" else randomize(model, seed)


def run(model, images):
    """The outputs of a model outside training, as a list of arrays."""
    call = model.serve if hasattr(model, "serve") else model
    options = {} if hasattr(model, "serve") else {"training": False}
    return [np.asarray(output) for output in tf.nest.flatten(call(images, **options))]


def images_for(name, model, batch=2, size=16, seed=1):
    """What a style's model takes: an array, or a list of them."""
    rng = np.random.default_rng(seed)
    low, high = (0, 255) if name in FULL_RANGE else (-1, 1)
    inputs = getattr(model, "inputs", None) or [tf.TensorSpec((None, size, size, 3))]
    shapes = [[batch, *(n or size for n in tensor.shape[1:])] for tensor in inputs]
    images = [rng.uniform(low, high, shape).astype("float32") for shape in shapes]
    return images if len(images) > 1 else images[0]


def randomize(model, seed=0):
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        if not tf.as_dtype(weight.dtype).is_floating:
            continue
        name, shape = weight.name.rsplit("/", 1)[-1], weight.shape
        if "variance" in name or "gamma" in name or "scale" in name:
            values = rng.uniform(0.5, 1.5, shape)
        elif "bias" in name or "beta" in name or "mean" in name or "alpha" in name:
            values = rng.normal(0, 0.3, shape)
        else:
            fan_in = shape[:2] if "depthwise" in name else shape[:-1]
            values = rng.normal(0, np.sqrt(2 / max(1, np.prod(fan_in))), shape)
        weight.assign(tf.cast(values, weight.dtype))
    return model


def picture(size):
    return keras.Input((size, size, 3), name="image")


def head(x, last, classes=1):
    return L.Conv2D(classes, 1, activation=last, name="mask", dtype=head_dtype())(x)


def head_dtype():
    """Masks are float32 under mixed precision, as Keras' guide has it."""
    policy = keras.mixed_precision.global_policy()
    return "float32" if policy.name.startswith("mixed") else policy


def conv(x, filters, kernel=3, activation="relu", **options):
    """Convolution, batch norm, activation."""
    x = L.Conv2D(filters, kernel, padding="same", use_bias=False, **options)(x)
    return L.Activation(activation)(L.BatchNormalization()(x))


def up(x, factor=2, **options):
    return L.UpSampling2D(factor, interpolation="bilinear", **options)(x)


# --------------------------------------------------------------------------- subclassed


class ConvBlock(L.Layer):
    def __init__(self, filters, repeats=2, **options):
        super().__init__(**options)
        self.convs = [L.Conv2D(filters, 3, padding="same") for _ in range(repeats)]
        self.norms = [L.BatchNormalization() for _ in range(repeats)]
        self.dropout = L.Dropout(0.3)

    def call(self, x, training=None):
        for convolution, norm in zip(self.convs, self.norms):
            x = tf.nn.relu(norm(convolution(x), training=training))
        return self.dropout(x, training=training)


class UpBlock(keras.Model):
    def __init__(self, filters, **options):
        super().__init__(**options)
        self.grow = L.Conv2DTranspose(filters, 2, strides=2, padding="same")
        self.block = ConvBlock(filters)

    def call(self, inputs, training=None):
        x, skip = inputs
        x = tf.concat([tf.nn.leaky_relu(self.grow(x), 0.1), skip], axis=-1)
        return self.block(x, training=training)


class SubclassedUNet(keras.Model):
    def __init__(self, width=4, levels=2, last="sigmoid", **options):
        super().__init__(**options)
        self.downs = [ConvBlock(width * 2**i, name=f"down_{i}") for i in range(levels)]
        self.bottom = ConvBlock(width * 2**levels, name="bottom")
        self.ups = [UpBlock(width * 2**i, name=f"up_{i}") for i in reversed(range(levels))]
        self.last = last
        self.mask = L.Conv2D(1, 1, name="mask")

    def call(self, x, training=None):
        skips = []
        for down in self.downs:
            x = down(x, training=training)
            skips.append(x)
            x = tf.nn.max_pool2d(x, 2, 2, "VALID")
        x = self.bottom(x, training=training)
        for block, skip in zip(self.ups, reversed(skips)):
            x = block((x, skip), training=training)
        x = self.mask(x)
        return x if self.last is None else keras.activations.get(self.last)(x)


@style()
def subclassed(size=16, width=4, last="sigmoid"):
    """Nested subclassed blocks in lists, functions between them; made by build() where it can."""
    model = SubclassedUNet(width, last=last)
    if KERAS_3:
        model(keras.Input((size, size, 3)))
    else:
        model.build((None, size, size, 3))
    return model


class Functioned(SubclassedUNet):
    call = tf.function(SubclassedUNet.call)


@style()
def tf_function(size=16, width=4, last="sigmoid"):
    """Its call is decorated as a tf.function."""
    model = Functioned(width, levels=1, last=last)
    model(tf.zeros((1, size, size, 3)))
    return model


@style()
def saved_model(size=16, width=4, last="sigmoid"):
    """A network saved as a SavedModel and read back by TensorFlow alone."""
    model = SubclassedUNet(width, levels=1, last=last)
    model(tf.zeros((1, size, size, 3)))
    randomize(model)
    with tempfile.TemporaryDirectory() as folder:
        if KERAS_3:
            model.export(folder, verbose=False)
        else:
            model.save(folder, save_format="tf")
        return tf.saved_model.load(folder)


@style()
def sequential(size=16, width=4, last="sigmoid"):
    return keras.Sequential(
        [
            keras.Input((size, size, 3)),
            L.Conv2D(width, 3, padding="same", activation=tf.nn.leaky_relu),
            L.MaxPooling2D(),
            keras.Sequential([L.Conv2D(width, 3, padding="same"), L.PReLU(shared_axes=[1, 2])]),
            L.Conv2DTranspose(width, 4, strides=2, padding="same", activation="elu"),
            L.Conv2D(1, 1),
            L.Activation(last or "linear"),
        ]
    )


# --------------------------------------------------------------------------- Lambda, own layers


@segmenter(full_range=True)
def lambda_scaled(image, size, width):
    """The U-Net of many notebooks: a Lambda scales the image, and Lambdas stand inside."""
    x = L.Lambda(lambda t: t / 127.5 - 1)(image)
    skip = L.Conv2D(width, 3, activation="elu", kernel_initializer="he_normal", padding="same")(x)
    x = L.Lambda(lambda t: tf.nn.max_pool2d(t, 2, 2, "SAME"))(skip)
    x = L.Conv2D(2 * width, 3, activation="elu", padding="same")(x)
    x = L.Lambda(lambda t: tf.image.resize(t, (size, size)), name="resize")(x)
    x = L.Lambda(lambda pair: tf.concat(pair, -1))([x, skip])
    x = L.Lambda(lambda t: tf.pad(t, [[0, 0], [1, 1], [1, 1], [0, 0]], "REFLECT"))(x)
    x = L.Conv2D(width, 3, activation=lambda t: tf.nn.relu(t) - 0.1 * tf.nn.relu(-t))(x)
    return x


@style()
def functions(size=16, width=4, last="sigmoid"):
    """Operators and functions of TensorFlow between the layers of a functional model."""
    image = picture(size)
    mean = np.array([0.485, 0.456, 0.406], "float32")
    x = (image + 1) / 2
    x = (x - mean) / np.array([0.229, 0.224, 0.225], "float32")
    skip = tf.nn.relu6(L.Conv2D(width, 3, padding="same")(x))
    x = tf.nn.avg_pool2d(skip, 2, 2, "SAME")
    x = tf.nn.swish(L.BatchNormalization()(L.Conv2D(2 * width, 3, padding="same")(x)))
    new = skip.shape[1:3] if KERAS_3 else tf.shape(skip)[1:3]
    x = tf.image.resize(x, new, method="nearest")
    x = tf.nn.elu(L.Conv2D(width, 1)(x)) * 0.5 + skip
    first, second = tf.split(x, 2, axis=-1)
    x = tf.stack([first, second], axis=-1)
    x = tf.reshape(tf.transpose(x, (0, 1, 2, 4, 3)), (-1, size, size, width))  # channel shuffle
    x = tf.concat([x[..., 1:], x[..., :1], -x], -1)
    x = head(tf.maximum(x, tf.multiply(0.1, x)), None)
    return keras.Model(image, x if last is None else tf.math.sigmoid(x))


class OwnConv(L.Layer):
    def __init__(self, filters, kernel=3, stride=1, dilation=1, **options):
        super().__init__(**options)
        self.filters, self.size, self.stride, self.dilation = filters, kernel, stride, dilation

    def build(self, shape):
        kernel = (self.size, self.size, shape[-1], self.filters)
        self.kernel = self.add_weight(name="kernel", shape=kernel)
        self.bias = self.add_weight(name="bias", shape=(self.filters,), initializer="zeros")

    def call(self, x):
        options = {"strides": self.stride, "padding": "SAME", "dilations": self.dilation}
        return tf.nn.bias_add(tf.nn.conv2d(x, self.kernel, **options), self.bias)


class OwnUp(L.Layer):
    def __init__(self, filters, **options):
        super().__init__(**options)
        self.filters = filters

    def build(self, shape):
        self.kernel = self.add_weight(name="kernel", shape=(4, 4, self.filters, shape[-1]))

    def call(self, x):
        n, h, w = tf.unstack(tf.shape(x)[:3])
        return tf.nn.conv2d_transpose(x, self.kernel, (n, 2 * h, 2 * w, self.filters), 2)


class OwnDense(L.Layer):
    """A product of matrices, and one written as an einsum, on the channels."""

    def __init__(self, units, **options):
        super().__init__(**options)
        self.units = units

    def build(self, shape):
        self.w = self.add_weight(name="w", shape=(shape[-1], self.units))
        self.v = self.add_weight(name="v", shape=(self.units, self.units))
        self.b = self.add_weight(name="bias_b", shape=(self.units,))

    def call(self, x):
        shape = tf.shape(x)
        flat = tf.matmul(tf.reshape(x, (-1, x.shape[-1])), self.w) + self.b
        x = tf.reshape(flat, tf.concat([shape[:-1], [self.units]], 0))
        return x + tf.einsum("bhwc,cd->bhwd", tf.nn.relu(x), self.v)


class OwnDepthwise(L.Layer):
    def build(self, shape):
        self.kernel = self.add_weight(name="depthwise", shape=(3, 3, shape[-1], 1))
        self.point = self.add_weight(name="point", shape=(1, 1, shape[-1], shape[-1]))

    def call(self, x):
        x = tf.nn.depthwise_conv2d(x, self.kernel, (1, 1, 1, 1), "SAME")
        return x + tf.nn.separable_conv2d(x, self.kernel, self.point, (1, 1, 1, 1), "SAME")


class StandardConv(L.Conv2D):
    """Weight standardisation, Qiao et al. 2019: the kernel is computed from the weights."""

    def call(self, x):
        mean, variance = tf.nn.moments(self.kernel, (0, 1, 2), keepdims=True)
        kernel = (self.kernel - mean) * tf.math.rsqrt(variance + 1e-5)
        return tf.nn.bias_add(tf.nn.conv2d(x, kernel, self.strides, "SAME"), self.bias)


@segmenter()
def own_layers(image, size, width):
    """Layers with weights of their own, applied by tf.nn, tf.matmul and tf.einsum."""
    skip = L.ReLU()(OwnConv(width)(image))
    x = L.ReLU()(OwnConv(2 * width, stride=2)(skip))
    x = L.ReLU()(OwnConv(2 * width, dilation=2)(x))
    x = OwnDense(width)(OwnDepthwise()(x))
    x = OwnUp(width)(x)
    x = L.ReLU()(StandardConv(width, 3)(L.Concatenate()([x, skip])))
    return x


# --------------------------------------------------------------------------- U-Nets


@segmenter()
def attention_unet(image, size, width):
    """Oktay et al. 2018."""

    def gate(x, g, filters):
        theta = L.Conv2D(filters, 1)(x)
        phi = L.Conv2D(filters, 1)(g)
        f = L.Activation("relu")(L.add([theta, phi]))
        psi = L.Activation("sigmoid")(L.Conv2D(1, 1)(f))
        return L.multiply([x, psi])

    x = image
    skips = []
    for level in range(2):
        x = conv(conv(x, width * 2**level), width * 2**level)
        skips.append(x)
        x = L.MaxPooling2D()(x)
    x = conv(x, 4 * width)
    for level, skip in reversed(list(enumerate(skips))):
        x = conv(L.UpSampling2D()(x), width * 2**level)
        x = L.concatenate([gate(skip, x, width), x])
        x = conv(x, width * 2**level)
    return x


@segmenter()
def residual_unet(image, size, width):
    """Zhang et al. 2018: pre-activation residual units, strides instead of pooling."""

    def unit(x, filters, stride=1):
        y = L.Activation("relu")(L.BatchNormalization()(x))
        y = L.Conv2D(filters, 3, strides=stride, padding="same")(y)
        y = L.Activation("relu")(L.BatchNormalization()(y))
        y = L.Conv2D(filters, 3, padding="same")(y)
        short = L.Conv2D(filters, 1, strides=stride, padding="same")(x)
        return L.Add()([L.BatchNormalization()(short), y])

    first = unit(L.Conv2D(width, 3, padding="same")(image), width)
    x = unit(first, 2 * width, 2)
    x = L.Concatenate()([L.UpSampling2D((2, 2))(x), first])
    return unit(x, width)


@segmenter()
def channel_attention(image, size, width):
    """Squeeze and excitation (Hu et al. 2018), CBAM (Woo et al. 2018), ECA (Wang et al. 2020)."""

    def excite(x, ratio=2):
        filters = x.shape[-1]
        s = L.Reshape((1, 1, filters))(L.GlobalAveragePooling2D()(x))
        s = L.Dense(filters // ratio, activation="relu", use_bias=False)(s)
        return L.multiply([x, L.Dense(filters, activation="sigmoid", use_bias=False)(s)])

    def cbam(x):
        filters = x.shape[-1]
        one, two = L.Dense(filters // 2, activation="relu"), L.Dense(filters)
        mean, largest = L.GlobalAveragePooling2D()(x), L.GlobalMaxPooling2D()(x)
        both = L.Add()([two(one(L.Reshape((1, 1, filters))(v))) for v in (mean, largest)])
        x = L.multiply([x, L.Activation("sigmoid")(both)])
        mean = L.Lambda(lambda t: tf.reduce_mean(t, axis=3, keepdims=True))(x)
        largest = L.Lambda(lambda t: tf.reduce_max(t, axis=3, keepdims=True))(x)
        both = L.Concatenate(axis=3)([mean, largest])
        return L.multiply([x, L.Conv2D(1, 7, padding="same", activation="sigmoid")(both)])

    def eca(x):
        s = L.Reshape((x.shape[-1], 1))(L.GlobalAveragePooling2D()(x))
        s = L.Conv1D(1, 3, padding="same", use_bias=False)(s)
        s = L.Reshape((1, 1, x.shape[-1]))(tf.nn.sigmoid(s))
        return x * s

    skip = excite(conv(image, width))
    x = cbam(conv(L.MaxPooling2D()(skip), 2 * width))
    x = L.Concatenate()([L.UpSampling2D()(x), skip])
    return eca(conv(x, width))


@style()
def pixel_shuffle(size=16, width=4, last="sigmoid"):
    """Space to depth on the way down, depth to space on the way up, YOLO's focus by slices."""
    image = picture(size)
    x = L.Lambda(
        lambda t: tf.concat(
            [t[:, ::2, ::2], t[:, 1::2, ::2], t[:, ::2, 1::2], t[:, 1::2, 1::2]], axis=-1
        )
    )(image)
    skip = conv(x, width)
    x = conv(L.Lambda(lambda t: tf.nn.space_to_depth(t, 2))(skip), width)
    x = L.Lambda(lambda t: tf.nn.depth_to_space(t, 2))(L.Conv2D(4 * width, 3, padding="same")(x))
    x = L.Concatenate()([L.ReLU()(x), skip])
    x = L.Conv2D(4, 3, padding="same", name="mask")(x)
    x = L.Lambda(lambda t: tf.nn.depth_to_space(t, 2))(x)
    return keras.Model(image, x if last is None else L.Activation(last)(x))


# --------------------------------------------------------------------------- norms, activations


class OwnNorm(L.Layer):
    """Norms by hand: over groups of channels, pixels, channels, or by the root of squares."""

    def __init__(self, kind, groups=2, **options):
        super().__init__(**options)
        self.kind, self.groups = kind, groups

    def build(self, shape):
        self.scale = self.add_weight(name="scale", shape=(shape[-1],), initializer="ones")
        self.beta = self.add_weight(name="beta", shape=(shape[-1],), initializer="zeros")

    def call(self, x):
        if self.kind == "group":
            n, h, w = tf.unstack(tf.shape(x)[:3])
            c = x.shape[-1]
            y = tf.reshape(x, (n, h, w, self.groups, c // self.groups))
            mean, variance = tf.nn.moments(y, (1, 2, 4), keepdims=True)
            x = tf.reshape((y - mean) / tf.sqrt(variance + 1e-5), (n, h, w, c))
        elif self.kind == "instance":
            mean, variance = tf.nn.moments(x, axes=[1, 2], keepdims=True)
            x = (x - mean) * tf.math.rsqrt(variance + 1e-5)
        elif self.kind == "layer":
            mean = tf.reduce_mean(x, -1, keepdims=True)
            deviation = tf.math.reduce_std(x, -1, keepdims=True)
            x = (x - mean) / (deviation + 1e-6)
        elif self.kind == "batch_normalization":
            mean, variance = tf.nn.moments(x, [1, 2], keepdims=True)
            return tf.nn.batch_normalization(x, mean, variance, self.beta, self.scale, 1e-5)
        elif self.kind == "l2":
            x = tf.math.l2_normalize(x, -1)
        else:
            x = x * tf.math.rsqrt(tf.reduce_mean(tf.square(x), -1, keepdims=True) + 1e-6)
            return x * self.scale
        return x * self.scale + self.beta


@segmenter()
def norms_by_hand(image, size, width):
    """tf.nn.moments, tf.reduce_mean, tf.math.rsqrt, tf.math.l2_normalize."""
    x = image
    for kind in ("group", "instance", "layer", "rms", "l2", "batch_normalization"):
        x = L.Conv2D(width, 3, padding="same")(x)
        x = L.ReLU()(OwnNorm(kind, name=f"{kind}_norm")(x))
    return x


# --------------------------------------------------------------------------- attention


def transformer(x, heads, hidden, dropout=0.1, activation="gelu"):
    """A block of an encoder on tokens (batch, tokens, channels), as Keras' examples have it."""
    y = L.LayerNormalization(epsilon=1e-6)(x)
    y = L.MultiHeadAttention(heads, x.shape[-1] // heads, dropout=dropout)(y, y)
    x = L.Add()([y, x])
    y = L.LayerNormalization(epsilon=1e-6)(x)
    y = L.Dropout(dropout)(L.Dense(hidden, activation=activation)(y))
    return L.Add()([L.Dropout(dropout)(L.Dense(x.shape[-1])(y)), x])


@style(attention=True)
def vit_embedding(size=16, width=4, last="sigmoid"):
    """ViT with an Embedding of positions, tf.image.extract_patches, and a linear decoder."""

    class Patches(L.Layer):
        def call(self, images):
            found = tf.image.extract_patches(
                images, [1, 4, 4, 1], [1, 4, 4, 1], [1, 1, 1, 1], "VALID"
            )
            return tf.reshape(found, (tf.shape(images)[0], -1, found.shape[-1]))

    class Encoded(L.Layer):
        def __init__(self, count, channels, **options):
            super().__init__(**options)
            self.count = count
            self.dense, self.place = L.Dense(channels), L.Embedding(count, channels)

        def call(self, x):
            return self.dense(x) + self.place(tf.range(self.count))

    image, side = picture(size), size // 4
    x = Encoded(side * side, 2 * width, name="tokens")(Patches()(image))
    x = transformer(x, 2, 4 * width, activation=tf.nn.gelu)
    x = L.LayerNormalization(epsilon=1e-6)(x)
    x = L.Reshape((side, side, 16))(L.Dense(16)(x))
    x = L.Lambda(lambda t: tf.nn.depth_to_space(t, 4), name="mask")(x)
    return keras.Model(image, x if last is None else L.Activation(last)(x))


class WindowAttention(L.Layer):
    """Attention in windows with a bias by relative position, Liu et al. 2021."""

    def __init__(self, window, heads, channels, **options):
        super().__init__(**options)
        self.window, self.heads, self.channels = window, heads, channels
        self.qkv, self.proj = L.Dense(3 * channels), L.Dense(channels)
        place = np.stack(np.meshgrid(*2 * [np.arange(window)], indexing="ij")).reshape(2, -1)
        apart = place[:, :, None] - place[:, None] + window - 1
        self.index = apart[0] * (2 * window - 1) + apart[1]

    def build(self, shape):
        rows = (2 * self.window - 1) ** 2
        self.table = self.add_weight(name="relative_bias", shape=(rows, self.heads))

    def call(self, x, mask=None):
        tokens, size = self.window**2, self.channels // self.heads
        qkv = tf.reshape(self.qkv(x), (-1, tokens, 3, self.heads, size))
        q, k, v = tf.unstack(tf.transpose(qkv, (2, 0, 3, 1, 4)))
        scores = (q * size**-0.5) @ tf.transpose(k, (0, 1, 3, 2))
        bias = tf.gather(self.table, tf.reshape(self.index, (-1,)))
        bias = tf.reshape(bias, (tokens, tokens, self.heads))
        scores = scores + tf.expand_dims(tf.transpose(bias, (2, 0, 1)), 0)
        if mask is not None:
            count = mask.shape[0]
            scores = tf.reshape(scores, (-1, count, self.heads, tokens, tokens))
            scores = scores + tf.cast(mask, scores.dtype)[None, :, None]
            scores = tf.reshape(scores, (-1, self.heads, tokens, tokens))
        x = tf.transpose(tf.nn.softmax(scores, -1) @ v, (0, 2, 1, 3))
        return self.proj(tf.reshape(x, (-1, tokens, self.channels)))


class DropPath(L.Layer):
    """Stochastic depth, Huang et al. 2016."""

    def __init__(self, rate, **options):
        super().__init__(**options)
        self.rate = rate

    def call(self, x, training=None):
        if not training:
            return x
        shape = (tf.shape(x)[0],) + (1,) * (len(x.shape) - 1)
        return x / (1 - self.rate) * tf.floor(1 - self.rate + tf.random.uniform(shape))


class SwinBlock(L.Layer):
    def __init__(self, side, channels, window=2, shift=0, heads=2, **options):
        super().__init__(**options)
        self.side, self.channels, self.window, self.shift = side, channels, window, shift
        self.norms = [L.LayerNormalization(epsilon=1e-5) for _ in range(2)]
        self.attention = WindowAttention(window, heads, channels, name="windows")
        self.drop_path = DropPath(0.1)
        self.mlp = keras.Sequential(
            [L.Dense(2 * channels), L.Activation("gelu"), L.Dense(channels)]
        )
        self.mask = None
        if shift:
            regions = np.zeros((side, side))
            cuts = (slice(0, -window), slice(-window, -shift), slice(-shift, None))
            for number, (rows, columns) in enumerate((r, c) for r in cuts for c in cuts):
                regions[rows, columns] = number
            regions = self.partition(regions[None, :, :, None], np)[..., 0]
            apart = regions[:, None] != regions[:, :, None]
            self.mask = np.where(apart, -100.0, 0.0).astype("float32")

    def partition(self, x, tensors=tf):
        w, many = self.window, self.side // self.window
        x = tensors.reshape(x, (-1, many, w, many, w, x.shape[-1]))
        return tensors.reshape(tensors.transpose(x, (0, 1, 3, 2, 4, 5)), (-1, w * w, x.shape[-1]))

    def merge(self, x):
        w, many = self.window, self.side // self.window
        x = tf.reshape(x, (-1, many, many, w, w, self.channels))
        x = tf.transpose(x, (0, 1, 3, 2, 4, 5))
        return tf.reshape(x, (-1, self.side, self.side, self.channels))

    def call(self, x, training=None):
        short, x = x, self.norms[0](x)
        if self.shift:
            x = tf.roll(x, (-self.shift, -self.shift), axis=(1, 2))
        x = self.merge(self.attention(self.partition(x), self.mask))
        if self.shift:
            x = tf.roll(x, (self.shift, self.shift), axis=(1, 2))
        x = short + self.drop_path(x, training=training)
        return x + self.drop_path(self.mlp(self.norms[1](x)), training=training)


@segmenter(attention=True)
def swin(image, size, width):
    """Windows by reshape and transpose, shifted by tf.roll, masked."""
    x = L.LayerNormalization()(L.Conv2D(width, 2, strides=2, name="patches")(image))
    for number, shift in enumerate((0, 1)):
        x = SwinBlock(size // 2, width, shift=shift, name=f"swin_{number}")(x)
    return up(L.LayerNormalization()(x))


class NonLocal(L.Layer):
    """Wang et al. 2018, and the channel attention of DANet, Fu et al. 2019."""

    def __init__(self, channels, **options):
        super().__init__(**options)
        self.theta, self.phi, self.g = (L.Conv2D(channels // 2, 1) for _ in range(3))
        self.out = L.Conv2D(channels, 1)

    def build(self, shape):
        self.gamma = self.add_weight(name="gamma", shape=(), initializer="zeros")

    def call(self, x):
        n, h, w = tf.unstack(tf.shape(x)[:3])
        flat = [tf.reshape(f(x), (n, h * w, -1)) for f in (self.theta, self.phi, self.g)]
        flat = [tf.ensure_shape(f, (None, None, self.theta.filters)) for f in flat]
        weights = tf.nn.softmax(tf.matmul(flat[0], flat[1], transpose_b=True))
        y = self.out(tf.reshape(tf.matmul(weights, flat[2]), (n, h, w, self.theta.filters)))
        pixels = tf.reshape(x, (n, h * w, x.shape[-1]))
        channels = tf.nn.softmax(tf.einsum("bpc,bpd->bcd", pixels, pixels) / 64.0, -1)
        z = tf.reshape(tf.einsum("bcd,bpd->bpc", channels, pixels), tf.shape(x))
        return x + self.gamma * (y + z)


@segmenter(attention=True)
def non_local(image, size, width):
    """Attention among pixels and among channels between convolutions."""
    x = conv(image, 2 * width, strides=2)
    x = NonLocal(2 * width, name="non_local")(x)
    return up(conv(x, width))


@segmenter(attention=True)
def linear_attention(image, size, width):
    """Shen et al. 2021: softmax over keys and over channels of queries; a context in between."""
    x = conv(image, 2 * width, strides=4)
    side, channels = size // 4, 2 * width
    q, k, v = (L.Reshape((side * side, channels))(L.Conv2D(channels, 1)(x)) for _ in range(3))
    context = L.Dot(axes=1)([L.Softmax(axis=1)(k), v])
    y = L.Dot(axes=(2, 1))([L.Softmax(axis=2)(q), context])
    x = L.Add()([x, L.Reshape((side, side, channels))(y)])
    return up(conv(x, width), 4)


@segmenter(attention=True)
def attention_layers(image, size, width):
    """Keras' own: Attention, MultiHeadAttention over two axes, AdditiveAttention as a gate."""
    x = conv(image, 2 * width, strides=4)
    tokens = L.Reshape((-1, 2 * width))(x)
    tokens = L.Add()([tokens, L.Attention(use_scale=True)([tokens, tokens, L.Dense(8)(tokens)])])
    x = L.Reshape(x.shape[1:])(tokens)
    x = L.MultiHeadAttention(2, 3, attention_axes=(1, 2), output_shape=2 * width)(x, x)
    return up(conv(x, width), 4)


@segmenter()
def mlp_mixer(image, size, width):
    """Tolstikhin et al. 2021: dense layers over channels and over places in turn."""
    side = size // 4
    x = L.Reshape((side * side, width))(L.Conv2D(width, 4, strides=4)(image))
    y = L.Permute((2, 1))(L.LayerNormalization()(x))
    y = L.Dense(side * side)(L.Dense(8, activation="gelu")(y))
    x = L.Add()([x, L.Permute((2, 1))(y)])
    y = L.Dense(2 * width, activation="gelu")(L.LayerNormalization()(x))
    x = L.Reshape((side, side, width))(L.Add()([x, L.Dense(width)(y)]))
    return L.UpSampling2D(4, interpolation="bicubic")(x)


# --------------------------------------------------------------------------- ConvNeXt


class LayerScale(L.Layer):
    def build(self, shape):
        self.gamma = self.add_weight(name="gamma", shape=(shape[-1],), initializer="ones")

    def call(self, x):
        return x * self.gamma


class GlobalResponse(L.Layer):
    """Global response normalisation of ConvNeXt V2, Woo et al. 2023."""

    def build(self, shape):
        self.gamma = self.add_weight(name="gamma", shape=(1, 1, 1, shape[-1]))
        self.beta = self.add_weight(name="beta", shape=(1, 1, 1, shape[-1]))

    def call(self, x):
        size = tf.norm(x, axis=(1, 2), keepdims=True)
        ratio = size / (tf.reduce_mean(size, axis=-1, keepdims=True) + 1e-6)
        return self.gamma * (x * ratio) + self.beta + x


def next_block(x, filters, kernel=7, response=False):
    y = L.DepthwiseConv2D(kernel, padding="same")(x)
    y = L.LayerNormalization(epsilon=1e-6)(y)
    y = L.Dense(2 * filters, activation="gelu")(y)
    y = GlobalResponse()(y) if response else y
    y = LayerScale()(L.Dense(filters)(y))
    return L.Add()([x, DropPath(0.1)(y)])


@segmenter()
def convnext_unet(image, size, width):
    """Liu et al. 2022, Woo et al. 2023: large depthwise kernels, layer norm, layer scale."""
    x = L.LayerNormalization(epsilon=1e-6)(L.Conv2D(width, 2, strides=2)(image))
    skip = next_block(x, width)
    x = L.Conv2D(2 * width, 2, strides=2)(L.LayerNormalization(epsilon=1e-6)(skip))
    x = next_block(x, 2 * width, response=True)
    x = L.Conv2DTranspose(width, 2, strides=2)(x)
    x = next_block(L.Concatenate()([x, skip]), 2 * width)
    return up(x)


# --------------------------------------------------------------------------- sharing, ways in, out


@segmenter()
def shared(image, size, width):
    """One block on several scales, one layer called again and again (R2U-Net)."""
    stem = L.Conv2D(width, 3, padding="same", name="stem")
    again = L.Conv2D(width, 3, padding="same", activation="relu", name="again")
    body = [L.Conv2D(width, 3, padding="same"), L.BatchNormalization(), L.ReLU()]
    block = keras.Sequential([L.Input((None, None, width)), *body])
    scales = []
    for factor in (1, 2, 4):
        x = stem(image if factor == 1 else L.AveragePooling2D(factor)(image))
        x = L.ReLU()(x)
        for _ in range(2):
            x = again(L.Add()([x, block(x)]))
        scales.append(x if factor == 1 else L.UpSampling2D(factor)(x))
    return L.Average()(scales)


@style()
def deep_supervision(size=16, width=4, last="sigmoid"):
    """A mask at each scale; the first output is the one to be used."""
    image = picture(size)
    fine = conv(image, width)
    coarse = conv(L.MaxPooling2D()(fine), 2 * width)
    x = conv(L.Concatenate()([up(coarse), fine]), width)
    side = L.Conv2D(1, 1, activation=last, name="side")(coarse)
    return keras.Model(image, [head(x, last), L.UpSampling2D(name="small")(side)])


@style()
def outputs_by_name(size=16, width=4, last="sigmoid"):
    """A subclassed model that gives a dictionary."""

    class Named(keras.Model):
        def __init__(self):
            super().__init__()
            self.body = ConvBlock(width)
            self.mask, self.edge = L.Conv2D(1, 1), L.Conv2D(1, 3, padding="same")

        def call(self, x, training=None):
            x = self.body(x, training=training)
            end = tf.identity if last is None else keras.activations.get(last)
            return {"mask": end(self.mask(x)), "edge": end(self.edge(x))}

    model = Named()
    model(tf.zeros((1, size, size, 3)))
    return model


@style()
def two_inputs(size=16, width=4, last="sigmoid"):
    """Two pictures of one place, joined by their features."""
    pictures = [keras.Input((size, size, n), name=name) for name, n in (("a", 3), ("b", 1))]
    first, second = (conv(x, width) for x in pictures)
    x = conv(L.Concatenate()([first, L.Subtract()([second, first])]), width)
    return keras.Model(pictures, head(x, last))


@style()
def open_size(size=16, width=4, last="sigmoid"):
    """An image of any size; the way up asks the skip connection for its own."""

    class ResizeLike(L.Layer):
        def call(self, inputs):
            x, like = inputs
            return tf.image.resize(x, tf.shape(like)[1:3], method="bilinear")

    image = keras.Input((None, None, 3))
    skip = conv(image, width)
    x = conv(L.MaxPooling2D(padding="same")(skip), 2 * width)
    pooled = L.GlobalAveragePooling2D(keepdims=True)(x)
    x = L.Concatenate()([ResizeLike(name="like")([pooled, x]), x])
    x = L.Concatenate()([ResizeLike()([x, skip]), skip])
    return keras.Model(image, head(conv(x, width), last))


def under(policy, name, *arguments):
    """A style, made under a policy of precision."""
    before = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy(policy)
    try:
        return STYLES[name](*arguments)
    finally:
        keras.mixed_precision.set_global_policy(before)


@style()
def bfloat16(size=16, width=4, last="sigmoid"):
    """Mixed precision."""
    return under("mixed_bfloat16", "attention_unet", size, width, last)


@style(attention=True)
def bfloat16_attention(size=16, width=4, last="sigmoid"):
    """Mixed precision."""
    return under("mixed_bfloat16", "attention_layers", size, width, last)


@segmenter()
def augmented(image, size, width):
    """What is random in training alone: flips, noise, dropout, stochastic depth."""
    x = L.RandomFlip()(image)
    x = L.RandomContrast(0.1)(x)
    x = L.GaussianNoise(0.1)(L.Rescaling(0.5, 0.5)(x))
    x = L.SpatialDropout2D(0.2)(conv(x, width))
    x = L.Add()([x, DropPath(0.2)(L.GaussianDropout(0.2)(conv(x, width)))])
    x = L.ActivityRegularization(1e-4)(L.AlphaDropout(0.1)(x))
    return x


# --------------------------------------------------------------------------- what is refused


def around(middle, size=8, width=4, last="sigmoid"):
    """A convolution, something in the middle, a convolution."""
    image = keras.Input((size, size, 3))
    x = L.Conv2D(width, 3, padding="same", name="before")(image)
    return randomize(keras.Model(image, head(middle(x), last)))


def inside(function, name):
    """A Lambda of a name in the middle."""
    return around(L.Lambda(function, name=name))


@bad("refining")
def loop():
    def until_small(x):
        return tf.while_loop(lambda y: tf.reduce_max(y) > 0.5, lambda y: (y / 2,), (x,))[0]

    return inside(until_small, "refining")


class Quantized(L.Layer):
    """VQ-VAE: the nearest vector of a book stands for each pixel's."""

    def build(self, shape):
        self.book = self.add_weight(name="book", shape=(8, shape[-1]))

    def call(self, x):
        apart = tf.reduce_sum((x[..., None, :] - self.book) ** 2, -1)
        return tf.gather(self.book, tf.argmin(apart, -1))


@bad("quantized")
def vector_quantized():
    return around(Quantized(name="quantized"))


class Unpool(L.Layer):
    """SegNet's way up, Badrinarayanan et al. 2017: each value back where it was the largest."""

    def call(self, x):
        small, places = tf.nn.max_pool_with_argmax(x, 2, 2, "SAME", include_batch_in_index=True)
        flat = tf.scatter_nd(
            tf.reshape(places, (-1, 1)),
            tf.reshape(small, (-1,)),
            tf.cast(tf.reshape(tf.reduce_prod(tf.shape(x)), (1,)), tf.int64),
        )
        return tf.reshape(flat, tf.shape(x))


@bad("unpooling")
def max_unpooling():
    return around(Unpool(name="unpooling"))


@bad("fourier")
def fourier():
    return inside(lambda x: tf.math.real(tf.signal.fft2d(tf.cast(x, tf.complex64))), "fourier")


@bad("outside")
def python_function():
    def call(x):
        y = tf.numpy_function(lambda a: np.abs(a), [x], tf.float32)
        return tf.ensure_shape(y, x.shape)

    return inside(call, "outside")


@bad("warping")
def warping():
    """Values taken from places that depend on the image, as a spatial transformer does."""

    def warp(x):
        places = tf.cast(tf.clip_by_value(tf.abs(x[..., :2]) * 8, 0, 7), tf.int32)
        return tf.gather_nd(x, places, batch_dims=1)

    return inside(warp, "warping")


@bad("middle", when="explain")
def nan_statistics():
    model = around(L.BatchNormalization(name="middle"))
    gamma, beta, mean, variance = model.get_layer("middle").get_weights()
    model.get_layer("middle").set_weights([gamma, beta, mean, -variance])
    return model
