"""Writes field.json: scores by packages of the field, which `kerasgan.evaluation` is held to.

In an environment of its own: pip install panoptica==2.1.7 scikit-learn==1.9.1 nibabel, and
MetricsReloaded from its repository (Project-MONAI, commit
cb38dfc0a5ed4fa3bdc559e4960b6e2b93c3b967); then run this file.
"""

import json
import pathlib
import warnings

import numpy as np
from scipy import ndimage

TOLERANCES, SPACINGS, OVERLAPS = (1, 2, 3.5), ((1, 1), (0.5, 2)), (0.5, 0.15)


def pairs():
    """Return a true and a predicted mask for each case, none of them empty, by name."""
    found = {}
    for seed in range(24):
        rng = np.random.default_rng(seed)
        shape = (13, 17) if seed % 2 else (40, 33)
        fine = rng.random((2, *shape)) < rng.uniform(0.1, 0.6)
        coarse = np.kron(rng.random((2, 8, 9)) < rng.uniform(0.2, 0.8), np.ones((5, 5))) > 0
        truth, prediction = fine if seed % 3 == 0 else coarse[:, : shape[0], : shape[1]]
        found[f"random {seed}"] = truth, (prediction if seed % 4 else np.roll(truth, 1, seed % 2))
    full = np.ones((9, 7), bool)
    dot = np.zeros_like(full)
    dot[4, 3] = True
    corner = np.zeros_like(full)
    corner[0, 0] = True
    found["full"] = full, full
    found["full and one pixel"] = full, dot
    found["one pixel"] = dot, dot
    found["one pixel elsewhere"] = dot, corner
    touching = np.zeros((12, 12), bool)
    touching[1:5, 1:5] = touching[5:9, 5:9] = touching[9:11, 1:4] = True
    joined = touching.copy()
    joined[4:6, 4:6] = True
    found["touching at a corner"] = touching, joined
    apart = touching.copy()
    apart[4, 4] = False
    found["touching taken apart"] = touching, apart
    border = np.zeros((12, 12), bool)
    border[:, :3] = True
    found["at the border"] = border, np.roll(border, -1, 1)
    line = np.zeros((15, 30), bool)
    line[7, 2:28] = line[3:12, 14] = True
    thick = ndimage.binary_dilation(line, np.ones((3, 3)))
    found["thin and thick"] = line, thick
    broken = thick.copy()
    broken[:, 8:12] = False
    found["thick and broken"] = thick, broken
    return {name: (a, b) for name, (a, b) in found.items() if a.any() and b.any()}


def probabilities():
    """Return labels and probabilities, of one channel and of three."""
    rng = np.random.default_rng(7)
    labels = rng.integers(0, 3, (6, 8))
    return labels, rng.random((6, 8, 1)), rng.dirichlet(np.ones(3), (6, 8))


def panoptic(truth, prediction, overlap, connectivity):
    """Return true and false positives, false negatives and panoptic quality by panoptica."""
    import panoptica

    structure = ndimage.generate_binary_structure(2, 1 if connectivity == 4 else 2)
    true, predicted = (
        ndimage.label(mask, structure)[0].astype(np.uint16) for mask in (truth, prediction)
    )
    evaluator = panoptica.Panoptica_Evaluator(
        expected_input=panoptica.InputType.UNMATCHED_INSTANCE,
        # Its threshold is allowed itself; ours is not.
        instance_matcher=panoptica.NaiveThresholdMatching(
            matching_metric=panoptica.Metric.IOU, matching_threshold=np.nextafter(overlap, 1)
        ),
        instance_metrics=[panoptica.Metric.IOU],
        global_metrics=[],
    )
    result = evaluator.evaluate(predicted, true, verbose=False)["ungrouped"]
    return [result.tp, result.fp, result.fn, 0.0 if result.tp == 0 else result.pq]


def main():
    from MetricsReloaded.metrics.calibration_measures import CalibrationMeasures
    from MetricsReloaded.metrics.pairwise_measures import BinaryPairwiseMeasures
    from sklearn.metrics import brier_score_loss

    warnings.simplefilter("ignore")
    found = {}
    for name, (truth, prediction) in pairs().items():
        of = found[name] = {"surface_dice": [], "boundary_iou": [], "objects": []}

        def measures(spacing, tolerance, truth=truth, prediction=prediction):
            return BinaryPairwiseMeasures(
                prediction.astype(int),
                truth.astype(int),
                dict_args={"nsd": tolerance, "boundary_dist": tolerance},
                pixdim=list(spacing),
            )

        for tolerance in TOLERANCES:
            of["boundary_iou"].append(measures((1, 1), tolerance).boundary_iou())
            for spacing in SPACINGS:
                nsd = measures(spacing, tolerance).normalised_surface_distance()
                of["surface_dice"].append(nsd)
        with np.errstate(invalid="ignore"):
            of["cldice"] = float(np.nan_to_num(measures((1, 1), 1).centreline_dsc()))
        for overlap in OVERLAPS:
            for connectivity in (4, 8):
                of["objects"].append(panoptic(truth, prediction, overlap, connectivity))
    labels, binary, several = probabilities()
    brier = [
        brier_score_loss((labels == 1).ravel(), binary.ravel()),
        CalibrationMeasures(several.reshape(-1, 3), labels.ravel()).brier_score(),
    ]
    found = {"pairs": found, "brier": brier}
    plain = json.loads(json.dumps(found, default=float), parse_float=lambda v: round(float(v), 9))
    lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in plain["pairs"].items()]
    text = '{"pairs": {\n' + ",\n".join(lines) + "\n},\n"
    text += f'"brier": {json.dumps(plain["brier"])}}}\n'
    pathlib.Path(__file__).with_name("field.json").write_text(text)


if __name__ == "__main__":
    main()
