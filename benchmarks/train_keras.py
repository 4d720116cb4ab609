"""The contenders of `train.py` that run in Keras, each in a process of its own.

ours            `SegmentationGAN` on the paper's networks, one generator pass a step
ours bfloat16   the same, convolutions in bfloat16
alone           the same without the discriminator
twice           the same networks, trained as Keras' own GAN examples do it: a step for the
                discriminator on masks drawn outside its tape, then one for the generator on
                masks drawn again
fast            the recipe `fast` at its own sizes
pipeline        the images that `fast` is fed with, every augmentation on; a step is an epoch,
                so that nothing is prepared while others work
"""

import os
import sys
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from contender import arguments, serve

import kerasgan as kg

FILES, TIMES = 32, 8  # synthetic images behind the pipeline, and how often each comes in an epoch


def networks(size, filters, classes=1, seed=0):
    """Build the paper's two networks."""
    shape = {"size": size, "filters": filters, "classes": classes, "seed": seed}
    return kg.models.pix2pix_generator(**shape), kg.models.patch_discriminator(**shape)


def batch_of(count, size, seed):
    """Return images in [-1, 1] and masks in {0, 1}, both random."""
    rng = np.random.default_rng(seed)
    image = rng.uniform(-1, 1, (count, size, size, 3)).astype("float32")
    return tf.constant(image), tf.constant(rng.integers(0, 2, (count, size, size, 1)), tf.float32)


def step_of(gan, image, mask):
    """Return a compiled model's own training step, on one batch."""
    step = tf.function(gan.train_step)
    return lambda: [float(value) for value in step((image, mask)).values()]


def twice(generator, discriminator, image, mask):
    """Return a step in the usual Keras way: the generator runs for each of the two losses."""
    optimizers = [keras.optimizers.Adam(2e-4, beta_1=0.5) for _ in range(2)]
    entropy = keras.losses.BinaryCrossentropy(from_logits=True)

    @tf.function
    def step(image, mask):
        true = kg.models.to_signed_mask(mask)
        drawn = generator(image, training=True)
        with tf.GradientTape() as tape:
            judged = [discriminator([image, shown], training=True) for shown in (true, drawn)]
            loss = entropy(tf.ones_like(judged[0]), judged[0])
            loss = (loss + entropy(tf.zeros_like(judged[1]), judged[1])) / 2
        weights = discriminator.trainable_variables
        optimizers[0].apply_gradients(zip(tape.gradient(loss, weights), weights))
        with tf.GradientTape() as tape:
            drawn = generator(image, training=True)
            judged = discriminator([image, drawn], training=True)
            pull = entropy(tf.ones_like(judged), judged) + 100 * tf.reduce_mean(abs(true - drawn))
        weights = generator.trainable_variables
        optimizers[1].apply_gradients(zip(tape.gradient(pull, weights), weights))
        return loss, pull

    return lambda: [float(value) for value in step(image, mask)]


def pipeline(recipe, threads):
    """Return a step that takes an epoch of augmented images."""
    with tempfile.TemporaryDirectory() as folder:
        samples = kg.data.synthetic.write_dataset(folder, count=FILES, size=2 * recipe.size)
        batches = samples[[*range(FILES)] * TIMES].batches(
            recipe.batch_size, size=recipe.size, augment=recipe.augmentation(), shuffle=True
        )
    options = tf.data.Options()
    options.threading.private_threadpool_size = threads
    options.autotune.cpu_budget = threads
    batches = batches.with_options(options)
    return lambda: [None for _ in batches]


def write_check(path):
    """Write weights, inputs and outputs of two tiny networks, for another framework to repeat."""
    pair = dict(zip(("generator", "discriminator"), networks(32, 2)))
    rng = np.random.default_rng(0)
    image, mask = (x.numpy() for x in batch_of(2, 32, 0))
    kept = {"image": image, "mask": mask}
    for kind, network in pair.items():
        weights = [w for layer in network.layers for w in layer.weights if w.dtype.is_floating]
        for number, weight in enumerate(weights):
            low, high = (0.5, 1.5) if "variance" in weight.name else (-0.3, 0.3)
            weight.assign(rng.uniform(low, high, weight.shape))
            kept[f"{kind}_{number}"] = weight.numpy()
    kept["drawn"] = pair["generator"](image).numpy()
    judged = pair["discriminator"]([image, mask])
    np.savez(path, judged=tf.sigmoid(judged).numpy(), **kept)


def contender(args):
    """Return the step of a contender, and facts about it."""
    if args.kind in ("fast", "pipeline"):
        recipe = kg.recipes.get("fast", seed=args.seed)
        if args.kind == "pipeline":
            return pipeline(recipe, args.threads), {"images": FILES * TIMES}
        gan = recipe.build()
        pair = batch_of(recipe.batch_size, recipe.size, args.seed)
        return step_of(gan, *pair), {"images": recipe.batch_size}
    pair = networks(args.size, args.filters, seed=args.seed)
    facts = {
        "parameters": [sum(int(tf.size(w)) for w in x.trainable_variables) for x in pair],
        "images": args.batch,
    }
    image, mask = batch_of(args.batch, args.size, args.seed)
    if args.kind == "twice":
        return twice(*pair, image, mask), facts
    gan = kg.SegmentationGAN(*(pair[:1] if args.kind == "alone" else pair))
    precision = "bfloat16" if args.kind == "ours bfloat16" else "float32"
    gan.compile(losses={"l1": 100.0}, precision=precision)
    return step_of(gan, image, mask), facts


def main():
    if sys.argv[1] == "check":
        write_check(sys.argv[2])
        return
    args = arguments()
    tf.config.threading.set_intra_op_parallelism_threads(args.threads)
    tf.config.threading.set_inter_op_parallelism_threads(args.threads)
    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    step, facts = contender(args)
    names = [tf.config.experimental.get_device_details(gpu).get("device_name") for gpu in gpus]

    def peak():
        return tf.config.experimental.get_memory_info("GPU:0")["peak"]

    serve(step, peak if gpus else None, gpus=names, version=tf.__version__, **facts)


if __name__ == "__main__":
    main()
