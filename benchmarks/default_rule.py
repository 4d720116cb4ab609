"""Rank the rules on networks of the recipes, and choose the default rule.

Example:
    python benchmarks/default_rule.py --write \
        --polyps results/polyp_* --polyp-data kvasir-seg \
        --instruments results/instrument_OP* --instrument-data endovis15-rigid \
        --synthetic results/quickstart*

The folders were written by the scripts in examples/. Rules are ranked on images of each run's
validation part, which chose its epoch; with --reported they are then ranked on test images too. The
criterion was fixed before the first measurement:

- Candidates are all composites of the library, but for second names of the same (`alpha1beta0`,
  `paper`) and one that reproduces a fault (`paper-as-published`).
- In each network they are ranked twice by faithfulness, the gap in Dice and the gap in logit. The
  two ranks are averaged, then networks of the same data, then polyps and instruments. Synthetic
  data are shown and have no influence.
- A candidate is excluded if, on polyps or on instruments, it is not above every control in both
  measures; if a layer loses more than a thousandth of its relevance without a record; or if its map
  is no more faithful than the same rule's map of a network with shuffled weights (95 % bootstrap
  interval of the difference in Dice over images above 0): it would then not show what was learned.
- The lowest mean rank is the default. Of several within half a rank, the one whose map is least
  similar to that of the shuffled network.

Added afterwards: if no candidate meets the condition on shuffled weights, the condition is not
applied, and the output says so.

With --write the table goes between the marks of docs/benchmark-rules.md. Finished batches are kept
in --results, so a stopped run goes on.
"""

import argparse
import copy
import json
import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pandas as pd
import tensorflow as tf
from pages import put
from results import ROOT

import kerasgan as kg
from kerasgan.evaluation.benchmark import ExplanationBenchmark
from kerasgan.evaluation.bootstrap import interval, resampled_means
from kerasgan.evaluation.faithfulness import areas
from kerasgan.evaluation.similarity import rank_correlation

RULES = (
    "epsilon",
    "gamma",
    "z-plus",
    "alpha2beta1",
    "epsilon-plus",
    "epsilon-gamma-box",
    "epsilon-alpha2beta1-flat",
    "deep-taylor",
    "excitation-backprop",
)
GAPS = {"pixels dice gap": "Dice", "pixels logit gap": "logit"}
RANDOM = "shuffled weights, pixels dice gap"
LIKE = "rank correlation with shuffled weights"
LEAK = 1e-3
TIE = 0.5


def parts(run, data):
    """Return the images that chose the epoch of a run, and those that it reports on."""
    facts = json.loads((run / "facts.json").read_text(encoding="utf-8"))
    own = run / "data"
    samples = kg.data.load_folder(own if own.is_dir() else data)
    rest, reported = samples.split_by_names(run / "names.txt")
    images = facts["images"]
    share = images["validation"] / (images["training"] + images["validation"])
    _, validation = rest.split(share, seed=0)
    assert len(validation) == images["validation"]
    assert len(reported) == images["reported"]
    return {"validation": validation, "reported": reported}


def benchmark_of(model, samples, args, known):
    """Return the benchmark of a network; those of one architecture share traced explainers."""
    name = json.dumps(model.generator.get_config(), default=str)
    if name not in known:
        known[name] = ExplanationBenchmark(model, samples, list(RULES), batch_size=args.batch)
    benchmark = copy.copy(known[name])
    benchmark.samples = samples
    benchmark.explainer.model.set_weights(model.generator.get_weights())
    return benchmark


def shuffled_maps(benchmark, batch):
    """Return the maps of a batch after the values of each weight have changed places."""
    network, rng = benchmark.explainer.model, np.random.default_rng(0)
    trained = network.get_weights()
    network.set_weights([rng.permutation(w.ravel()).reshape(w.shape) for w in trained])
    # The sign of an untrained logit says nothing: relevance starts as the weight, not times it.
    target = np.divide(batch.weights, benchmark.run(batch.images))
    maps = {
        rule: benchmark.explainers[rule]
        .explain(batch.images, target=target, layers=())
        .relevance.sum(-1)
        for rule in RULES
    }
    network.set_weights(trained)
    return maps


def faithfulness_of(benchmark, folder, args, random):
    """Return faithfulness by every rule and control, and of the same rules after shuffling."""
    options = {"baseline": args.baseline, "steps": args.steps, "seed": 0}

    def measure(batch):
        others = shuffled_maps(benchmark, batch) if random else {}
        for method, maps in benchmark.maps(batch):
            found = areas(batch, maps, **options)
            values = {name: found[name] for name in GAPS}
            if method in others:
                values[RANDOM] = areas(batch, others[method], **options)["pixels dice gap"]
                values[LIKE] = rank_correlation(maps, others[method])
            yield method, values

    benchmark.folder = folder
    return benchmark.table(measure, facts={**options, "random": random})


