import dataclasses
import resource
import shutil
import signal
import time

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from refusals import refused
from small_runs import IMAGES, MASKS, assert_same, fit, renewal, small_gan, weights

import kerasgan as kg
from kerasgan.training import checkpoint, resume, store


class TestResume:
    def test_a_finished_run_is_not_run_again_and_says_so(self, tiny, tmp_path, capsys):
        gan = tiny()
        fit(gan, 2, resume=tmp_path)
        before, done = weights(gan), gan.fits
        assert "nothing was trained" not in capsys.readouterr().out
        history = fit(gan, 2, resume=tmp_path)
        assert_same(before, weights(gan))
        assert history.epoch == [0, 1]
        assert gan.fits == done
        said = capsys.readouterr().out
        assert f"The run in '{tmp_path}' has ended, after 2 epochs: nothing was trained" in said

    def test_the_state_of_another_network_is_refused(self, tmp_path):
        alone = {"adversarial_weight": 0.0}
        fit(small_gan(**alone), 1, resume=tmp_path)
        other = small_gan(seed=1, **alone)
        refused(r"'resume'.*recipe.seed \(0, now 1\)", fit, other, 2, resume=tmp_path)
        stranger = small_gan(filters=3, **alone)
        stranger.recipe = None
        refused(r"'resume'.*another .*generator", fit, stranger, 2, resume=tmp_path)
        (tmp_path / "file").write_text("")
        refused("'resume' must name a folder", fit, small_gan(), 2, resume=tmp_path / "file")

    def test_a_folder_that_another_run_writes_to_is_refused(self, tiny, tmp_path):
        with checkpoint.hold_folder(tmp_path):
            refused("another run is writing to", fit, tiny(), 1, resume=tmp_path)
        with checkpoint.hold_folder(tmp_path):
            pass


# --- Within an epoch ---


@pytest.fixture(autouse=True)
def _interruptible():
    """SIGINT as a process has it by default; the shell's `&` has it ignored."""
    outer = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, outer)


@pytest.fixture(scope="module")
def tiny():
    """A small network with a moving average, and what sets it back to where it began."""
    gan = kg.SegmentationGAN(kg.models.unet(size=32, filters=2, levels=2, seed=0))
    gan.compile(keras.optimizers.Adam(0.01), losses={"dice": 1.0}, ema_momentum=0.9)
    return renewal(gan)


def run(gan, folder, *callbacks, x=IMAGES, y=MASKS, epochs=2, **options):
    """Train for epochs of three steps, validation included; return history and all weights."""
    if x is IMAGES:
        options["batch_size"] = 2
    slower = keras.callbacks.LearningRateScheduler(lambda epoch, rate: 0.5 * rate)
    callbacks = [slower, *callbacks]
    checked = (IMAGES[:2], MASKS[:2])
    options.update(epochs=epochs, validation_data=checked, callbacks=callbacks)
    history = gan.fit(x, y, resume=folder, **{"verbose": 0, **options})
    values = [w for network in gan._networks() for w in network.weights]
    values += store.optimizer_variables(gan).values()
    return history, [value.numpy() for value in values]


class Raise(keras.callbacks.Callback):
    """Raise a signal in a step, or in the validation, of the second epoch."""

    def __init__(self, number, batch=0, place="train"):
        super().__init__()
        self.number, self.batch, self.place, self.epoch = number, batch, place, 0

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.place, self.epoch, batch) == ("train", 1, self.batch):
            signal.raise_signal(self.number)

    def on_test_batch_end(self, batch, logs=None):
        if (self.place, self.epoch) == ("validation", 1):
            signal.raise_signal(self.number)


def states(folder):
    return sorted(path.name for path in folder.iterdir())


def assert_same_run(first, second):
    assert first[0].epoch == second[0].epoch
    assert first[0].history == second[0].history
    assert_same(first[1], second[1])


