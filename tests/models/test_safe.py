import io
import json
import pathlib
import zipfile

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from refusals import refused

import kerasgan as kg
from kerasgan import KerasganError
from kerasgan.models import blocks
from kerasgan.models.safe import load_network
from kerasgan.stack import KERAS_3


def small():
    image = keras.Input((8, 8, 3), name="image")
    x = keras.layers.Conv2D(2, 3, padding="same", name="conv")(image)
    return keras.Model(image, keras.layers.Conv2D(1, 1, activation="sigmoid", name="mask")(x))


def constrained(x):
    settings = {"kernel_regularizer": "l2", "kernel_constraint": "non_neg"}
    return keras.layers.Conv2D(4, 3, padding="same", **settings)(x)


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "net.keras"
    small().save(path)
    return path


def rewrite(path, **changes):
    """Write the archive again with other contents for some files, or more files."""
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    files.update({name.replace("__", "."): data for name, data in changes.items()})
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)


def edit_config(path, change):
    with zipfile.ZipFile(path) as archive:
        config = json.loads(archive.read("config.json"))
    change(config)
    rewrite(path, config__json=json.dumps(config))


def layer(config, name):
    return next(x for x in config["config"]["layers"] if x["config"]["name"] == name)["config"]


IMAGES = np.random.default_rng(0).uniform(-1, 1, (2, 8, 8, 3)).astype("float32")


