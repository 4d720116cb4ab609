import json
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasgan as kg

BENCHMARKS = pathlib.Path(__file__).parents[2] / "benchmarks"
SMALL = ["--size=32", "--filters=2", "--runs=2", "--warmup=1"]


def run(*command, **kwargs):
    command = [sys.executable, *map(str, command)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, **kwargs)


def torch_python():
    """An interpreter with PyTorch, or a skip that says how to name one."""
    python = os.environ.get("KERASGAN_TORCH_PYTHON", sys.executable)
    if subprocess.run([python, "-c", "import torch"], capture_output=True).returncode:
        pytest.skip("no PyTorch; set KERASGAN_TORCH_PYTHON to an interpreter that has it")
    return python


@pytest.fixture
def modules(benchmark_module):
    return [benchmark_module(name) for name in ("train", "train_keras", "pages")]


@pytest.mark.slow
def test_it_runs_without_torch_and_says_how_to_get_it(tmp_path):
    empty = tmp_path / "python"
    empty.write_text("#!/bin/sh\nexit 1\n")
    empty.chmod(0o755)
    done = run(BENCHMARKS / "train.py", *SMALL, "--batches", 2, "--torch-python", empty)
    assert done.returncode == 0, done.stderr
    assert f"No PyTorch in {empty}" in done.stderr
    assert "pip install torch" in done.stderr
    assert "| kerasgan, batch 2 |" in done.stdout
    assert "| no discriminator, batch 2 |" in done.stdout
    assert "| two generator passes, batch 2 |" in done.stdout
    assert "| published code" not in done.stdout
    assert "The input pipeline with every augmentation at 128 pixels yields" in done.stdout


@pytest.mark.slow
def test_the_steps_of_ours_and_twice_lower_the_same_loss(modules):
    _, train_keras, _ = modules
    image, mask = train_keras.batch_of(2, 32, 0)
    rng = np.random.default_rng(0)
    weights = [
        rng.normal(0, 0.05, w.shape) if w.dtype.is_floating else np.zeros(w.shape, int)
        for w in train_keras.networks(32, 2)[0].weights
    ]

    def l1(generator):
        return float(tf.reduce_mean(abs(generator(image, training=True) - (2 * mask - 1))))

    for kind in ("ours", "twice"):
        generator, discriminator = train_keras.networks(32, 2)
        for variable, value in zip(generator.weights, weights):
            if "kernel" in variable.name:
                variable.assign(value)
        before, first = l1(generator), discriminator.get_weights()
        if kind == "ours":
            gan = kg.SegmentationGAN(generator, discriminator)
            gan.compile(keras.optimizers.Adam(1e-2, beta_1=0.5), losses={"l1": 100.0})
            step = train_keras.step_of(gan, image, mask)
        else:
            step = train_keras.twice(generator, discriminator, image, mask)
        for _ in range(30):
            step()
        assert l1(generator) < before, kind
        assert any((old != new).any() for old, new in zip(first, discriminator.get_weights())), kind


def test_gains_are_taken_round_by_round(modules):
    train, *_ = modules
    answers = [{"seconds": s, "MiB": m} for s, m in ((2.0, 10), (9.0, 30), (3.0, 20))]
    row = train.row_of(answers, [1.0, 3.0, 2.0])
    assert row == {"step s": "3", "relative": "2.00 (1.50 to 3.00)", "MiB": "30"}


def test_different_networks_stop_it(modules):
    train, *_ = modules
    same = {"ours": {"parameters": [3, 2]}, "twice": {"parameters": [3, 2]}}
    assert train.check_same(same) == (3, 2)
    with pytest.raises(SystemExit, match="differ"):
        train.check_same({**same, "published": {"parameters": [4, 2]}})


def test_a_contender_that_ends_early_is_named():
    done = run(BENCHMARKS / "train.py", *SMALL, "--size=33", "--batches=2")
    assert done.returncode == 1
    assert "Contender 'ours' ended early" in done.stderr


def test_pages_are_changed_between_their_marks_alone(modules, tmp_path):
    *_, pages = modules
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- one:start -->\nold\n<!-- one:end -->\nb\n<!-- two:start -->")
    pages.put(page, "one", "\nnew\n")
    text = "a\n<!-- one:start -->\n\nnew\n\n<!-- one:end -->\nb\n<!-- two:start -->"
    assert page.read_text() == text
    with pytest.raises(SystemExit, match="two:end"):
        pages.put(page, "two", "new")
    assert page.read_text() == text


def test_the_networks_in_pytorch_are_the_same():
    python = torch_python()
    code = "import sys, train; print(train.check_outputs(sys.argv[1]))"
    done = run("-c", code, python, cwd=BENCHMARKS)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 1e-5


def test_the_networks_in_pytorch_are_as_large_as_published():
    code = (
        "import json, train_torch as t; "
        "pair = t.Generator(512, 64, 3), t.Discriminator(64, 3); "
        "print(json.dumps([sum(p.numel() for p in x.parameters()) for x in pair]))"
    )
    command = [torch_python(), "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=BENCHMARKS, timeout=300)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [54_419_459, 2_769_601]


def test_the_published_step_moves_both_networks_by_its_own_losses():
    code = """
import torch, train_torch as t
torch.manual_seed(0)
pair = t.start(t.Generator(32, 2)), t.start(t.Discriminator(2))
image, mask = torch.rand(2, 3, 32, 32) * 2 - 1, torch.randint(0, 2, (2, 1, 32, 32)) * 2.0 - 1
calls, forward = [], t.Generator.forward
t.Generator.forward = lambda self, x: calls.append(0) or forward(self, x)
before = [[p.detach().clone() for p in network.parameters()] for network in pair]
step = t.training_step(*pair, image, mask)
losses = [step() for _ in range(60)]
moved = [
    any((a != b).any() for a, b in zip(old, new.parameters())) for old, new in zip(before, pair)
]
print(len(calls), *moved, losses[-1][1] < losses[0][1])
"""
    command = [torch_python(), "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, cwd=BENCHMARKS, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["120", "True", "True", "True"]


def test_the_published_contender_is_timed_beside_the_others():
    options = [*SMALL, "--batches", 2, "--torch-python", torch_python()]
    done = run(BENCHMARKS / "train.py", *options)
    assert done.returncode == 0, done.stderr
    assert "| published code, batch 2 |" in done.stdout
    assert "PyTorch and Keras differ by at most" in done.stdout