@pytest.mark.parametrize(
    ("number", "batch", "place", "state"),
    [
        (signal.SIGTERM, 2, "train", "epoch_0001_step_3"),
        (signal.SIGINT, 0, "validation", "epoch_0001_step_3"),
    ],
)
def test_a_signal_stops_the_run_and_it_goes_on_from_that_step(
    tiny, tmp_path, number, batch, place, state
):
    whole = run(tiny(), tmp_path / "whole", epochs=3)
    error = KeyboardInterrupt if number == signal.SIGINT else SystemExit
    with pytest.raises(error):
        run(tiny(), tmp_path / "run", Raise(number, batch, place), epochs=3)
    assert states(tmp_path / "run") == ["epoch_0001", state]
    assert_same_run(run(tiny(), tmp_path / "run", epochs=3), whole)
    assert states(tmp_path / "run") == ["epoch_0002", "epoch_0003"]


@pytest.mark.filterwarnings("ignore:Your input ran out of data")  # Keras 3, where "unknown" ends
@pytest.mark.parametrize("kind", ["batches", "dataset", "unknown", "stream"])
def test_every_kind_of_dataset_is_entered_at_its_step(tiny, tmp_path, kind):
    scenes = kg.data.synthetic.write_dataset(tmp_path / "scenes", count=5, size=32)

    def data():
        if kind == "batches":
            return scenes.batches(2, size=32, augment=True)
        dataset = tf.data.Dataset.from_tensor_slices((IMAGES, MASKS)).batch(2)
        if kind == "unknown":
            return dataset.filter(lambda image, mask: True)
        return dataset.repeat() if kind == "stream" else dataset

    options = {"steps_per_epoch": 4} if kind == "stream" else {}
    whole = run(tiny(), tmp_path / "whole", x=data(), y=None, **options)
    with pytest.raises(KeyboardInterrupt):
        run(tiny(), tmp_path / "run", Raise(signal.SIGINT, 1), x=data(), y=None, **options)
    assert_same_run(run(tiny(), tmp_path / "run", x=data(), y=None, **options), whole)


class Count(keras.callbacks.Callback):
    """A callback of one's own, with a number and a list of arrays as its state."""

    def __init__(self, patience=9):
        super().__init__()
        self.patience, self.batches, self.steps, self.means, self.began = patience, [], 0, [], 0.0

    def on_train_begin(self, logs=None):
        self.began = time.monotonic()

    def on_train_batch_begin(self, batch, logs=None):
        self.batches.append(batch)

    def on_train_batch_end(self, batch, logs=None):
        self.batches.append(batch)
        self.steps += 1
        self.means = [*self.means, np.array(logs["dice"])]


def test_done_steps_are_passed_over_and_callbacks_go_on_counting(tiny, tmp_path, capsys):
    whole, counted = Count(), Count()
    run(tiny(), tmp_path / "whole", whole)
    with pytest.raises(KeyboardInterrupt):
        run(tiny(), tmp_path / "run", Count(), Raise(signal.SIGINT, 1))
    began = time.monotonic()
    run(tiny(), tmp_path / "run", counted, Raise(0, 99), verbose=1)
    assert counted.batches == [2, 2]
    assert counted.steps == whole.steps == 6
    assert counted.began >= began
    np.testing.assert_array_equal(counted.means, whole.means)
    assert "3/3" in capsys.readouterr().out


def test_what_early_stopping_and_others_know_goes_on(tiny, tmp_path):
    def others(patience=3):
        same = {"monitor": "dice", "mode": "max", "min_delta": 9}
        stopping = keras.callbacks.EarlyStopping(**same, patience=patience)
        return [stopping, keras.callbacks.ReduceLROnPlateau(**same, patience=3, factor=0.1)]

    whole = run(tiny(), tmp_path / "whole", *others(), epochs=6)
    assert whole[0].epoch == [0, 1, 2, 3]
    run(tiny(), tmp_path / "run", *others(), epochs=2)
    assert_same_run(run(tiny(), tmp_path / "run", *others(), epochs=6), whole)


