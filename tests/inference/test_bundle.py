import hashlib
import json
import os
import resource
import stat
import tempfile
import time
import zipfile

import keras
import numpy as np
import pytest
import safetensors.numpy
import tensorflow as tf
from refusals import refused

import kerasgan as kg
from kerasgan import KerasganError, KerasganWarning
from kerasgan.inference.bundle import load_bundle, save_bundle
from kerasgan.inference.card import REQUIRED

CARD = {name: f"About {name}." for name in REQUIRED if name != "licence"}
RNG = np.random.default_rng(0)
IMAGES = RNG.uniform(-1, 1, (2, 40, 50, 3)).astype("float32")


def small(**options):
    return kg.models.unet(size=32, filters=2, levels=2, **options)


@pytest.fixture(scope="module")
def network():
    return small()


@pytest.fixture(scope="module")
def written(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("bundle") / "polyps.zip"
    save_bundle(network, path, card=CARD, licence="CC-BY-4.0")
    return path


def files_of(path):
    with zipfile.ZipFile(path) as archive:
        return {name.split("/")[1]: archive.read(name) for name in archive.namelist()}


def sums_of(files):
    names = sorted(name for name in files if name != "SHA256SUMS")
    return "".join(f"{hashlib.sha256(files[x]).hexdigest()}  {x}\n" for x in names).encode()


def write(path, files, folder="polyps", sums=True):
    """Write a bundle as an attacker would who knows its form: with the right checksums."""
    files = {name: x.encode() if isinstance(x, str) else x for name, x in files.items()}
    if sums:
        files["SHA256SUMS"] = sums_of(files)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(f"{folder}/{name}", data)
    return path


def edited(path, written, **changes):
    """Write a bundle whose settings have been changed; a dict changes those of the generator."""
    files = files_of(written)
    settings = json.loads(files["kerasgan.json"])
    settings["networks"]["generator"].update(changes.pop("generator", {}))
    return write(path, {**files, "kerasgan.json": json.dumps({**settings, **changes})})


class TestRoundTrip:
    def test_of_a_gan(self, tmp_path):
        gan = kg.recipes.build("pix2pix", size=32, filters=2)
        gan.fits.append({"data": {"images": "880, 12ab", "batch_size": 4}, "epochs": 3})
        for weight in gan.generator.weights:
            if tf.as_dtype(weight.dtype).is_floating:
                weight.assign(weight.numpy() + RNG.uniform(0, 0.1, weight.shape))
        (tmp_path / "scores.csv").write_text("dice\n0.5\n")
        digest = save_bundle(
            gan,
            tmp_path / "made" / "polyps.zip",
            card={**CARD, "version": "2"},
            licence="CC-BY-4.0",
            preprocessing={"mode": "letterbox", "temperature": 1.5, "clean": "largest"},
            attachments=[tmp_path / "scores.csv"],
        )
        path = tmp_path / "made" / "polyps.zip"
        assert digest == hashlib.sha256(path.read_bytes()).hexdigest()
        assert os.listdir(path.parent) == ["polyps.zip"]
        b = load_bundle(path, sha256=digest.upper())
        assert (b.card, b.licence, b.missing) == ({**CARD, "version": "2"}, "CC-BY-4.0", ())
        assert kg.recipes.Recipe(**b.recipe) == kg.recipes.get("pix2pix", size=32, filters=2)
        assert b.fits == gan.fits
        with zipfile.ZipFile(path) as archive:
            card = archive.read("polyps/README.md").decode()
        assert "- Batch size: 4" in card
        assert "- Epochs done when saved: 3\n- Epochs asked for: not recorded" in card
        assert b.attachments == {"scores.csv": b"dice\n0.5\n"}
        assert b.versions["kerasgan"] == kg.__version__
        options = {"mode": "letterbox", "temperature": 1.5}
        assert b.preprocessing == {"size": (32, 32), **options, "clean": ["largest"]}
        expected = kg.inference.predict_probability(gan, IMAGES, **options)
        np.testing.assert_array_equal(b.predict_probability(IMAGES), expected)
        expected = kg.predict(gan, IMAGES, clean="largest", **options)
        np.testing.assert_array_equal(b.predict(IMAGES), expected)
        expected = kg.predict(gan, IMAGES, clean=(), **options)
        np.testing.assert_array_equal(b.predict(IMAGES, clean=()), expected)

    def test_unpacked_it_is_a_model_folder(self, written, network, tmp_path):
        with zipfile.ZipFile(written) as archive:
            archive.extractall(tmp_path)
        gan = kg.SegmentationGAN.load(tmp_path / "polyps")
        images = IMAGES[:, :32, :32]
        np.testing.assert_array_equal(gan.generator(images), network(images))
        card = (tmp_path / "polyps" / "README.md").read_text().replace("\\", "")
        for text in (*CARD.values(), "CC-BY-4.0", 'load_bundle("polyps.zip")'):
            assert text in card
        assert "Not stated" not in card

    def test_a_compiled_sequential_model_of_any_size(self, tmp_path):
        def build():
            image = keras.Input((None, None, 1))
            return keras.Sequential([image, keras.layers.Conv2D(3, 3, padding="same")])

        network = build()
        network.compile("adam", "mse")
        options = {"preprocessing": {"size": [16, 24]}, "build": build}
        save_bundle(network, tmp_path / "a.zip", card=CARD, licence="x", **options)
        b = load_bundle(tmp_path / "a.zip", build=build)
        assert b.preprocessing == {"size": (16, 24)}
        assert b.recipe is None
        images = IMAGES[..., :1]
        expected = kg.predict(network, images, size=(16, 24))
        np.testing.assert_array_equal(b.predict(images), expected)

    def test_it_stands_for_its_model(self, written, network):
        b = load_bundle(written)
        expected = kg.inference.predict_probability(network, IMAGES)
        np.testing.assert_array_equal(kg.inference.predict_probability(b, IMAGES), expected)
        assert kg.models.generator_of(b) is b.generator

    def test_loading_leaves_nothing_behind(self, written, tmp_path, monkeypatch):
        path = tmp_path / "here" / "polyps.zip"
        path.parent.mkdir()
        path.write_bytes(written.read_bytes())
        path.chmod(0o400)
        (tmp_path / "temporary").mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
        monkeypatch.chdir(tmp_path)
        load_bundle(path)
        broken = write(tmp_path / "b.zip", {**files_of(written), "generator.safetensors": b"no"})
        with pytest.raises(KerasganError):
            load_bundle(broken)
        found = sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*"))
        assert found == ["b.zip", "here", "here/polyps.zip", "temporary"]
        assert path.read_bytes() == written.read_bytes()


class TestCard:
    def test_what_is_left_out_is_named(self, network, tmp_path):
        card = {name: text for name, text in CARD.items() if name not in ("contact", "limits")}
        with pytest.warns(KerasganWarning, match="leaves out: limits, contact, licence"):
            save_bundle(network, tmp_path / "a.zip", card=card)
        with pytest.warns(KerasganWarning, match="leaves out: limits, contact, licence"):
            b = load_bundle(tmp_path / "a.zip")
        assert b.missing == ("limits", "contact", "licence")
        card = files_of(tmp_path / "a.zip")["README.md"].decode()
        assert "## Known limits\n\n- Not stated." in card
        assert "ask before you use it" in card

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"card": {"intended_uses": "x"}}, "Did you mean 'intended_use'"),
            ({"card": {"licence": "x"}}, "pass licence="),
            ({"card": {"limits": " "}}, r"'card\['limits'\]' must be a text"),
            ({"card": "text"}, "'card' must be a dict"),
            ({"licence": 3}, "'licence' must be a text"),
            ({"preprocessing": {"modes": 1}}, "Did you mean 'mode'"),
            ({"preprocessing": {"mode": "squeeze"}}, "'mode' must be one of"),
            ({"preprocessing": {"size": 64}}, "'size' must be what"),
            ({"preprocessing": {"temperature": -1}}, "temperature"),
            ({"preprocessing": {"threshold": 1}}, "threshold"),
            ({"preprocessing": {"threshold": "a"}}, "threshold"),
            ({"preprocessing": {"clean": "all"}}, "clean"),
            ({"preprocessing": {"mode": "window", "scale": 1e6}}, "'scale' up to 16"),
            ({"attachments": ["code.py"]}, "'attachments' must be files of"),
            ({"attachments": ["README.md"]}, "'attachments' must be files of"),
            ({"attachments": ["missing.csv"]}, "missing.csv' cannot be read"),
        ],
    )
    def test_arguments(self, network, tmp_path, arguments, message):
        refused(message, save_bundle, network, tmp_path / "a.zip", **arguments)
        assert list(tmp_path.iterdir()) == []


