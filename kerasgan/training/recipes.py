"""Complete settings of a run, by name."""

from __future__ import annotations

import dataclasses
import inspect
import json
import math
import os
from typing import Any

import keras

from kerasgan import models
from kerasgan.data.augment import Augmentation, from_fields
from kerasgan.data.resize import MODES
from kerasgan.data.windows import check_windows
from kerasgan.errors import KerasganError, unknown_name
from kerasgan.models.blocks import check_multiple, check_power_of_two
from kerasgan.models.encoders import ENCODERS
from kerasgan.models.framing import set_framing
from kerasgan.storage import write_file
from kerasgan.text import read_text
from kerasgan.training.adversarial import check_adversarial
from kerasgan.training.checks import check_settings
from kerasgan.training.gan import SegmentationGAN
from kerasgan.training.losses import SEGMENTATION
from kerasgan.training.unlabelled import named_weights
from kerasgan.validation import (
    MOST_SEED,
    check_choice,
    check_number,
    check_whole_number,
    invalid,
)

__all__ = ["Recipe", "build", "get", "names"]

LOSSES = tuple(SEGMENTATION)
GENERATORS = (
    "pix2pix_generator",
    "unet",
    "residual_unet",
    "attention_unet",
    "nested_unet",
    "encoder_unet",
    "segformer",
    "convnext_unet",
)
DISCRIMINATORS = (
    "patch_discriminator",
    "pixel_discriminator",
    "mask_discriminator",
    "image_discriminator",
    "feature_critic",
)
ENCODING = ("encoder", "weights", "frozen_stages")
KINDS: dict[str, Any] = {
    "bool": bool,
    "dict": dict,
    "float": (int, float),
    "int": int,
    "None": type(None),
    "str": str,
}
FROM_ZERO = ("seed", "discriminator_warmup", "frozen_stages", "unlabelled_rampup")
MOST = {
    "size": 8192,
    "channels": 1024,
    "classes": 255,
    "filters": 4096,
    "discriminator_filters": 4096,
    "seed": MOST_SEED,
}


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Everything needed to build a run again: networks, losses, optimizers, data settings.

    Args:
        name: of the recipe this one is, or began as.
        generator: name of a function of `kerasgan.models`, such as `"pix2pix_generator"`,
            `"unet"`, `"residual_unet"`.
        discriminator: likewise: `"patch_discriminator"`, `"pixel_discriminator"`,
            `"mask_discriminator"`, `"image_discriminator"`, `"feature_critic"`.
        encoder: of `encoder_unet`, such as `"efficientnet_lite0"`; None for other generators.
        weights: where the encoder begins, as for `encoder_unet`: `"imagenet"`, a file, or None.
        frozen_stages: how many of the encoder's stages keep these weights, as for `encoder_unet`.
        size: height and width in pixels, a power of two from 32 up; a multiple of 32 for
            `encoder_unet` without a discriminator.
        channels: channels of the image.
        classes: 1 for a foreground channel, n > 1 for n exclusive classes.
        filters: channels behind the generator's first convolution.
        discriminator_filters: likewise of the discriminator; None for as many as the generator.
        spectral_norm: whether the discriminator is held steady by spectral normalisation.
        learning_rate: of Adam, for the generator.
        discriminator_learning_rate: for the discriminator; None for the generator's.
        beta_1: Adam's, for both.
        weight_decay: AdamW's, for the generator; 0 for Adam.
        clip_norm: gradients longer than this are shortened, each network's as a whole; 0 for never.
        l1: weight of the L1 loss.
        cross_entropy: weight of the cross-entropy, which still pulls where tanh has saturated.
        dice: weight of the Dice loss, which keeps small objects from being drawn as nothing.
        jaccard: weight of the Jaccard loss.
        tversky: weight of the Tversky loss.
        focal: weight of the focal loss.
        boundary: weight of the boundary loss.
        adversarial: as for `SegmentationGAN.compile`, and so are the following.
        adversarial_weight: weight of the adversarial loss; 0 trains the generator alone.
        feature_matching: weight of the feature matching loss.
        gradient_penalty: weight of the gradient penalty.
        r1: weight of the R1 penalty.
        label_smoothing: taken from the label of true masks.
        discriminator_warmup: steps before the discriminator moves the generator.
        schedule: `"constant"` or `"cosine"`.
        warmup: share of the steps in which a cosine schedule rises.
        ema_momentum: of the moving average of the generator's weights; 0 for none.
        unlabelled_losses: weights of the losses on unlabelled images, by name; None for none.
        unlabelled_rampup: steps over which these weights rise.
        precision: `"float32"`, `"bfloat16"` or `"float16"`.
        sync_batch_norm: whether batch normalisation looks at the images of all devices.
        jit_compile: whether steps are compiled by XLA, on a single device.
        augment: whether training images are augmented, or how: fields of
            `kerasgan.data.Augmentation` by name.
        mode: how images are brought to the size, as for `samples.batches`: "stretch", "letterbox"
            or "window". The network expects them so from then on; `kerasgan.predict` knows.
        scale: of windows, as for `samples.batches`; None for 1.
        foreground: share of windows that hold foreground, as for `samples.batches`; None for 0.5.
        batch_size: images a step, of all devices together.
        epochs: passes over the training images.
        seed: of start values, shuffling, augmentation and dropout.

    Example:
        >>> import kerasgan as kg
        >>> kg.recipes.Recipe(name="mine", learning_rate=1e-4).batch_size
        8
    """

    name: str
    generator: str = "pix2pix_generator"
    discriminator: str = "patch_discriminator"
    encoder: str | None = None
    weights: str | None = None
    frozen_stages: int = 0
    size: int = 512
    channels: int = 3
    classes: int = 1
    filters: int = 64
    discriminator_filters: int | None = None
    spectral_norm: bool = False
    learning_rate: float = 2e-4
    discriminator_learning_rate: float | None = None
    beta_1: float = 0.5
    weight_decay: float = 0.0
    clip_norm: float = 0.0
    l1: float = 100.0
    cross_entropy: float = 0.0
    dice: float = 0.0
    jaccard: float = 0.0
    tversky: float = 0.0
    focal: float = 0.0
    boundary: float = 0.0
    adversarial: str = "vanilla"
    adversarial_weight: float = 1.0
    feature_matching: float = 0.0
    gradient_penalty: float = 0.0
    r1: float = 0.0
    label_smoothing: float = 0.0
    discriminator_warmup: int = 0
    schedule: str = "constant"
    warmup: float = 0.0
    ema_momentum: float = 0.0
    unlabelled_losses: dict | None = None
    unlabelled_rampup: int = 0
    precision: str = "float32"
    sync_batch_norm: bool = True
    jit_compile: bool = False
    augment: bool | dict = True
    mode: str = "stretch"
    scale: float | None = None
    foreground: float | None = None
    batch_size: int = 8
    epochs: int = 10
    seed: int = 0

    def __post_init__(self):
        check_choice("generator", self.generator, GENERATORS)
        check_choice("discriminator", self.discriminator, DISCRIMINATORS)
        with_encoder = self.generator == "encoder_unet"
        if with_encoder and not self.adversarial_weight:
            check_multiple(self.size, 32)
        else:
            check_power_of_two(self.size)
        for name, value in self._encoding().items():
            if not with_encoder:
                raise KerasganError(
                    f"Argument '{name}' goes with the generator 'encoder_unet'. Received: "
                    f"{value!r} with the generator {self.generator!r}. "
                    f"{self._line_with_encoder()}"
                )
        check_choice("encoder", self.encoder, (*ENCODERS, None))
        self.augmentation()
        named_weights(self.unlabelled_losses)
        check_windows(self.mode, self.scale, self.foreground)
        for field in dataclasses.fields(self):
            name, kinds, value = field.name, str(field.type), getattr(self, field.name)
            _check_kind(name, kinds, value)
            if value is not None and kinds.startswith("float"):
                check_number(name, value, least=0, below=1 if name == "beta_1" else math.inf)
            elif value is not None and kinds.startswith("int"):
                least = 0 if name in FROM_ZERO else 1
                check_whole_number(name, value, least, MOST.get(name, math.inf))
        check_settings(vars(self), None, 0.0)
        check_adversarial(self.adversarial, self.label_smoothing)

    def _encoding(self) -> dict[str, Any]:
        """What is said of the encoder, by name."""
        said = {name: getattr(self, name) for name in ENCODING}
        return {name: value for name, value in said.items() if value not in (None, 0)}

    def _line_with_encoder(self) -> str:
        """The call that gives this recipe its encoder, one that there is."""
        encoder = self.encoder if self.encoder in list(ENCODERS) else "efficientnet_lite0"
        changes = {"generator": "encoder_unet", "encoder": encoder, "weights": self.weights}
        settings = [f"{key}={value!r}" for key, value in changes.items() if value is not None]
        name = self.name if self.name in names() else "fast"
        return f"Write: kg.recipes.get({', '.join([repr(name), *settings])})"

    def augmentation(self) -> bool | Augmentation:
        """Return what `samples.batches` takes as `augment`.

        Returns:
            True, False, or an `Augmentation` of the recipe's own strengths.

        Example:
            >>> import kerasgan as kg
            >>> kg.recipes.get("pix2pix", augment={"rotation": 90.0}).augmentation().rotation
            90.0
        """
        if isinstance(self.augment, bool):
            return self.augment
        if not isinstance(self.augment, dict):
            expected = "True, False, or fields of Augmentation by name"
            raise invalid("augment", expected, self.augment)
        return from_fields(self.augment)

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
        generator = getattr(models, self.generator)(
            **shape,
            filters=self.filters,
            seed=self.seed,
            **self._encoding(),
        )
        discriminator = None
        if self.adversarial_weight:
            discriminator = getattr(models, self.discriminator)(
                **shape,
                filters=self.discriminator_filters or self.filters,
                seed=self.seed,
                **({"spectral_norm": True} if self.spectral_norm else {}),
            )
        rates = self.learning_rate, self.discriminator_learning_rate
        settings = dataclasses.asdict(self)
        arguments = {*inspect.signature(SegmentationGAN.compile).parameters, "jit_compile"}
        gan = SegmentationGAN(generator, discriminator)
        gan.compile(
            self._optimizer(self.learning_rate, self.weight_decay),
            self._optimizer(rates[0] if rates[1] is None else rates[1], 0.0),
            losses={name: getattr(self, name) for name in LOSSES if getattr(self, name)},
            **{name: value for name, value in settings.items() if name in arguments},
        )
        gan.recipe = settings
        if self.mode != MODES[0]:
            set_framing(gan.generator, self.mode, self.scale)
        return gan

    def _optimizer(self, rate, decay):
        kind = keras.optimizers.AdamW if decay else keras.optimizers.Adam
        settings = {"weight_decay": decay} if decay else {}
        if self.clip_norm:
            settings["global_clipnorm"] = self.clip_norm
        return kind(rate, beta_1=self.beta_1, **settings)

    def save(self, path: str | os.PathLike) -> None:
        """Write the recipe as JSON.

        Args:
            path: the file; replaced if it exists.
        """
        write_file(path, json.dumps(dataclasses.asdict(self), indent=2) + "\n")

    @classmethod
    def load(cls, path) -> Recipe:
        """Read a recipe from JSON.

        Args:
            path: the file.

        Returns:
            The recipe.
        """
        try:
            settings = json.loads(read_text(path))
        except (OSError, ValueError, RecursionError) as error:
            raise KerasganError(f"Recipe '{path}' cannot be read: {error}") from error
        if not isinstance(settings, dict) or "name" not in settings:
            raise KerasganError(f"Recipe '{path}' must be a JSON object with a field 'name'")
        fields = [field.name for field in dataclasses.fields(cls)]
        for name in settings:
            if name not in fields:
                raise unknown_name(f"field of recipe {path}", name, fields)
        return cls(**settings)


def _check_kind(name: str, kinds: str, value) -> None:
    """Raise unless a value, which may come from a file, is of a field's kinds."""
    for kind in kinds.split(" | "):
        if isinstance(value, KINDS[kind]) and (kind == "bool") >= isinstance(value, bool):
            return
    raise invalid(name, kinds, value)


