"""All that differs between Keras 2.14 on TensorFlow 2.14 and Keras 3 on TensorFlow 2.16 or later.

No other module asks for a version, or uses what TensorFlow and Keras keep private. Each function
says why it is here.
"""

from __future__ import annotations

import contextlib
import importlib
import math
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf

from kerasgan.errors import KerasganError

KERAS_3 = keras.__version__.startswith("3.")

# What Keras 3 has a text for, Keras 2.14 hands on to TensorFlow.
ONLY_FIRST_REPLICA: Any = (
    "only_first_replica" if KERAS_3 else tf.VariableAggregation.ONLY_FIRST_REPLICA
)

# What `.keras` files call things that both Keras have under other names, some of them private: the
# kind of network, the policies of layers, and operations between layers, which in Keras 2.14 are
# functions that a layer calls, and in Keras 3 classes of these modules.
FUNCTIONAL = "keras.src.models.functional" if KERAS_3 else "keras.src.engine.functional"
POLICY = ("keras", "DTypePolicy") if KERAS_3 else ("keras.mixed_precision", "Policy")
OPERATION_LAYERS = "keras.src.layers.core.tf_op_layer"
OPERATION_ROOMS = [f"keras.src.ops.{room}" for room in ("image", "linalg", "math", "nn", "numpy")]

# Keras 3 opens the scope of a layer twice a call, to build it and to call it: the operations of the
# first call of "conv" stand in "conv_1". In Keras 2.14 they stand in "conv".
NUMBERS_FIRST_CALLS = KERAS_3

# Under tf.distribute Keras 3 clips the gradients of each device, Keras 2.14 their sum.
CLIPS_BEFORE_SUM = KERAS_3

# What Keras 3 makes of a step's numbers on several machines ends in TensorFlow's errors: it takes a
# mean along their first axis, and they have none.
REDUCES_NUMBERS_ACROSS_MACHINES = not KERAS_3


@contextlib.contextmanager
def strategy_in_force(model: keras.Model) -> Iterator[None]:
    """Let a model train by the strategy in whose scope this is, and not by one of its own.

    With one of its own, `fit` and `evaluate` of Keras 3 first read a batch and average it over
    devices, to build what is built: data would begin one batch late, and machines that hold batches
    of different sizes fail.
    """
    strategy = model.distribute_strategy
    if KERAS_3:
        model._distribute_strategy = None
    try:
        with strategy.scope():
            yield
    finally:
        if KERAS_3:
            model._distribute_strategy = strategy


def is_of_this_keras(version: str) -> bool:
    """Say whether what that version of Keras wrote is in the form of this one.

    `.keras` files and the variables of optimizers are not alike in both.
    """
    return version.partition(".")[0] == keras.__version__.partition(".")[0]


def addons_layers() -> dict[str, Any]:
    """Return the layers of tensorflow-addons by name; none beside Keras 3.

    It is imported when it is first needed, which registers its layers for loading, and its notices
    are hidden: that it has ended, and was built beside a newer TensorFlow.
    """
    if KERAS_3:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return vars(importlib.import_module("tensorflow_addons").layers)


def operation_classes() -> list[type]:
    """Return the operations between layers that a `.keras` file may name as classes.

    Keras 2.14 has none: there a layer calls a function of TensorFlow.
    """
    kinds = [keras.Operation] if KERAS_3 else []
    for kind in kinds:  # which grows
        kinds += kind.__subclasses__()
    return [kind for kind in kinds if kind.__module__ in OPERATION_ROOMS]


def spectral_normalization() -> type[keras.layers.Wrapper]:
    """Return the layer that keeps a kernel's largest singular value at 1 in training.

    Keras 3 has one; for Keras 2.14 tensorflow-addons does.
    """
    layers = vars(keras.layers) if KERAS_3 else addons_layers()
    return layers["SpectralNormalization"]


