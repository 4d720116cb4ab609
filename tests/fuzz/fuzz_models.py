"""Hostile bundles, networks, model folders and states of runs."""

import functools
import hashlib
import io
import json
import pathlib
import shutil
import stat
import sys
import tempfile
import warnings
import zipfile

import keras
import numpy as np
from fuzz_place import VALUES, broken, broken_json
from hypothesis import strategies as st

import kerasgan as kg
from kerasgan.inference.bundle import load_bundle, save_bundle
from kerasgan.models.safe import load_network
from kerasgan.training.checkpoint import write_checksums
from kerasgan.training.resume import RunState

LIMIT = 2**20
ATTACKS = VALUES | st.sampled_from(
    [
        {"module": "victim", "class_name": "Run", "config": {}, "registered_name": "Run"},
        {"module": "victim", "class_name": "function", "config": "run"},
        {"module": "builtins", "class_name": "function", "config": "eval"},
        {"module": "keras.layers", "class_name": "Lambda", "config": {"function": "run"}},
        {"class_name": "__lambda__", "config": {"value": ["4wAAAA==", None, None]}},
        {"class_name": "__typespec__", "spec_name": "Run", "module": "victim", "config": []},
        {"class_name": "Conv2D", "config": {"filters": 10**9, "kernel_size": 99}},
        {"module": "keras.layers", "class_name": "Dense", "config": {"units": 2**40}},
    ]
)


def network():
    image = keras.Input((8, 8, 3), name="image")
    x = keras.layers.Conv2D(2, 3, padding="same", activation="relu", name="conv")(image)
    return keras.Model(image, keras.layers.Conv2D(1, 1, activation="sigmoid", name="mask")(x))


def packed(files, folder=""):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files:
            archive.writestr(name if isinstance(name, zipfile.ZipInfo) else folder + name, content)
    return buffer.getvalue()


def unpacked(content):
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name.rpartition("/")[2]: archive.read(name) for name in archive.namelist()}


@functools.lru_cache
def bundle():
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = pathlib.Path(folder) / "a.zip"
        unet = kg.models.unet(size=32, filters=1, levels=1)
        save_bundle(unet, path, licence="x", recipe={"name": "=x"})
        return path.read_bytes()


@functools.lru_cache
def bare():
    with tempfile.TemporaryDirectory() as folder:
        network().save(f"{folder}/net.keras")
        return pathlib.Path(folder, "net.keras").read_bytes()


def with_config(config):
    return packed({**unpacked(bare()), "config.json": config}.items())


def tempt(place):
    """Put a module where Python would find it: to import it leaves a file beside the results."""
    place.put("victim.py", f"open({str(place.root / 'ran')!r}, 'w').close()\n".encode())
    sys.path.insert(0, str(place.given))


def away():
    sys.path.pop(0)
    sys.modules.pop("victim", None)


# --- Networks ---

network_cases = st.deferred(
    lambda: st.one_of(
        broken_json(json.loads(unpacked(bare())["config.json"]), ATTACKS).map(with_config),
        broken([bare()]),
        broken([unpacked(bare())["model.weights.h5"]]).map(
            lambda content: packed({**unpacked(bare()), "model.weights.h5": content}.items())
        ),
    )
)


def check_network(place, content):
    path = place.put("net.keras", content)
    tempt(place)
    found = place.run(lambda: load_network(path, LIMIT))
    away()
    assert found is None or isinstance(found, keras.Model)


# --- Bundles ---

NAMES = (
    "../x.txt",
    "/tmp/x.txt",
    "a/../../x.txt",
    "C:/x.txt",
    "x.py",
    "x.txt",
    "X.TXT",
    "README.md",
)
MODES = (0, stat.S_IFREG | 0o644, stat.S_IFLNK | 0o777, stat.S_IFCHR, stat.S_IFIFO)


def entry(name, mode, content):
    info = zipfile.ZipInfo(f"a/{name}")
    info.external_attr, info.compress_type = mode << 16, zipfile.ZIP_DEFLATED
    return info, content


