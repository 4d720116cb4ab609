"""What the workers of one job agree on; the slow tests start real ones, on local ports."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import textwrap
import time
import types

import numpy as np
import pytest
import tensorflow as tf
from refusals import refused

import kerasgan as kg
from kerasgan.training import workers


def worker(index, kind="worker", **jobs):
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec(jobs), task_type=kind, task_id=index
    )
    return types.SimpleNamespace(cluster_resolver=resolver)


def test_a_workers_place():
    two = {"worker": ["a:1", "b:1"]}
    assert workers.index_and_count(worker(1, **two)) == (1, 2)
    assert workers.index_and_count(worker(1, chief=["c:1"], **two)) == (2, 3)
    assert workers.index_and_count(worker(0, "chief", chief=["c:1"], **two)) == (0, 3)
    assert workers.index_and_count(tf.distribute.get_strategy()) == (0, 1)


def test_workers_that_see_different_states_are_told(monkeypatch):
    found = np.array([[3.0, 20.0], [0.0, 0.0]])
    monkeypatch.setattr(workers, "gather", lambda *_: found)
    with pytest.raises(kg.KerasganError, match=r"share.*\(worker 0: 3, 20; worker 1: 0, 0\)"):
        workers.check_same_state(None, "run", [0, 0])
    found[1] = found[0]
    workers.check_same_state(None, "run", [3, 20])


def test_only_the_first_worker_writes(tmp_path):
    jobs = {"worker": ["a:1", "b:1"]}
    for index in (1, 0):
        with workers.write_on_chief(worker(index, **jobs), tmp_path / "state") as fresh:
            (fresh / "note.txt").write_text(str(index))
        assert (tmp_path / "state").exists() == (index == 0)
        assert fresh.exists() is False
    assert (tmp_path / "state" / "note.txt").read_text() == "0"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("kind", workers.LOST_WORKER_ERRORS)
def test_a_lost_worker_is_an_error_that_says_what_to_do(kind):
    class Fitted:
        distribute_strategy = worker(1, worker=["a:1", "b:1"])

        @workers.explain_lost_workers
        def fit(self):
            raise kind(None, None, "the peer is gone")

    refused(r"Worker 1 of 2 .*gone.*Start all workers again", Fitted().fit)
    Fitted.distribute_strategy = tf.distribute.get_strategy()
    with pytest.raises(kind, match="gone"):
        Fitted().fit()


def test_a_signal_to_one_worker_stops_all(tmp_path, monkeypatch):
    """The second worker's signal, as the first hears of it."""
    monkeypatch.setattr(workers, "gather", lambda _, mine: np.array([mine, [15, 0]], float))
    monkeypatch.setattr(workers, "check_same_state", lambda *_: None)
    gan = kg.recipes.build("pix2pix", size=32, filters=2, adversarial_weight=0.0)
    images = 2 * np.tile(np.eye(32, dtype="float32")[None, ..., None], (4, 1, 1, 3)) - 1
    masks = images[..., :1] > 0
    with pytest.raises(SystemExit) as stopped:
        gan.fit(images, masks, batch_size=2, verbose=0, resume=tmp_path / "state")
    assert stopped.value.code == 143
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["epoch_0000_step_1"]


WORK = textwrap.dedent(
    """
    import pathlib, sys
    import tensorflow as tf
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    import keras, numpy as np
    import kerasgan as kg
    from kerasgan.training import replicas, resume, workers

    folder, epochs = pathlib.Path(sys.argv[1]), int(sys.argv[2])
    index, count = workers.index_and_count(strategy)
    resume.SECONDS, resume.SHARE = 0.0, 0  # a state behind every step
    samples = kg.data.load_folder(folder / "scenes")
    with strategy.scope():
        generator = kg.models.unet(size=32, filters=2, levels=1, seed=1)
        gan = kg.SegmentationGAN(
            generator, kg.models.pixel_discriminator(size=32, filters=2, seed=2)
        )
        sgd = [keras.optimizers.SGD(0.1), keras.optimizers.SGD(0.2)]
        gan.compile(*sgd, losses={"dice": 1.0, "l1": 1.0}, ema_momentum=0.9)
    for network in gan._networks():
        replicas.synchronize_batch_norm(network, True)

    class Note(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            with open(folder / f"steps_{index}.txt", "a") as file:
                file.write("x")

    try:
        history = gan.fit(
            samples.batches(8, size=32, augment=True, seed=3),
            validation_data=samples.batches(8, size=32),
            epochs=epochs, verbose=0, callbacks=[Note()], resume=folder / f"state_{count}",
        )
    except kg.KerasganError as error:
        sys.exit(f"Error: {error}")
    weights = [w.numpy() for network in gan._networks() for w in network.weights]
    np.savez(folder / f"end_{index}_of_{count}.npz", *weights, *history.history.values())
    """
)


def start(folder, count, epochs):
    """Start so many workers of one job."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("localhost", 0))
    addresses = [f"localhost:{one.getsockname()[1]}" for one in sockets]
    for one in sockets:
        one.close()
    processes = []
    for index in range(count):
        job = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        env = {**os.environ, "TF_CONFIG": json.dumps(job)}
        command = [sys.executable, "-c", WORK, str(folder), str(epochs)]
        options = {"env": env, "stderr": subprocess.PIPE, "text": True}
        processes.append(subprocess.Popen(command, **options))
    return processes


def end(processes):
    for process in processes:
        _, error = process.communicate(timeout=600)
        assert process.returncode == 0, error[-3000:]


def values(path):
    with np.load(path) as stored:
        return [stored[name] for name in stored]


@pytest.mark.slow
def test_two_workers_train_as_one_and_go_on_after_the_loss_of_one(tmp_path):
    kg.data.synthetic.write_dataset(tmp_path / "scenes", count=17, size=32)
    end(start(tmp_path, 1, epochs=3))
    processes = start(tmp_path, 2, epochs=3)
    notes = tmp_path / "steps_1.txt"
    deadline = time.monotonic() + 300
    while not (notes.exists() and notes.stat().st_size >= 4) and time.monotonic() < deadline:
        time.sleep(0.01)
    processes[1].send_signal(signal.SIGKILL)
    _, error = processes[0].communicate(timeout=300)
    assert processes[0].returncode == 1
    assert "Worker 0 of 2 has lost another one, and stops" in error
    processes[1].communicate()
    end(start(tmp_path, 2, epochs=3))
    whole, first, second = (
        values(tmp_path / f"end_{name}.npz") for name in ("0_of_1", "0_of_2", "1_of_2")
    )
    for a, b, c in zip(whole, first, second):
        np.testing.assert_allclose(b, a, rtol=1e-3, atol=1e-4)
        np.testing.assert_array_equal(b, c)
    states = [path.name for path in pathlib.Path(tmp_path / "state_2").iterdir()]
    assert sorted(states) == ["epoch_0002_step_3", "epoch_0003"]
