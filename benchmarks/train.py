"""Time and memory of a training step, compared with the published code and a common Keras step.

Example:
    python benchmarks/train.py --torch-python venv-torch/bin/python --write
    python benchmarks/train.py --size 64 --filters 8 --batches 4 --runs 3

Every implementation runs in a process of its own, with the same networks (the paper's), the same
kind of batch and the same number of threads. They take turns, one step each per round, so that
other load on the machine affects all of them. While one runs, the others wait.
    kerasgan, kerasgan bfloat16   `SegmentationGAN`, one generator pass per step
    no discriminator              the same generator and losses without the discriminator
    two generator passes          a common Keras step, which calls the generator for each loss
    published code                the step of the published code, in PyTorch
Prints, and with --write puts between the marks of docs/speed.md, a row for each implementation and
batch size:
    step s      seconds, the median over the rounds
    relative    seconds relative to kerasgan in the same round: median, lowest and highest
    MiB         peak memory of the process, libraries included; on a GPU, of its memory
Then the images per second that the input pipeline yields with every augmentation, and the images
per second that the recipe `fast` consumes, measured in turns as well.

Before anything is timed, it is checked that the networks in PyTorch and Keras are the same: they
have as many parameters, and, with the same weights, the same outputs.

PyTorch is needed for `published` alone, and not together with TensorFlow: its own virtual
environment will do. Where it is missing, the others are timed without it.
"""

import argparse
import pathlib
import statistics
import subprocess
import sys
import tempfile

import pandas as pd
from contender import Contender, processor
from pages import put

HERE = pathlib.Path(__file__).resolve().parent
NAMES = {
    "ours": "kerasgan",
    "ours bfloat16": "kerasgan bfloat16",
    "alone": "no discriminator",
    "twice": "two generator passes",
    "published": "published code",
}
WITHOUT_TORCH = """No PyTorch in {python}: the published step is left out. To have it timed:
    python -m venv venv-torch
    venv-torch/bin/pip install torch numpy
    python benchmarks/train.py --torch-python venv-torch/bin/python
"""


def rounds(kinds, args, batch=None):
    """Let contenders take turns; return their facts and their answers, round by round."""
    contenders = []
    try:
        for kind, python in kinds.items():
            script = "train_torch.py" if kind == "published" else "train_keras.py"
            options = [f"--{name}={getattr(args, name)}" for name in ("size", "filters", "threads")]
            options += [f"--batch={batch or 0}", f"--seed={args.seed}"]
            command = [python, HERE / script, kind, *options]
            contenders.append(Contender(kind, command, args.threads))
        for each in contenders:
            for _ in range(args.warmup):
                each.step()
        answers = {kind: [] for kind in kinds}
        for _ in range(args.runs):
            for each in contenders:
                answers[each.kind].append(each.step())
    finally:
        for each in contenders:
            each.end()
    return {each.kind: each.facts for each in contenders}, answers


def row_of(answers, ours):
    """Return the row of a contender beside ours."""
    seconds = [answer["seconds"] for answer in answers]
    gains = [mine / its for mine, its in zip(seconds, ours)]
    spread = f"{statistics.median(gains):.2f} ({min(gains):.2f} to {max(gains):.2f})"
    return {
        "step s": f"{statistics.median(seconds):.3g}",
        "relative": spread,
        "MiB": f"{max(answer['MiB'] for answer in answers):.0f}",
    }


def check_same(facts):
    """Stop unless all contenders train networks with as many parameters."""
    counts = {kind: tuple(fact["parameters"]) for kind, fact in facts.items()}
    if len(set(counts.values())) > 1:
        raise SystemExit(f"The networks differ in their parameters: {counts}")
    return next(iter(counts.values()))


def check_outputs(torch_python):
    """Stop unless both frameworks' networks, tiny and of equal weights, say the same."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "networks.npz"
        run([sys.executable, HERE / "train_keras.py", "check", path])
        text = run([torch_python, HERE / "train_torch.py", "check", path])
    apart = {name: float(value) for name, value in map(str.split, text.splitlines())}
    if not all(value < 1e-5 for value in apart.values()):
        raise SystemExit(f"The networks differ in their outputs, by as much as {apart}")
    return max(apart.values())


def run(command):
    """Run a process to its end; return what it printed."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return done.stdout