class TestWriting:
    def test_what_exists_stays(self, network, tmp_path):
        path = tmp_path / "a.zip"
        path.write_text("mine")
        refused(r"exists\. Remove it", save_bundle, network, path, card=CARD, licence="x")
        assert path.read_text() == "mine"
        refused(r"must end in \.zip", save_bundle, network, tmp_path / "a.tar")
        refused("cannot be written", save_bundle, network, path / "b.zip", card=CARD, licence="x")

    def test_a_changed_network_is_not_written(self, tmp_path):
        network = small()
        network.get_layer("down_1_act_a").max_value = 1.0
        with pytest.raises(KerasganError, match=r"'unet' is not as.*pass build="):
            save_bundle(network, tmp_path / "a.zip", card=CARD, licence="x")
        network = small()
        network.trainable = False
        save_bundle(network, tmp_path / "a.zip", card=CARD, licence="x")
        assert not load_bundle(tmp_path / "a.zip").generator.trainable_weights


class Mine(keras.layers.Layer):
    def build(self, shape):
        self.by = self.add_weight(name="by", shape=(shape[-1],), initializer="ones")

    def call(self, x):
        return x * self.by


def my_network(activation="relu", filters=2):
    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(filters, 3, padding="same", activation=activation)(image)
    x = keras.layers.Conv2D(2, 3, padding="same")(Mine()(x))
    return keras.Model(image, keras.layers.Dense(1, activation="sigmoid")(x), name="theirs")


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    network = my_network()
    for weight in network.weights:
        weight.assign(RNG.uniform(-1, 1, weight.shape))
    path = tmp_path_factory.mktemp("own") / "a.zip"
    keep = {"preprocess": "[-1,1]"}
    save_bundle(network, path, card=CARD, licence="x", build=my_network, preprocessing=keep)
    return network, path


