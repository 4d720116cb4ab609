"""Does a network cheat? What text, squares, borders and highlights do to its predictions.

A region is a shortcut if two things hold. It draws more relevance than its share of what lies
outside the target; and painting it over changes the prediction more than painting over a control
does, a region of the same shape elsewhere. Relevance alone shows where to look: bright text draws
some in any network. Painting shows what it does.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import tensorflow as tf

from kerasgan.counts import count, score
from kerasgan.data import Samples
from kerasgan.data.resize import resize_pixels
from kerasgan.data.windows import WINDOW
from kerasgan.errors import KerasganError
from kerasgan.evaluation.artifacts import elsewhere, find_regions, inpaint_regions
from kerasgan.evaluation.benchmark import (
    ExplainedBatch,
    ExplanationBenchmark,
    check_some,
    rng_of,
    target_scores,
)
from kerasgan.evaluation.bootstrap import check_draws, interval, resampled_means
from kerasgan.evaluation.similarity import ratio
from kerasgan.evaluation.spectral import relevance_clusters, small_maps
from kerasgan.explain.logits import foreground, without_background
from kerasgan.explain.methods import DEFAULT_RULE
from kerasgan.validation import check_whole_number

RegionFinder = Callable[[np.ndarray], Mapping[str, np.ndarray]]
FEWEST = 8  # images that a test rests on
RESAMPLES = 2000
EXAMPLES = 3
TESTED = ["region", "shortcut", "images", "share", "area", "share_low", "share_high"]
TESTED += ["change", "control", "low", "high"]


class Shortcuts(NamedTuple):
    r"""What `shortcuts` found.

    Attributes:
        regions: A row for each image and region: `name`, `method`, `kind`, `region`; `share` of the
            absolute relevance on the region; `area`, its share of the pixels; `lift`, the one by
            the other; `outside_share` and `outside_area`, the same of what lies outside the target.
            Where the region is not there, or no relevance, all but areas are NaN.
            `attrs["summary"]`, columns by name: a row for each region with means over the `images`
            that have it, and `low` and `high`, the bootstrap interval of `excess`, outside share
            less outside area.
        inpainted: Two rows for each image and region: `name`, `region`, `inpainted` ("region" or
            "control"); `area`, the share of the pixels painted; `dice` of the target and what is
            predicted now; `dice_beyond`, the same if painted pixels keep what was predicted for
            them, so that only what is predicted elsewhere counts; `logit_change`, of the mean logit
            over the target; `truth_dice`, with the true mask, and `truth_change`, from that of the
            unaltered image. NaN where the region is not there, the target is empty or there are no
            masks. `attrs["summary"]`: means over images, a row for each region and "region" or
            "control", with the number of `images`.
        clusters: A row for each image: `name`, `cluster` (from 0, the largest), `distance` to the
            middle of its cluster and `dice` with the truth, NaN without masks. `attrs["summary"]`,
            a row for each cluster: `cluster`, `images`, `dice`, `examples` (the names of up to
            three images nearest to its middle), and the mean share of each region.
        tests: A row for each region: `region`, `shortcut`, `images`; `share` and `area`, its
            parts of the relevance and of the pixels outside the target, `share_low` and
            `share_high` of the difference; `change` of the prediction, 1 less `dice_beyond`,
            `control`, that of the control, `low` and `high` of the difference.
        findings: A sentence for each region, and one about the clusters.

    Example:
        >>> found = shortcuts(model, samples)  # doctest: +SKIP
        >>> print("\n".join(found.findings))  # doctest: +SKIP
    """

    regions: pd.DataFrame
    inpainted: pd.DataFrame
    clusters: pd.DataFrame
    tests: pd.DataFrame
    findings: list[str]


def _drawn(
    batch: ExplainedBatch, regions: Mapping[str, np.ndarray], maps: np.ndarray
) -> dict[str, np.ndarray]:
    """What relevance each region draws, by "region/value"."""
    values = {}
    for region, mask in regions.items():
        for prefix, part in (("", np.ones_like(mask)), ("outside_", ~batch.region)):
            weight = np.abs(maps) * part
            area = ratio((mask & part).sum((1, 2)), part.sum((1, 2)))
            share = ratio((weight * mask).sum((1, 2)), weight.sum((1, 2)))
            values[f"{region}/{prefix}area"] = area
            values[f"{region}/{prefix}share"] = np.where(area > 0, share, np.nan)
    return values


def _relevance_table(table: pd.DataFrame, seed: int) -> pd.DataFrame:
    gates = dict(table.attrs)
    table = _wide(table)
    table.insert(table.columns.get_loc("area") + 1, "lift", ratio(table["share"], table["area"]))
    columns = ["name", "method", "kind", "region", "share", "area", "lift"]
    table = table[[*columns, "outside_share", "outside_area"]]
    rows = []
    for (method, region), part in table.groupby(["method", "region"], sort=False):
        part = part.dropna(subset=["outside_share"])
        mean = part[["share", "area", "outside_share", "outside_area"]].mean()
        excess = part["outside_share"] - part["outside_area"]
        low, high = _interval(excess, 0.95, seed)
        lift = mean["share"] / mean["area"]
        rows.append([method, region, len(part), *mean, lift, excess.mean(), low, high])
    names = ["method", "region", "images", "share", "area", "outside_share", "outside_area"]
    summary = pd.DataFrame(rows, columns=[*names, "lift", "excess", "low", "high"])
    table.attrs = {**gates, "summary": summary.to_dict("list")}
    return table


def _inpainted(
    batch: ExplainedBatch, regions: Mapping[str, np.ndarray], seed: int
) -> dict[str, np.ndarray]:
    """What is predicted where a region, or its control, is painted over, by name and value."""
    before = target_scores(batch.logits, batch.weights)["logit"]
    truth_before = _truth_dice(batch.logits, batch.truth)
    values = {}
    for region, masks in regions.items():
        there = np.flatnonzero(masks.any((1, 2)))
        for what in ("region", "control"):
            filled = masks if what == "region" else _controls(batch, masks, region, seed)
            row = {name: np.full(len(masks), np.nan) for name in INPAINTED}
            row["area"] = filled.mean((1, 2))
            if len(there):
                weights, painted = batch.weights[there], filled[there]
                logits = batch.run(inpaint_regions(batch.images[there], painted))
                beyond = np.where(painted[..., None], batch.logits[there], logits)
                scores = target_scores(logits, weights)
                row["dice"][there] = scores["dice"]
                row["dice_beyond"][there] = target_scores(beyond, weights)["dice"]
                row["logit_change"][there] = scores["logit"] - before[there]
                truth = None if batch.truth is None else batch.truth[there]
                row["truth_dice"][there] = _truth_dice(logits, truth)
                row["truth_change"] = row["truth_dice"] - truth_before
            values.update({f"{region}/{what}/{name}": v for name, v in row.items()})
    return values


def _inpainting_table(table: pd.DataFrame) -> pd.DataFrame:
    table = _wide(table)
    table[["region", "inpainted"]] = table["region"].str.rsplit("/", n=1, expand=True)
    table = table[["name", "region", "inpainted", *INPAINTED]]
    groups = table[table["area"] > 0].groupby(["region", "inpainted"], sort=False)
    summary = groups[list(INPAINTED)].mean()
    summary.insert(0, "images", groups["dice"].count())
    table.attrs["summary"] = summary.reset_index().to_dict("list")
    return table


INPAINTED = ("area", "dice", "dice_beyond", "logit_change", "truth_dice", "truth_change")


def shortcuts(
    model: Any,
    samples: Samples,
    rule: Any = DEFAULT_RULE,
    *,
    find: RegionFinder = find_regions,
    clusters: int | None = None,
    least: float = 0.05,
    confidence: float = 0.95,
    **options: Any,
) -> Shortcuts:
    """Look for shortcuts: regions that draw relevance and change the prediction, and clusters.

    A region is called a shortcut where, over the images that have it, 8 at least, its share of the
    relevance outside the target exceeds its share of that area, and painting it over changes what
    is predicted elsewhere by more than painting over the control does, by `least` at least; both
    bootstrap intervals over images, paired, must exclude 0. The confidence is shared among the
    regions (Bonferroni), so that with none being a shortcut, one is named seldom.

    Each region is filled from its surroundings (`inpaint_regions`), and beside it a control, as
    many pixels of the same shape elsewhere, drawn for each image by its name.

    Args:
        model: A network from image to mask.
        samples: `Samples`, with or without masks, 4 at least.
        rule: A rule's name, a rule or another method. `epsilon` scatters, and can put less
            relevance on a cue than its area even where the cue decides.
        find: From an image at its own size, float32 (height, width, 3) in [-1, 1], to regions by
            name, bool (height, width), the same names for every image.
        clusters: How many clusters of heatmaps, below the number of images; None for the number
            that the largest gap between eigenvalues tells (Lapuschkin et al.).
        least: Smallest difference in Dice worth a word.
        confidence: Of all intervals together, between 0 and 1.
        **options: Further arguments of `ExplanationBenchmark`, but for `controls`.

    Returns:
        Tables, tests and plain sentences.

    Example:
        >>> found = kg.evaluation.shortcuts(gan, test)  # doctest: +SKIP
        >>> print(found.findings[0])  # doctest: +SKIP
        text is a shortcut: 21.3% of the relevance outside the target lies on it (2.1% of that ...

    Source: Lapuschkin et al. 2019 (arXiv 1902.10178).
    """
    check_draws(confidence, RESAMPLES)
    check_some(samples, 4)
    if clusters is not None:
        check_whole_number("clusters", clusters, 1, len(samples) - 1)
    rule = {rule if isinstance(rule, str) else repr(rule): rule}
    benchmark = ExplanationBenchmark(model, samples, rule, controls=False, **options)
    regions_of = _finder(benchmark, find)

    def measure(batch: ExplainedBatch) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
        regions = regions_of(batch)
        ((method, maps),) = benchmark.maps(batch)
        pixels = small_maps(maps).T
        parts = {
            "drawn": _drawn(batch, regions, maps),
            "inpainted": _inpainted(batch, regions, benchmark.seed),
            "map": {f"{pixel:03}": values for pixel, values in enumerate(pixels)},
            "truth": {"dice": _truth_dice(batch.logits, batch.truth)},
        }
        named = {f"{part} {k}": v for part, values in parts.items() for k, v in values.items()}
        yield method, named

    facts = {"measure": "shortcuts", "find": find}
    table = benchmark.table(measure, facts=facts)
    parts = _parted(table)
    drawn = _relevance_table(parts["drawn"], benchmark.seed)
    inpainted = _inpainting_table(parts["inpainted"])
    dice, maps = (
        parts[part].pivot(index="name", columns="metric", values="value").loc[list(samples.names)]
        for part in ("truth", "map")
    )
    grouped = _clustered(benchmark, clusters, drawn, dice["dice"].to_numpy(), maps.to_numpy())
    tests = _tests(drawn, inpainted, least, confidence, benchmark.seed)
    findings = [_sentence(row, confidence) for row in tests.to_dict("records")]
    sizes = grouped.attrs["summary"]["images"]
    many = f"{len(sizes)} cluster{'s' if len(sizes) > 1 else ''}"
    findings.append(f"The heatmaps form {many}, of {', '.join(map(str, sizes))} images.")
    return Shortcuts(drawn, inpainted, grouped, tests, findings)


def _finder(
    benchmark: ExplanationBenchmark, find: RegionFinder
) -> Callable[[ExplainedBatch], dict[str, np.ndarray]]:
    """From a batch to the regions of its images, bool (batch, height, width), by name."""
    if not callable(find):
        raise KerasganError(f"Argument 'find' must be a function of an image. Received: {find!r}")
    if benchmark.mode == WINDOW:
        raise KerasganError(
            "Shortcuts are looked for in whole images, and not in windows of them. Received: "
            f"mode='window', or '{benchmark.explainer.model.name}', which was trained on windows"
        )
    index = {name: position for position, name in enumerate(benchmark.samples.names)}
    known: list[str] = []

    def regions_of(batch: ExplainedBatch) -> dict[str, np.ndarray]:
        several = [_at_size(benchmark, index[name], find) for name in batch.names]
        known.extend([] if known else several[0])
        for name, regions in zip(batch.names, several):
            if list(regions) != known or not known:
                raise KerasganError(
                    f"Argument 'find' must give regions of the same names for every image. "
                    f"Received: {list(regions)} for {name!r}, {known} before"
                )
        return {region: np.stack([regions[region] for regions in several]) for region in known}

    return regions_of


def _at_size(
    benchmark: ExplanationBenchmark, index: int, find: RegionFinder
) -> dict[str, np.ndarray]:
    image = benchmark.samples.image(index)
    regions = {}
    for name, mask in find(image).items():
        if np.shape(mask) != image.shape[:2] or "/" in name:
            raise KerasganError(
                f"Argument 'find' must give masks of the shape of the image, {image.shape[:2]}, by "
                f"names without '/'. Received: {np.shape(mask)} for {name!r}"
            )
        pixels = 255 * np.asarray(mask, bool)[..., None].astype(np.uint8)
        regions[name] = resize_pixels(pixels, benchmark.size, benchmark.mode)[..., 0] > 127
    return regions


def _controls(batch: ExplainedBatch, masks: np.ndarray, region: str, seed: int) -> np.ndarray:
    key = zlib.crc32(region.encode())
    each = zip(masks, batch.region, batch.names)
    return np.stack(
        [elsewhere(mask, target, rng_of(name, seed, key)) for mask, target, name in each]
    )


def _truth_dice(logits: np.ndarray, truth: np.ndarray | None) -> np.ndarray:
    """Dice of predicted and true foreground, 1 where both are empty."""
    if truth is None:
        return np.full(len(logits), np.nan)
    now = foreground(tf.convert_to_tensor(logits)).numpy() > 0
    true = without_background(tf.convert_to_tensor(truth)).numpy() > 0
    return score("dice", count(true, now, axis=(1, 2, 3)))


def _wide(table: pd.DataFrame) -> pd.DataFrame:
    """Turns rows of metrics named "region/value" into rows of regions with columns of values."""
    table.attrs.clear()
    table[["region", "value name"]] = table["metric"].str.rsplit("/", n=1, expand=True)
    index = ["name", "method", "kind", "region"]
    rank = {name: index for index, name in enumerate(table["name"].unique())}
    order = table[index].drop_duplicates()
    order = order.sort_values("name", key=lambda names: names.map(rank), kind="stable")
    wide = table.pivot(index=index, columns="value name", values="value").reset_index()
    return order.merge(wide, on=index).rename_axis(columns=None)


def _interval(values: Any, confidence: float, seed: int) -> tuple[float, float]:
    values = np.asarray(values, np.float64)[:, None]
    if not len(values):
        return float("nan"), float("nan")
    return interval(resampled_means(values, RESAMPLES, seed)[:, 0], confidence, len(values))


def _parted(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The rows of each part of `shortcuts`, by the first word of their metric."""
    words = table["metric"].str.split(" ", n=1, expand=True)
    parts = table.assign(metric=words[1]).groupby(words[0], sort=False)
    return {part: rows.reset_index(drop=True) for part, rows in parts}


def _clustered(
    benchmark: ExplanationBenchmark,
    clusters: int | None,
    drawn: pd.DataFrame,
    dice: np.ndarray,
    maps: np.ndarray,
) -> pd.DataFrame:
    labels, places = relevance_clusters(maps, clusters, benchmark.seed)
    middles = {k: places[labels == k].mean(0) for k in set(labels.tolist())}
    away = places - np.stack([middles[k] for k in labels.tolist()])
    columns = {"cluster": labels, "distance": np.linalg.norm(away, axis=1), "dice": dice}
    table = pd.DataFrame({"name": benchmark.samples.names, **columns})
    shares = drawn.pivot(index="name", columns="region", values="share")
    rows = []
    for cluster, part in table.groupby("cluster"):
        examples = part.sort_values("distance", kind="stable")["name"].tolist()[:EXAMPLES]
        row = {"cluster": cluster, "images": len(part), "dice": part["dice"].mean()}
        rows.append({**row, "examples": examples, **shares.loc[part["name"]].mean().to_dict()})
    table.attrs["summary"] = pd.DataFrame(rows).to_dict("list")
    return table


def _tests(drawn, inpainted, least: float, confidence: float, seed: int) -> pd.DataFrame:
    names = drawn["region"].unique()
    shared = 1 - (1 - confidence) / len(names)
    rows = []
    for region in names:
        share = drawn[drawn["region"] == region].set_index("name")
        painted = inpainted[inpainted["region"] == region]
        dice = painted.pivot(index="name", columns="inpainted", values="dice_beyond")
        both = share[["outside_share", "outside_area"]].join(1 - dice)
        both = both.dropna(subset=["region", "control"])
        excess = both["outside_share"] - both["outside_area"]
        difference = both["region"] - both["control"]
        share_low, share_high = _interval(excess, shared, seed)
        low, high = _interval(difference, shared, seed)
        enough = len(both) >= FEWEST
        is_shortcut = enough and share_low > 0 and low > 0 and difference.mean() >= least
        means = both.mean()
        drawn_there = means["outside_share"], means["outside_area"], share_low, share_high
        changed = means["region"], means["control"], low, high
        rows.append((region, bool(is_shortcut), len(both), *drawn_there, *changed))
    return pd.DataFrame(rows, columns=TESTED)


def _sentence(row: Mapping[str, Any], confidence: float) -> str:
    if row["images"] < FEWEST:
        return f"{row['region']}: in {row['images']} images, too few to test ({FEWEST} needed)."
    relevance = (
        "no relevance lies outside the target"
        if np.isnan(row["share"])
        else f"{row['share']:.1%} of the relevance outside the target lies on it "
        f"({row['area']:.1%} of that area)"
    )
    return (
        f"{row['region']} is {'a' if row['shortcut'] else 'not a'} shortcut: {relevance}, and "
        f"painting it over changes the prediction elsewhere by {row['change']:.3f} (1 - Dice), the "
        f"control by {row['control']:.3f}. Interval of the difference, {confidence:.0%} for all "
        f"regions together: {row['low']:.3f} to {row['high']:.3f}, {row['images']} images."
    )
