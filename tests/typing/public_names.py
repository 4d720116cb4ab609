"""The public names as tutorials use them, for the type checker; nothing here is run."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np
import pandas as pd

import kerasgan as kg

Array = np.ndarray[Any, Any]


def train(folder: pathlib.Path) -> kg.SegmentationGAN:
    samples = kg.data.load_folder(folder)
    rest, _ = samples.split(0.2, seed=0)
    train, val = next(iter(rest.folds(5)))
    batches = train.batches(8, size=(128, 160), augment=True, seed=0)
    gan = kg.recipes.build("fast", size=128, classes=1)
    gan.fit(batches, validation_data=val.batches(8, size=128), epochs=10)
    gan.save(folder / "model")
    return kg.SegmentationGAN.load(folder / "model")


def networks() -> kg.SegmentationGAN:
    generator = kg.models.pix2pix_generator(size=512, channels=3, classes=1, filters=64)
    discriminator = kg.models.patch_discriminator(size=512, channels=3, classes=1, filters=64)
    gan = kg.SegmentationGAN(generator, discriminator)
    gan.compile(losses={"dice": 1.0})
    return gan


def masks_and_scores(gan: kg.SegmentationGAN, samples: kg.data.Samples) -> pd.DataFrame:
    table: pd.DataFrame = kg.evaluate(gan.generator, samples)
    masks: list[Array] = kg.predict(gan, samples)
    one: Array = kg.predict(gan.generator, masks[0])
    kg.report.write(gan, samples, "report")
    return table.assign(area=float(one.mean()))


def explain(gan: kg.SegmentationGAN, images: Array) -> Array:
    explanation = kg.Explainer(gan, rule="epsilon").explain(images, target="prediction")
    kg.Explainer(gan, kg.explain.Gamma(gamma=0.25)).explain(
        images, target=kg.targets.Border(width=3), layers=["down_3"]
    ).save("e.npz")
    composite = kg.explain.Composite((kg.explain.first, kg.explain.ZBox(-1, 1)), ("up_*", "gamma"))
    kg.Explainer(gan.generator, composite).explain(images, target=kg.targets.Pixel(4, 5))
    explanation.plot("e.png")
    ledger: pd.DataFrame = explanation.ledger
    at_layer: Array = explanation.layers["down_3"]
    print(at_layer.sum(), float(ledger["remainder"].sum()))
    relevance: Array = explanation.relevance
    return relevance


def advise(gan: kg.SegmentationGAN, samples: kg.data.Samples) -> str:
    advice = kg.advise(gan, samples)
    return str(advice)