class TestOwnNetworks:
    """A network that kerasgan does not build is built by its author's function."""

    def test_the_reader_passes_the_function(self, own, tmp_path):
        network, path = own
        images = IMAGES[:, :8, :8]
        b = load_bundle(path, build=my_network)
        np.testing.assert_array_equal(b.generator(images), network(images))
        with zipfile.ZipFile(path) as archive:
            archive.extractall(tmp_path)
        assert "build=my_network" in (tmp_path / "a" / "README.md").read_text()
        gan = kg.SegmentationGAN.load(tmp_path / "a", build=my_network)
        np.testing.assert_array_equal(gan(images), network(images))

    def test_without_it_the_error_says_which(self, own, tmp_path):
        network, path = own
        refused(r"a\.zip.*build=my_network", load_bundle, path)
        refused(r"'theirs' is not as.*pass build=", save_bundle, network, tmp_path / "b.zip")

    def test_another_function_is_refused(self, own, network, written, tmp_path):
        _, path = own
        refused("gives other masks", load_bundle, path, build=lambda: my_network("tanh"))
        with pytest.raises(KerasganError, match=r"weight 'conv2d_0/kernel' has the shape"):
            load_bundle(path, build=lambda: my_network(filters=3))
        refused(r"weight '.*' has the shape", load_bundle, path, build=small)
        refused("'build' must be left out", load_bundle, written, build=small)
        refused("'build' must be left out", save_bundle, network, tmp_path / "b.zip", build=small)
        with pytest.raises(KerasganError, match=r"has the shape"):
            save_bundle(own[0], tmp_path / "b.zip", build=lambda: my_network(filters=3))
        refused(r"'build' must", load_bundle, path, build=lambda: None)
        assert list(tmp_path.iterdir()) == []


