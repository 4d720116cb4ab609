"""Explains a discriminator: which pixels made it take a mask for one drawn by a person.

A discriminator has two inputs. Here they are joined into one, channel by channel, so that an
`Explainer` can explain the network; then relevance is split again.
"""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import keras
import numpy as np
from matplotlib.figure import Figure

from kerasgan.errors import KerasganError
from kerasgan.explain.draw import (
    ROWS,
    colour_bar,
    limit_of,
    overlay,
    panels,
    show,
    to_picture,
    write_figure,
)
from kerasgan.explain.explainer import Explainer, Gates
from kerasgan.explain.explanation import Explanation
from kerasgan.explain.methods import DEFAULT_RULE, RuleLike
from kerasgan.explain.targets import TargetLike
from kerasgan.models import final_activation, generator_of
from kerasgan.models.outputs import to_probability, to_signed_mask
from kerasgan.validation import check_images


class DiscriminatorExplanation(NamedTuple):
    """Why a discriminator judged as it did, made by `DiscriminatorExplainer.explain`.

    Attributes:
        explanation: Of the joined network: logits of the patches, ledger, relevance at layers.
            Its images are images and drawings, joined channel by channel.
        channels: How many of these channels are the image's.

    Example:
        >>> e.image_relevance.sum(), e.mask_relevance.sum()  # doctest: +SKIP
        >>> e.plot("discriminator.png")  # doctest: +SKIP
    """

    explanation: Explanation
    channels: int

    @property
    def image_relevance(self) -> np.ndarray:
        """Relevance of the image's pixels, float32 (batch, height, width, channels)."""
        return self.explanation.relevance[..., : self.channels]

    @property
    def mask_relevance(self) -> np.ndarray:
        """Relevance of the mask's pixels, float32 (batch, height, width, classes)."""
        return self.explanation.relevance[..., self.channels :]

    @property
    def logits(self) -> np.ndarray:
        """Of "drawn by a person", patch by patch, float32 (batch, height, width, 1)."""
        return self.explanation.logits

    def plot(self, path: str | os.PathLike | None = None) -> Figure:
        """Draws image, mask, the relevance of each over it, and the judgement of each patch.

        Relevance of images and masks is drawn on one scale, so that they can be compared. Patches
        are red where the mask was taken for drawn, blue where for generated, on a scale of their
        own.

        Args:
            path: Of the picture to write; None to only return the figure.

        Returns:
            The figure, a row for each of the first 8 images.
        """
        rows = min(len(self.explanation), ROWS)
        figure, axes = panels(rows, 5, (2.1 * 5 + 0.7, 2.1 * rows + 0.45))
        maps = [part[:rows].sum(-1) for part in (self.image_relevance, self.mask_relevance)]
        patches = self.logits[:rows, ..., 0]
        shared, own = limit_of(*maps), limit_of(patches)
        for row in range(rows):
            image, drawing = np.split(self.explanation.images[row], [self.channels], -1)
            drawing = drawing if drawing.shape[-1] == 1 else -drawing[..., :1]
            image, outline = to_picture(image), drawing[..., 0] > 0
            mask = to_picture(drawing)
            show(axes[row, 0], "image", image, row, outline=outline)
            show(axes[row, 1], "mask", mask, row)
            for axis, title, picture, relevance, limit in (
                (axes[row, 2], "relevance of the image", image, maps[0][row], shared),
                (axes[row, 3], "relevance of the mask", mask, maps[1][row], shared),
                (axes[row, 4], "patches taken for drawn", image, patches[row], own),
            ):
                over = overlay(picture, relevance, limit)
                show(axis, title, over, row, outline=outline, heat=True)
        colour_bar(figure, axes, "one scale for relevance, one for patches")
        return write_figure(figure, path)


