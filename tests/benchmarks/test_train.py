import json
import os
import pathlib
import subprocess
import sys

import pytest

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
