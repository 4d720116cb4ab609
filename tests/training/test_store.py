import json
import os
import pathlib

import keras
import numpy as np
import pytest
import safetensors.numpy
from refusals import refused
from small_runs import IMAGES, assert_same, fit, small_gan, weights

import kerasgan as kg
from kerasgan.models.encoders import ENCODERS


class TestSave:
    def test_a_loaded_gan_goes_on_as_the_saved_one_would(self, tmp_path):
        gan = small_gan()
        fit(gan, 2)
        gan.save(tmp_path / "model")
        again = kg.SegmentationGAN.load(tmp_path / "model")
        assert again.recipe == gan.recipe
        assert again.compile_settings() == gan.compile_settings()
        fit(gan, 1)
        fit(again, 1)
        assert_same(weights(gan), weights(again))

    def test_a_folder_holds_records_and_weights(self, tmp_path):
        gan = small_gan()
        gan.save(tmp_path / "model")
        names = {path.name for path in (tmp_path / "model").iterdir()}
        assert names == {
            "generator.safetensors",
            "discriminator.safetensors",
            "optimizers.safetensors",
            "kerasgan.json",
        }
        settings = json.loads((tmp_path / "model" / "kerasgan.json").read_text())
        assert settings["networks"]["generator"]["builder"] == "pix2pix_generator"

    def test_a_changed_network_is_kept_as_it_is(self, tmp_path):
        gan = small_gan()
        gan.generator.get_layer("up_1_act").max_value = 0.01
        gan.generator.get_layer("down_2_conv").trainable = False
        gan.save(tmp_path / "model")
        assert (tmp_path / "model" / "generator.keras").exists()
        again = kg.SegmentationGAN.load(tmp_path / "model")
        np.testing.assert_array_equal(again(IMAGES), gan(IMAGES))
        assert not again.generator.get_layer("down_2_conv").trainable
        gan.save(tmp_path / "model")

    def test_other_optimizers_and_uncompiled_networks(self, tmp_path):
        gan = small_gan(adversarial_weight=0.0)
        rate = keras.optimizers.schedules.CosineDecay(1e-3, 10)
        gan.compile(keras.optimizers.AdamW(rate), losses={"dice": 1.0, "l1": 2.0})
        fit(gan, 1)
        gan.save(tmp_path / "model")
        again = kg.SegmentationGAN.load(tmp_path / "model")
        assert isinstance(again.optimizer, keras.optimizers.AdamW)
        assert again.loss_weights == {"dice": 1.0, "l1": 2.0}
        assert again.discriminator is None
        bare = kg.SegmentationGAN(gan.generator)
        bare.save(tmp_path / "bare")
        assert not kg.SegmentationGAN.load(tmp_path / "bare").compiled

    def test_never_overwrites_silently(self, tmp_path):
        gan = small_gan()
        (tmp_path / "notes").mkdir()
        (tmp_path / "notes" / "mine.txt").write_text("mine")
        refused("is not a model saved by kerasgan", gan.save, tmp_path / "notes")
        assert (tmp_path / "notes" / "mine.txt").read_text() == "mine"
        gan.save(tmp_path / "model")
        refused("overwrite=True", gan.save, tmp_path / "model", overwrite=False)
        gan.save(tmp_path / "model")
        refused(r"leave out the ending '\.keras'", gan.save, tmp_path / "model.keras")
        assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "notes"]

    def test_a_save_that_fails_keeps_the_old_model(self, tmp_path, monkeypatch):
        gan = small_gan()
        gan.save(tmp_path / "model")
        before = (tmp_path / "model" / "kerasgan.json").read_bytes()

        def full(*args, **kwargs):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(safetensors.numpy, "save_file", full)
        refused(r"cannot be written.*No space left", gan.save, tmp_path / "model")
        assert (tmp_path / "model" / "kerasgan.json").read_bytes() == before
        assert [path.name for path in tmp_path.iterdir()] == ["model"]

    def test_broken_models_are_named(self, tmp_path):
        load = kg.SegmentationGAN.load
        refused(r"nowhere.*'kerasgan.json' is missing", load, tmp_path / "nowhere")
        folder = tmp_path / "model"
        small_gan().save(folder)
        (folder / "generator.safetensors").write_bytes(b"")
        refused(r"generator\.safetensors' cannot be loaded", load, folder)
        (folder / "generator.safetensors").unlink()
        refused(r"generator\.safetensors' is missing", load, folder)
        small_gan(filters=3).save(tmp_path / "other")
        small_gan().save(folder)
        stranger = (tmp_path / "other" / "optimizers.safetensors").read_bytes()
        (folder / "optimizers.safetensors").write_bytes(stranger)
        refused(r"optimizers\.safetensors' belongs to another", load, folder)
        (folder / "optimizers.safetensors").write_bytes(b"PK")
        refused(r"optimizers\.safetensors' cannot be loaded", load, folder)
        for text in (
            "{",
            "[]",
            "{}",
            '{"format": 1}',
            '{"format": 2, "networks": ["../x"]}',
            '{"format": 2, "networks": {"generator": 3}}',
        ):
            (folder / "kerasgan.json").write_text(text)
            refused(r"kerasgan\.json' is broken", load, folder)
        (folder / "kerasgan.json").write_text('{"format": 99}')
        refused("newer kerasgan", load, folder)


