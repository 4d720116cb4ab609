"""Names the nodes of a graph, and says which of them come first and last."""

from __future__ import annotations

import math
from collections.abc import Sequence

import tensorflow as tf

from kerasgan.explain.graph import Graph, Node, image_inputs
from kerasgan.explain.patterns import Patterns
from kerasgan.models.trace import Value, layers_in


def name_nodes(steps: Patterns) -> None:
    """Gives every node a name of its own: its layer's, if there is only one to bear it."""
    graph = steps.graph
    calls: dict[str, list[Node]] = {}
    for node in graph.nodes:
        step = node.main
        calls.setdefault(steps.call_of(step), []).append(node)
        node.layer = steps.layer_at(step.path)
    short: dict[str, int] = {}
    for path in {step.path for step in graph.steps}:
        name = _own_name(steps, path)
        short[name] = short.get(name, 0) + 1
    taken: set[str] = set()
    for call, nodes in calls.items():
        path = nodes[0].main.path
        name = _own_name(steps, path)
        base = name + call[len(path) :] if short.get(name, 0) == 1 else call
        weighted = [node for node in nodes if node.kind == "weighted"]
        bearer = (weighted or nodes)[-1]
        for node in nodes:
            kind = node.main.kind
            if node.kind == "affine":
                kind = "affine"
            elif node.kind == "passed" and len(node.steps) > 1:
                kind = "activation"
            plain = node is bearer and bool(base)
            name = base if plain else f"{base}/{kind}" if base else kind
            count, full = 2, name
            while full in taken:
                full, count = f"{name}_{count}", count + 1
            taken.add(full)
            node.name = full
            own = plain and node.layer is not None
            node.type = type(node.layer).__name__ if own else kind
    _name_layers(steps)


def _own_name(steps: Patterns, path: str) -> str:
    """The name of the layer of a path, without those around it."""
    layer = steps.layer_at(path)
    return "" if layer is None else layer.name


def _name_layers(steps: Patterns) -> None:
    """Says for each layer which node stands for its output."""
    graph = steps.graph
    makers = {(node.output.step.name, node.output.output): node for node in graph.nodes}
    within = {step.name: node for node in graph.nodes for step in node.steps}
    kept = {step.name for step in graph.steps}
    for path, value in graph.trace.placed.items():
        while value.step.name not in kept and len(image_inputs(value.step)) == 1:
            (value,) = steps.inside(value.step)  # it was taken off with the last activation
        maker = makers.get((value.step.name, value.output)) or within.get(value.step.name)
        if maker is not None and value.step in (*maker.ahead, *maker.before):
            source = maker.inputs[0]
            maker = makers.get((source.step.name, source.output))
        if maker is not None:
            for name in (_own_name(steps, path), path):
                graph.names.setdefault(name, maker.name)
    operations = graph.trace.graph.get_operations()
    named = {path for op in operations for path, _ in layers_in(op.name, steps.layers)}
    outputs = {id(getattr(layer, "output", None)): layer.name for layer in steps.network.layers}
    for layer in steps.network.layers:  # of those that compute nothing, what they are called on
        before = outputs.get(id(getattr(layer, "input", None)))
        if layer.name not in named and before in graph.names:
            graph.names.setdefault(layer.name, graph.names[before])


def find_ends(steps: Patterns) -> None:
    """Says which nodes see the pixels themselves, and which no weights follow.

    And which scale and shift belong to a normalization by its own statistic.
    """
    graph = steps.graph
    makers = {node.output: node for node in graph.nodes}
    pixels = {value for value in graph.images if value is not None}
    scaled: dict[Value, Value] = {}
    for node in graph.nodes:
        node.rank = len(steps.shape(node.inputs[0]))
        scale = scaled.get(node.inputs[0])
        if node.kind in ("centred", "normalised"):
            scale = node.output
        elif node.kind == "gate" and node.held and all(map(steps.is_statistic, node.held)):
            scale = node.held[0]
        elif node.kind == "affine" and scale is not None:
            node.held = [scale]
        if scale is not None and node.kind in (
            "affine",
            "centred",
            "gate",
            "normalised",
            "routed",
        ):
            scaled[node.output] = scale
        node.first = all(value in pixels for value in node.inputs)
        if node.kind in ("affine", "routed") and node.first:
            pixels.add(node.output)
    followed: set[Node] = set()
    for node in reversed(graph.nodes):
        node.last = node not in followed
        if node in followed or node.kind == "weighted":
            followed.update(makers[value] for value in node.inputs if value in makers)


def describe_nodes(graph: Graph, inputs: Sequence[tuple[int, ...]]) -> dict[str, str]:
    """Says where in the network each node with a map lies, such as "encoder 1/4".

    `inputs` are the shapes of one image, and of what else the network takes. The fraction is the
    resolution relative to the image. What the smallest maps are computed from is the encoder, they
    themselves are the bottleneck, and the rest is the decoder. The mean over a whole image is no
    map. A network of one resolution has no such parts: its nodes are "layer 1/1".
    """
    size, shapes = inputs[0][:2], {node.output: graph.shape(node.output) for node in graph.nodes}
    if any(None in spec.shape[1:] for spec in graph.image_specs):
        shapes = graph.shapes_for([(1, *shape) for shape in inputs])
    makers = {node.output: node for node in graph.nodes}
    before = {node: [makers[v] for v in node.inputs if v in makers] for node in graph.nodes}
    maps: dict[Node, tuple[int, int]] = {}
    averaged: set[Node] = set()
    for node in graph.nodes:
        if node.main.attributes["data_format"].s == b"NCHW":
            return {}
        shape = shapes.get(node.output, tf.TensorShape(None))
        sides = tuple(shape[1:3]) if shape.rank == 4 else (None,)
        if shape.rank == 2:
            averaged.add(node)
        elif None not in sides and node.output not in graph.batch_axes:
            mean = node.main.kind == "Mean" or any(other in averaged for other in before[node])
            if sides == (1, 1) and mean:
                averaged.add(node)
            else:
                maps[node] = sides
    smallest = min(maps.values(), key=math.prod, default=size)
    ahead = {node for node, sides in maps.items() if sides == smallest}
    for node in reversed(graph.nodes):
        if node in ahead:
            ahead.update(before[node])
    middle = "layer" if smallest == size else "bottleneck"
    parts = {}
    for node, sides in maps.items():
        part = middle if sides == smallest else "encoder" if node in ahead else "decoder"
        parts[node.name] = f"{part} {_scale(size, sides)}"
    return parts


def _scale(image: tuple[int, int], sides: tuple[int, int]) -> str:
    """The resolution relative to the image; height and width apart where they differ."""
    texts = [
        f"1/{round(whole / part)}" if part <= whole else f"{round(part / whole)}/1"
        for whole, part in zip(image, sides)
    ]
    return texts[0] if texts[0] == texts[1] else " × ".join(texts)
