"""Writes quantus.json: scores by Quantus 0.6.0, which those of `kerasgan.evaluation` are held to.

In an environment of its own: pip install torch==2.13.0 quantus==0.6.0, then run this file.
"""

import json
import pathlib

import numpy as np
from scipy import ndimage

SIDE, COUNT, K, STEPS = 8, 5, 20, 4


def benchmark():
    """Return images of mean 0, signed maps, a true region, a kernel and the target's weights."""
    rng = np.random.default_rng(0)
    images = rng.uniform(-1, 1, (COUNT, SIDE, SIDE))
    images -= images.mean((1, 2), keepdims=True)
    maps = rng.normal(size=(COUNT, SIDE, SIDE))
    region = np.zeros((COUNT, SIDE, SIDE), bool)
    for number in range(COUNT):
        region[number, 1 : 4 + number % 3, 2 : 5 + number % 2] = True
    target = np.zeros((SIDE, SIDE))
    target[2:6, 3:7] = 1 / 16
    kernel = rng.normal(size=(3, 3))
    for image in images:  # the target is predicted, so that there is something to lose
        image *= np.sign((ndimage.correlate(image, kernel, mode="constant") * target).sum())
    return images, maps, region, kernel, target


def main():
    import quantus
    import torch

    images, maps, region, kernel, target = benchmark()
    x, a, s = images[:, None], maps[:, None], region[:, None]
    nobody = {"model": None, "y_batch": None, "x_batch": x, "softmax": False}

    def of(metric, maps, **options):
        scorer = metric(normalise=False, disable_warnings=True, **options)
        return scorer(a_batch=maps, s_batch=s, **nobody)

    class Score(torch.nn.Module):
        """The mean logit over the target, of a network of one convolution."""

        def forward(self, image):
            weights = torch.tensor(kernel)[None, None]
            logits = torch.nn.functional.conv2d(image.double(), weights, padding=1)
            return (logits[:, 0] * torch.tensor(target)).sum((1, 2))[:, None]

    flipping = quantus.PixelFlipping(
        features_in_step=SIDE * SIDE // STEPS,
        perturb_baseline=0.0,
        normalise=False,
        disable_warnings=True,
    )
    y = np.zeros(COUNT, int)
    found = {
        "sparseness": of(quantus.Sparseness, a),
        "complexity": of(quantus.Complexity, a),
        "mass": of(quantus.RelevanceMassAccuracy, np.maximum(a, 0)),
        "rank": of(quantus.RelevanceRankAccuracy, a),
        "pointing": of(quantus.PointingGame, a),
        "top": of(quantus.TopKIntersection, a, k=K),
        "flipping": flipping(Score().eval(), x, y, a, softmax=False, channel_first=True),
    }
    rounded = {name: np.round(np.asarray(v, float), 9).tolist() for name, v in found.items()}
    lines = ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in rounded.items())
    pathlib.Path(__file__).with_name("quantus.json").write_text("{\n" + lines + "\n}\n")


if __name__ == "__main__":
    main()
