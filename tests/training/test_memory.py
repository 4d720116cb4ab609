"""What is dropped is freed: networks, optimizers and data. In a process that did nothing else."""

import concurrent.futures
import gc
import multiprocessing
import weakref

import kerasgan as kg


def left_over(folder):
    """Train, with states and without, drop everything, and return what is still there."""
    kg.data.synthetic.write_dataset(folder / "scenes", count=4, size=32)
    samples = kg.data.load_folder(folder / "scenes")

    def train(**where):
        discriminator = kg.models.patch_discriminator(size=32, filters=2)
        gan = kg.SegmentationGAN(kg.models.unet(size=32, filters=2, levels=1), discriminator)
        gan.compile(losses={"dice": 1.0}, ema_momentum=0.9)
        batches = samples.batches(2, size=32, augment=True)
        gan.fit(batches, validation_data=samples.batches(2, size=32), verbose=0, **where)
        parts = [
            gan,
            gan.generator,
            gan._trained_generator,
            discriminator,
            gan.optimizer,
            gan.train_function,
        ]
        return [weakref.ref(part) for part in [*parts, batches, *gan.generator.weights]]

    left = [*train(), *train(resume=folder / "run")]
    for _ in range(3):  # some objects are freed by those that a collection frees
        gc.collect()
    return [str(part()) for part in left if part() is not None]


def test_a_gan_that_is_dropped_is_freed(tmp_path):
    alone = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, alone) as pool:
        assert pool.submit(left_over, tmp_path).result(timeout=300) == []
