"""Turn finished runs into a folder of trained networks, for `kerasgan.pretrained`.

The network of the run is packed into a bundle; the bundle is opened again and scored on the images
that the run reported on, which must give the scores that the run noted; and it is scored on images
from elsewhere, if there are any. Then it is entered into the catalogue of the folder:

    bundle = kerasgan.pretrained("polyps", folder="networks")

The terms of the training images apply to what was learnt from them: read them before you give the
folder away, and state them by --terms.
"""

import argparse
import json
import math
import pathlib
import tempfile

import common

import kerasgan as kg
from kerasgan.cli import loading, tasks
from kerasgan.inference.pretrained import check_bundle_size

TOLERANCE = 1e-3  # between machines and versions of TensorFlow


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--run", required=True, help="results folder of a training script or of kerasgan train")
    add("--data", required=True, help="folder with the images and masks of the run")
    add("--outside", action="append", default=[], help="folder from elsewhere; several times")
    add("--name", required=True, help="such as polyps")
    add("--version", required=True, help="such as 1.0; a version is never replaced")
    add("--card", required=True, help="JSON file with the fields of the model's card")
    add("--licence", required=True, help="under which the weights may be used, as CC-BY-NC-4.0")
    add("--terms", required=True, help="what the licence of the training images allows")
    add("--folder", default="networks", help="folder of trained networks, new or to add to")
    args = parser.parse_args()

    run = pathlib.Path(args.run)
    noted = loading.read_json("run", run / "facts.json")
    with tempfile.TemporaryDirectory() as temporary:
        path = pathlib.Path(temporary) / "bundle.zip"
        card = loading.read_card(args.card)
        _, size = tasks.pack(run, path, card=card, licence=args.licence)
        check_bundle_size(path)
        bundle = kg.inference.load_bundle(path)
        scores = scores_of(bundle, args.data, False, names=run / "names.txt")
        check(scores, noted, run)
        for folder in args.outside:
            scores += scores_of(bundle, folder, True)
        about = {"name": args.name, "version": args.version, "terms": args.terms}
        entry = kg.inference.add_to_catalogue(args.folder, path, scores=scores, **about)
    print(f"{entry['file']}: {size:.1f} MB, SHA-256 {entry['sha256']}")
    for score in scores:
        print("{data}: {score} {mean:.3f} ({low:.3f} to {high:.3f})".format(**score))
    return args.folder


def scores_of(bundle, folder, outside, names=None):
    """Score a bundle on a folder, as its author says to predict with it."""
    options = loading.options_of(bundle, tasks.VIEWS)
    classes = loading.classes_of(bundle)
    samples = loading.load_samples(folder, names=names, classes=classes)
    summary = kg.evaluate(bundle, samples, **options).attrs["summary"]["scores"]
    data = f"{pathlib.Path(folder).resolve().name}, {'all' if names is None else 'reported part'}"
    return [
        {"data": data, "outside": outside, "images": len(samples), "score": name}
        | {part: summary[name][part] for part in ("mean", "low", "high")}
        for name in ("dice", "jaccard")
    ]


def check(scores, noted, run):
    """Make sure that the bundle scores as the run did."""
    for score in scores:
        before = noted.get("scores", {}).get("scores", {}).get(score["score"], {}).get("mean")
        if before is None or not math.isclose(score["mean"], before, abs_tol=TOLERANCE):
            raise kg.KerasganError(
                f"The bundle is not entered: its {score['score']} is {score['mean']:.4f} on the "
                f"images of {run / 'names.txt'}, and the run noted {json.dumps(before)}. Are these "
                "the data of the run?"
            )


common.run(main)
