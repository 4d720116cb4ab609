import contextlib
import dataclasses
import importlib
import os
import shutil
import subprocess
import sys
import textwrap

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from refusals import refused

import kerasgan as kg
from kerasgan import storage
from kerasgan.explain import targets
from kerasgan.storage import atomic_replace, content_key, last_complete, write_file

# --- Writing ---


def put(folder, text):
    with atomic_replace(folder) as new:
        new.mkdir()
        (new / "note.txt").write_text(text)
        (new / "other.txt").write_text(text)


def test_a_file_is_there_whole_or_not_at_all(tmp_path, monkeypatch):
    write_file(tmp_path / "a.txt", "grün")
    write_file(tmp_path / "a.txt", b"new")
    assert (tmp_path / "a.txt").read_bytes() == b"new"

    def full(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(storage.os, "replace", full)
    with pytest.raises(OSError, match="No space"):
        write_file(tmp_path / "a.txt", "newer")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_bytes() == b"new"


def test_everything_is_on_the_disk_before_the_names_change(tmp_path, monkeypatch):
    done, fsync = [], os.fsync

    def noted(name):
        function = getattr(os, name)

        def call(source, target):
            done.append(f"{name} {os.path.relpath(target, tmp_path)}")
            return function(source, target)

        return call

    def noted_sync(handle):
        done.append(os.path.basename(os.readlink(f"/proc/self/fd/{handle}")))
        fsync(handle)

    put(tmp_path / "state", "old")
    monkeypatch.setattr(storage.os, "fsync", noted_sync)
    for name in ("rename", "replace"):
        monkeypatch.setattr(storage.os, name, noted(name))
    put(tmp_path / "state", "new")
    assert sorted(done[:3]) == ["note.txt", "other.txt", "state"]
    assert done[3:] == ["rename .state.kerasgan/old", "replace state", tmp_path.name]
    assert (tmp_path / "state" / "note.txt").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


@pytest.mark.parametrize("at", range(7))
def test_a_cut_at_any_moment_leaves_the_old_or_the_new(tmp_path, monkeypatch, at):
    """Every call that changes the disk's state may be the last one."""
    folder, count = tmp_path / "state", iter(range(100))
    put(folder, "old")

    def cut(function):
        def until(*args, **kwargs):
            if next(count) >= at:
                raise SystemExit
            return function(*args, **kwargs)

        return until

    for name in ("fsync", "replace", "rename"):
        monkeypatch.setattr(storage.os, name, cut(getattr(os, name)))
    monkeypatch.setattr(storage.shutil, "rmtree", lambda *args, **kwargs: None)
    with contextlib.suppress(SystemExit):
        put(folder, "new")
    monkeypatch.undo()
    kept = last_complete(folder)
    found = {(kept / name).read_text() for name in ("note.txt", "other.txt")}
    assert found in ({"old"}, {"new"})
    put(folder, "newer")
    assert last_complete(folder) == folder
    assert (folder / "note.txt").read_text() == "newer"
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


def test_what_only_looks_like_ours_is_left_alone(tmp_path):
    for name in ("model.new", "model.old", "model.part", ".model.new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mine.txt").write_text("mine")
    put(tmp_path / "model", "old")
    put(tmp_path / "model", "new")
    for name in ("model.new", "model.old", "model.part", ".model.new"):
        assert (tmp_path / name / "mine.txt").read_text() == "mine"


def test_a_link_stays_a_link(tmp_path):
    put(tmp_path / "model_3", "old")
    (tmp_path / "best").symlink_to("model_3")
    put(tmp_path / "best", "new")
    assert (tmp_path / "best").is_symlink()
    assert (tmp_path / "model_3" / "note.txt").read_text() == "new"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_whoever_may_read_a_new_file_may_read_what_is_put_in_place(tmp_path, umask):
    before = os.umask(umask)
    try:
        with atomic_replace(tmp_path / "model") as new:
            new.mkdir()
            os.close(os.open(new / "weights", os.O_CREAT | os.O_WRONLY, 0o600))
    finally:
        os.umask(before)
    assert (tmp_path / "model" / "weights").stat().st_mode & 0o777 == 0o666 & ~umask


def test_what_may_not_be_replaced_stays(tmp_path):
    def check(path):
        if (path / "mine.txt").exists():
            raise kg.KerasganError("mine")

    folder = tmp_path / "folder"
    put(folder, "old")

    def write_meanwhile():
        with atomic_replace(folder, check) as new:
            new.mkdir()
            (folder / "mine.txt").write_text("written meanwhile")

    with pytest.raises(kg.KerasganError):
        write_meanwhile()
    assert sorted(path.name for path in folder.iterdir()) == ["mine.txt", "note.txt", "other.txt"]
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
    with pytest.raises(OSError), atomic_replace(tmp_path / "nothing"):
        pass  # nothing was written
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


# --- Keys ---

FACTOR = 2.0


def twice(image):
    return FACTOR * image


class Left(targets.Target):
    def __init__(self, share):
        self.share = share

    def weights(self, logits):
        return self.share * logits


class Scaled(keras.losses.Loss):
    """A loss without a configuration of its own."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def call(self, y_true, y_pred):
        return self.factor * tf.reduce_mean(y_true - y_pred)


def network(bias=0.0, activation="relu"):
    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(2, 3, padding="same", activation=activation)(image)
    model = keras.Model(image, keras.layers.Conv2D(1, 1)(x))
    for weight in model.weights:
        weight.assign(tf.ones_like(weight))
    model.layers[-1].bias.assign([bias])
    return model


def counted(*values):
    metric = keras.metrics.Sum()
    for value in values:
        metric.update_state([value])
    return metric


def by_name(name):
    scope = {}
    exec(f"def find(image):\n    return {name}(image)", {"abs": abs, "sum": sum}, scope)
    return scope["find"]


SAME = {
    "numbers": lambda: [1, 1.5, True, None, "a", b"b", float("nan"), np.float32(2), np.int64(3)],
    "containers": lambda: {"a": (1, 2), "b": {3, 4}, "c": {"d": [np.zeros((2, 3)), tf.zeros(2)]}},
    "a lambda": lambda: lambda image: image > 0.5,
    "a function": lambda: twice,
    "a method": lambda: np.random.default_rng(3).normal,
    "a rule": lambda: kg.explain.Gamma(0.3),
    "a composite": lambda: kg.explain.Composite(("up_*", kg.explain.ZBox(-1, 1))),
    "a target with an array": lambda: targets.Mask(np.eye(4)) - targets.Pixel(1, 2),
    "a target of one's own": lambda: Left(0.5),
    "a network": network,
    "a recipe's network": lambda: kg.models.unet(size=32, filters=2, levels=2, seed=0),
    "a layer": lambda: keras.layers.Dense(3),
    "a class": lambda: keras.layers.Dense,
    "an optimizer": lambda: keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.1, 9)),
    "a loss": lambda: keras.losses.BinaryCrossentropy(from_logits=True),
    "a loss of one's own": lambda: Scaled(2.0),
    "a metric": lambda: keras.metrics.MeanIoU(2),
    "an initializer": keras.initializers.HeNormal,
    "an augmentation": kg.data.Augmentation,
}


@pytest.mark.parametrize("name", SAME)
def test_the_same_made_twice_has_one_key(name):
    assert content_key(SAME[name]()) == content_key(SAME[name]())


def one_of_each_kind():
    """Values of which no two are the same, though some print alike."""
    big, other = np.zeros((100, 100)), np.zeros((100, 100))
    other[50, 50] = 1
    assert repr(big) == repr(other)
    at = targets.Pixel

    class Other(targets.Target):
        def __init__(self, share):
            self.share = share

        def weights(self, logits):
            return self.share * logits + 1

    Other.__qualname__ = Left.__qualname__

    def held_by(share):
        return lambda image: image * share

    thirds = [lambda image, share=share: image * share for share in (1, 2)]
    held = [held_by(share) for share in (1, 2)]
    return [
        big, other, big.astype("float32"), big.ravel(), [], [[]], (1, 2), [2, 1], {1, 2}, {1: 2},
        "1", 1, True, b"1", 1.5, None, targets.Mask(big), targets.Mask(other),
        targets.FalseNegatives(big), targets.FalseNegatives(other), at(1, 2), at(2, 1),
        at(1, 2) - at(2, 1), Left(0.5), Left(0.25),
        Other(0.5), kg.explain.Gamma(0.25), kg.explain.Gamma(0.5), kg.explain.Epsilon(0.25),
        kg.explain.Composite(("up_*", kg.explain.Gamma(0.25))), kg.explain.Epsilon,
        kg.explain.Composite(("down_*", kg.explain.Gamma(0.25))),
        kg.explain.Composite((lambda layer: True, kg.explain.Gamma(0.25))),
        kg.explain.Composite((lambda layer: False, kg.explain.Gamma(0.25))),
        *thirds, *held, twice, by_name("abs"), by_name("sum"), network(), network(bias=1.0),
        network(activation="elu"), np.random.default_rng(0), np.random.default_rng(1),
        kg.data.Augmentation(), kg.data.Augmentation(rotation=1.0),
        keras.optimizers.Adam(1e-3), keras.optimizers.Adam(1e-2), keras.optimizers.SGD(1e-2),
        keras.losses.BinaryCrossentropy(), keras.losses.BinaryCrossentropy(from_logits=True),
        Scaled(1.0), Scaled(2.0), counted(), counted(1.0), keras.layers.Dense(3, dtype="float16"),
        keras.layers.Dense(3), keras.layers.Dense(3, dtype="mixed_bfloat16"),
        keras.layers.Dense(3, dtype="mixed_float16"),
    ]  # fmt: skip


def test_others_have_other_keys(monkeypatch):
    several = one_of_each_kind()
    keys = [content_key(value) for value in several]
    alike = {k for k in keys if keys.count(k) > 1}
    assert [value for value, k in zip(several, keys) if k in alike] == []
    before = content_key(twice)
    monkeypatch.setitem(globals(), "FACTOR", 3.0)
    assert content_key(twice) != before


def test_what_cannot_be_known_is_named(tmp_path):
    with (
        open(tmp_path / "a", "w") as file,
        pytest.raises(kg.KerasganError, match=r"the find: the content of a _io\.TextIOWrapper"),
    ):
        content_key(lambda image: file, "the find")
    holder = []
    holder.append(holder)
    assert content_key(holder) == content_key(holder)
    for _ in range(5000):
        holder = [holder]
    refused("nested too deeply", content_key, holder)


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    return kg.data.synthetic.write_dataset(tmp_path_factory.mktemp("keys"), count=3, size=32)


def test_samples_count_by_content_and_every_field(samples, tmp_path):
    root = os.path.commonpath(samples.image_paths + samples.mask_paths)
    moved = kg.data.load_folder(shutil.copytree(root, tmp_path / "moved"))
    before = content_key(samples)
    assert content_key(moved) == before
    changes = {
        "classes": 2, "colors": ((255,) * 3, (0,) * 3), "channels": 1, "mask_paths": None,
        "names": ("x", *samples.names[1:]), "image_paths": samples.image_paths[::-1],
    }  # fmt: skip
    for field in dataclasses.fields(samples):
        assert field.name in changes or field.default is not dataclasses.MISSING
    changed = [dataclasses.replace(samples, **{name: value}) for name, value in changes.items()]
    assert len({before, *map(content_key, changed), content_key(samples[:2])}) == len(changes) + 2
    for path in (moved.image_paths[0], moved.mask_paths[2]):
        stat = os.stat(path)
        pixels = np.asarray(Image.open(path)).copy()
        pixels[0, 0] = 255 - pixels[0, 0]
        Image.fromarray(pixels).save(path)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        assert content_key(moved) != before
        before = content_key(moved)


def test_a_field_that_is_new_is_part_of_the_key(samples):
    @dataclasses.dataclass(frozen=True, repr=False)
    class Later(kg.data.Samples):
        foreground: str = "bright"

    fields = {field.name: getattr(samples, field.name) for field in dataclasses.fields(samples)}
    bright, dark = Later(**fields), Later(**fields, foreground="dark")
    assert content_key(bright) != content_key(dark)
    assert bright.settings()["foreground"] == "bright"
    bright, dark = (part.batches(2, 16).origin for part in (bright, dark))
    assert {name for name in bright if bright[name] != dark[name]} == {"foreground"}


OF_KERAS = """[
    keras.layers.Conv2D(3, 3, activation="gelu", kernel_regularizer="l2", dtype="mixed_bfloat16"),
    keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, kernel_initializer="ones")]),
    keras.optimizers.Adam(1e-3), keras.losses.BinaryCrossentropy(), keras.initializers.HeNormal(),
]"""


def test_another_process_finds_the_same_keys(samples):
    work = textwrap.dedent(
        """
        import sys, keras, numpy as np
        import kerasgan as kg
        from kerasgan.explain import targets
        from kerasgan.storage import content_key
        samples = kg.data.load_folder(sys.argv[1])
        target = targets.Mask(np.eye(4)) - targets.Pixel(1, 2)
        held = {"samples", "target", "rule"}
        print(content_key([samples, target, held, kg.explain.Gamma(0.3), {"a": 1, "b": [2.5]}]))
        print(content_key(eval(sys.argv[2])))
        """
    )
    root = os.path.commonpath(samples.image_paths + samples.mask_paths)
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    command = [sys.executable, "-c", work, root, OF_KERAS]
    found = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    target = targets.Mask(np.eye(4)) - targets.Pixel(1, 2)
    held = {"samples", "target", "rule"}
    mine = content_key([samples, target, held, kg.explain.Gamma(0.3), {"b": [2.5], "a": 1}])
    assert found.stdout.split()[-2:] == [mine, content_key(eval(OF_KERAS))]


@pytest.mark.parametrize("folder", ["site-packages", "dist-packages", "mine"])
def test_what_is_installed_counts_by_its_version(folder, tmp_path, monkeypatch):
    """Also where it is for one user alone, or in an environment below this one."""
    place, name = tmp_path / folder, f"elsewhere_{folder[:4]}"
    place.mkdir()
    text = "import threading\nclass Kept:\n    held = threading.local()\n"
    (place / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(place)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    kept = importlib.import_module(name).Kept()
    if folder == "mine":
        refused("cannot be known", content_key, kept)
    else:
        assert content_key(kept) == content_key(kept)
