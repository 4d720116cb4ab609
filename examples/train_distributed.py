"""Train on several devices of one machine, and score and explain the model.

It takes all GPUs, or logical processors where there are none. Scenes are drawn where no data are
named.
"""

import dataclasses
import pathlib

import common
import tensorflow as tf

import kerasgan as kg
from kerasgan.cli import runs


def strategy_of(processors):
    """Return the strategy for all GPUs of this machine, or so many logical processors."""
    if tf.config.list_physical_devices("GPU"):
        return tf.distribute.MirroredStrategy()
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0],
        [tf.config.LogicalDeviceConfiguration()] * processors,
    )
    return tf.distribute.MirroredStrategy([x.name for x in tf.config.list_logical_devices("CPU")])


def train(strategy, recipe, training, validation, folder):
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
        verbose=2,
    )


def score(samples, folder, rule):
    """Score and explain images with the best model."""
    gan = kg.SegmentationGAN.load(folder / "model")
    table = kg.evaluate(gan, samples)
    kg.evaluation.save_table(table, folder / "scores.csv", overwrite=True)
    print(kg.evaluation.summary_text(table))
    some, how = samples[:4], runs.framing(gan.recipe)
    batch = next(iter(some.batches(len(some), gan.recipe["size"], **how)))[0]
    explanation = kg.Explainer(gan.generator, rule=rule).explain(batch, target="prediction")
    explanation.save(folder / "explanation.npz")


def main():
    parser = common.arguments(__doc__, results="results/distributed", data=False)
    parser.add_argument("--data", help="folder with images/ and masks/; drawn if left out")
    parser.add_argument("--count", type=int, default=120, help="scenes to draw")
    parser.add_argument("--processors", type=int, default=2, help="logical ones, without GPUs")
    parser.set_defaults(epochs=5, filters=8)
    args = parser.parse_args()
    recipe = runs.recipe_from(args)
    folder = runs.results_folder(pathlib.Path(args.results), args.resume)
    strategy = strategy_of(args.processors)
    print(f"{strategy.num_replicas_in_sync} devices")
    if args.data is None:
        common.drawn(
            folder,
            f"{args.count} scenes",
            lambda path: kg.data.synthetic.write_dataset(path, args.count, recipe.size),
        )
    samples = kg.data.load_folder(args.data or folder / "data")
    rest, test = samples.split(1 / 6, seed=0)
    training, validation = rest.split(1 / 6, seed=0)
    train(strategy, recipe, training, validation, folder)
    score(test, folder, args.rule)
    return folder


common.run(main)