RESIDUAL: dict[str, Any] = {
    "generator": "residual_unet",
    "size": 128,
    "filters": 32,
    "discriminator_filters": 16,
    "spectral_norm": True,
    "learning_rate": 1e-3,
    "discriminator_learning_rate": 2e-4,
    "beta_1": 0.9,
    "weight_decay": 0.05,
    "clip_norm": 1.0,
    "l1": 0.0,
    "cross_entropy": 1.0,
    "dice": 1.0,
    "adversarial": "hinge",
    "adversarial_weight": 0.05,
    "schedule": "cosine",
    "warmup": 0.05,
    "ema_momentum": 0.998,
    "augment": {
        "rotation": 90.0,
        "scale": 0.5,
        "elastic": 0.03,
        "brightness": 0.35,
        "contrast": 0.35,
        "saturation": 0.35,
        "blur": 1.0,
        "cutout": 0.3,
    },
}

PRETRAINED: dict[str, Any] = {
    **RESIDUAL,
    "generator": "encoder_unet",
    "encoder": "efficientnet_lite0",
    "weights": "imagenet",
    "frozen_stages": 2,
    "filters": 16,
    "discriminator_filters": None,
    "adversarial_weight": 0.0,
    "ema_momentum": 0.99,
    "augment": {
        "rotation": 90.0,
        "scale": 0.5,
        "brightness": 0.25,
        "contrast": 0.25,
        "saturation": 0.25,
        "white_balance": 0.1,
        "gamma": 0.2,
        "highlights": 0.1,
        "border": 0.05,
        "blur": 1.0,
        "noise": 0.04,
        "overlay": 0.2,
        "compression": 0.4,
        "cutout": 0.0,
    },
}

