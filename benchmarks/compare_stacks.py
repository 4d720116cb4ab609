"""The same work on both stacks, side by side: Keras 2.14 and Keras 3.

Example:
    python benchmarks/compare_stacks.py --older env311/bin/python --newer env312/bin/python --write

Each interpreter has kerasgan with its stack installed. For each row a process on either stack does
the same work in turns, round after round, so that other work on the machine hits both alike.
    import kerasgan, import tensorflow   a fresh process each time, all of it
    build and explain    an `Explainer` of a network just built, and its first explanation
    explain              a further explanation of 4 images
    train                an epoch of `fit` over 8 batches that are in memory
    predict              `kg.predict` on 32 images that are in memory
Networks are those of the recipe `fast` at its own sizes; rule and target are the default ones.
Prints, and with --write puts between the marks of docs/speed.md, for each row the seconds on both,
the median over the rounds, and the newer stack's as a multiple of the older's in the same round:
the median, the lowest and the highest round.
"""

import argparse
import pathlib
import statistics
import subprocess
import time

from contender import Contender, processor
from pages import put

HERE = pathlib.Path(__file__).resolve().parent
TASKS = ("build and explain", "explain", "train", "predict")
IMPORTS = ("import kerasgan", "import tensorflow")


class Import:
    """Importing, in a fresh process each time."""

    def __init__(self, statement, python):
        self.command = [python, "-c", statement]

    def step(self):
        start = time.perf_counter()
        subprocess.run(self.command, check=True, stderr=subprocess.DEVNULL)
        return {"seconds": time.perf_counter() - start}

    def end(self):
        pass


def measured(pair, warmup, runs):
    """Let two contenders take turns; return the seconds of each, round by round."""
    seconds = [[], []]
    try:
        for number in range(warmup + runs):
            for contender, found in zip(pair, seconds):
                answer = contender.step()
                if number >= warmup:
                    found.append(answer["seconds"])
    finally:
        for contender in pair:
            contender.end()
    return seconds


def row_of(name, older, newer):
    """Return a row of the table."""
    ratios = [new / old for old, new in zip(older, newer)]
    spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    medians = " | ".join(f"{statistics.median(found):.3g}" for found in (older, newer))
    return f"| {name} | {medians} | {spread} |"


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--older", required=True, help="an interpreter with Keras 2.14")
    add("--newer", required=True, help="an interpreter with Keras 3")
    add("--runs", type=int, default=9, help="rounds that count (default 9)")
    add("--warmup", type=int, default=2, help="rounds before them (default 2)")
    add("--threads", type=int, default=2, help="for both (default 2)")
    add("--write", action="store_true", help="put the table into docs/speed.md")
    args = parser.parse_args()
    pythons = args.older, args.newer
    rows, versions = [], []
    for name in (*IMPORTS, *TASKS):
        if name in IMPORTS:
            pair = [Import(name, python) for python in pythons]
        else:
            script = HERE / "compare_stacks_task.py"
            commands = [[p, script, name, f"--threads={args.threads}"] for p in pythons]
            pair = [Contender(name, command, args.threads) for command in commands]
            versions = [each.facts["versions"] for each in pair]
        rows.append(row_of(name, *measured(pair, args.warmup, args.runs)))
        print(rows[-1], flush=True)
    text = "\n".join(
        [
            f"{args.runs} rounds after {args.warmup}, {processor()[0]}, {args.threads} threads.",
            "",
            f"| what | {versions[0]}, s | {versions[1]}, s | newer, x older |",
            "|---|---|---|---|",
            *rows,
        ]
    )
    print(text)
    if args.write:
        put(HERE.parent / "docs" / "speed.md", "stacks", text)


if __name__ == "__main__":
    main()