def accounts(benchmark):
    """Return where the relevance of a batch goes by each rule, as a share of what is explained."""
    batch, rows = next(iter(benchmark)), {}
    for rule in RULES:
        found = benchmark.explainers[rule].explain(batch.images, target=batch.weights, layers=())
        ledger, whole = found.ledger, (found.logits * found.target).sum(dtype=np.float64)
        rows[rule] = {
            "to pixels": found.relevance.sum(dtype=np.float64) / whole,
            "to biases": ledger["bias"].sum() / whole,
            "unsupported": ledger["unsupported"].sum() / whole,
            "leak": (ledger["remainder"].abs() / ledger["absolute"].clip(lower=1e-30)).max(),
        }
    return pd.DataFrame(rows).T


def measured(groups, part, args, known):
    """Return a row for each image, method and measure; and one for each network and rule."""
    tables, books = [], []
    for group, runs in groups.items():
        for run, data in runs:
            samples = parts(run, data)[part]
            if len(samples) > args.count:
                samples = samples[np.linspace(0, len(samples) - 1, args.count).astype(int)]
            print(f"{run.name}, {part}: {len(samples)} images", flush=True)
            benchmark = benchmark_of(kg.SegmentationGAN.load(run / "model"), samples, args, known)
            labels = {"group": group, "network": run.name}
            folder = pathlib.Path(args.results) / part / run.name
            table = faithfulness_of(benchmark, folder, args, random=part == "validation")
            tables.append(table.assign(**labels))
            if part == "validation":
                books.append(kept_accounts(benchmark, folder / "accounts.csv").assign(**labels))
    return pd.concat(tables, ignore_index=True), pd.concat(books) if books else None


def kept_accounts(benchmark, file):
    """Return `accounts`, from a file if an earlier run left one."""
    if not file.is_file():
        accounts(benchmark).rename_axis("method").to_csv(file)
    return pd.read_csv(file)


def means(table, metric):
    """Return the mean over images of each network, and over networks: methods by groups."""
    rows = table[table["metric"] == metric]
    each = rows.groupby(["method", "group", "network"])["value"].mean()
    return each.groupby(["method", "group"]).mean().unstack("group")


def ranks(table):
    """Return the mean rank of each rule, 1 for the most faithful, by group."""
    rows = table[table["metric"].isin(GAPS) & table["method"].isin(RULES)]
    each = rows.groupby(["group", "network", "metric", "method"])["value"].mean()
    places = each.groupby(["group", "network", "metric"]).rank(ascending=False)
    return places.groupby(["group", "network", "method"]).mean().groupby(["method", "group"]).mean()


def refused(table, books, deciding):
    """Return why each rule that cannot be the default is out, and which show nothing learned."""
    reasons, unlearned = {}, {}
    leaks = books.groupby("method")["leak"].max()
    for rule in RULES:
        found = [] if leaks[rule] <= LEAK else ["loses relevance without a record"]
        for group in deciding:
            for metric in GAPS:
                column = means(table, metric)[group]
                best = column.drop(list(RULES)).idxmax()
                if column[rule] <= column[best]:
                    found.append(f"below *{best}* on {group} ({GAPS[metric]})")
            mine = table[(table["group"] == group) & (table["method"] == rule)]
            wide = mine.pivot_table("value", ["network", "name"], "metric")
            gain = (wide["pixels dice gap"] - wide[RANDOM]).dropna().to_numpy()[:, None]
            if not interval(resampled_means(gain, 2000, 0)[:, 0], 0.95, len(gain))[0] > 0:
                unlearned.setdefault(rule, []).append(group)
        if found:
            reasons[rule] = ", ".join(found)
    return reasons, unlearned


def chosen(table, books, deciding):
    """Return mean ranks, why rules are out, which show nothing learned, and the default."""
    mean = ranks(table).unstack("group")[deciding].mean(axis=1).sort_values()
    reasons, unlearned = refused(table, books, deciding)
    able = mean.drop(list(reasons))
    left = able.drop(list(unlearned), errors="ignore")
    left = able if left.empty else left
    if left.empty:
        return mean, reasons, unlearned, None
    near = left[left <= left.min() + TIE].index
    like = means(table, LIKE).loc[near, deciding].mean(axis=1)
    return mean, reasons, unlearned, like.idxmin()


