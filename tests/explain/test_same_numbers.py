"""Two processes with one seed come to the same weights and explanations, to the bit."""

import subprocess
import sys
import textwrap

import numpy as np
import pytest

import kerasgan as kg

WORK = textwrap.dedent(
    """
    import sys, threading
    import keras, numpy as np, tensorflow as tf
    import kerasgan as kg

    scenes, end, beside = sys.argv[1:]
    keras.utils.set_random_seed(0)
    tf.config.experimental.enable_op_determinism()
    samples = kg.data.load_folder(scenes)
    images = next(iter(samples.batches(2, size=32)))[0].numpy()

    stop, threads = threading.Event(), []
    if beside == "explaining":
        network = kg.models.unet(size=32, filters=2, levels=2, seed=5)
        others = [kg.Explainer(network, rule) for rule in ("epsilon", "alpha2beta1")]
        for other in others:
            other.explain(images, np.ones((32, 32)))

        def explain(other):
            while not stop.is_set():
                other.explain(images, np.ones((32, 32)))

        threads = [threading.Thread(target=explain, args=(other,)) for other in others]

    gan = kg.recipes.build("fast", size=32, filters=2, seed=1)
    for thread in threads:
        thread.start()
    gan.fit(samples.batches(2, size=32, augment=True, seed=1), epochs=2, verbose=0)
    stop.set()
    for thread in threads:
        thread.join()
    weights = [w.numpy() for network in gan._networks() for w in network.weights]
    maps = [
        kg.Explainer(gan.generator, rule).explain(images, np.ones((32, 32))).relevance
        for rule in ("epsilon", "alpha2beta1")
    ]
    np.savez(end, *weights, *maps)
    """
)


@pytest.mark.slow
def test_two_processes_one_of_them_explaining_meanwhile(tmp_path):
    kg.data.synthetic.write_dataset(tmp_path / "scenes", count=7, size=32)
    found = []
    for number, beside in enumerate(("nothing", "explaining", "nothing")):
        end = tmp_path / f"end_{number}.npz"
        command = [sys.executable, "-c", WORK, str(tmp_path / "scenes"), str(end), beside]
        subprocess.run(command, check=True, timeout=600)
        with np.load(end) as arrays:
            found.append(dict(arrays))
    for other in found[1:]:
        assert found[0].keys() == other.keys()
        for name, array in found[0].items():
            assert array.tobytes() == other[name].tobytes(), name
