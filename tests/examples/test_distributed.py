import json
import socket
import subprocess

import pandas as pd
import pytest
from scripts import command

import kerasgan as kg

SMALL = ["--size", 32, "--filters", 2, "--batch-size", 4, "--epochs", 1, "--count", 12]
SMALL += [
    "--recipe",
    "pix2pix",
    "--set",
    "generator=unet",
    "--set",
    "discriminator=pixel_discriminator",
]


def start(folder, env=None, *options):
    return subprocess.Popen(
        command("train_distributed", "--results", folder, *SMALL, *options),
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def check(folder, count):
    parts = [pd.read_csv(folder / f"scores_{number}.csv") for number in range(count)]
    whole = pd.read_csv(folder / "scores.csv")
    samples = kg.data.load_folder(folder / "data")
    _, test = samples.split(1 / 6, seed=0)
    assert sorted(whole["name"]) == sorted(test.names)
    assert sum(map(len, parts)) == len(test)
    assert sorted(path.name for path in (folder / "state").iterdir()) == [
        "epoch_0000_step_1",
        "epoch_0001",
    ]
    for number in range(count):
        loaded = kg.explain.Explanation.load(folder / f"explanation_{number}.npz")
        assert loaded.relevance.shape[1:] == (32, 32, 3)


def test_two_logical_processors_train_and_score(tmp_path):
    process = start(tmp_path / "results")
    output, error = process.communicate(timeout=300)
    assert process.returncode == 0, error
    assert "Process 0 of 1, 2 devices in all" in output
    check(tmp_path / "results", count=1)


@pytest.mark.slow
def test_two_workers_train_and_score_in_parts(tmp_path, monkeypatch):
    processes = []
    ports = free_ports(2)
    for index in range(2):
        cluster = {"worker": [f"localhost:{port}" for port in ports]}
        task = {"type": "worker", "index": index}
        monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": task}))
        processes.append(start(tmp_path / "results"))
    for process in processes:
        _, error = process.communicate(timeout=600)
        assert process.returncode == 0, error
    check(tmp_path / "results", count=2)


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("localhost", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