def test_an_epoch_is_entered_where_executions_of_several_steps_allow(tmp_path):
    def by(steps):
        gan = kg.SegmentationGAN(kg.models.unet(size=32, filters=2, levels=1, seed=0))
        gan.compile(losses={"dice": 1.0}, steps_per_execution=steps)
        return renewal(gan)

    def train(renew, folder, *callbacks):
        return run(renew(), folder, *callbacks, x=IMAGES.copy(), batch_size=1)

    two = by(2)
    whole = train(two, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(two, tmp_path / "run", Raise(signal.SIGINT, 1))
    assert "epoch_0001_step_2" in states(tmp_path / "run")
    refused("behind step 2 of an epoch, which 'steps_per_exec", train, by(3), tmp_path / "run")
    assert_same_run(train(two, tmp_path / "run"), whole)
    with pytest.raises(KeyboardInterrupt):
        train(by(4), tmp_path / "uneven", Raise(signal.SIGINT, 3))
    assert "epoch_0001_step_4" not in states(tmp_path / "uneven")


def test_other_data_are_refused_within_an_epoch(tiny, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(tiny(), tmp_path, Raise(signal.SIGINT))
    with pytest.raises(kg.KerasganError, match=r"another value of batch_size \(2, now 1\)"):
        run(tiny(), tmp_path, batch_size=1, x=IMAGES.copy())
    with pytest.raises(
        kg.KerasganError, match=r"another value of steps_per_epoch \(not given, now 3\)"
    ):
        run(tiny(), tmp_path, steps_per_epoch=3)


def test_a_generator_goes_on_from_whole_epochs(tiny, tmp_path):
    def endless():
        while True:
            yield IMAGES[:2], MASKS[:2]

    with pytest.raises(KeyboardInterrupt):
        run(tiny(), tmp_path, Raise(signal.SIGINT, 1), x=endless(), y=None, steps_per_epoch=3)
    assert states(tmp_path) == ["epoch_0001"]


def test_broken_states_are_passed_over_with_a_warning(tiny, tmp_path):
    whole = run(tiny(), tmp_path)
    assert states(tmp_path) == ["epoch_0001", "epoch_0002"]
    (path,) = tmp_path.glob("epoch_0002/variables.data*")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.warns(kg.KerasganWarning, match=r"epoch_0002' is passed over.*'variables.data"):
        again = run(tiny(), tmp_path)
    assert_same_run(again, whole)
    for name in states(tmp_path):
        (tmp_path / name / "best.npz").unlink()
    with (
        pytest.warns(kg.KerasganWarning, match="'best.npz' is missing"),
        pytest.raises(kg.KerasganError, match=r"every state .* is broken"),
    ):
        run(tiny(), tmp_path)


class Full(keras.callbacks.Callback):
    """No file may grow beyond 8 KiB during the given epochs, as on a disk that is full."""

    def __init__(self, *epochs):
        super().__init__()
        self.epochs, self.limits = epochs, resource.getrlimit(resource.RLIMIT_FSIZE)

    def on_epoch_begin(self, epoch, logs=None):
        low = 8192 if epoch in self.epochs else self.limits[0]
        resource.setrlimit(resource.RLIMIT_FSIZE, (low, self.limits[1]))

    def on_train_end(self, logs=None):
        resource.setrlimit(resource.RLIMIT_FSIZE, self.limits)


def test_on_a_full_disk_training_goes_on_and_the_last_state_stays(tiny, tmp_path):
    whole = run(tiny(), tmp_path / "whole", epochs=3)
    full = Full(1, 2)
    with pytest.warns(kg.KerasganWarning, match=r"MiB free\).*'epoch_0001' is intact.*in memory"):
        rest = run(tiny(), tmp_path / "run", full, epochs=3)
    assert_same_run(rest, whole)
    # There was room again when training ended, so the last state was written after all.
    assert states(tmp_path / "run") == ["epoch_0001", "epoch_0003"]
    assert checkpoint.find_damage(tmp_path / "run" / "epoch_0001") is None
    full = Full(0)
    try:
        with pytest.raises(kg.KerasganError, match=r"cannot be written to.*MiB free\).*Make room"):
            run(tiny(), tmp_path / "none", full)
    finally:
        full.on_train_end()
    assert states(tmp_path / "none") == []


def test_rows_that_will_be_written_again_are_taken_out_of_the_log(tiny, tmp_path):
    def log(name):
        return keras.callbacks.CSVLogger(str(tmp_path / f"{name}.csv"), append=True)

    run(tiny(), tmp_path / "whole", log("whole"))
    run(tiny(), tmp_path / "run", log("run"))
    shutil.rmtree(tmp_path / "run" / "epoch_0002")  # as if killed between row and state
    with (tmp_path / "run.csv").open("a") as file:
        file.write("2,0.1")  # and half a row more
    run(tiny(), tmp_path / "run", log("run"))
    assert (tmp_path / "run.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_a_run_that_was_stopped_early_stays_stopped(tiny, tmp_path):
    def stopping(patience=1):
        return keras.callbacks.EarlyStopping(
            "dice", mode="max", min_delta=9, patience=patience, restore_best_weights=True
        )

    first = run(tiny(), tmp_path, stopping(), epochs=5)
    assert first[0].epoch == [0, 1]
    assert_same_run(run(tiny(), tmp_path, stopping(), epochs=5), first)
    assert run(tiny(), tmp_path, stopping(9), epochs=3)[0].epoch == [0, 1, 2]


# --- What else is in the folder ---


@pytest.mark.parametrize("form", ["epoch_{epoch:02d}", "epoch_{epoch:04d}"])
def test_the_users_checkpoints_stay(tiny, tmp_path, form):
    class Save(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.save(tmp_path / form.format(epoch=epoch + 1))

    run(tiny(), tmp_path, Save(), epochs=2)
    history, _ = run(tiny(), tmp_path, Save(), epochs=4)
    assert history.epoch == [0, 1, 2, 3]
    for epoch in (1, 2, 3, 4):
        saved = kg.SegmentationGAN.load(tmp_path / form.format(epoch=epoch))
        assert saved.fits[-1]["epochs"] == epoch
    ours = [path.parent.name for path in tmp_path.glob("*/run.json")]
    ending = "_state" if form.endswith("04d}") else ""
    assert sorted(ours) == [f"epoch_0003{ending}", f"epoch_0004{ending}"]
    refused("holds the state of a run", saved.save, tmp_path / ours[0])


def test_what_only_looks_like_a_state_stays(tiny, tmp_path):
    folder, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    mine = {
        "notes.txt": "mine",
        "epoch_0000_step_1/notes.txt": "mine",
        "epoch_0001/saved_model.pb": "mine",
        "epoch_0002/run.json": "not even JSON",
        "epoch_0009/run.json": '{"run": "another", "next_epoch": 9}',
        "epoch_0003.new/notes.txt": "mine",
        "epoch_0003.old/notes.txt": "mine",
        "epoch_0003.keras": "mine",
        "epoch_07/kerasgan.json": "{}",
        ".epoch_mine.kerasgan/notes.txt": "mine",
    }
    for name, text in mine.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    elsewhere.mkdir()
    (elsewhere / "notes.txt").write_text("mine")
    (folder / "epoch_0003").symlink_to(elsewhere)
    (folder / ".epoch_0002_step_3.kerasgan" / "new").mkdir(parents=True)  # of a killed process
    run(tiny(), folder, epochs=3)
    assert {name: (folder / name).read_text() for name in mine} == mine
    assert (elsewhere / "notes.txt").read_text() == "mine"
    assert states(elsewhere) == ["notes.txt"]
    assert not (folder / ".epoch_0002_step_3.kerasgan").exists()
    ours = [path.name for path in folder.glob("epoch_*") if (path / "best.npz").exists()]
    assert sorted(ours) == ["epoch_0002_state", "epoch_0003_state"]
    assert run(tiny(), folder, epochs=3)[0].epoch == [0, 1, 2]


def test_a_state_of_another_run_is_no_state_of_this_one(tiny, tmp_path):
    run(tiny(), tmp_path / "one", epochs=1)
    run(tiny(), tmp_path / "other", epochs=2)
    copied = tmp_path / "one" / "epoch_0002"
    shutil.copytree(tmp_path / "other" / "epoch_0002", copied)
    with pytest.raises(kg.KerasganError, match=r"several runs, such as epoch_0001 and epoch_0002"):
        run(tiny(), tmp_path / "one", epochs=2)
    (tmp_path / "new").mkdir()
    copied.rename(tmp_path / "new" / "epoch_0002")  # alone it may be gone on with
    assert run(tiny(), tmp_path / "new", epochs=3)[0].epoch == [0, 1, 2]


def test_a_run_is_tied_to_its_data_and_settings(tmp_path):
    scenes = kg.data.synthetic.write_dataset(tmp_path / "scenes", count=5, size=32)
    validation = scenes[3:]

    def redrawn(samples):
        moved = kg.data.load_folder(shutil.copytree(tmp_path / "scenes", tmp_path / "redrawn"))
        pixels = 255 - np.asarray(Image.open(moved.mask_paths[0]))
        Image.fromarray(pixels).save(moved.mask_paths[0])
        return moved

    def train(samples=scenes, checked=validation, rate=0.01, epochs=1, **changes):
        options = {"batch_size": 2, "size": 32, "augment": True, **changes}
        settings = {"losses": {"dice": 1.0}, **options.pop("settings", {})}
        network = {"size": 32, "filters": 2, "levels": 1, "seed": 0, **options.pop("network", {})}
        gan = kg.SegmentationGAN(kg.models.unet(**network))
        gan.compile(keras.optimizers.Adam(rate), **settings)
        mode = options.get("mode", "stretch")
        checked = checked if checked is None else checked.batches(2, size=32, mode=mode)
        data = samples.batches(**options)
        where = {"resume": tmp_path / "run", "verbose": 0}
        return gan.fit(data, validation_data=checked, epochs=epochs, **where)

    train()
    everything = [
        (r"masks \(5, \w+, now 5, \w+\)", {"samples": redrawn(scenes)}),
        (r"images .*, masks ", {"samples": scenes[:4]}),
        ("colors ", {"samples": dataclasses.replace(scenes, colors=((255,) * 3, (0,) * 3))}),
        (r"batch_size \(2, now 5\)", {"batch_size": 5}),
        ("augment ", {"augment": False}),
        (r"augment\.rotation \(20.0, now 5.0\)", {"augment": {"rotation": 5.0}}),
        (r"shuffle \(true, now false\)", {"shuffle": False}),
        (r"seed \(0, now 1\)", {"seed": 1}),
        (r"mode \(stretch, now letterbox\)", {"mode": "letterbox"}),
        (r"validation images ", {"checked": scenes[2:]}),
        (r"validation batch_size \(2, now not given\)", {"checked": None}),
        (r"losses\.dice \(1.0, now 2.0\)", {"settings": {"losses": {"dice": 2.0}}}),
        (r"losses\.dice .*losses\.l1 ", {"settings": {"losses": {"l1": 1.0}}}),
        (r"optimizer\.config\.learning_rate", {"rate": 0.1}),
        (r"penalty ", {"settings": {"penalty": lambda network: lambda *step: 0.0}}),
        (r"generator \([\d,]+ parameters, \w+, now", {"network": {"filters": 4}}),
        (r"generator ", {"network": {"seed": 1}}),
    ]
    for words, change in everything:
        refused(f"another .*{words}", train, **change)
    moved = kg.data.load_folder(shutil.copytree(tmp_path / "scenes", tmp_path / "moved"))
    assert train(moved, moved[3:], epochs=2).epoch == [0, 1]


def test_how_often_a_state_is_written(tiny, tmp_path, monkeypatch):
    keeper = resume.RunState(tmp_path, [])
    clock = iter([100.0, 102.0, 500.0, 500.5])
    monkeypatch.setattr(resume.time, "monotonic", lambda: next(clock))
    keeper.set_model(tiny())
    keeper.set_params({"steps": 3, "epochs": 1})
    keeper._write()
    assert keeper._due == 102 + 200
    keeper._write()
    assert keeper._due == 500.5 + 60
