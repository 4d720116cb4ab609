"""How much of the package do the tests run, and how many small faults in it do they find?

Example:
    pytest -n 2 --cov=kerasgan --cov-branch --cov-report=json:results/coverage.json
    python benchmarks/tested.py --coverage results/coverage.json
    python benchmarks/tested.py --mutants counts metrics rules
    python benchmarks/tested.py --coverage results/coverage.json --mutants counts --write

Needs pytest-cov for the first question and cosmic-ray for the second (`pip install`). The latter
sets one fault after the other into a copy of a module, a plus for a minus, a 1 for a 2, a condition
turned round. Each is tried by a child of this process, which has imported TensorFlow already: it
runs the tests named below, in this order, until one fails. A fault that none finds is printed.
What was found is kept in --results, so a stopped run goes on, and one after more tests were written
tries what was missed; modules can be tried side by side.
"""

import argparse
import collections
import difflib
import json
import os
import pathlib
import re
import shutil
import signal
import sys
import zlib

from pages import put

ROOT = pathlib.Path(__file__).resolve().parents[1]
MODULES = {
    "counts": ("kerasgan/counts.py", ["tests/test_counts.py", "tests/evaluation/test_paired.py"]),
    "metrics": ("kerasgan/training/metrics.py", ["tests/training/test_metrics.py"]),
    "rules": ("kerasgan/explain/rules.py", ["tests/explain/test_rules.py"]),
}
# Bits of floats, and `is` for `==`: such a fault ends in an error in whatever test comes first.
LEFT_OUT = re.compile(
    r"core/(RemoveDecorator|ReplaceUnaryOperator_.*_Invert"
    r"|ReplaceBinaryOperator_(.*_)?(Bit|LShift|RShift|FloorDiv|Mod|Pow).*"
    r"|ReplaceComparisonOperator_(\w*[qtE]_Is(Not)?|Is(Not)?_\w*[qE]|Is(Not)?_[GL]t))"
)
COUNTED = ("num_statements", "covered_lines", "num_branches", "covered_branches")
TREE = ("kerasgan", "tests", "examples", "docs", "pyproject.toml", "setup.py", "README.md")


def faults(source):
    """Yield the name of each fault and the source with it, no source twice."""
    import cosmic_ray.plugins
    from cosmic_ray.mutating import mutate_code

    seen = {source}
    for name in sorted(cosmic_ray.plugins.operator_names()):
        operator = cosmic_ray.plugins.get_operator(name)
        if LEFT_OUT.fullmatch(name) or operator.arguments():
            continue
        count = 0
        while (changed := mutate_code(source, operator(), count)) is not None:
            if changed not in seen:
                yield f"{name} {count}", changed
            seen.add(changed)
            count += 1


def fails(copy, tests, timeout):
    """Whether a test fails in a copy of the repository, or all take longer than the timeout."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1] != 0
    signal.alarm(timeout)
    os.chdir(copy)
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    sys.path[0] = str(copy)
    sys.dont_write_bytecode = True  # two faults may be of one size and one second
    import pytest

    code = pytest.main(["-q", "-x", *tests])
    os._exit(int(code) if copy in pathlib.Path(sys.modules["kerasgan"].__file__).parents else 9)


def mutants(name, folder, timeout):
    """Try all faults of a module that were not found yet; return all that were tried."""
    import innvestigate  # noqa: F401  takes TensorFlow and Keras along

    file, tests = MODULES[name]
    source = (ROOT / file).read_text(encoding="utf-8")
    copy = folder / name / "copy"
    done = folder / name / f"tried_{zlib.crc32(source.encode()):08x}.jsonl"
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir(parents=True)
    for part in TREE:
        (shutil.copytree if (ROOT / part).is_dir() else shutil.copy)(ROOT / part, copy / part)
    if fails(copy, tests, timeout):
        sys.exit(f"{' '.join(tests)} must pass without a fault")
    rows = [json.loads(line) for line in done.read_text().splitlines()] if done.exists() else []
    tried = [row for row in rows if row["found"]]
    every = dict(faults(source))
    todo = every.keys() - {row["fault"] for row in tried}
    for count, fault in enumerate(sorted(todo), 1):
        (copy / file).write_text(every[fault], encoding="utf-8")
        lines = difflib.unified_diff(source.split("\n"), every[fault].split("\n"), n=0, lineterm="")
        row = {"fault": fault, "diff": "\n".join([*lines][2:])}
        row["found"] = fails(copy, tests, timeout)
        tried.append(row)
        with done.open("a", encoding="utf-8") as out:
            out.write(json.dumps(row) + "\n")
        print(f"{name}: {count}/{len(todo)} {fault}: {row['found']}", flush=True)
    return tried


def described(name, tried):
    """Return a line of the table."""
    found = sum(row["found"] for row in tried)
    share = 100 * found / len(tried)
    return f"| `{MODULES[name][0]}` | {len(tried)} | {found} | {share:.0f} % |"


def covered(file):
    """Return the share of lines and branches run, whole and for each room, as a table."""
    files = json.loads(file.read_text(encoding="utf-8"))["files"]
    rooms = collections.defaultdict(collections.Counter)
    for path, facts in files.items():
        parts = pathlib.PurePath(path).parts
        room = parts[1] if len(parts) > 2 else "itself"
        for place in (room, "whole"):
            rooms[place].update({k: v for k, v in facts["summary"].items() if k in COUNTED})
    lines = ["| package | lines | lines run | branches | branches run |", "|---|---|---|---|---|"]
    for room in [*sorted(set(rooms) - {"whole", "itself"}), "itself", "whole"]:
        n = rooms[room]
        title = {"itself": "`kerasgan`, outside these", "whole": "**all**"}.get(room, f"`{room}`")
        lines.append(
            f"| {title} | {n['num_statements']} | "
            f"{100 * n['covered_lines'] / n['num_statements']:.1f} % | {n['num_branches']} | "
            f"{100 * n['covered_branches'] / max(1, n['num_branches']):.1f} % |"
        )
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--coverage", type=pathlib.Path, help="JSON that pytest --cov wrote")
    add("--mutants", nargs="*", default=[], choices=MODULES, help="modules to set faults into")
    add("--timeout", type=int, default=240, help="seconds for the tests of one fault (240)")
    add("--results", type=pathlib.Path, default=pathlib.Path("results/mutants"))
    add("--write", action="store_true", help="put what was asked for into docs/guarantees.md")
    args = parser.parse_args()
    texts = {}
    if args.coverage:
        texts["coverage"] = covered(args.coverage)
    if args.mutants:
        lines = ["| module | changes | detected | share |", "|---|---|---|---|"]
        for name in args.mutants:
            tried = mutants(name, args.results.resolve(), args.timeout)
            lines.append(described(name, tried))
            print(*[row["diff"] for row in tried if not row["found"]], sep="\n\n", flush=True)
        texts["mutants"] = "\n".join(lines)
    for mark, text in texts.items():
        print(text)
        if args.write:
            put(ROOT / "docs" / "guarantees.md", mark, text)


if __name__ == "__main__":
    main()