class DiscriminatorExplainer:
    """Explains the judgements of a discriminator.

    Args:
        model: A discriminator, a functional `keras.Model` [image, mask in [-1, 1]] -> logits of
            "drawn by a person" (of patches, or one for the whole), or a `SegmentationGAN`.
        rule: As of `Explainer`.
        batch_size: As of `Explainer`.
        gates: As of `Explainer`.

    Attributes:
        explainer: The `Explainer` of the joined network, one image of all channels.

    Example:
        >>> import numpy as np
        >>> import kerasgan as kg
        >>> gan = kg.recipes.build("pix2pix", size=32, filters=2)
        >>> explainer = kg.explain.DiscriminatorExplainer(gan)
        >>> images = np.random.uniform(-1, 1, (2, 32, 32, 3))
        >>> e = explainer.explain(images, target=np.ones((2, 2)))
        >>> e.image_relevance.shape, e.mask_relevance.shape
        ((2, 32, 32, 3), (2, 32, 32, 1))
    """

    def __init__(
        self,
        model: keras.Model,
        rule: RuleLike = DEFAULT_RULE,
        batch_size: int | None = None,
        gates: Gates | None = None,
    ):
        discriminator = getattr(model, "discriminator", model)
        _check(discriminator)
        self.generator = generator_of(model) if hasattr(model, "generator") else None
        self.channels, self.classes = (tensor.shape[-1] for tensor in discriminator.inputs)
        self.explainer = Explainer(_joined(discriminator), rule, "[-1,1]", batch_size, gates)

    def explain(
        self,
        images: Any,
        masks: Any = None,
        target: TargetLike = "prediction",
        **options: Any,
    ) -> DiscriminatorExplanation:
        """Explains what a discriminator says of masks.

        Args:
            images: (batch, height, width, channels) in [-1, 1].
            masks: (batch, height, width, classes), or (batch, height, width) for one class: {0, 1},
                or probabilities. None for what the generator of the GAN makes of the images.
            target: As of `Explainer.explain`. "prediction" explains the patches that it takes for
                drawn by a person; `targets.Class(0)` those that it takes for generated; an array of
                ones all of them.
            **options: `layers` and `through` of `Explainer.explain`.

        Returns:
            The judgement, with the relevance of image and mask.
        """
        pairs = self.join(images, masks)
        return DiscriminatorExplanation(
            self.explainer.explain(pairs, target, **options), self.channels
        )

    def join(self, images: Any, masks: Any = None) -> np.ndarray:
        """Joins images and masks into what `explainer` takes.

        Args:
            images: As of `explain`.
            masks: As of `explain`.

        Returns:
            float32 (batch, height, width, channels + classes); masks are in [-1, 1].
        """
        images = check_images(images)
        if masks is None:
            masks = self._generated(images)
        masks = np.asarray(masks)
        if masks.ndim == 3 and self.classes == 1:
            masks = masks[..., None]
        if masks.dtype.kind not in "buif" or masks.shape != (*images.shape[:3], self.classes):
            raise KerasganError(
                f"Argument 'masks' must be numbers of shape {(*images.shape[:3], self.classes)}, "
                f"as the images are. Received: {masks.dtype} values of shape {masks.shape}"
            )
        if not (masks.min(initial=0) >= 0 and masks.max(initial=0) <= 1):
            raise KerasganError(
                "Argument 'masks' must lie in [0, 1]. Received: values from "
                f"{masks.min():g} to {masks.max():g}"
            )
        drawings = to_signed_mask(masks.astype("float32"))
        return np.concatenate([images.astype("float32"), drawings], -1)

    def _generated(self, images: np.ndarray) -> np.ndarray:
        if self.generator is None:
            raise KerasganError(
                "Argument 'masks' may only be left out for a model with a generator. Received: "
                "None, for a discriminator alone"
            )
        output = self.generator.predict(images, batch_size=8, verbose=0)
        return np.asarray(to_probability(output, final_activation(self.generator)))


def _check(discriminator: Any) -> None:
    if not isinstance(discriminator, keras.Model):
        raise KerasganError(
            "Argument 'model' must be a discriminator, a functional keras.Model of image and mask, "
            f"or a SegmentationGAN that has one. Received: {type(discriminator).__name__}"
        )
    inputs = getattr(discriminator, "inputs", None) or []
    shapes = [tuple(tensor.shape) for tensor in inputs]
    sizes = [shape[1:3] for shape in shapes if len(shape) == 4]
    if len(shapes) != 2 or len(sizes) != 2 or sizes[0] != sizes[1]:
        raise KerasganError(
            "Argument 'model' must have two inputs of one size, image and mask. Received: "
            f"'{discriminator.name}' with inputs of shape {shapes}"
        )
    if len(discriminator.outputs) != 1 or len(discriminator.outputs[0].shape) not in (2, 4):
        raise KerasganError(
            "Argument 'model' must have one output, logits of patches or of the whole. Received: "
            f"'{discriminator.name}' with outputs of shape {discriminator.output_shape}"
        )


def _joined(discriminator: keras.Model) -> keras.Model:
    """Builds the same network with one input, image and mask joined channel by channel."""
    image, mask = discriminator.inputs
    channels = image.shape[-1]
    pair = keras.Input((*image.shape[1:3], channels + mask.shape[-1]), name="pair_input")
    output = discriminator(
        [
            keras.layers.Lambda(lambda both: both[..., :channels], name="image")(pair),
            keras.layers.Lambda(lambda both: both[..., channels:], name="mask")(pair),
        ]
    )
    if len(output.shape) == 2:
        output = keras.layers.Reshape((1, 1, output.shape[-1]), name="whole")(output)
    return keras.Model(pair, output, name=f"{discriminator.name}_joined")
