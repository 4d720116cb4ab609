"""Pack the model of a finished training run into one file, to attach to a release or a mail.

The zip is a bundle of `kerasgan.inference.save_bundle`: the generator with its recipe, its card and
licence, the settings, scores and hardware of the run, and a checksum of every file. Discriminator
and optimizers stay behind; nothing in it is code. To use it:

    bundle = kerasgan.inference.load_bundle("strong.zip")
    masks = bundle.predict("frames")
"""

import argparse
import json
import pathlib
import tempfile
import warnings

import common

import kerasgan as kg
from kerasgan.text import read_text

KEPT = ("recipe.json", "facts.json", "scores.csv", "scores.txt", "training.csv")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", required=True, help="results folder of a training script")
    parser.add_argument("--out", required=True, help="the zip to write, such as strong.zip")
    parser.add_argument("--card", help="JSON file with the fields of the model's card")
    parser.add_argument("--licence", help="under which the weights may be used, as CC-BY-4.0")
    parser.add_argument("--limit", type=float, default=20, help="largest size in MB (10^6 bytes)")
    args = parser.parse_args()

    run, out = pathlib.Path(args.run), pathlib.Path(args.out)
    if out.exists():
        raise kg.KerasganError(f"Argument '--out' names a file that exists: {out}")
    gan = kg.SegmentationGAN.load(run / "model")
    with tempfile.TemporaryDirectory() as temporary, warnings.catch_warnings(record=True) as seen:
        part = pathlib.Path(temporary) / out.name
        digest = kg.inference.save_bundle(
            gan,
            part,
            card=read_card(args.card),
            licence=args.licence,
            attachments=[run / name for name in KEPT if (run / name).is_file()],
        )
        size = part.stat().st_size / 1e6
        if size > args.limit:
            raise kg.KerasganError(
                f"The bundle would take {size:.1f} MB, above --limit {args.limit:g}; train with "
                "fewer filters, or raise the limit"
            )
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(part.read_bytes())
    for warning in seen:
        print(f"Note: {warning.message}")
    print(f"{out}: {size:.1f} MB, SHA-256 {digest}")
    return out.parent


def read_card(path):
    """Return the fields in a JSON file."""
    if path is None:
        return {}
    try:
        return json.loads(read_text(path))
    except (OSError, ValueError) as error:
        raise kg.KerasganError(f"Argument '--card': '{path}' cannot be read: {error}") from error


common.run(main)