RECIPES = {
    "paper": Recipe(name="paper", learning_rate=2e-3, augment=False),
    "pix2pix": Recipe(
        name="pix2pix", size=128, filters=32, cross_entropy=100.0, dice=100.0, epochs=50
    ),
    "fast": Recipe(name="fast", epochs=32, **RESIDUAL),
    "strong": Recipe(name="strong", epochs=200, **RESIDUAL),
    "pretrained-fast": Recipe(name="pretrained-fast", **{**PRETRAINED, "size": 160, "epochs": 26}),
    "pretrained": Recipe(
        name="pretrained",
        **{**PRETRAINED, "encoder": "efficientnet_lite2", "size": 256, "epochs": 36},
    ),
    "few-labels": Recipe(
        name="few-labels",
        **{**PRETRAINED, "size": 160, "epochs": 100},
        unlabelled_losses={"cutmix": 3.0},
        unlabelled_rampup=150,
    ),
    "other-clinic": Recipe(
        name="other-clinic",
        **{**PRETRAINED, "size": 160, "epochs": 26},
        unlabelled_losses={"output_adaptation": 0.001},
        unlabelled_rampup=150,
    ),
}


def names() -> list[str]:
    """Return the names of the recipes.

    Returns:
        `"paper"`: the published code's networks and training settings (learning rate 2e-3, at which
        training may collapse; no augmentation; 10 epochs at 512 pixels), except that the mask has
        one channel rather than three equal ones. `"pix2pix"`: the same networks at 128 pixels with
        half the filters, learning rate 2e-4, augmentation and 50 epochs, and with cross-entropy
        and Dice beside the L1 loss. `"fast"`: a residual U-Net at 128 pixels against a small
        spectrally normalised PatchGAN, cross-entropy and Dice, AdamW along a cosine, strong
        augmentation, averaged weights, in minutes on two cores. `"strong"`: the same for longer.
        `"pretrained-fast"`: a U-Net on EfficientNet-Lite0 with ImageNet weights (the extra
        `imagenet`) at 160 pixels, without a discriminator, augmented by what differs between
        hospitals, in minutes on two cores. `"pretrained"`: on EfficientNet-Lite2 at 256 pixels, in
        an hour. `"few-labels"`: `"pretrained-fast"` for few labelled images (it gained with 22
        and 44, and not with 88) and many unlabelled ones, which `fit` is given as `unlabelled`.
        `"other-clinic"`: the same for unlabelled images of another source than the labelled ones.

    Example:
        >>> import kerasgan as kg
        >>> kg.recipes.names()[:4]
        ['paper', 'pix2pix', 'fast', 'strong']
    """
    return list(RECIPES)


def get(name: str, **changes: Any) -> Recipe:
    """Return a recipe, with some of its settings changed.

    Args:
        name: one of `names()`.
        **changes: fields of `Recipe`.

    Returns:
        The recipe.

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


def build(name: str, **changes: Any) -> SegmentationGAN:
    """Build and compile the GAN of a recipe; short for `get(name, **changes).build()`.

    Args:
        name: one of `names()`.
        **changes: fields of `Recipe`, such as `size`, `classes`, `filters`, `seed`.

    Returns:
        A compiled `SegmentationGAN`.

    Example:
        >>> import kerasgan as kg
        >>> gan = kg.recipes.build("pix2pix", size=32, filters=2, classes=3)
        >>> gan.generator.output_shape
        (None, 32, 32, 3)
    """
    return get(name, **changes).build()
