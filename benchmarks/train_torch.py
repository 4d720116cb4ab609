"""The contender of `train.py` that runs in PyTorch: the paper's networks and the published step.

Both networks are written from their description: arXiv 2111.01665 and Isola et al. 2017. The step
is that of the published code: masks are drawn anew for each of the two losses, and the
discriminator's loss is followed back into the generator, whose gradients from it are then thrown
away.
"""

import sys

import torch
from contender import arguments, serve
from torch import nn


def norm(width):
    """Return a batch normalisation with the published constants."""
    return nn.BatchNorm2d(width, eps=1e-5, momentum=0.1)


class Generator(nn.Module):
    """A U-Net of 4 x 4 convolutions of stride 2."""

    def __init__(self, size, filters, classes=1):
        super().__init__()
        levels = min(8, size.bit_length() - 1)
        widths = [filters * min(8, 2**level) for level in range(levels)]
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for level, (old, new) in enumerate(zip([3, *widths], widths)):
            parts = [nn.LeakyReLU(0.2)] if level else []
            parts.append(nn.Conv2d(old, new, 4, 2, 1))
            parts += [norm(new)] if 0 < level < levels - 1 else []
            self.down.append(nn.Sequential(*parts))
        old = widths[-1]
        for level, new in enumerate(widths[-2::-1]):
            parts = [nn.ReLU(), nn.ConvTranspose2d(old, new, 4, 2, 1), norm(new)]
            parts += [nn.Dropout(0.5)] if level < 3 else []
            self.up.append(nn.Sequential(*parts))
            old = 2 * new
        last = [nn.ReLU(), nn.ConvTranspose2d(old, classes, 4, 2, 1), nn.Tanh()]
        self.up.append(nn.Sequential(*last))

    def forward(self, x):
        skips = []
        for stage in self.down:
            x = stage(x)
            skips.append(x)
        for stage, skip in zip(self.up, [*skips[-2::-1], None]):
            x = stage(x)
            x = x if skip is None else torch.cat([x, skip], 1)
        return x


class Discriminator(nn.Module):
    """A PatchGAN on image and mask."""

    def __init__(self, filters, classes=1):
        super().__init__()
        plan = [(filters, 2), (2 * filters, 2), (4 * filters, 2), (8 * filters, 1), (1, 1)]
        parts, old = [], 3 + classes
        for level, (new, stride) in enumerate(plan):
            parts.append(nn.Conv2d(old, new, 4, stride, 1))
            parts += [norm(new)] if 0 < level < len(plan) - 1 else []
            parts.append(nn.LeakyReLU(0.2) if level < len(plan) - 1 else nn.Sigmoid())
            old = new
        self.stages = nn.Sequential(*parts)

    def forward(self, image, mask):
        return self.stages(torch.cat([image, mask], 1))


def start(network):
    """Draw weights from N(0, 0.02), as published."""
    for part in network.modules():
        if isinstance(part, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.normal_(part.weight, 0.0, 0.02)
    return network


def training_step(generator, discriminator, image, mask):
    """Return the published step, on one batch, masks in [-1, 1]."""
    adam = {"lr": 2e-4, "betas": (0.5, 0.999)}
    drawer = torch.optim.Adam(generator.parameters(), **adam)
    judge = torch.optim.Adam(discriminator.parameters(), **adam)
    entropy, distance = nn.BCELoss(), nn.L1Loss()

    def step():
        judge.zero_grad()
        true, drawn = discriminator(image, mask), discriminator(image, generator(image))
        loss = entropy(true, torch.ones_like(true)) + entropy(drawn, torch.zeros_like(drawn))
        (loss / 2).backward()
        judge.step()
        drawer.zero_grad()
        drawing = generator(image)
        drawn = discriminator(image, drawing)
        pull = entropy(drawn, torch.ones_like(drawn)) + 100 * distance(drawing, mask)
        pull.backward()
        drawer.step()
        return loss.item(), pull.item()

    return step


def copy_from(network, weights):
    """Give a network the weights of its Keras twin, in Keras' order and layout."""
    left = list(weights)
    for part in network.modules():
        if isinstance(part, (nn.Conv2d, nn.ConvTranspose2d)):
            kernel, bias = left.pop(0), left.pop(0)
            part.weight.data = torch.tensor(kernel).permute(3, 2, 0, 1).contiguous()
            part.bias.data = torch.tensor(bias)
        elif isinstance(part, nn.BatchNorm2d):
            values = [torch.tensor(left.pop(0)) for _ in range(4)]
            part.weight.data, part.bias.data, part.running_mean, part.running_var = values
    if left:
        raise SystemExit(f"{len(left)} weights of {type(network).__name__} found no place")
    return network


def check(path):
    """Compare both networks with their Keras twins, whose weights and outputs are in a file."""
    import numpy as np

    with np.load(path) as file:
        kept = {name: file[name] for name in file.files}
    weights = {
        kind: [kept[f"{kind}_{i}"] for i in range(sum(name.startswith(kind) for name in kept))]
        for kind in ("generator", "discriminator")
    }
    image, mask = (torch.tensor(kept[name]).permute(0, 3, 1, 2) for name in ("image", "mask"))
    size, classes, filters = image.shape[-1], mask.shape[1], weights["generator"][1].shape[0]
    generator = copy_from(Generator(size, filters, classes), weights["generator"]).eval()
    discriminator = copy_from(Discriminator(filters, classes), weights["discriminator"]).eval()
    with torch.no_grad():
        found = {"drawn": generator(image), "judged": discriminator(image, mask)}
    for name, value in found.items():
        value = value.permute(0, 2, 3, 1).numpy()
        print(name, float(abs(value - kept[name]).max()))


def main():
    if sys.argv[1] == "check":
        check(sys.argv[2])
        return
    args = arguments()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    pair = Generator(args.size, args.filters), Discriminator(args.filters)
    pair = [start(network).to(device) for network in pair]
    shape = (args.batch, args.size, args.size)
    image = (torch.rand(args.batch, 3, *shape[1:]) * 2 - 1).to(device)
    mask = (torch.randint(0, 2, (args.batch, 1, *shape[1:])) * 2.0 - 1).to(device)
    serve(
        training_step(*pair, image, mask),
        torch.cuda.max_memory_allocated if device == "cuda" else None,
        gpus=[torch.cuda.get_device_name()] if device == "cuda" else [],
        version=torch.__version__,
        parameters=[sum(p.numel() for p in network.parameters()) for network in pair],
        images=args.batch,
    )


if __name__ == "__main__":
    main()
