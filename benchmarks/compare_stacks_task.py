"""One row of `compare_stacks.py` on one stack, in a process of its own."""

import os
import platform

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from contender import arguments, serve

import kerasgan as kg

BATCHES, PREDICTED, EXPLAINED = 8, 32, 4


def task(kind):
    """Return a function that does the work once."""
    gan = kg.recipes.build("fast")
    size, batch = gan.recipe["size"], gan.recipe["batch_size"]
    rng = np.random.default_rng(0)
    images = rng.uniform(-1, 1, (BATCHES * batch, size, size, 3)).astype("float32")
    masks = (images[..., :1] > 0).astype("float32")
    few, target = images[:EXPLAINED], np.ones((EXPLAINED, size, size, 1), "float32")
    if kind == "train":
        data = tf.data.Dataset.from_tensor_slices((images, masks)).batch(batch)
        return lambda: gan.fit(data, verbose=0)
    if kind == "predict":
        return lambda: kg.predict(gan, images[:PREDICTED])
    if kind == "explain":
        explainer = kg.Explainer(gan)
        return lambda: explainer.explain(few, target=target)

    def build_and_explain():
        generator = kg.recipes.build("fast").generator
        kg.Explainer(generator).explain(few, target=target)

    return build_and_explain


def main():
    args = arguments()
    tf.config.threading.set_intra_op_parallelism_threads(args.threads)
    tf.config.threading.set_inter_op_parallelism_threads(args.threads)
    versions = f"Python {platform.python_version()}, TensorFlow {tf.__version__}, "
    serve(task(args.kind), versions=f"{versions}Keras {keras.__version__}")


if __name__ == "__main__":
    main()