def layers_of(network: Any) -> list[keras.layers.Layer]:
    """Return the layers that a layer or model holds, at any depth, each once.

    Neither Keras lists the layers inside a layer: Keras 2.14 gives them as modules of TensorFlow,
    Keras 3 in private.
    """
    if not KERAS_3:
        return [part for part in network.submodules if isinstance(part, keras.layers.Layer)]
    layers = list(network._layers)
    for layer in layers:  # which grows
        layers += [inner for inner in layer._layers if inner not in layers]
    return layers


def path_of(weight: Any) -> str:
    """Return the name of a weight with that of its layer before it.

    Keras 3 has it as the path, and the name is the last part alone.
    """
    return weight.path if KERAS_3 else weight.name.partition(":")[0]


def called_on(entry: dict[str, Any]) -> list[str]:
    """Name the layers whose outputs a layer is called on.

    Configurations differ.
    """
    if not entry["inbound_nodes"]:
        return []
    if not KERAS_3:
        return [node[0] for node in entry["inbound_nodes"][0]]
    given = entry["inbound_nodes"][0]["args"][0]
    given = given if isinstance(given, list) else [given]
    return [tensor["config"]["keras_history"][0] for tensor in given]


def has_symbolic_outputs(network: Any) -> bool:
    """Say whether a model has symbolic inputs and outputs.

    `is_keras_tensor` has moved.
    """
    known = keras.utils.is_keras_tensor if KERAS_3 else keras.backend.is_keras_tensor
    outputs = tf.nest.flatten(getattr(network, "outputs", None) or [])
    return bool(outputs) and known(outputs[0])


def shape_called_on(network: keras.Model) -> tuple[int | None, ...] | None:
    """Return the shape that a subclassed model of one input was built or called with, else None.

    `save_spec` is gone in Keras 3, and what takes its place is lost in a SavedModel of Keras 2.14.
    """
    spec = None if KERAS_3 else network.save_spec()
    if spec is not None:
        seen = [tuple(part.shape) for part in tf.nest.flatten(spec[0])]
    else:
        known = network.get_build_config() or {}
        seen = list(known.get("shapes_dict", known).values())
    return tuple(seen[0]) if len(seen) == 1 and isinstance(seen[0], (list, tuple)) else None


def variable_of(weight: Any) -> tf.Variable:
    """Return the variable of TensorFlow behind a weight of Keras.

    In Keras 3 a weight holds one, in Keras 2.14 it is one.
    """
    return weight.value if KERAS_3 else weight


def trackable(optimizer: Any) -> Any:
    """Return what `tf.train.Checkpoint` is to hold of an optimizer.

    In Keras 2.14 only the optimizer itself knows the variables of learning rate and loss scale; in
    Keras 3 `variables` has them, and the optimizer itself the network's weights too.
    """
    return [variable_of(each) for each in optimizer.variables] if KERAS_3 else optimizer


def built_within(build: Callable[[], keras.Model], most: int) -> keras.Model:
    """Build a network, unless its weights hold more numbers than that: then nothing is allocated.

    Keras 2.14 tells shapes to `tf.variable_creator_scope`; Keras 3 does not, but has a scope in
    which variables have a shape alone.
    """
    total = 0

    def count(shape: Any) -> None:
        nonlocal total
        total += math.prod(tuple(shape)) if shape else 0  # counters of Keras are no weights
        if total > most:
            raise KerasganError(f"its weights would hold more than {most} numbers")

    def create(next_creator: Callable[..., Any], **settings: Any) -> Any:
        count(settings.get("shape"))
        return next_creator(**settings)

    if not KERAS_3:
        with tf.variable_creator_scope(create):
            return build()
    # At its end that scope makes the variables, here in a graph that is thrown away. Left to be
    # made, they would be made by the next scope of the kind, in earnest.
    with tf.Graph().as_default(), keras.StatelessScope():
        for weight in build().weights:
            count(weight.shape)
    return build()


def slot_name(variable: Any) -> str:
    """Return the name of an optimizer's variable, the weight's first, its own last."""
    own, *weight = path_of(variable).split("/")
    return "_".join([*weight, own]) if not KERAS_3 else variable.name
