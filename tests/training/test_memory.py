"""What is dropped is freed: networks, optimizers and data."""

import gc
import weakref

import pytest
from small_runs import some_data

import kerasgan as kg

IMAGES, MASKS = some_data(4)


@pytest.mark.parametrize("resume", [False, True])
def test_a_gan_that_is_dropped_is_freed(tmp_path, resume):
    kg.data.synthetic.write_dataset(tmp_path / "scenes", count=4, size=32)
    samples = kg.data.load_folder(tmp_path / "scenes")

    def train():
        discriminator = kg.models.patch_discriminator(size=32, filters=2)
        gan = kg.SegmentationGAN(kg.models.unet(size=32, filters=2, levels=1), discriminator)
        gan.compile(losses={"dice": 1.0}, ema_momentum=0.9)
        batches = samples.batches(2, size=32, augment=True)
        where = {"resume": tmp_path / "run"} if resume else {}
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

    left = train()
    for _ in range(8):  # some objects are freed by those that a collection frees
        gc.collect()
    assert [part() for part in left if part() is not None] == []