class TestStrangers:
    """Bundles that somebody made, or damaged: each ends in an error that says which and why."""

    def refused(self, path, message, **options):
        with pytest.raises(KerasganError, match=message) as caught:
            load_bundle(path, **options)
        assert path.name in str(caught.value)

    def test_a_checksum_that_is_wrong(self, written, tmp_path):
        files = files_of(written)
        files["bundle.json"] = files["bundle.json"].replace(b"CC-BY-4.0", b"CC-BY-9.0")
        self.refused(write(tmp_path / "a.zip", files, sums=False), "'bundle.json' is not what")
        files = files_of(written)
        files["generator.safetensors"] = files["generator.safetensors"][:-1] + b"x"
        self.refused(
            write(tmp_path / "a.zip", files, sums=False), "'generator.safetensors' is not what"
        )

    def test_another_file_than_the_one_published(self, written):
        self.refused(written, "not the file that was published", sha256="0" * 64)

    @pytest.mark.parametrize(
        "name", ["generator.safetensors", "bundle.json", "kerasgan.json", "README.md", "SHA256SUMS"]
    )
    def test_a_file_is_missing(self, written, tmp_path, name):
        files = files_of(written)
        del files[name]
        self.refused(write(tmp_path / "a.zip", files, sums=False), f"'{name}' is missing")
        if name != "SHA256SUMS":
            self.refused(write(tmp_path / "a.zip", files), f"'{name}' is missing")

    def test_a_file_too_many(self, written, tmp_path):
        path = write(tmp_path / "a.zip", {**files_of(written), "notes.txt": "x"}, sums=False)
        self.refused(path, "'notes.txt' does not belong there")
        for name in ("run.py", "weights.pkl", "optimizers.npz"):
            path = write(tmp_path / "a.zip", {**files_of(written), name: "x"})
            self.refused(path, f"'{name}' does not belong there")

    def test_paths_that_climb_out(self, written, tmp_path):
        for name in ("../x.txt", "/x.txt", "C:\\x.txt", "..\\x.txt"):
            path = write(tmp_path / "a.zip", files_of(written))
            with zipfile.ZipFile(path, "a") as archive:
                archive.writestr(name, "x")
            self.refused(path, "names a path outside of it")

    def test_links_and_other_folders(self, written, tmp_path):
        path = write(tmp_path / "a.zip", files_of(written))
        link = zipfile.ZipInfo("polyps/card.md")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(link, "/etc/passwd")
        self.refused(path, "is a link or a device")
        path = write(tmp_path / "b.zip", files_of(written))
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("__MACOSX/x.txt", "x")
        self.refused(path, "the files of one folder")
        path = write(tmp_path / "c.zip", files_of(written), folder="a/b")
        self.refused(path, "the files of one folder")

    def test_bombs(self, written, tmp_path, monkeypatch):
        self.refused(written, r"above the limit of 0\.0 MB", limit=1000)
        files = {**files_of(written), "zeros.txt": bytes(5_000_000)}
        path = write(tmp_path / "a.zip", files)
        assert path.stat().st_size < 200_000
        self.refused(path, r"5\.\d MB unpacked, above the limit of 1\.0 MB", limit=1_000_000)
        monkeypatch.setattr("kerasgan.inference.bundle.MOST_BESIDE", 10**6)
        self.refused(path, r"beside the network it holds 5\.0 MB")

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"builder": "eval"}, "no such network"),
            ({"builder": "os.system"}, "no such network"),
            ({"builder": ["unet"]}, "no such network"),
            ({"builder": "encoder_unet", "arguments": {"weights": "/etc/passwd"}}, "'weights'"),
            ({"arguments": {"size": 32, "code": "x"}}, "no such network"),
            ({"arguments": []}, "no such network"),
            ({"arguments": {"size": 100}}, "multiple"),
            ({"arguments": {"size": 2**30}}, "such 'size'"),
            ({"arguments": {"size": "32"}}, "of its generator"),
            ({"arguments": {"size": 512, "filters": 1024, "levels": 8}}, "more than|has the shape"),
            ({"arguments": {"size": 32, "filters": 10**9}}, "such 'filters'"),
            ({"arguments": {"channels": 10**9}}, "such 'channels'"),
            ({"builder": "segformer", "arguments": {"depths": [10**6, 1, 1, 1]}}, "'depths'"),
            ({"builder": "segformer", "arguments": {"depths": [1] * 10**5}}, "'depths'"),
            ({"builder": "patch_discriminator"}, "more than|has the shape|cannot be loaded"),
            ({"policy": "victim"}, "no such network"),
            ({"policy": {"class_name": "Policy"}}, "no such network"),
            ({"frozen": "conv"}, "no such network"),
        ],
    )
    def test_what_is_built_is_of_kerasgan_and_no_larger_than_the_file(
        self, written, tmp_path, change, message
    ):
        path = edited(tmp_path / "a.zip", written, generator=change)
        before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
        self.refused(path, message)
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 * 1024
        assert time.process_time() - began < 20

    @pytest.mark.parametrize("networks", [None, {}, {"x": {}}, {"generator": 3}, ["generator"]])
    def test_networks_that_are_none(self, written, tmp_path, networks):
        path = edited(tmp_path / "a.zip", written, networks=networks)
        self.refused(path, "is broken|cannot be loaded")

    def test_weights_that_are_others(self, written, tmp_path):
        files = files_of(written)
        weights = safetensors.numpy.load(files["generator.safetensors"])
        name = "mask_conv/kernel"
        for changed, message in (
            ({k: v for k, v in weights.items() if k != name}, f"'{name}' has the shape none"),
            ({**weights, "further": weights[name]}, "'further' has the shape"),
            ({**weights, name: weights[name][..., 0]}, f"'{name}' has the shape"),
            ({**weights, name: weights[name].astype(np.float64)}, f"'{name}' is of type float64"),
        ):
            files["generator.safetensors"] = safetensors.numpy.save(
                {k: np.ascontiguousarray(v) for k, v in changed.items()}
            )
            self.refused(write(tmp_path / "a.zip", files), message)
        for data in (b"", b"x" * 100, (2**62).to_bytes(8, "little") + b"{}"):
            files["generator.safetensors"] = data
            self.refused(write(tmp_path / "a.zip", files), "cannot be loaded")

    @pytest.mark.parametrize("format", [99, 3, 1, "2", None])
    def test_another_format(self, written, tmp_path, format):
        newer = isinstance(format, int) and format > 2
        message = "was written by a newer kerasgan; upgrade" if newer else "is broken"
        self.refused(edited(tmp_path / "a.zip", written, format=format), message)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"format": 99}, "newer kerasgan"),
            ({"format": None}, "is broken"),
            ({"card": ["x"]}, "is broken"),
            ({"card": {"limits": 3}}, "is broken"),
            ({"licence": {}}, "is broken"),
            ({"preprocessing": {"size": [32, 32], "preprocess": "os.system"}}, "preprocess"),
            ({"preprocessing": {"size": [32, 32], "preprocess": None}}, "preprocess"),
            ({"preprocessing": {"size": [32, 32], "preprocess": ["[0,1]"]}}, "preprocess"),
            ({"preprocessing": {"size": [10**9, 10**9]}}, "'size' must be what"),
            ({"preprocessing": {"temperature": "1"}}, "temperature"),
            ({"preprocessing": {"threshold": {}}}, "threshold"),
            ({"preprocessing": {"clean": [["x"]]}}, "cannot be loaded|clean"),
        ],
    )
    def test_descriptions_that_are_wrong(self, written, tmp_path, change, message):
        files = files_of(written)
        files["bundle.json"] = json.dumps({**json.loads(files["bundle.json"]), **change})
        path = write(tmp_path / "a.zip", files)
        refused(message, load_bundle, path)

    def test_what_is_no_bundle(self, written, tmp_path):
        self.refused(tmp_path / "nowhere.zip", "no file")
        for data in (b"", b"text", written.read_bytes()[:-200], written.read_bytes()[:500]):
            (tmp_path / "a.zip").write_bytes(data)
            self.refused(tmp_path / "a.zip", "cannot be loaded")
        for name, content, message in (
            ("bundle.json", "{" * 10, "'polyps/bundle.json' is broken"),
            ("kerasgan.json", "[]", "is broken"),
            ("SHA256SUMS", b"\xff\n", "cannot be loaded"),
        ):
            files = {**files_of(written), name: content}
            self.refused(write(tmp_path / "b.zip", files, sums=name != "SHA256SUMS"), message)


