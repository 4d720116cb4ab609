"""Train on several devices, or several machines, and score and explain the model in parts.

On one machine it takes all GPUs, or logical processors where there are none. On several, give each
the same command and its own TF_CONFIG, and a results folder that all share; docs/resume.md
has it for Slurm and Kubernetes. Scenes are drawn where no data are named.
"""

import dataclasses
import json
import os
import pathlib

import common
import pandas as pd
import tensorflow as tf

import kerasgan as kg
from kerasgan.cli import runs


def place():
    """Return the number of this process, 0 for the one that writes, and how many there are."""
    job = json.loads(os.environ.get("TF_CONFIG") or "{}")
    jobs, task = job.get("cluster", {}), job.get("task", {})
    chiefs, workers = len(jobs.get("chief", ())), len(jobs.get("worker", ()))
    before = chiefs if task.get("type") == "worker" else 0
    return before + int(task.get("index", 0)), max(1, chiefs + workers)


def devices(count, processors):
    """Return the strategy for this many machines, each with all of its GPUs."""
    if count > 1:
        return tf.distribute.MultiWorkerMirroredStrategy()
    if tf.config.list_physical_devices("GPU"):
        return tf.distribute.MirroredStrategy()
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0],
        [tf.config.LogicalDeviceConfiguration()] * processors,
    )
    return tf.distribute.MirroredStrategy([x.name for x in tf.config.list_logical_devices("CPU")])


def train(strategy, recipe, training, validation, folder, verbose):
    how = runs.framing(dataclasses.asdict(recipe))
    batches = training.batches(
        recipe.batch_size, recipe.size, recipe.augmentation(), recipe.seed, shuffle=True, **how
    )
    checked = validation.batches(min(recipe.batch_size, len(validation)), recipe.size, **how)
    with strategy.scope():
        gan = recipe.build()
    best = kg.training.SaveBest(folder / "model", monitor="val_dice")
    gan.fit(
        batches,
        validation_data=checked,
        epochs=recipe.epochs,
        callbacks=[best],
        resume=folder / "state",
        verbose=verbose,
    )


def score(samples, folder, rule, number):
    """Score and explain this process's part of the images with the best model."""
    gan = kg.SegmentationGAN.load(folder / "model")
    table = kg.evaluate(gan, samples)
    kg.evaluation.save_table(table, folder / f"scores_{number}.csv", overwrite=True)
    some, how = samples[:4], runs.framing(gan.recipe)
    batch = next(iter(some.batches(len(some), gan.recipe["size"], **how)))[0]
    explanation = kg.Explainer(gan.generator, rule=rule).explain(batch, target="prediction")
    explanation.save(folder / f"explanation_{number}.npz")


def main():
    parser = common.arguments(__doc__, results="results/distributed", data=False)
    parser.add_argument("--data", help="folder with images/ and masks/; drawn if left out")
    parser.add_argument("--count", type=int, default=120, help="scenes to draw")
    parser.add_argument("--processors", type=int, default=2, help="logical ones, without GPUs")
    parser.set_defaults(epochs=5, filters=8)
    args = parser.parse_args()
    recipe = runs.recipe_from(args)
    number, count = place()

    folder = pathlib.Path(args.results)
    if number == 0:  # the others wait for it in `devices`
        runs.results_folder(folder, args.resume)
        if args.data is None:
            common.drawn(
                folder,
                f"{args.count} scenes",
                lambda path: kg.data.synthetic.write_dataset(path, args.count, recipe.size),
            )
    strategy = devices(count, args.processors)
    print(f"Process {number} of {count}, {strategy.num_replicas_in_sync} devices in all")
    samples = kg.data.load_folder(args.data or folder / "data")
    rest, test = samples.split(1 / 6, seed=0)
    training, validation = rest.split(1 / 6, seed=0)

    def present():
        tf.distribute.get_replica_context().all_reduce("SUM", tf.ones(()))

    @tf.function
    def meet():
        strategy.run(present)

    train(strategy, recipe, training, validation, folder, verbose=0 if number else 2)
    meet()  # the model is written
    score(test[number::count], folder, args.rule, number)
    meet()  # and so are all scores
    if number == 0:
        parts = [pd.read_csv(folder / f"scores_{part}.csv") for part in range(count)]
        table = pd.concat(parts).sort_values("name", ignore_index=True)
        kg.evaluation.save_table(table, folder / "scores.csv", overwrite=True)
        means = table.select_dtypes("number").mean()
        print(
            f"{len(table)} images scored: Dice {means['dice']:.3f}, Jaccard {means['jaccard']:.3f}"
        )
    return folder


common.run(main)
