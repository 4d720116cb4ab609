"""Train a SegFormer on polyps, and rank rules on it beside gradients, Grad-CAM and controls.

Example:
    python benchmarks/transformer.py --data kvasir-seg --run results/segformer --write

The network is trained by the recipe `fast` without a discriminator, on the training part of the
official split less a tenth, its validation part, which chooses the epoch. That takes 25 minutes on
one idle core; a folder that holds a trained network is used as it is. Faithfulness is measured on
images of the validation part, which no page reports on. With --write the table goes between the
marks of docs/explain.md, and the maps to docs/assets/results/transformer.jpg.
"""

import argparse
import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf
from pages import put
from perturbation import as_markdown
from results import ROOT
from rules import grid

import kerasgan as kg
from kerasgan.explain import CPLRP, AttnLRP

OPTIONS = {
    "generator": "segformer",
    "filters": 24,
    "size": 128,
    "adversarial_weight": 0.0,
    "learning_rate": 1e-3,
    "precision": "bfloat16",
    "epochs": 40,
    "batch_size": 8,
    "ema_momentum": 0.99,
}
RULES = {
    "attnlrp": "attnlrp",
    "AttnLRP(gamma=0.25)": AttnLRP(gamma=0.25),
    "cp-lrp": "cp-lrp",
    "CPLRP(gamma=0.25)": CPLRP(gamma=0.25),
    "epsilon-gamma-box": "epsilon-gamma-box",
    "gamma": "gamma",
    "z-plus": "z-plus",
    "epsilon": "epsilon",
    "grad-cam": "grad-cam",
    "input-x-gradient": "input-x-gradient",
}
SHOWN = ("attnlrp", "AttnLRP(gamma=0.25)", "CPLRP(gamma=0.25)", "epsilon-gamma-box", "gamma")


def parts(data):
    """Return the images to train on and those that choose the epoch."""
    data = pathlib.Path(data)
    rest, _ = kg.data.load_folder(data).split_by_names(data / "splits" / "val.txt")
    return rest.split(0.1, seed=0)


def train(data, folder):
    """Train the network; a stopped run goes on."""
    training, validation = parts(data)
    recipe = kg.recipes.get("fast", **OPTIONS)
    gan = recipe.build()
    gan.fit(
        training.batches(8, size=128, augment=recipe.augmentation(), shuffle=True, seed=0),
        validation_data=validation.batches(8, size=128, seed=0),
        epochs=recipe.epochs,
        verbose=2,
        resume=folder / "state",
        callbacks=[kg.training.SaveBest(folder / "model", monitor="val_jaccard")],
    )


def draw(model, samples):
    """Draw the maps of six images by some of the rules."""
    images = next(iter(samples.batches(6, size=128, shuffle=False)))[0].numpy()
    found = {name: kg.Explainer(model, RULES[name]).explain(images) for name in SHOWN}
    maps = {name: explanation.relevance.sum(-1) for name, explanation in found.items()}
    masks = found["attnlrp"].prediction[..., 0]
    grid(images, masks, maps, ROOT / "docs" / "assets" / "results" / "transformer.jpg")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", required=True, help="folder of images and masks, with splits/val.txt")
    add("--run", type=pathlib.Path, default=pathlib.Path("results/segformer"), help="folder")
    add("--count", type=int, default=16, help="images (16)")
    add("--steps", type=int, default=8, help="of the removal curves (8)")
    add("--results", help="folder for finished batches")
    add("--write", action="store_true", help="put the table into docs/explain.md")
    args = parser.parse_args()

    if not (args.run / "model").exists():
        train(args.data, args.run)
    model = kg.SegmentationGAN.load(args.run / "model").generator
    _, validation = parts(args.data)
    scores = kg.evaluate(model, validation, verbose=False)
    samples = validation[: args.count]
    table = kg.evaluation.faithfulness(model, samples, RULES, steps=args.steps, folder=args.results)
    text = (
        f"A SegFormer of {model.count_params():,} parameters, 128 px, validation Jaccard "
        f"{scores['jaccard'].mean():.3f}. {len(samples)} validation images, {args.steps} steps, "
        f"baseline blur, seed 0, TensorFlow {tf.__version__}, {os.cpu_count()} processors.\n\n"
        f"{as_markdown(kg.evaluation.summarize_maps(table))}"
    )
    print(text)
    if args.write:
        draw(model, samples)
        put(ROOT / "docs" / "explain.md", "transformer", text)


if __name__ == "__main__":
    main()
