"""Whether maps depend on what they must depend on: the network's weights, and what is explained.

A map that stays the same when the weights are shuffled, or when another place is explained, shows
the image and not the network.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
import pandas as pd

from kerasgan.data import Samples
from kerasgan.errors import KerasganError
from kerasgan.evaluation.benchmark import ExplainedBatch, ExplanationBenchmark, rng_of
from kerasgan.evaluation.similarity import relative_change, similarities
from kerasgan.explain.methods import DEFAULT_RULE
from kerasgan.models import generator_of
from kerasgan.validation import check_choice

ORDERS = ("cascade", "alone")


def randomisation(
    model: Any,
    samples: Samples,
    rules: Any = DEFAULT_RULE,
    *,
    orders: Sequence[str] = ORDERS,
    **options: Any,
) -> pd.DataFrame:
    """Shuffle the network's weights layer by layer and measure how alike the maps remain.

    The values of each weight of a layer change places at random: their distribution stays, what was
    learned goes. The weights of the target stay those of the trained network. The model itself is
    not touched; a copy is. Where a map is constant (correlation) or zero (cosine), before or after,
    there is no value: NaN. A weight with one value, such as the bias of a single logit, cannot be
    shuffled and stays.

    Each stage explains every batch anew, by every rule: a call takes as long as explaining the
    images once for each layer and order.

    Args:
        model: Its layers must be made anew from their config (`clone_model`).
        samples: What to explain; masks are not needed.
        rules: One rule or method, or several.
        orders: "cascade", from the logits down, each layer on top of those before; "alone", each
            layer by itself, the others as trained; or both.
        **options: Further arguments of `ExplanationBenchmark`.

    Returns:
        A row for each image, method, stage and measure: `name`, `method`, `kind` ("rule" or
        "control"), `metric`, such as `rank correlation, cascade 3 of 7: up_2_conv`, `value`, and
        what that is made of: `measure` ("rank correlation", Spearman's, or "cosine", both of signed
        maps), `order`, `stage` (from 1, at the logits) and `layer`. `summarize_maps` takes means
        with bootstrap intervals, and keeps these four columns.

    Example:
        >>> import keras
        >>> import kerasgan as kg
        >>> samples = kg.data.synthetic.write_dataset("frames_1", count=2, size=32)
        >>> image = keras.Input((32, 32, 3))
        >>> model = keras.Model(image, keras.layers.Conv2D(1, 3, padding="same", name="a")(image))
        >>> options = {"target": kg.explain.targets.Pixel(9, 9), "controls": False}
        >>> table = randomisation(model, samples, orders=["cascade"], verbose=False, **options)
        >>> table["metric"].unique().tolist()
        ['rank correlation, cascade 1 of 1: a', 'cosine, cascade 1 of 1: a']

    Source: Adebayo et al. 2018 (arXiv 1810.03292), cascading and independent randomization.
    """
    orders = [orders] if isinstance(orders, str) else list(orders)
    for order in orders:
        check_choice("orders", order, ORDERS)
    benchmark = ExplanationBenchmark(model, samples, rules, **options)
    network = benchmark.explainer.model
    copy = keras.models.clone_model(network)
    copy.set_weights(network.get_weights())
    shuffled = ExplanationBenchmark(
        copy, samples, rules, **{**options, "preprocess": benchmark.preprocess}
    )
    layers = [layer for layer in _leaves(copy) if any(w.size > 1 for w in layer.get_weights())]
    if not layers:
        raise KerasganError(
            f"Argument 'model' must have weights to shuffle. '{network.name}' has none"
        )
    layers.reverse()
    trained = [layer.get_weights() for layer in layers]
    random = []
    for stage, weights in enumerate(trained):
        rng = np.random.default_rng([benchmark.seed, stage])
        random.append([rng.permutation(each.ravel()).reshape(each.shape) for each in weights])
    stages = {
        (order, stage): f"{order} {stage} of {len(layers)}: {layer.name}"
        for order in orders
        for stage, layer in enumerate(layers, 1)
    }

    def measure(batch: ExplainedBatch) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
        before = dict(benchmark.maps(batch))
        metrics: dict[str, dict[str, np.ndarray]] = {method: {} for method in before}
        for (order, stage), name in stages.items():
            for index, layer in enumerate(layers, 1):
                changed = index <= stage if order == "cascade" else index == stage
                layer.set_weights((random if changed else trained)[index - 1])
            for method, maps in shuffled.maps(batch):
                metrics[method].update(similarities(before[method], maps, f", {name}"))
        yield from metrics.items()

    names = [layer.name for layer in layers]
    facts = {"measure": "randomisation", "orders": orders, "layers": names}
    table = benchmark.table(measure, facts=facts)
    parts = {
        f"{what}, {name}": (what, order, stage, names[stage - 1])
        for (order, stage), name in stages.items()
        for what in ("rank correlation", "cosine")
    }
    for index, column in enumerate(("measure", "order", "stage", "layer")):
        table[column] = [parts[metric][index] for metric in table["metric"]]
    return table


def random_logit(
    model: Any,
    samples: Samples,
    rules: Any = DEFAULT_RULE,
    **options: Any,
) -> pd.DataFrame:
    """Explain something else of the same image and measure how alike the maps remain.

    The target is moved to another place, round the edges of the frame, by a quarter to three
    quarters of its height and width: a target of the same shape and size at random pixels. Where
    the network has several classes, another target is left in place and asks for another class at
    each pixel, the same step further for all. A map that shows the image whatever is explained
    remains as it is; one that shows the target alone moves with it.

    Metrics: `rank correlation` (Spearman's) and `cosine`, of signed maps, each `, other place` and
    `, other class`. NaN where the target is empty or equals the moved one (it fills the frame), and
    where a map is constant (correlation) or zero (cosine).

    Args:
        model: A network from image to mask.
        samples: What to explain; masks are not needed.
        rules: One rule or method, or several.
        **options: Further arguments of `ExplanationBenchmark`.

    Returns:
        As of `ExplanationBenchmark.table`.

    Example:
        >>> import kerasgan as kg
        >>> samples = kg.data.synthetic.write_dataset("frames_2", count=2, size=32)
        >>> model = kg.models.unet(size=32, filters=2, levels=2)
        >>> pixel = kg.targets.Pixel(9, 9)
        >>> table = random_logit(model, samples, target=pixel, controls=False, verbose=False)
        >>> table["metric"].unique().tolist()
        ['rank correlation, other place', 'cosine, other place']

    Source: Random logit test, Sixt, Granz and Landgraf 2020 (arXiv 1912.09818), which asks for
    another class of a classifier; another place is the like of it for a mask.
    """
    benchmark = ExplanationBenchmark(model, samples, rules, **options)

    def measure(batch: ExplainedBatch) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
        before = dict(benchmark.maps(batch))
        metrics: dict[str, dict[str, np.ndarray]] = {method: {} for method in before}
        for name, weights in _other_targets(batch, benchmark.seed).items():
            same = np.all(weights == batch.weights, (1, 2, 3))
            for method, maps in benchmark.maps(dataclasses.replace(batch, weights=weights)):
                values = similarities(before[method], maps, f", {name}")
                metrics[method].update((m, np.where(same, np.nan, v)) for m, v in values.items())
        yield from metrics.items()

    facts = {"measure": "random logit"}
    return benchmark.table(measure, facts=facts)


def compare_models(
    model: Any,
    other: Any,
    samples: Samples,
    rules: Any = DEFAULT_RULE,
    **options: Any,
) -> pd.DataFrame:
    """Measure how alike the maps of two networks are, for the same target.

    With a network trained on masks that were dealt out to the wrong images, `other` makes this the
    data randomisation test: maps that remain alike do not show what was learned. With the same
    training from another seed it says how far maps can be trusted to repeat.

    Metrics, for every image, rule and control: `rank correlation` (Spearman's) and `cosine`, of
    signed maps, and `change` (`relative_change`, of the first network's map). NaN where a map is
    constant (correlation) or zero (cosine, and change where the first is).

    Args:
        model: The weights of the target are made of its prediction, for both.
        other: Another network from images to masks of the same shape.
        samples: What to explain; masks are not needed.
        rules: One rule or method, or several.
        **options: Further arguments of `ExplanationBenchmark`.

    Returns:
        As of `ExplanationBenchmark.table`.

    Example:
        >>> import kerasgan as kg
        >>> samples = kg.data.synthetic.write_dataset("frames_3", count=2, size=32)
        >>> model = kg.models.unet(size=32, filters=2, levels=2)
        >>> pixel = kg.targets.Pixel(9, 9)
        >>> table = compare_models(
        ...     model, model, samples, target=pixel, controls=False, verbose=False
        ... )
        >>> table.query("metric == 'change'")["value"].tolist()
        [0.0, 0.0]

    Source: Adebayo et al. 2018 (arXiv 1810.03292), data randomization test.
    """
    shapes = [(net.input_shape, net.output_shape) for net in map(generator_of, (model, other))]
    if shapes[0] != shapes[1]:
        raise KerasganError(
            "Argument 'other' must take images and give masks of the shapes of 'model', "
            f"{shapes[0]}. Received: {shapes[1]}"
        )
    benchmark = ExplanationBenchmark(model, samples, rules, **options)
    against = ExplanationBenchmark(other, samples, rules, **options)

    def measure(batch: ExplainedBatch) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
        for (method, maps), (_, others) in zip(benchmark.maps(batch), against.maps(batch)):
            yield method, {**similarities(maps, others), "change": relative_change(maps, others)}

    facts = {"measure": "models", "other": against.explainer.model}
    return benchmark.table(measure, facts=facts)


def _other_targets(batch: ExplainedBatch, seed: int) -> dict[str, np.ndarray]:
    moved, asked = np.empty_like(batch.weights), np.empty_like(batch.weights)
    height, width, classes = batch.weights.shape[1:]
    for index, (name, weights) in enumerate(zip(batch.names, batch.weights)):
        rng = rng_of(name, seed)
        step = [rng.integers(-(-side // 4), 3 * side // 4 + 1) for side in (height, width)]
        moved[index] = np.roll(weights, step, (0, 1))
        asked[index] = np.roll(weights, rng.integers(1, max(classes, 2)), -1)
    return {"other place": moved, **({"other class": asked} if classes > 1 else {})}


def _leaves(model: keras.Model) -> Iterator[keras.layers.Layer]:
    """The layers of a network in order, those of networks inside it among them."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _leaves(layer)
        else:
            yield layer