def faithful_columns(table, groups, intervals=False):
    """Return the gaps as text, a row a method."""
    columns = {}
    for group in groups:
        for metric, name in GAPS.items():
            rows = table[(table["group"] == group) & (table["metric"] == metric)]
            found = means(rows, metric)[group].map("{:.3f}".format)
            if intervals:
                wide = rows.pivot_table("value", ["network", "name"], "method")
                drawn = resampled_means(wide.to_numpy(), 2000, 0)
                for method, column in zip(wide, drawn.T):
                    low, high = interval(column, 0.95, len(wide))
                    found[method] += f" ({low:.3f} to {high:.3f})"
            columns[f"{group}, {name}"] = found
    return pd.DataFrame(columns)


def as_markdown(table, order):
    """Return a table of text, rules in code, controls in italics."""
    lines = ["| method | " + " | ".join(table) + " |", "|---" * (1 + table.shape[1]) + "|"]
    for method in order:
        name = f"`{method}`" if method in RULES else f"*{method}*"
        cells = ["" if value != value else str(value) for value in table.loc[method]]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def described(groups, table, args, part):
    """Return what was measured in one line."""
    told = []
    for group, runs in groups.items():
        found = table[table["group"] == group][["network", "name"]].drop_duplicates()
        told.append(f"{group}, {len(found)} of {', '.join(f'`{run.name}`' for run, _ in runs)}")
    return (
        f"{part.capitalize()} images: {'; '.join(told)}. {args.steps} steps, baseline "
        f"{args.baseline}, seed 0, TensorFlow {tf.__version__}, {os.cpu_count()} processors."
    )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--polyps", nargs="+", required=True, type=pathlib.Path, help="folders of runs")
    add("--polyp-data", required=True, help="folder of images and masks")
    add("--instruments", nargs="+", required=True, type=pathlib.Path, help="folders of runs")
    add("--instrument-data", required=True, help="folder of images and masks")
    add("--synthetic", nargs="*", default=[], type=pathlib.Path, help="runs of the quickstart")
    add("--count", type=int, default=16, help="images of each part of each run (16)")
    add("--steps", type=int, default=8, help="of the removal curves (8)")
    add("--baseline", default="blur", help="what pixels are replaced by (blur)")
    add("--batch", type=int, default=8, help="images at once (8)")
    add("--results", default="results/default_rule", help="folder for finished batches")
    add("--reported", action="store_true", help="then also on images that the runs report on")
    add("--write", action="store_true", help="put the table into docs/benchmark-rules.md")
    args = parser.parse_args()
    groups = {
        "polyps": [(run, args.polyp_data) for run in args.polyps],
        "instruments": [(run, args.instrument_data) for run in args.instruments],
        "synthetic": [(run, run / "data") for run in args.synthetic],
    }
    groups = {group: runs for group, runs in groups.items() if runs}
    deciding = ["polyps", "instruments"]

    known = {}
    table, books = measured(groups, "validation", args, known)
    mean, reasons, unlearned, default = chosen(table, books, deciding)
    shown = faithful_columns(table, groups)
    shown.insert(0, "mean rank", mean.map("{:.2f}".format))
    for group in deciding:
        shown[f"{group}, shuffled"] = means(table, RANDOM)[group].map("{:.3f}".format)
    shown["similarity to shuffled"] = means(table, LIKE)[deciding].mean(axis=1).map("{:.2f}".format)
    real = books[books["group"].isin(deciding)].groupby("method")
    for name in ("to pixels", "to biases", "unsupported"):
        shown[name] = real[name].mean().map("{:.2f}".format)
    controls = [method for method in shown.index if method not in RULES]
    order = [*mean.index, *controls]
    ours = [
        described(groups, table, args, "validation"),
        as_markdown(shown, order),
        "\n".join(f"- `{rule}` is excluded: {why}." for rule, why in reasons.items())
        or "No rule is excluded by a control or a leak.",
        "\n".join(
            f"- `{rule}` is no more faithful than with shuffled weights on {' and '.join(where)}."
            for rule, where in unlearned.items()
        )
        or "Every rule is more faithful than with shuffled weights.",
        "None of the remaining rules meets the condition on shuffled weights, so it is not applied."
        if set(mean.index) <= {*reasons, *unlearned}
        else "",
        f"Largest remainder in any conservation table, as a part of the layer's relevance: "
        f"{books['leak'].max():.1e}.",
        f"The default: **`{default}`**.",
    ]
    text = "\n\n".join(part for part in ours if part)
    print(text)
    if args.write:
        put(ROOT / "docs" / "benchmark-rules.md", "ranking", text)

    if args.reported:
        again, _ = measured(groups, "reported", args, known)
        later = ranks(again).unstack("group")[deciding].mean(axis=1).sort_values()
        shown = faithful_columns(again, groups, intervals=True)
        shown.insert(0, "mean rank", later.map("{:.2f}".format))
        print(described(groups, again, args, "reported"))
        print(as_markdown(shown, [*later.index, *controls]))


if __name__ == "__main__":
    main()