def rewritten(changed, further, honest):
    """The bundle with other parts; with their own checksums, as one who knows its form would."""
    files = {**unpacked(bundle()), **changed}
    if honest:
        del files["SHA256SUMS"]
        sums = [f"{hashlib.sha256(files[x]).hexdigest()}  {x}\n" for x in sorted(files)]
        sums += [f"{hashlib.sha256(x).hexdigest()}  {i.filename[2:]}\n" for i, x in further]
        files["SHA256SUMS"] = "".join(sums).encode()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of names that are there twice
        return packed([*files.items(), *further], folder="a/")


def changes():
    files = unpacked(bundle())
    settings = {name: json.loads(files[name]) for name in ("bundle.json", "kerasgan.json")}
    return st.one_of(
        st.just({}),
        *(
            st.fixed_dictionaries({name: broken_json(settings[name], ATTACKS)})
            for name in ("bundle.json", "kerasgan.json")
        ),
        *(st.fixed_dictionaries({name: broken([files[name]])}) for name in sorted(files)),
    )


bundle_cases = st.deferred(
    lambda: st.one_of(
        broken([bundle(), packed([("x", b"x")])]),
        st.builds(
            rewritten,
            changes(),
            st.lists(
                st.builds(
                    entry,
                    st.sampled_from(NAMES),
                    st.sampled_from(MODES),
                    st.sampled_from((b"", b"../secret", bytes(2 * LIMIT))),
                ),
                max_size=2,
            ),
            st.booleans(),
        ),
    )
)


def check_bundle(place, content):
    path = place.put("a.zip", content)
    tempt(place)
    found = place.run(lambda: load_bundle(path, limit=LIMIT))
    away()
    if found is not None:
        assert isinstance(found.generator, keras.Model)
        assert all(isinstance(text, str) for text in found.card.values())


# --- Folders of models and of runs ---


@functools.lru_cache
def gan():
    return kg.recipes.build("pix2pix", size=32, filters=1, discriminator="pixel_discriminator")


@functools.lru_cache
def model_files():
    with tempfile.TemporaryDirectory() as folder:
        gan().save(f"{folder}/model")
        return {path.name: path.read_bytes() for path in pathlib.Path(folder, "model").iterdir()}


def changed_model():
    files = model_files()
    return st.one_of(
        st.fixed_dictionaries(
            {"kerasgan.json": broken_json(json.loads(files["kerasgan.json"]), ATTACKS)}
        ),
        *(st.fixed_dictionaries({name: broken([files[name]])}) for name in sorted(files)),
    )


model_cases = st.deferred(changed_model)


def check_model(place, changed):
    for name, content in {**model_files(), **changed}.items():
        place.put(f"model/{name}", content)
    tempt(place)
    found = place.run(lambda: kg.SegmentationGAN.load(place.given / "model"))
    away()
    assert found is None or found.generator.output_shape == (None, 32, 32, 1)


@functools.lru_cache
def state_files():
    with tempfile.TemporaryDirectory() as folder:
        images = 2 * np.tile(np.eye(32, dtype=np.float32)[None, ..., None], (2, 1, 1, 3)) - 1
        gan().fit(images, images[..., :1] > 0, batch_size=2, verbose=0, resume=folder)
        (state,) = pathlib.Path(folder).glob("epoch_0001")
        return {path.name: path.read_bytes() for path in state.iterdir()}


def changed_state():
    files = state_files()
    changed = st.one_of(
        st.fixed_dictionaries({"run.json": broken_json(json.loads(files["run.json"]))}),
        *(st.fixed_dictionaries({name: broken([files[name]])}) for name in sorted(files)),
    )
    return st.tuples(changed, st.booleans())


state_cases = st.deferred(changed_state)


def check_state(place, case):
    changed, sealed = case
    files = {**state_files(), **changed}
    folder = place.given / "run"
    for name, content in files.items():
        if not (sealed and name == "checksums.json"):
            place.put(f"run/epoch_0001/{name}", content)
    if sealed:
        write_checksums(folder / "epoch_0001")
    found = place.run(lambda: RunState(folder, []).restore(gan(), 0))
    assert found is None or isinstance(found, int)
    shutil.rmtree(folder)
