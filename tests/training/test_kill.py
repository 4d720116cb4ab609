"""Real processes, killed at random moments: what they leave goes on to the same end, to the bit."""

import json
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

import kerasgan as kg

WORK = textwrap.dedent(
    """
    import json, pathlib, signal, sys, zlib
    import keras, numpy as np, tensorflow as tf
    import kerasgan as kg
    from kerasgan.training import resume, store

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's & ignores it
    scenes, folder, epochs, whole = sys.argv[1:]
    folder, epochs = pathlib.Path(folder), int(epochs)
    resume.SECONDS, resume.SHARE = 0.0, 0  # a state behind every step
    keras.utils.set_random_seed(0)
    tf.config.experimental.enable_op_determinism()
    step = kg.SegmentationGAN.train_step

    def seen(number, *batch):
        sums = [zlib.crc32(part.numpy().tobytes()) for part in batch]
        with open(folder / "stream.txt", "a") as file:
            file.write(" ".join(map(str, [int(number), *sums])) + "\\n")

    def watched(self, data):
        tf.py_function(seen, [self.optimizer.iterations, *data], [])
        return step(self, data)

    kg.SegmentationGAN.train_step = watched

    def train(folder):
        samples = kg.data.load_folder(scenes)
        generator = kg.models.unet(size=32, filters=2, levels=2, seed=1)
        x = kg.models.SeededDropout(0.5, seed=7)(generator.get_layer("mask").input)
        generator = keras.Model(generator.input, generator.get_layer("mask")(x))
        discriminator = kg.models.patch_discriminator(size=32, filters=2, seed=2)
        gan = kg.SegmentationGAN(generator, discriminator)
        gan.compile(losses={"dice": 1.0}, schedule="cosine", warmup=0.2, ema_momentum=0.9)
        stopping = {"patience": 99, "mode": "max", "restore_best_weights": True}
        callbacks = [keras.callbacks.EarlyStopping("dice", **stopping)]
        history = gan.fit(
            samples.batches(2, size=32, augment=True),
            validation_data=samples.batches(3, size=32),
            epochs=epochs, callbacks=callbacks, resume=folder / "state", verbose=0,
        )
        networks = [w.numpy() for network in gan._networks() for w in network.weights]
        slots = [value.numpy() for value in store.optimizer_variables(gan).values()]
        np.savez(folder / "end.npz", *networks, *slots, *callbacks[0].best_weights)
        (folder / "history.json").write_text(json.dumps([history.epoch, history.history]))

    train(folder)
    if whole != "-":
        folder = pathlib.Path(whole)
        keras.backend.clear_session()  # or Keras counts names up, by which TensorFlow orders sums
        keras.utils.set_random_seed(0)
        train(folder)
    """
)
STEPS = 4  # of an epoch: seven scenes, two a step


def start(scenes, folder, epochs, whole="-"):
    command = [sys.executable, "-c", WORK, str(scenes), str(folder), str(epochs), str(whole)]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL)


def length(path):
    return path.read_bytes().count(b"\n") if path.exists() else 0


def kill(process, stream, steps, pause, number):
    """Wait until the process has made so many steps more, and a moment; then kill it."""
    wanted, deadline = length(stream) + steps, time.monotonic() + 600
    while length(stream) < wanted and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    time.sleep(pause)
    process.send_signal(number)
    return process.wait(timeout=600)


def batches(path):
    """What each step saw, by its number; steps that were done twice must have seen the same."""
    found = {}
    for line in path.read_text().splitlines():
        number, *sums = line.split()
        assert found.setdefault(int(number), sums) == sums
    return found


def assert_identical(one, other):
    assert batches(one / "stream.txt") == batches(other / "stream.txt")
    assert (one / "history.json").read_text() == (other / "history.json").read_text()
    with np.load(one / "end.npz") as first, np.load(other / "end.npz") as second:
        assert first.files == second.files
        for name in first.files:
            assert first[name].dtype == second[name].dtype
            assert first[name].tobytes() == second[name].tobytes()


def kill_and_go_on(tmp_path, kills, epochs):
    """Kill a run so often, let it end, and compare it with one that was left alone."""
    scenes, run, whole = (tmp_path / name for name in ("scenes", "run", "whole"))
    kg.data.synthetic.write_dataset(scenes, count=7, size=32)
    run.mkdir()
    whole.mkdir()
    for steps, pause, number in kills:
        code = kill(start(scenes, run, epochs), run / "stream.txt", steps, pause, number)
        assert (
            code in {signal.SIGKILL: (-9,), signal.SIGTERM: (143,), signal.SIGINT: (1, -2)}[number]
        )
    assert start(scenes, run, epochs, whole).wait(timeout=900) == 0
    assert length(whole / "stream.txt") == STEPS * epochs
    assert len(json.loads((whole / "history.json").read_text())[0]) == epochs
    assert_identical(run, whole)


def test_a_killed_run_ends_as_one_that_was_left_alone(tmp_path):
    kill_and_go_on(tmp_path, [(STEPS + 2, 0.01, signal.SIGKILL)], epochs=3)


@pytest.mark.slow
def test_twenty_kills_at_random_moments(tmp_path):
    rng = np.random.default_rng(0)
    kinds = [signal.SIGKILL] * 12 + [signal.SIGTERM] * 4 + [signal.SIGINT] * 4
    kills = [
        (int(rng.integers(1, 7)), float(rng.uniform(0, 0.4)), number)
        for number in rng.permutation(kinds)
    ]
    kill_and_go_on(tmp_path, kills, epochs=60)
