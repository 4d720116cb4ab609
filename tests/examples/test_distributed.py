import pandas as pd
from scripts import run_alone

import kerasgan as kg

SMALL = ["--size", 32, "--filters", 2, "--batch-size", 4, "--epochs", 1, "--count", 12]
SMALL += ["--recipe", "pix2pix", "--set", "generator=unet"]
SMALL += ["--set", "discriminator=pixel_discriminator"]


def test_two_logical_processors_train_and_score(tmp_path):
    folder = tmp_path / "results"
    done = run_alone("train_distributed", "--results", folder, *SMALL)
    assert done.returncode == 0, done.stderr
    assert "Process 0 of 1, 2 devices in all" in done.stdout
    scored, whole = (pd.read_csv(folder / f"{name}.csv") for name in ("scores_0", "scores"))
    _, test = kg.data.load_folder(folder / "data").split(1 / 6, seed=0)
    assert sorted(whole["name"]) == sorted(test.names)
    assert len(scored) == len(test)
    states = sorted(path.name for path in (folder / "state").iterdir())
    assert states == ["epoch_0000_step_1", "epoch_0001"]
    explanation = kg.explain.Explanation.load(folder / "explanation_0.npz")
    assert explanation.relevance.shape[1:] == (32, 32, 3)
