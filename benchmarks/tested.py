"""How much of the package do the tests run, and how many small faults in it do they find?

Example:
    pytest -n 2 --cov=kerasgan --cov-branch --cov-report=json:results/coverage.json
    python benchmarks/tested.py --coverage results/coverage.json
    python benchmarks/tested.py --mutants counts metrics rules
    python benchmarks/tested.py --coverage results/coverage.json --mutants counts --write

Needs pytest-cov for the first question and cosmic-ray for the second (`pip install`). The latter
sets one fault after the other into a copy of a module, a plus for a minus, a 1 for a 2, a condition
turned round, and runs the tests named below, in this order, until one fails. A fault that none
finds is printed. What was done is kept in --results, so a stopped run goes on, and modules can be
tried side by side.
"""

import argparse
import collections
import json
import pathlib
import shutil
import sqlite3
import subprocess
import sys

from pages import put
from results import ROOT

MODULES = {
    "counts": ("kerasgan/counts.py", ["tests/test_counts.py", "tests/evaluation/test_paired.py"]),
    "metrics": ("kerasgan/training/metrics.py", ["tests/training/test_metrics.py"]),
    "rules": (
        "kerasgan/explain/rules.py",
        ["tests/explain/test_rules.py", "tests/explain/test_oracle.py"],
    ),
}
# Bits of floats: such a fault ends in an error in whatever test comes first.
LEFT_OUT = ["core/ReplaceBinaryOperator_.*_(Bit.*|LShift|RShift|FloorDiv|Mod|Pow)$"]
LEFT_OUT += ["core/ReplaceBinaryOperator_(Bit.*|Mod|Pow|FloorDiv)_.*", "core/RemoveDecorator"]
LEFT_OUT += ["core/ReplaceUnaryOperator_.*_Invert"]
COUNTED = ("num_statements", "covered_lines", "num_branches", "covered_branches")
TREE = ("kerasgan", "tests", "examples", "docs", "pyproject.toml", "setup.py", "README.md")


def config(file, tests, timeout):
    run = f"{sys.executable} -m pytest -q -x -p no:randomly {' '.join(tests)}"
    return (
        f'[cosmic-ray]\nmodule-path = "{file}"\ntimeout = {timeout}\nexcluded-modules = []\n'
        f'test-command = "{run}"\n[cosmic-ray.distributor]\nname = "local"\n'
        f"[cosmic-ray.filters.operators-filter]\nexclude-operators = {json.dumps(LEFT_OUT)}\n"
    )


def mutants(name, folder, timeout):
    """Try all faults of a module that were not tried yet; return what the session holds."""
    file, tests = MODULES[name]
    copy = folder / name
    session = copy / "session.sqlite"
    command = [sys.executable, "-m", "cosmic_ray.cli"]
    if not session.is_file():
        shutil.rmtree(copy, ignore_errors=True)
        copy.mkdir(parents=True)
        for part in TREE:
            source = ROOT / part
            (shutil.copytree if source.is_dir() else shutil.copy)(source, copy / part)
        (copy / "config.toml").write_text(config(file, tests, timeout), encoding="utf-8")
        whole = subprocess.run([sys.executable, "-m", "pytest", "-q", "-x", *tests], cwd=copy)
        if whole.returncode:
            sys.exit(f"{' '.join(tests)} must pass without a fault")
        made = session.with_name("made.sqlite")
        subprocess.run([*command, "init", "config.toml", made], cwd=copy, check=True)
        chosen = [sys.executable, "-m", "cosmic_ray.tools.filters.operators_filter"]
        subprocess.run([*chosen, made, "config.toml"], cwd=copy, check=True)
        made.rename(session)
    else:
        shutil.copy(ROOT / file, copy / file)  # a stop may have left a fault in it
    subprocess.run([*command, "exec", "config.toml", session], cwd=copy, check=True)
    with sqlite3.connect(session) as database:
        return database.execute(
            "select w.test_outcome, w.worker_outcome, w.diff from work_results w"
        ).fetchall()


def described(name, rows):
    """Return a line of the table, and the faults that no test found."""
    tried = [(outcome, diff) for outcome, worker, diff in rows if worker != "SKIPPED"]
    missed = [diff for outcome, diff in tried if outcome not in ("KILLED", "INCOMPETENT")]
    found = len(tried) - len(missed)
    share = 100 * found / len(tried)
    return f"| `{MODULES[name][0]}` | {len(tried)} | {found} | {share:.0f} % |", missed


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
    add("--timeout", type=float, default=240, help="seconds for the tests of one fault (240)")
    add("--results", type=pathlib.Path, default=pathlib.Path("results/mutants"))
    add("--write", action="store_true", help="put what was asked for into docs/promises.md")
    args = parser.parse_args()
    texts = {}
    if args.coverage:
        texts["coverage"] = covered(args.coverage)
    if args.mutants:
        lines = ["| module | faults | found | |", "|---|---|---|---|"]
        for name in args.mutants:
            line, missed = described(name, mutants(name, args.results.resolve(), args.timeout))
            lines.append(line)
            print(*missed, sep="\n\n")
        texts["mutants"] = "\n".join(lines)
    for mark, text in texts.items():
        print(text)
        if args.write:
            put(ROOT / "docs" / "promises.md", mark, text)


if __name__ == "__main__":
    main()
