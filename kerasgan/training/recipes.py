"""Complete settings of a run, by name."""

from __future__ import annotations

import dataclasses
import json
import pathlib

import keras

from kerasgan.errors import KerasganError, unknown_name
from kerasgan.models.blocks import check_counts, check_power_of_two
from kerasgan.models.discriminators import patch_discriminator
from kerasgan.models.generators import pix2pix_generator
from kerasgan.training.gan import SegmentationGAN

__all__ = ["Recipe", "build", "get", "names"]

LOSSES = ("l1", "cross_entropy", "dice")


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Everything needed to build a run again: networks, losses, optimizers, data settings.

    Args:
        name: of the recipe this one is, or began as.
        size: height and width in pixels, a power of two from 32 up.
        channels: channels of the image.
        classes: 1 for a foreground channel, n > 1 for n exclusive classes.
        filters: channels behind the first convolution of both networks.
        learning_rate: Adam's, for both networks.
        beta_1: Adam's.
        l1: weight of the L1 loss.
        cross_entropy: weight of the cross-entropy, which still pulls where tanh has saturated.
        dice: weight of the Dice loss, which keeps small objects from being drawn as nothing.
        adversarial_weight: weight of the adversarial loss; 0 trains the generator alone.
        augment: whether training images are augmented.
        batch_size: images a step.
        epochs: passes over the training images.
        seed: of start values, shuffling, augmentation and dropout.

    Raises:
        KerasganError: if a setting is out of range.

    Example:
        >>> import kerasgan as kg
        >>> kg.recipes.Recipe(name="mine", learning_rate=1e-4).batch_size
        8
    """

    name: str
    size: int = 512
    channels: int = 3
    classes: int = 1
    filters: int = 64
    learning_rate: float = 2e-4
    beta_1: float = 0.5
    l1: float = 100.0
    cross_entropy: float = 0.0
    dice: float = 0.0
    adversarial_weight: float = 1.0
    augment: bool = True
    batch_size: int = 8
    epochs: int = 10
    seed: int = 0

    def __post_init__(self):
        check_power_of_two(self.size)
        for name in ("channels", "classes", "filters", "batch_size", "epochs"):
            check_counts(**{name: getattr(self, name)})
        for name in ("learning_rate", "beta_1", *LOSSES, "adversarial_weight"):
            value = getattr(self, name)
            if not isinstance(value, (int, float)) or not 0 <= value < float("inf"):
                raise KerasganError(
                    f"Argument '{name}' must be a number from 0 up. Received: {value!r}"
                )

    def build(self) -> SegmentationGAN:
        """Build and compile the GAN.

        Returns:
            A `SegmentationGAN` whose `recipe` holds these settings.

        Example:
            >>> import kerasgan as kg
            >>> kg.recipes.get("pix2pix", size=32, filters=2).build().generator.name
            'pix2pix_generator'
        """
        shape = {"size": self.size, "channels": self.channels, "classes": self.classes}
        settings = {**shape, "filters": self.filters, "seed": self.seed}
        generator = pix2pix_generator(**settings)
        discriminator = patch_discriminator(**settings) if self.adversarial_weight else None
        gan = SegmentationGAN(generator, discriminator)
        gan.compile(
            keras.optimizers.Adam(self.learning_rate, beta_1=self.beta_1),
            keras.optimizers.Adam(self.learning_rate, beta_1=self.beta_1),
            losses={name: getattr(self, name) for name in LOSSES if getattr(self, name)},
            adversarial_weight=self.adversarial_weight,
        )
        gan.recipe = dataclasses.asdict(self)
        return gan

    def save(self, path) -> None:
        """Write the recipe as JSON.

        Args:
            path: the file; replaced if it exists.
        """
        text = json.dumps(dataclasses.asdict(self), indent=2) + "\n"
        pathlib.Path(path).write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, path) -> Recipe:
        """Read a recipe from JSON.

        Args:
            path: the file.

        Returns:
            The recipe.

        Raises:
            KerasganError: if the file is missing, is not JSON, or has unknown fields.
        """
        try:
            settings = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise KerasganError(f"Recipe '{path}' cannot be read: {error}") from error
        if not isinstance(settings, dict) or "name" not in settings:
            raise KerasganError(f"Recipe '{path}' must be a JSON object with a field 'name'")
        fields = [field.name for field in dataclasses.fields(cls)]
        for name in settings:
            if name not in fields:
                raise unknown_name(f"field of recipe {path}", name, fields)
        return cls(**settings)


RECIPES = {
    "paper": Recipe(name="paper", learning_rate=2e-3, augment=False),
    "pix2pix": Recipe(
        name="pix2pix", size=128, filters=32, cross_entropy=100.0, dice=100.0, epochs=50
    ),
}


def names() -> list[str]:
    """Return the names of the recipes.

    Returns:
        `"paper"`: the published code's networks and training settings (learning rate 2e-3, at which
        training may collapse; no augmentation; 10 epochs at 512 pixels), except that the mask has
        one channel rather than three equal ones. `"pix2pix"`: the same networks at 128 pixels with
        half the filters, learning rate 2e-4, augmentation and 50 epochs, and with cross-entropy
        and Dice beside the L1 loss.

    Example:
        >>> import kerasgan as kg
        >>> kg.recipes.names()
        ['paper', 'pix2pix']
    """
    return list(RECIPES)


def get(name: str, **changes) -> Recipe:
    """Return a recipe, with some of its settings changed.

    Args:
        name: one of `names()`.
        **changes: fields of `Recipe`.

    Returns:
        The recipe.

    Raises:
        KerasganError: if the name or a field is unknown.

    Example:
        >>> import kerasgan as kg
        >>> kg.recipes.get("pix2pix", size=256).size
        256
    """
    if name not in RECIPES:
        raise unknown_name("name", name, RECIPES)
    fields = [field.name for field in dataclasses.fields(Recipe)]
    for field in changes:
        if field not in fields:
            raise unknown_name("changes", field, fields)
    return dataclasses.replace(RECIPES[name], **changes)


def build(name: str, **changes) -> SegmentationGAN:
    """Build and compile the GAN of a recipe; short for `get(name, **changes).build()`.

    Args:
        name: one of `names()`.
        **changes: fields of `Recipe`, such as `size`, `classes`, `filters`, `seed`.

    Returns:
        A compiled `SegmentationGAN`.

    Raises:
        KerasganError: if the name or a field is unknown, or a setting out of range.

    Example:
        >>> import kerasgan as kg
        >>> gan = kg.recipes.build("pix2pix", size=32, filters=2, classes=3)
        >>> gan.generator.output_shape
        (None, 32, 32, 3)
    """
    return get(name, **changes).build()
