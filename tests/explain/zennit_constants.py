"""Writes zennit.json: relevance by zennit 1.0, which rules are checked against.

In an environment of its own (Python 3.12): pip install torch==2.13.0 zennit==1.0.0, then run this
file.
"""

import json
import pathlib

import numpy as np
import torch
from zennit import rules

TINY = 1e-12
RULES = {
    "epsilon": rules.Epsilon(0.1),
    "epsilon, no bias": rules.Epsilon(0.1, zero_params="bias"),
    "z-plus": rules.ZPlus(TINY),
    "alpha-beta": rules.AlphaBeta(2, 1, TINY),
    "alpha-beta, no bias": rules.AlphaBeta(2, 1, TINY, zero_params="bias"),
    "gamma": rules.Gamma(0.25, TINY),
    "flat": rules.Flat(TINY),
    "w-square": rules.WSquare(TINY, zero_params="bias"),
    "z-box": rules.ZBox(-2.0, 2.0, TINY, zero_params="bias"),
}


def main():
    torch.set_default_dtype(torch.float64)
    layers = {
        "convolution": torch.nn.Conv2d(2, 3, 3, stride=2, padding=1),
        "transposed": torch.nn.ConvTranspose2d(2, 3, 3, stride=2),
    }
    rng = np.random.default_rng(0)
    found = {}
    for name, layer in layers.items():
        for parameter in (layer.weight, layer.bias):
            parameter.data = torch.tensor(rng.normal(size=parameter.shape))
        image = torch.tensor(rng.normal(size=(1, 2, 3, 3)), requires_grad=True)
        start = torch.tensor(rng.normal(size=layer(image).shape))
        for rule in RULES:
            handle = RULES[rule].register(layer)
            (relevance,) = torch.autograd.grad(layer(image), image, start)
            handle.remove()
            values = relevance.detach().numpy()[0].transpose(1, 2, 0).ravel()
            found[f"{name}: {rule}"] = [float(f"{value:.7g}") for value in values]
    lines = ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in found.items())
    path = pathlib.Path(__file__).with_name("zennit.json")
    path.write_text("{\n" + lines + "\n}\n")


if __name__ == "__main__":
    main()
