"""Uncertainty of passes, against entropies and Dice computed pass by pass."""

import itertools

import keras
import numpy as np
import pandas as pd
import pytest

import kerasgan as kg

uncertainty = kg.inference.predict_uncertainty


def network(seed, classes=1, size=(32, 32)):
    return kg.models.unet(size=size, filters=2, levels=2, classes=classes, seed=seed)


def bits(p):
    p = np.clip(p.astype("float64"), 1e-300, 1)
    return -(p * np.log2(p)).sum(-1)


def dice(a, b):
    return 1.0 if not (a | b).any() else 2 * (a & b).sum() / (a.sum() + b.sum())


@pytest.fixture
def images():
    return np.random.default_rng(0).uniform(-1, 1, (2, 32, 32, 3)).astype("float32")


@pytest.mark.parametrize("classes", [1, 3])
def test_an_ensemble_by_hand(images, classes):
    networks = [network(seed, classes) for seed in range(3)]
    measured = uncertainty(networks, images, augment=False)
    passes = np.stack([kg.inference.predict_probability(each, images) for each in networks])
    whole = np.concatenate([1 - passes, passes], -1) if classes == 1 else passes
    for index, received in enumerate(measured):
        entropy = bits(whole[:, index].mean(0))
        expected = entropy - bits(whole[:, index]).mean(0)
        np.testing.assert_allclose(received.entropy, entropy, atol=1e-5)
        np.testing.assert_allclose(received.disagreement, expected, atol=1e-5)
        masks = [kg.inference.decide(each[index]) for each in passes]
        pairs = [
            np.mean([dice(a == label, b == label) for label in range(1, max(classes, 2))])
            for a, b in itertools.combinations(masks, 2)
        ]
        assert received.mask_disagreement == pytest.approx(1 - np.mean(pairs))


def test_one_network_does_not_disagree_with_itself(images, tmp_path):
    one, again, other = network(0), network(0), network(1)
    for models in ([one, one], [one, other, again]):
        with pytest.raises(kg.KerasganError, match=r"different networks.* numbers 0 and "):
            uncertainty(models, images, augment=False)
    samples = kg.data.synthetic.write_dataset(tmp_path, count=2, size=32)
    with pytest.raises(kg.KerasganError, match="Pass each network once"):
        kg.inference.rank_images([one, one], samples)


def test_views_are_flips_and_turns_of_the_image(images):
    model = network(0)
    (received,) = uncertainty(model, images[:1])
    views = []
    for flipped, turns in itertools.product((False, True), range(4)):
        seen = np.rot90(images[:1, :, ::-1] if flipped else images[:1], turns, (1, 2))
        back = np.rot90(model(seen).numpy(), -turns, (1, 2))
        views.append((back[:, :, ::-1] if flipped else back)[0])
    mean = np.mean(views, 0)
    np.testing.assert_allclose(
        received.entropy, bits(np.concatenate([1 - mean, mean], -1)), atol=1e-4
    )


def test_windows_and_sizes_are_those_of_predict():
    image = np.random.default_rng(1).uniform(-1, 1, (1, 50, 70, 3)).astype("float32")
    networks = [network(seed) for seed in range(2)]
    (received,) = uncertainty(networks, image, augment=False, mode="window")
    passes = [kg.inference.predict_probability(each, image, mode="window")[0] for each in networks]
    mean = np.mean(passes, 0)
    np.testing.assert_allclose(
        received.entropy, bits(np.concatenate([1 - mean, mean], -1)), atol=1e-5
    )


def test_labels_that_may_overlap_have_an_entropy_each(images):
    image = keras.Input((32, 32, 3))
    outputs = [
        keras.Model(image, keras.layers.Conv2D(2, 3, padding="same", activation="sigmoid")(image))
        for _ in range(2)
    ]
    measured = uncertainty(outputs, images, augment=False, preprocess="[-1,1]")
    for received in measured:
        assert received.entropy.shape == (32, 32)
        assert received.disagreement.min() >= 0
        assert received.entropy.max() <= 1


def test_a_table_has_a_row_for_each_file(tmp_path):
    samples = kg.data.synthetic.write_dataset(tmp_path / "scenes", count=3, size=32)
    received = kg.inference.uncertainty_table(network(0), samples, augment="flips")
    measured = uncertainty(network(0), samples, augment="flips")
    expected = pd.DataFrame(
        {
            "name": samples.names,
            "entropy": [each.entropy.mean() for each in measured],
            "disagreement": [each.disagreement.mean() for each in measured],
            "mask_disagreement": [each.mask_disagreement for each in measured],
        }
    )
    pd.testing.assert_frame_equal(received, expected, check_dtype=False)
    assert list(kg.inference.uncertainty_table(network(0), tmp_path / "scenes" / "images").name)


def test_a_single_pass_is_refused(images):
    with pytest.raises(kg.KerasganError, match="'augment' must be True or 'flips' for a single"):
        uncertainty(network(0), images, augment=False)
