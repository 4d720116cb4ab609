"""Writes agreement.json and zennit.json: whole networks by zennit and LXT, and rules by zennit.

In an environment of its own (Python 3.12): pip install torch==2.13.0 zennit==1.0.0 lxt==2.1, then
run this file. LXT's composite, which would put its rules in place of layers and functions, needs an
older release of transformers: here they are called by name.
"""

import json
import math
import pathlib

import numpy as np
import torch
import torch.nn.functional as F
from agreement_weights import EPSILON, HEADS, TOKENS, WIDTH, draw
from lxt.explicit import functional as lxt
from lxt.explicit.rules import EpsilonRule, identity
from lxt.explicit.special import multi_head_attention_cp
from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck
from zennit import composites, rules
from zennit.canonizers import SequentialMergeBatchNorm
from zennit.torchvision import ResNetCanonizer
from zennit.types import Linear

# --------------------------------------------------------------------------- layers


def with_weights(layer, kernel, bias=None):
    layer.weight = nn.Parameter(torch.tensor(kernel.copy()))
    layer.bias = None if bias is None else nn.Parameter(torch.tensor(bias))
    return layer


def convolution(kernel, bias=None, **options):
    height, width, inputs, outputs = kernel.shape
    layer = nn.Conv2d(inputs, outputs, (height, width), **options)
    return with_weights(layer, kernel.transpose(3, 2, 0, 1), bias)


def depthwise(kernel, bias):
    channels = kernel.shape[2]
    layer = nn.Conv2d(channels, channels, kernel.shape[:2], padding=1, groups=channels)
    return with_weights(layer, kernel.transpose(2, 3, 0, 1), bias)


def transposed(kernel, bias, padding=0):
    height, width, outputs, inputs = kernel.shape
    layer = nn.ConvTranspose2d(inputs, outputs, (height, width), 2, padding)
    return with_weights(layer, kernel.transpose(3, 2, 0, 1), bias)


def dense(kernel, bias=None):
    return with_weights(nn.Linear(*kernel.shape), kernel.T, bias)


def batch_norm(scale, shift, mean, variance):
    layer = with_weights(nn.BatchNorm2d(len(scale), EPSILON), scale, shift)
    layer.running_mean, layer.running_var = torch.tensor(mean), torch.tensor(variance)
    return layer


# --------------------------------------------------------------------------- convolutional networks


class UNet(nn.Module):
    """Two kinds of pooling, strides, depthwise and transposed convolutions, several activations."""

    def __init__(self, w):
        super().__init__()
        parts = nn.Sequential
        self.one = parts(
            convolution(*w["one"], padding=1), batch_norm(*w["one_norm"]), nn.LeakyReLU(0.2)
        )
        self.two = parts(
            nn.MaxPool2d(2),
            convolution(*w["two"], padding=1),
            batch_norm(*w["two_norm"]),
            nn.ReLU(),
        )
        self.three = parts(
            nn.AvgPool2d(2),
            depthwise(*w["three"]),
            batch_norm(*w["three_norm"]),
            nn.SiLU(),
            convolution(*w["four"]),
            nn.ELU(),
        )
        self.five = parts(
            convolution(*w["five"], stride=2),
            batch_norm(*w["five_norm"]),
            nn.ReLU(),
            transposed(*w["up_five"]),
            batch_norm(*w["up_five_norm"]),
            nn.ReLU(),
        )
        self.back_three = parts(
            convolution(*w["back_three"], padding=1), nn.ReLU(), nn.Upsample(scale_factor=2)
        )
        self.back_two = parts(
            convolution(*w["back_two"], padding=1),
            batch_norm(*w["back_two_norm"]),
            nn.ReLU(),
            transposed(*w["up_two"], padding=1),
            batch_norm(*w["up_two_norm"]),
            nn.ReLU(),
        )
        self.back_one = parts(convolution(*w["back_one"], padding=1), nn.GELU())
        self.head = dense(*w["head"])

    def forward(self, image):
        one = self.one(image)
        two = self.two(one)
        three = self.three(two)
        x = self.back_three(torch.cat([self.five(three), three], 1))
        x = self.back_two(torch.cat([x, two], 1))
        x = self.back_one(torch.cat([x, one], 1))
        return self.head(x.permute(0, 2, 3, 1))