def has_torch(python):
    """Return whether an interpreter has PyTorch."""
    try:
        return not subprocess.run([python, "-c", "import torch"], capture_output=True).returncode
    except OSError:
        return False


def as_markdown(table):
    """Return a table of text, with its index, as Markdown."""
    lines = [f"| {table.index.name} | " + " | ".join(table) + " |", "|---" * (1 + table.shape[1])]
    lines[-1] += "|"
    lines += [
        f"| {name} | " + " | ".join(row) + " |" for name, row in zip(table.index, table.values)
    ]
    return "\n".join(lines)


def feeding(args):
    """Time the input pipeline beside the recipe that it feeds; return a sentence."""
    facts, answers = rounds(dict.fromkeys(("pipeline", "fast"), sys.executable), args)
    rates = {
        kind: [facts[kind]["images"] / answer["seconds"] for answer in found]
        for kind, found in answers.items()
    }
    feeds, eats = (statistics.median(rates[kind]) for kind in ("pipeline", "fast"))
    return (
        f"The input pipeline with every augmentation at 128 pixels yields {feeds:.0f} images per "
        f"second; the recipe `fast` consumes {eats:.1f} per second: {feeds / eats:.1f} x."
    )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--size", type=int, default=256, help="of the images (default 256)")
    add("--filters", type=int, default=64, help="of both networks (default 64)")
    add("--batches", type=int, nargs="*", default=[4, 8], help="images a step (default 4 8)")
    add("--runs", type=int, default=7, help="rounds that count (default 7)")
    add("--warmup", type=int, default=2, help="steps before them (default 2)")
    add("--threads", type=int, default=2, help="for everyone (default 2)")
    add("--seed", type=int, default=0, help="of weights and batches (default 0)")
    add("--torch-python", default=sys.executable, help="an interpreter with PyTorch")
    add("--no-bfloat16", action="store_true", help="leave bfloat16 out where the processor has it")
    add("--write", action="store_true", help="put the table into docs/speed.md")
    args = parser.parse_args()
    kinds = {"ours": sys.executable}
    name, has_bfloat16 = processor()
    if has_bfloat16 and not args.no_bfloat16:
        kinds["ours bfloat16"] = sys.executable
    kinds.update(alone=sys.executable, twice=sys.executable)
    lines = []
    if has_torch(args.torch_python):
        kinds["published"] = args.torch_python
        apart = check_outputs(args.torch_python)
        lines.append(f"With equal weights, PyTorch and Keras differ by at most {apart:.1g}.")
    else:
        print(WITHOUT_TORCH.format(python=args.torch_python), file=sys.stderr)
    rows = {}
    for batch in args.batches:
        facts, answers = rounds(kinds, args, batch)
        parameters = check_same(facts)
        for kind, found in answers.items():
            name = f"{NAMES[kind]}, batch {batch}"
            rows[name] = row_of(found, [x["seconds"] for x in answers["ours"]])
            print(name, rows[name], flush=True)
    table = pd.DataFrame(rows).T.rename_axis("implementation")
    versions = [f"TensorFlow {facts['ours']['version']}"]
    if "published" in facts:
        versions.append(f"PyTorch {facts['published']['version']}")
    lines.insert(
        0,
        f"{args.size} px, {args.filters} filters ({parameters[0]:,} and {parameters[1]:,} "
        f"parameters), {args.runs} rounds after {args.warmup}, seed {args.seed}, {name}, "
        f"{', '.join(facts['ours']['gpus']) or 'no GPU'}, {args.threads} threads, "
        f"{', '.join(versions)}.",
    )
    text = "\n".join([*lines, "", as_markdown(table), "", feeding(args)])
    print(text)
    if args.write:
        put(HERE.parent / "docs" / "speed.md", "train", text)


if __name__ == "__main__":
    main()