class TestNetworks:
    @pytest.mark.skipif(KERAS_3, reason="layers for calls of TensorFlow are of Keras 2 alone")
    def test_a_network_of_every_kind_of_part_is_loaded(self, tmp_path):
        image = keras.Input((8, 8, 3))
        x = constrained(image)
        x = tf.nn.relu(x + 1.0)[:, :4]
        x = tf.concat([x, tf.math.reduce_mean(x, 1, keepdims=True)], 1)
        x = tf.image.resize(x, (8, 8)) / 2.0
        addons = pytest.importorskip("tensorflow_addons")
        x = addons.layers.GroupNormalization(2)(x)
        x = addons.layers.SpectralNormalization(keras.layers.Conv2D(4, 1, activation="gelu"))(x)
        self.is_loaded(image, x, tmp_path)

    @pytest.mark.skipif(not KERAS_3, reason="operations are classes in Keras 3 alone")
    def test_a_network_with_operations_is_loaded(self, tmp_path):
        image = keras.Input((8, 8, 3))
        x = constrained(image)
        x = keras.ops.relu(x + 1.0)[:, :4, ..., 0:4]
        x = keras.ops.concatenate([x, keras.ops.mean(x, 1, keepdims=True)], 1)
        x = keras.ops.image.resize(x, (8, 8)) / 2.0
        x = keras.ops.where(x > 0, x, keras.ops.exp(x)) * np.float32(0.5)
        x = keras.ops.transpose(keras.ops.einsum("bhwc->bwhc", x), (0, 2, 1, 3))
        x = keras.layers.GroupNormalization(2)(x)
        x = keras.layers.SpectralNormalization(keras.layers.Conv2D(4, 1, activation="gelu"))(x)
        self.is_loaded(image, x, tmp_path)

    def is_loaded(self, image, x, tmp_path):
        x = kg.models.SeededDropout(0.5)(x)
        policy = keras.mixed_precision.Policy("mixed_bfloat16")
        inner = keras.Sequential([keras.Input((8, 8, 4)), keras.layers.Dense(3, dtype=policy)])
        x = keras.layers.Activation(keras.activations.mish)(inner(x))
        x = keras.layers.Conv2D(1, 1, kernel_constraint=blocks.WeightClip(1.0))(x)
        model = keras.Model(image, x)
        model.compile(keras.optimizers.Adam(), keras.losses.MeanSquaredError())
        model.save(tmp_path / "net.keras")
        again = load_network(tmp_path / "net.keras")
        assert getattr(again, "optimizer", None) is None
        np.testing.assert_array_equal(again(IMAGES), model(IMAGES))

    @pytest.mark.parametrize(
        ("module", "kind", "settings", "registered", "named"),
        [
            ("os", "function", "system", None, "system"),
            ("builtins", "function", "eval", None, "eval"),
            ("subprocess", "Popen", {}, None, "subprocess"),
            ("keras.layers", "Lambda", {}, None, "Lambda"),
            ("keras.layers", "StringLookup", {}, None, "StringLookup"),
            ("keras.layers", "TFSMLayer", {}, None, "TFSMLayer"),
            ("keras.layers", "ReLU", {}, "kerasgan>Jaccard", "ReLU"),
            (None, "__lambda__", {"value": ["x", None, None]}, None, "__lambda__"),
            (["keras"], "Conv2D", 1, None, "Conv2D"),
            ("victim", "__slice__", {}, None, "__slice__"),
            ("keras.src.ops.core", "Map", {}, "Map", "Map"),
            ("keras", "Model", {}, None, "Model"),
            (
                "keras.src.layers.core.tf_op_layer",
                "TFOpLambda",
                {"name": "write", "function": "io.write_file"},
                "TFOpLambda",
                "io.write_file",
            ),
        ],
    )
    def test_what_could_run_code_is_refused_before_it_is_imported(
        self, saved, module, kind, settings, registered, named
    ):
        part = {"module": module, "registered_name": registered}
        part = {key: value for key, value in part.items() if value is not None}
        part.update(class_name=kind, config=settings)
        edit_config(saved, lambda config: layer(config, "conv").update(activation=part))
        refused(rf"net\.keras.*asks for.*{named}", load_network, saved)

    def test_no_module_is_imported(self, saved, tmp_path, monkeypatch):
        (tmp_path / "victim.py").write_text("open('ran', 'w').close()\n")
        monkeypatch.chdir(tmp_path)
        monkeypatch.syspath_prepend(str(tmp_path))
        part = {"module": "victim", "class_name": "Run", "config": {}, "registered_name": "Run"}
        whole = saved.read_bytes()
        for spoil in (
            lambda config: layer(config, "conv").update(kernel_initializer=part),
            lambda config: config["config"]["layers"][0].update(part),
            lambda config: config["config"]["layers"][0]["config"].update(type_spec=part),
            lambda config: config.update(part),
        ):
            saved.write_bytes(whole)
            edit_config(saved, spoil)
            refused(r"victim|no functional", load_network, saved)
            assert not pathlib.Path("ran").exists()

    def test_weights_that_are_no_weights(self, saved, tmp_path):
        (tmp_path / "secret.bin").write_bytes(b"\0" * 64)

        def links(root):
            root["soft"] = h5py.SoftLink("/vars")

        def elsewhere(root):
            root["other"] = h5py.ExternalLink("secret.h5", "/")

        def external(root):
            root.create_dataset(
                "out", (16,), "f4", external=[(str(tmp_path / "secret.bin"), 0, 64)]
            )

        def declared(root):
            root.create_dataset("huge", (10**12,), "f4")

        def packed(root):
            root.create_dataset("packed", data=np.zeros(10**6, "f4"), compression="gzip")

        for spoil, message in (
            (links, "holds links"),
            (elsewhere, "holds links"),
            (external, "does not hold the weight '/out'"),
            (declared, "does not hold the weight '/huge'"),
            (packed, "does not hold the weight '/packed'"),
        ):
            with zipfile.ZipFile(saved) as archive:
                file = io.BytesIO(archive.read("model.weights.h5"))
            with h5py.File(file, "a") as root:
                spoil(root)
            path = tmp_path / "spoilt.keras"
            path.write_bytes(saved.read_bytes())
            rewrite(path, model__weights__h5=file.getvalue())
            refused(message, load_network, path)

    def test_broken_files_end_in_our_error(self, saved, tmp_path):
        whole = saved.read_bytes()
        for broken in (
            b"",
            b"no zip",
            whole[: len(whole) // 2],
            whole.replace(b"Conv2D", b"Conv9D"),
        ):
            (tmp_path / "broken.keras").write_bytes(broken)
            refused(r"broken\.keras", load_network, tmp_path / "broken.keras")
        deep = "[" * 100_000 + "]" * 100_000
        for text in ("{", deep, "[]", '{"class_name": "Model"}', b"\xff"):
            rewrite(saved, config__json=text)
            refused(r"config\.json", load_network, saved)
        refused("nowhere", load_network, tmp_path / "nowhere.keras")

    def test_missing_and_further_files(self, saved, tmp_path):
        rewrite(saved, assets__txt="x")
        refused(r"'assets\.txt' does not belong there", load_network, saved)
        with zipfile.ZipFile(tmp_path / "b.keras", "w") as archive:
            archive.writestr("config.json", "{}")
        with pytest.raises(
            KerasganError, match=r"'metadata\.json', 'model\.weights\.h5' is missing"
        ):
            load_network(tmp_path / "b.keras")

    def test_what_keras_cannot_build(self, saved):
        edit_config(saved, lambda config: layer(config, "conv").update(kernel_size="x"))
        refused(r"'net\.keras' cannot be loaded", load_network, saved)


@keras.saving.register_keras_serializable(package="tests")
class Scaled(keras.layers.Layer):
    def __init__(self, inner, by=2.0, **kwargs):
        super().__init__(**kwargs)
        self.inner, self.by = inner, by

    def call(self, x):
        return self.by * self.inner(x)

    def get_config(self):
        inner = keras.saving.serialize_keras_object(self.inner)
        return {**super().get_config(), "inner": inner, "by": self.by}

    @classmethod
    def from_config(cls, config):
        return cls(keras.saving.deserialize_keras_object(config.pop("inner")), **config)


class Shifted(keras.layers.Layer):
    def call(self, x):
        return x + 1.0


def halved(x):
    return x / 2.0


OWN = {"Scaled": Scaled, "Shifted": Shifted, "halved": halved}


class TestCustomObjects:
    @pytest.fixture
    def own(self, tmp_path):
        image = keras.Input((8, 8, 3))
        x = Scaled(keras.layers.Conv2D(2, 3, name="inner"), 3.0, name="scaled")(Shifted()(image))
        model = keras.Model(image, keras.layers.Conv2D(1, 1, activation=halved)(x))
        model.save(tmp_path / "net.keras")
        return model

    def test_what_the_caller_passes_is_loaded(self, own, tmp_path):
        again = load_network(tmp_path / "net.keras", custom_objects=OWN)
        np.testing.assert_array_equal(again(IMAGES), own(IMAGES))

    @pytest.mark.parametrize("name", OWN)
    def test_what_the_caller_does_not_pass_is_not(self, own, tmp_path, name):
        # Scaled is registered, so that Keras would make one.
        given = {key: value for key, value in OWN.items() if key != name}
        advice = rf"asks for .*{name}.*custom_objects=\{{'(tests>)?{name}': \.\.\.\}}\)"
        refused(advice, load_network, tmp_path / "net.keras", custom_objects=given)

    def test_it_lets_in_nothing_else(self, own, tmp_path):
        path = tmp_path / "net.keras"
        evil = {"module": "os", "class_name": "function", "config": "system"}
        edit_config(path, lambda config: layer(config, "scaled").update(inner=evil))
        refused("system", load_network, path, custom_objects=OWN)

    def test_a_name_is_the_callers_though_the_file_names_a_module(self, own, tmp_path):
        path = tmp_path / "net.keras"

        def elsewhere(config):
            (part,) = (x for x in config["config"]["layers"] if x["class_name"] == "Shifted")
            part["module"] = "antigravity"

        edit_config(path, elsewhere)
        again = load_network(path, custom_objects=OWN)
        np.testing.assert_array_equal(again(IMAGES), own(IMAGES))

    def test_a_lambda_is_never_loaded(self, tmp_path):
        image = keras.Input((8, 8, 3))
        model = keras.Model(image, keras.layers.Lambda(lambda x: x + 1)(image))
        model.save(tmp_path / "net.keras")
        with pytest.raises(KerasganError, match=r"Lambda.*ask its author for a layer class"):
            load_network(tmp_path / "net.keras", custom_objects=OWN)

        class Mine(keras.layers.Lambda):
            pass

        for value in (keras.layers.Lambda, Mine, keras.layers.Conv2D, "os.system", len):
            with pytest.raises(KerasganError, match=r"'custom_objects' must hold.*Lambda is never"):
                load_network(tmp_path / "net.keras", custom_objects={"Lambda": value})
        with pytest.raises(KerasganError, match="'custom_objects' must hold"):
            load_network(tmp_path / "net.keras", custom_objects=[Shifted])