class TestStrangers:
    """A folder from elsewhere is read as a bundle is."""

    def test_a_network_of_ones_own_from_the_other_keras(self, tmp_path):
        def mine(activation="relu"):
            image = keras.Input((32, 32, 3))
            x = keras.layers.Conv2D(2, 3, padding="same", activation=activation)(image)
            return keras.Model(image, keras.layers.Conv2D(1, 1)(x))

        gan = kg.SegmentationGAN(mine())
        gan.compile()
        folder = tmp_path / "model"
        gan.save(folder)
        settings = json.loads((folder / "kerasgan.json").read_text())
        settings["networks"]["generator"]["keras"] = "4.0.0"
        (folder / "kerasgan.json").write_text(json.dumps(settings))
        refused(r"is a file of Keras 4\.0\.0.*build=", kg.SegmentationGAN.load, folder)
        for build in (mine, {"generator": mine}):
            again = kg.SegmentationGAN.load(folder, build=build)
            np.testing.assert_array_equal(again(IMAGES), gan(IMAGES))
        refused("gives other masks", kg.SegmentationGAN.load, folder, build=lambda: mine("elu"))
        refused("'build'", kg.SegmentationGAN.load, folder, build={"discriminator": mine})
        with pytest.raises(kg.KerasganError, match="'build' must be a function"):
            kg.SegmentationGAN.load(folder, build={"generator": mine()})

    def test_layers_of_ones_own_are_passed(self, tmp_path):
        class Doubled(keras.layers.Layer):
            def call(self, x):
                return 2 * x

        image = keras.Input((32, 32, 3))
        logits = keras.layers.Conv2D(1, 3, padding="same")(Doubled(name="twice")(image))
        gan = kg.SegmentationGAN(keras.Model(image, logits))
        gan.compile("adam")
        gan.save(tmp_path / "model")
        with pytest.raises(kg.KerasganError, match=r"Doubled.*twice.*custom_objects={'Doubled'"):
            kg.SegmentationGAN.load(tmp_path / "model")
        again = kg.SegmentationGAN.load(tmp_path / "model", custom_objects={"Doubled": Doubled})
        np.testing.assert_array_equal(again(IMAGES), gan(IMAGES))

    def test_an_optimizer_is_one(self, tmp_path):
        small_gan().save(tmp_path)
        path = tmp_path / "kerasgan.json"
        settings = json.loads(path.read_text())
        optimizer = settings["compile"]["optimizer"]
        of_os = {"module": "os", "class_name": "system", "config": {"command": "true"}}
        rates = {"learning_rate": optimizer["config"]["learning_rate"]}
        optimizer["config"]["learning_rate"] = of_os
        path.write_text(json.dumps(settings))
        refused("'system' of 'os'; only Keras' own", kg.SegmentationGAN.load, tmp_path)
        optimizer["config"].update(rates)
        optimizer["class_name"] = "deserialize"
        path.write_text(json.dumps(settings))
        refused(r"asks for 'deserialize'.*only Keras' own", kg.SegmentationGAN.load, tmp_path)
        settings["compile"] = {"losses": {}}
        path.write_text(json.dumps(settings))
        refused(r"kerasgan\.json' cannot be loaded", kg.SegmentationGAN.load, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("encoder", ENCODERS)
def test_every_encoder_is_loaded(tmp_path, encoder):
    generator = kg.models.encoder_unet(size=32, filters=2, encoder=encoder)
    kg.SegmentationGAN(generator).save(tmp_path / "model")
    again = kg.SegmentationGAN.load(tmp_path / "model").generator
    for ours, theirs in zip(generator.get_weights(), again.get_weights()):
        np.testing.assert_array_equal(ours, theirs)
    kinds = [[(type(x), x.name) for x in network.layers] for network in (generator, again)]
    assert kinds[0] == kinds[1]


def test_an_unwritable_folder_is_named(tmp_path):
    if os.geteuid() == 0:
        blocked = pathlib.Path("/proc/kerasgan")
    else:
        blocked = tmp_path / "blocked" / "model"
        blocked.parent.mkdir(mode=0o500)
    refused("cannot be written", small_gan().save, blocked)
