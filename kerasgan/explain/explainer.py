"""`Explainer`: relevance of pixels and layers for what a segmentation network predicts."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Union

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from kerasgan.errors import KerasganError, warn
from kerasgan.explain import methods, targets
from kerasgan.explain.canonize import read_graph
from kerasgan.explain.composites import AttnLRP, Composite
from kerasgan.explain.explanation import Explanation, find_layer
from kerasgan.explain.export import export_explainer
from kerasgan.explain.finite import check_finite, not_finite
from kerasgan.explain.functions import BUILDING, Functions, Traced, channel_mask
from kerasgan.explain.gradients import Gradient
from kerasgan.explain.logits import fit_array, warn_if_empty
from kerasgan.explain.naming import describe_nodes
from kerasgan.explain.perturbation import Perturbation
from kerasgan.models import generator_of
from kerasgan.models.preprocess import check_range, preprocess_of
from kerasgan.models.trace import activations_of, random_images
from kerasgan.precision import full_float32
from kerasgan.validation import check_images, check_whole_number, invalid

MEMORY = 2**30
LEAK = 1e-4

Gates = Mapping[str, Union[int, Sequence[int]]]


class Explainer:
    """Explains a segmentation network's masks by layer-wise relevance propagation.

    The network's computation is traced once, and rules are applied to its operations, from the
    logits back to the image. The weights are read at each call, so an explainer stays valid while
    the model is trained. A moving average of the weights, which an optimizer of Keras may keep, is
    explained after it has been written into the model. Several threads may explain at once.

    Args:
        model: A `keras.Model` from image to mask, functional, sequential or subclassed; an object
            with one as `.generator`; or what `tf.saved_model.load` returns. A subclassed model must
            have been called on images. Of several inputs the first is the image.
        rule: A name from `rule_names()`, a rule, a `Composite` or another method.
        preprocess: What the model takes, if not images in [-1, 1]: "[0,1]", "[0,255]",
            "imagenet", "caffe", or a function from the images given to `explain` to the model's
            input. With None, what the bundle of the model states is used; without a bundle the
            images are passed unchanged. Relevance is that of the model's input.
        batch_size: How many images to explain at once; None for as many as take about 1 GiB.
        gates: For products whose gate cannot be identified: a dict from the name of the product's
            layer to the index of the input that is the gate (several indices if it has more than
            two inputs). The gate is held constant, and relevance goes to the other input, the
            signal. With () no input is the gate, and relevance is shared evenly, as under `AttnLRP`
            where no gate can be identified.
        output: Index from 0, or name, of the output to explain, if the model has several.

    Attributes:
        gates: The gate of each product that relevance passes, as passed or identified: a dict from
            the name of the product's layer to the indices of its inputs.

    Raises:
        KerasganError: A model that cannot be explained (the message names the layer and the
            operation), an unknown rule, gates that the model does not have, or no choice among
            several outputs.

    Example:
        >>> import numpy as np
        >>> import kerasgan as kg
        >>> model = kg.models.pix2pix_generator(size=32, filters=2)
        >>> explainer = kg.Explainer(model)
        >>> e = explainer.explain(np.random.uniform(-1, 1, (1, 32, 32, 3)))
        >>> e.relevance.shape, e.layers["down_3"].shape
        ((1, 32, 32, 3), (1, 4, 4, 8))
    """

    def __init__(
        self,
        model: keras.Model,
        rule: methods.RuleLike = methods.DEFAULT_RULE,
        preprocess: str | Callable[[Any], Any] | None = None,
        batch_size: int | None = None,
        gates: Gates | None = None,
        output: int | str | None = None,
    ):
        if batch_size is not None:
            batch_size = check_whole_number("batch_size", batch_size, 1)
        self.method = methods.get(rule)
        self.rule_name = methods.name_of(rule)
        self.model = generator_of(model)
        self.preprocess = preprocess_of(self.model, preprocess)
        self.batch_size = batch_size
        self._described: dict[tuple, dict[str, str]] = {}
        split_evenly = isinstance(self.method, AttnLRP)
        with BUILDING, full_float32():
            self.graph = read_graph(
                self.model, gates=gates, output=output, split_evenly=split_evenly
            )
        self._activations = activations_of(self.model)
        self.method = self.method.bind(self._node_names())
        if isinstance(self.method, Composite):
            self.method.warn_if_unused(self.graph)
        self.gates = self.graph.gates
        self.functions = Functions(self.graph, self.method)
        inputs = self.functions.inputs
        if len(inputs) > 1 and not isinstance(self.method, (Composite, Gradient)):
            raise KerasganError(
                f"{self.method!r} explains models of one input. Received: '{self.model.name}' with "
                f"{len(inputs)}; use a rule, or 'gradient'"
            )
        if isinstance(self.method, Perturbation) and inputs[0].shape.rank != 4:
            raise KerasganError(
                f"{self.method!r} explains images, (batch, height, width, channels). Received: "
                f"'{self.model.name}' with inputs of shape {inputs[0].shape}"
            )

    @full_float32()
    def explain(
        self,
        images: Any,
        target: targets.TargetLike = "prediction",
        layers: Sequence[str] | None = None,
        truth: Any = None,
        through: Mapping[str, Sequence[int]] | None = None,
        verbose: bool = True,
    ) -> Explanation:
        """Explains images.

        Args:
            images: (batch, height, width, channels) in [-1, 1], or what a function `preprocess`
                takes. Of a model with several inputs, a list of arrays, or a dict by the inputs'
                names; `preprocess` is for the first, whose relevance is `relevance`. That of the
                others is among `layers`, by their names.
            target: What to explain: a name, one of `kerasgan.explain.targets`, an array of weights
                of the shape of the logits, or a list of names and targets, one for each image.
            layers: Names of layers to keep relevance at: the model's own layer names, or what they
                begin with ("down_3" for the last layer named "down_3_..."). None keeps all if they
                take less than 1 GiB, and otherwise none. What is kept stays where it was computed
                and is copied when it is asked for.
            truth: True masks, for targets that need them.
            through: Channels by the name of their layer: explains with the relevance that flows
                through these channels alone (of several layers: through all of them, one after the
                other), and not with what passes by them in other channels or over skip
                connections. The ledger and the layers kept then reach from the image to the
                innermost of these layers. Maps of all channels of a layer one by one add up to
                that of all of them at once; where all relevance passes through the layer, this is
                the map without `through`.
            verbose: Whether slow methods, such as occlusion, show a progress bar.

        Returns:
            The explanation.

        Raises:
            KerasganError: Images that do not fit the model or hold NaN, an unknown target or layer,
                a target that does not fit, channels that a layer does not have; logits or
                relevance that are not finite (the message names image, layer and rule).

        Example:
            >>> import numpy as np
            >>> import kerasgan as kg
            >>> explainer = kg.Explainer(kg.models.pix2pix_generator(size=32, filters=2))
            >>> images = np.random.uniform(-1, 1, (1, 32, 32, 3))
            >>> explainer.explain(images, through={"down_3": [0, 5]}).relevance.shape
            (1, 32, 32, 3)

        Source: Conditional heatmaps, Achtibat et al. 2023 (arXiv 2206.03208).
        """
        if activations_of(self.model) != self._activations:
            raise KerasganError(
                f"A layer of '{self.model.name}' was given another activation since this Explainer "
                "was made. Make a new Explainer of it"
            )
        masks = self._channel_masks(through or {})
        inputs = self._checked(images)
        images = inputs[0]
        perturbs = isinstance(self.method, Perturbation) and not masks
        if perturbs and layers:
            raise KerasganError(
                f"Argument 'layers' must be left out: {self.method!r} gives relevance of the image "
                f"alone. Received: {layers!r}"
            )
        keep = () if perturbs else self._layers_to_keep(layers, images)
        target, traced, progress = targets.get(target), None, None
        explained = targets.names_of(target, len(images))
        if masks:
            explained = [f"{name}, through {dict(through or {})}" for name in explained]
        parts = []
        for first, last, batch in self.batches(*inputs):
            if traced is None:
                size = batch[0].shape[1:]
                target = target.prepare(self.functions.logits_shape((len(images), *size)), truth)
                if perturbs:
                    count = len(images) * int(self.method.count(*size[:2]))
                    progress = keras.utils.Progbar(count, verbose=int(verbose), interval=1).add
                    traced = Traced(None, {}, [], [])
                else:
                    traced = self.functions.get("asked", keep, tuple(masks))
            some = target.take(first, last)
            if perturbs:
                part = self.functions.perturb(
                    batch[0], some, self._images_at_once(images), progress
                )
            else:
                part = self.functions.explain(traced, batch, some, masks)
            for name in part:  # of a single batch, layers are copied when they are asked for
                if last - first < len(images) or not name.startswith("layers/"):
                    part[name] = part[name].numpy()
            parts.append(part)
        arrays = parts[0]
        if len(parts) > 1:
            axes = {"ledger": -1, "branches": -1}
            arrays = {
                name: np.concatenate([part[name] for part in parts], axes.get(name, 0))
                for name in arrays
            }
        arrays = {"images": images, **arrays}
        check_finite(arrays, traced.rows, self.method, self.graph, self.model.name)
        warn_if_empty(arrays["target"])
        names = {**{name: name for name in traced.layers}, **self.graph.names}
        return Explanation(
            arrays=arrays,
            names={n: traced.layers[node] for n, node in names.items() if node in traced.layers},
            rows=traced.rows,
            branches=traced.branches,
            gates=self.gates,
            parts=self._parts(inputs, names) if traced.layers else None,
            rule=self.rule_name,
            targets=explained,
        )

    def relevance(self, images: Any, target: Any = "prediction") -> tf.Tensor:
        """Computes relevance alone, in TensorFlow: within a `tf.function`, a data pipeline, a loss.

        Args:
            images: Tensor or array (batch, height, width, channels), the model's own input, or a
                list of all inputs: `preprocess` is not applied.
            target: As of `explain`; weights may be a tensor. `Component` needs values and cannot
                be used in a function being traced.

        Returns:
            float (batch, height, width, channels), differentiable.

        Example:
            >>> import kerasgan as kg
            >>> explainer = kg.Explainer(kg.models.unet(size=32, filters=2, levels=2))
            >>> data = tf.data.Dataset.from_tensors(tf.zeros((2, 32, 32, 3)))
            >>> next(iter(data.map(explainer.relevance))).shape
            TensorShape([2, 32, 32, 3])
        """
        specs = self.functions.inputs
        several = list(images) if len(specs) > 1 else [images]
        inputs = [tf.cast(given, spec.dtype) for given, spec in zip(several, specs)]
        for i, spec in enumerate(specs):
            if inputs[i].shape.rank is None:
                inputs[i] = tf.ensure_shape(inputs[i], spec.shape)
            if not spec.shape.is_compatible_with(inputs[i].shape):
                raise _misfit(spec, "Argument 'images' has", inputs[i].shape)
        images = inputs[0]
        shape = self.functions.logits_shape(images.shape)
        if tf.is_tensor(target):
            array = fit_array(tf.cast(target, images.dtype), shape, "target", "relevance")
        else:
            target = targets.get(target).prepare(shape)
            if target.by_value:
                return self.functions.get(target).call(*inputs)["relevance"]
            array = target.array if isinstance(target, targets.Mask) else None
        if array is None:
            weights = target.weights(self.functions.logits(*inputs))
        else:
            weights = tf.cast(array, images.dtype)
            each = tf.concat([tf.shape(images)[:1], tf.shape(weights)[1:]], 0)
            weights = tf.ensure_shape(tf.broadcast_to(weights, each), (None, *weights.shape[1:]))
        kind = "given" if weights.shape[-1] == shape[-1] else "by pixel"
        return self.functions.get(kind).call(*inputs, weights)["relevance"]

    def check_target(self, target: Any) -> None:
        """Checks that `relevance` can explain a target, before anything is computed.

        Args:
            target: As of `relevance`.

        Raises:
            KerasganError: A target that does not fit the logits, that needs true masks, or that
                cannot be used in a `tf.function`.

        Example:
            >>> import kerasgan as kg
            >>> explainer = kg.Explainer(kg.models.unet(size=32, filters=2, levels=2))
            >>> explainer.check_target(kg.targets.Pixel(31, 31))
        """
        if not tf.is_tensor(target):
            shape = self.functions.logits_shape(self.functions.inputs[0].shape)
            target = targets.get(target).prepare(shape)
            if not target.traceable:
                raise invalid("target", "one that can be used in a tf.function", target)

    def check(self, images: Any = None, tolerance: float = LEAK, **explain: Any) -> pd.DataFrame:
        """Checks that no relevance is lost unseen in any layer.

        Args:
            images: What to explain; None for one random image, or as many as the model takes, and,
                unless a target is named, all of its pixels: nothing may be predicted in noise.
            tolerance: Largest remainder allowed, as a share of the layer's absolute relevance.
            **explain: Arguments of `explain`.

        Returns:
            The ledger, as a pandas table.

        Raises:
            KerasganError: A layer leaks: the first one on the way from the logits is named. Or
                the method keeps no ledger (gradients, iNNvestigate's own analyzers).
        """
        if images is None:
            drawn = random_images(self.functions.inputs)
            images = drawn if len(drawn) > 1 else drawn[0]
            logits = self.functions.logits_shape(drawn[0].shape)
            explain.setdefault("target", np.ones((1, *logits[1:-1], 1), "float32"))
        ledger = self.explain(images, layers=(), **explain).ledger
        if not len(ledger) or ledger["remainder"].isna().any():
            raise KerasganError(
                f"{self.method!r} keeps no complete ledger, so there is nothing to check. Use a "
                "rule of kerasgan.explain"
            )
        leaks = ledger[ledger["remainder"].abs() > tolerance * ledger["absolute"] + 1e-30]
        if len(leaks):
            worst = leaks.iloc[0]
            raise KerasganError(
                f"Relevance leaks in layer '{worst['layer']}' ({worst['kind']}): of "
                f"{worst['relevance_in']:.6g} in, {worst['remainder']:.3g} is unaccounted for, in "
                f"image {worst['image']}. Layers that leak: {leaks['layer'].nunique()}"
            )
        return ledger

    def export(self, path: str, target: targets.TargetLike = "prediction") -> None:
        """Saves the explainer as a SavedModel; see `export_explainer`.

        Args:
            path: Folder to write; it must not exist.
            target: As of `explain`; one without arrays.
        """
        export_explainer(self, path, target)

    def batches(self, *inputs: np.ndarray) -> Iterator[tuple[int, int, list[tf.Tensor]]]:
        """Cuts images into batches that fit into memory, ready for the network.

        Args:
            *inputs: An array for each input of the model, as `explain` takes them.

        Yields:
            Number of the first image, number after the last, and the model's inputs.
        """
        step = self._images_at_once(inputs[0])
        specs = self.functions.inputs
        usual = self.preprocess.name == "[-1,1]"
        source = "Argument 'images' has" if usual else "preprocess returned"
        for first in range(0, len(inputs[0]), step):
            batch = [array[first : first + step] for array in inputs]
            batch[0] = self.preprocess(batch[0])
            batch = [tf.cast(array, spec.dtype) for array, spec in zip(batch, specs)]
            for array, spec in zip(batch, specs):
                if not spec.shape.is_compatible_with(array.shape):
                    raise _misfit(spec, source, array.shape)
                broken = first + not_finite(array)
                if len(broken):
                    raise KerasganError(
                        f"{source} NaN, infinity or values beyond {self.graph.dtype}, in images "
                        f"{broken.tolist()}"
                    )
            yield first, first + len(batch[0]), batch

    def _checked(self, images: Any) -> list[np.ndarray]:
        """Returns what the model is given, an array for each of its inputs, the image first."""
        names = self.graph.image_names
        given = [images]
        if len(names) > 1:
            if isinstance(images, Mapping) and set(images) == set(names):
                images = [images[name] for name in names]
            if not isinstance(images, (list, tuple)) or len(images) != len(names):
                raise KerasganError(
                    f"Argument 'images' must be a list of {len(names)} arrays, one for each of the "
                    f"model's inputs {names}, or a dict by these names. Received: "
                    f"{type(images).__name__}"
                )
            given = list(images)
        arrays = [check_images(array) for array in given]
        for array, spec in zip(arrays, self.functions.inputs):
            rank = spec.shape.rank
            if array.dtype.kind not in "buif" or array.ndim != rank or not len(array):
                axes = "(batch, height, width, channels)" if rank == 4 else f"with {rank} axes"
                raise KerasganError(
                    f"Argument 'images' must hold numbers, {axes}, at least one image"
                    f"{'; pass image[None] for a single one' * (array.ndim == rank - 1)}. "
                    f"Received: {array.dtype} values of shape {array.shape}"
                )
            if len(array) != len(arrays[0]):
                raise KerasganError(
                    "Argument 'images' must hold as many of each input. Received: shapes "
                    f"{[array.shape for array in arrays]}"
                )
            broken = not_finite(array).tolist()
            if broken:
                raise KerasganError(f"Argument 'images' holds NaN or infinity, in images {broken}")
        fixed = self.functions.inputs[0].shape[0]
        if fixed and len(arrays[0]) % fixed:
            raise KerasganError(
                f"'{self.model.name}' takes {fixed} images at a time, as its input was made with "
                f"batch_size={fixed}. Received: {len(arrays[0])}; give a multiple of {fixed}, or "
                "build the model without batch_size"
            )
        check_range(arrays[0], self.preprocess, self.model)
        return arrays

    def _images_at_once(self, images: np.ndarray) -> int:
        """Returns how many images to run at once."""
        fixed = self.functions.inputs[0].shape[0]
        return fixed or self.batch_size or max(1, int(MEMORY / self._bytes_per_image(images)))

    def _bytes_per_image(self, images: np.ndarray) -> int:
        """Estimates what a forward and backward pass takes: every activation, three times."""
        pixels = math.prod(images.shape[1:3])
        sizes = []
        for node in self.graph.nodes:
            shape = self.graph.shape(node.output)
            sizes.append(math.prod(size or math.isqrt(pixels) for size in shape[1:]))
        return 3 * sum(sizes) * self.functions.inputs[0].dtype.size

    def _parts(self, inputs: Sequence[np.ndarray], names: Mapping[str, str]) -> dict[str, str]:
        """Says where in the network layers lie, by their names."""
        key = tuple(array.shape[1:] for array in inputs)
        if key not in self._described:
            with tf.init_scope():
                self._described[key] = describe_nodes(self.graph, key)
        parts = self._described[key]
        return {name: parts[own] for name, own in names.items() if own in parts}

    def _layers_to_keep(self, layers: Sequence[str] | None, images: np.ndarray) -> tuple | None:
        if layers is not None:
            layers = [layers] if isinstance(layers, str) else layers
            return tuple(sorted({self._node_name(name) for name in layers}))
        if self._bytes_per_image(images) * len(images) / 3 < MEMORY:
            return None
        warn(
            f"Relevance at layers is not kept: for {len(images)} images it would take over 1 GiB. "
            "Name the layers to keep: explain(..., layers=['...'])"
        )
        return ()

    def _channel_masks(self, through: Mapping[str, Sequence[int]]) -> dict[str, tf.Tensor]:
        """Turns channels by layer into ones and zeros, the layer nearest the logits first."""
        if not isinstance(through, Mapping):
            expected = "a dict from layers to channels, such as {'down_3': [0, 5]}"
            raise invalid("through", expected, through)
        masks: dict[str, tf.Tensor] = {}
        for given, channels in through.items():
            name = self._node_name(given)
            count = self.graph.shape(self.graph.node(name).output)[-1]
            ones = channel_mask(channels, count, given)
            masks[name] = tf.constant(ones, self.graph.dtype)
        order = [node.name for node in self.graph.nodes]
        return {name: masks[name] for name in sorted(masks, key=order.index, reverse=True)}

    def _node_name(self, name: str) -> str:
        """Finds the node that stands for a layer."""
        known = self._node_names()
        return known[find_layer(name, known)]

    def _node_names(self) -> dict[str, str]:
        """Returns names of nodes by every name that a layer may be called by."""
        return {**{node.name: node.name for node in self.graph.nodes}, **self.graph.names}


WHOLE = "images of any size: kg.explain.MergedExplainer(model)"


def _misfit(spec: tf.TensorSpec, source: str, shape: Sequence[int]) -> KerasganError:
    """Returns the error of images of another shape than the model's."""
    expected, shape = tuple(spec.shape[1:]), tuple(shape[1:])
    advice = ""
    if len(expected) == len(shape) == 3:
        *sides, channels = expected
        if channels in (1, 3) and channels != shape[-1]:
            advice = f". Load them so: load_folder(..., channels={channels})"
        elif None not in sides and sides != list(shape[:2]):
            size = sides[0] if sides[0] == sides[1] else tuple(sides)
            advice = f". Images of that size: samples.batches(8, size={size}); {WHOLE}"
    return KerasganError(f"The model takes images of shape {expected}. {source} {shape}{advice}")