class ResNet(nn.Module):
    """A stem, torchvision's two kinds of block, the mean over all places and a dense layer."""

    def __init__(self, w):
        super().__init__()

        def pair(name, **options):
            return convolution(*w[name], **options), batch_norm(*w[f"{name}_norm"])

        self.stem = nn.Sequential(*pair("stem", padding=1), nn.ReLU(), nn.MaxPool2d(2))
        self.a = BasicBlock(4, 4)
        self.a.conv1, self.a.bn1 = pair("a1", padding=1)
        self.a.conv2, self.a.bn2 = pair("a2", padding=1)
        self.b = Bottleneck(4, 2, 2, nn.Sequential(*pair("b0", stride=2)))
        self.b.conv1, self.b.bn1 = pair("b1")
        self.b.conv2, self.b.bn2 = pair("b2", padding=1, stride=2)
        self.b.conv3, self.b.bn3 = pair("b3")
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = dense(*w["head"])

    def forward(self, image):
        x = self.pool(self.b(self.a(self.stem(image))))
        return self.head(x.permute(0, 2, 3, 1))


COMPOSITES = {
    "epsilon": lambda **options: composites.LayerMapComposite(
        [*composites.layer_map_base(), (Linear, rules.Epsilon())], **options
    ),
    "epsilon-plus": composites.EpsilonPlus,
    "epsilon-alpha2beta1": composites.EpsilonAlpha2Beta1,
    "epsilon-alpha2beta1-flat": composites.EpsilonAlpha2Beta1Flat,
    "epsilon-gamma-box": lambda **options: composites.EpsilonGammaBox(-1.0, 1.0, **options),
}
CONVOLUTIONAL = {
    "unet": (UNet, SequentialMergeBatchNorm, list(COMPOSITES)),
    "resnet": (ResNet, ResNetCanonizer, ["epsilon-alpha2beta1"]),
}

# --------------------------------------------------------------------------- attention
# Every step is one of LXT's. Constant factors and positions are steps too, though nothing of theirs
# is explained: `mul2` passes all relevance on, `add2` leaves the positions their share.