class TestPreprocess:
    """What a network takes goes with it, as a name."""

    @staticmethod
    def other():
        image = keras.Input((32, 32, 3))
        mask = keras.layers.Conv2D(1, 1, activation="sigmoid", kernel_initializer="ones")(image)
        return keras.Model(image, mask, name="theirs")

    def kept(self, model, path, **preprocessing):
        options = {"preprocessing": preprocessing, "build": self.other}
        save_bundle(model, path, card=CARD, licence="MIT", **options)
        return load_bundle(path, build=self.other)

    def test_is_kept_and_honoured_wherever_the_bundle_goes(self, tmp_path):
        model = self.other()
        bundle = self.kept(model, tmp_path / "a.zip", preprocess="[0, 255]")
        assert bundle.preprocessing["preprocess"] == "[0,255]"
        expected = kg.inference.predict_probability(model, IMAGES, preprocess="[0,255]")
        assert np.array_equal(bundle.predict_probability(IMAGES), expected)
        for each in (bundle, bundle.generator):
            assert np.array_equal(kg.inference.predict_probability(each, IMAGES), expected)
        small = IMAGES[:, :32, :32]
        e = kg.Explainer(bundle).explain(small)
        assert np.allclose(
            e.logits, kg.Explainer(model, preprocess="[0,255]").explain(small).logits
        )
        again = self.kept(bundle, tmp_path / "b.zip")
        assert again.preprocessing["preprocess"] == "[0,255]"

    def test_is_honoured_in_the_unpacked_folder(self, tmp_path):
        bundle = self.kept(self.other(), tmp_path / "a.zip", preprocess="[0,1]")
        with zipfile.ZipFile(tmp_path / "a.zip") as archive:
            archive.extractall(tmp_path)
        gan = kg.SegmentationGAN.load(tmp_path / "a", build=self.other)
        expected = bundle.predict_probability(IMAGES)
        assert np.array_equal(kg.inference.predict_probability(gan, IMAGES), expected)

    def test_is_no_code(self, tmp_path, network):
        for given in (lambda images: images, "os.system", 3):
            with pytest.raises(KerasganError, match="preprocess"):
                save_bundle(network, tmp_path / "a.zip", preprocessing={"preprocess": given})