class Attention(nn.Module):
    """Self-attention; with `held` weights, LXT's own for CP-LRP."""

    def __init__(self, arrays, rule, held):
        super().__init__()
        arrays = [a.reshape(WIDTH, WIDTH) if a.size > WIDTH else a.ravel() for a in arrays]
        step = len(arrays) // 4
        layers = [dense(*arrays[first : first + step]) for first in range(0, len(arrays), step)]
        self.query, self.key = layers[:2] if held else map(rule, layers[:2])
        self.value, self.out = map(rule, layers[2:])
        self.held = held

    def forward(self, x, context):
        if self.held:
            parameters = (p for layer in (self.query, self.key) for p in (layer.weight, layer.bias))
            options = (True, HEADS, WIDTH // HEADS, *parameters, self.value, self.out)
            return multi_head_attention_cp(x, context, context, *options)[0]
        q, k, v = (
            projected.reshape(1, -1, HEADS, WIDTH // HEADS).transpose(1, 2)
            for projected in (self.query(x), self.key(context), self.value(context))
        )
        scores = lxt.matmul(lxt.mul2(q, 1 / math.sqrt(WIDTH // HEADS)), k.transpose(-1, -2))
        x = lxt.matmul(lxt.softmax(scores, -1), v)
        return self.out(x.transpose(1, 2).reshape(1, TOKENS, WIDTH))


class GatedTransformer(nn.Module):
    """Two pre-norm blocks with gates on patches and positions; a token gives a patch's pixels."""

    def __init__(self, w, rule, held):
        super().__init__()
        self.patches = rule(convolution(*w["patches"], stride=2))
        self.arrays = {name: [torch.tensor(a) for a in arrays] for name, arrays in w.items()}
        self.layers = nn.ModuleDict(
            {
                name: Attention(arrays, rule, held) if "attention" in name else rule(dense(*arrays))
                for name, arrays in w.items()
                if "norm" not in name and name not in ("patches", "positions")
            }
        )

    def norm(self, name, x):
        return lxt.rms_norm_identity(x, *self.arrays[name], EPSILON)

    def forward(self, image):
        x = self.patches(image).flatten(2).transpose(1, 2)
        x = lxt.add2(x, self.arrays["positions"][0][None])
        for name in "ab":
            normed = self.norm(f"{name}_norm_a", x)
            x = lxt.add2(x, self.layers[f"{name}_attention"](normed, normed))
            normed = self.norm(f"{name}_norm_b", x)
            gate = identity(F.silu, self.layers[f"{name}_gate"](normed))
            hidden = lxt.mul2(gate, self.layers[f"{name}_up"](normed))
            x = lxt.add2(x, self.layers[f"{name}_down"](hidden))
        x = self.layers["head"](self.norm("norm", x)).reshape(1, 4, 4, 2, 2)
        return x.transpose(2, 3).reshape(1, 8, 8, 1)


class SegFormer(nn.Module):
    """One stage of the encoder, whose keys and values are of fewer tokens, and its decoder."""

    def __init__(self, w, rule, held):
        super().__init__()
        self.norms = {
            name: [torch.tensor(a) for a in arrays] for name, arrays in w.items() if "norm" in name
        }
        self.patches = rule(convolution(*w["patches"], stride=2, padding=1))
        self.reduce = rule(convolution(*w["reduce"], stride=2))
        self.attention = Attention(w["attention"], rule, held)
        self.up, self.down, self.decode = (rule(dense(*w[n])) for n in ("up", "down", "decode"))
        self.mix = rule(depthwise(*w["mix"]))
        self.enlarge = rule(nn.Upsample(scale_factor=2, mode="bilinear"))
        self.fuse = rule(nn.Sequential(convolution(*w["fuse"]), batch_norm(*w["fuse_norm"])))
        self.head = rule(convolution(*w["head"]))

    def norm(self, name, x):
        return lxt.layer_norm(x, *self.norms[name], EPSILON)

    def forward(self, image):
        def placed(x):
            return x.transpose(1, 2).reshape(1, -1, 4, 4)

        def listed(x):
            return x.flatten(2).transpose(1, 2)

        x = self.norm("patches_norm", listed(self.patches(image)))
        normed = self.norm("norm_a", x)
        context = self.norm("reduce_norm", listed(self.reduce(placed(normed))))
        x = lxt.add2(x, self.attention(normed, context))
        hidden = listed(self.mix(placed(self.up(self.norm("norm_b", x)))))
        x = lxt.add2(x, self.down(identity(F.gelu, hidden)))
        x = self.enlarge(placed(self.decode(self.norm("norm", x))))
        return self.head(identity(F.relu, self.fuse(x))).permute(0, 2, 3, 1)


TRANSFORMERS = {"gated transformer": GatedTransformer, "segformer": SegFormer}


def by_epsilon(layer):
    return EpsilonRule(layer, 1e-8)


# --------------------------------------------------------------------------- single rules

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


def of_rules():
    layers = {
        "convolution": nn.Conv2d(2, 3, 3, stride=2, padding=1),
        "transposed": nn.ConvTranspose2d(2, 3, 3, stride=2),
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
            found[f"{name}: {rule}"] = rounded(relevance[0].permute(1, 2, 0), 7)
    return found


# --------------------------------------------------------------------------- the numbers


def rounded(values, digits=6):
    return [float(f"{value:.{digits}g}") for value in values.detach().ravel().tolist()]


def write(name, found):
    lines = ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in found.items())
    pathlib.Path(__file__).with_name(name).write_text("{\n" + lines + "\n}\n")


def explained(model, image, target):
    image = torch.tensor(image.transpose(2, 0, 1)[None], requires_grad=True)
    output = model(image)
    (relevance,) = torch.autograd.grad(output, image, torch.tensor(target[None]) * output)
    return rounded(output), rounded(relevance.permute(0, 2, 3, 1))


def main():
    torch.set_default_dtype(torch.float64)
    write("zennit.json", of_rules())
    found = {}
    for network, (make, canonizer, names) in CONVOLUTIONAL.items():
        weights, *question = draw(network)
        model = make(weights).eval()
        for name in names:
            with COMPOSITES[name](canonizers=[canonizer()]).context(model):
                found[network], found[f"{network}: {name}"] = explained(model, *question)
    for network, make in TRANSFORMERS.items():
        weights, *question = draw(network)
        for name, held in (("attnlrp", False), ("cp-lrp", True)):
            model = make(weights, by_epsilon, held).eval()
            found[network], found[f"{network}: {name}"] = explained(model, *question)
    write("agreement.json", found)


if __name__ == "__main__":
    main()
