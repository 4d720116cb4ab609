"""Pack the model of a finished training run into one file, to attach to a release or a mail.

The zip holds a folder: the generator with its recipe, which `kerasgan.SegmentationGAN.load` takes,
the settings, scores and hardware of the run, and a checksum of every file. Discriminator and
optimizers stay behind; nothing in it is code. To use it, unpack it and

    gan = kerasgan.SegmentationGAN.load("strong")
    masks = kerasgan.predict(gan, "frames")
"""

import argparse
import hashlib
import pathlib
import tempfile
import zipfile

import common

import kerasgan as kg

KEPT = ("recipe.json", "facts.json", "scores.csv", "scores.txt", "training.csv")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", required=True, help="results folder of a training script")
    parser.add_argument("--out", required=True, help="the zip to write, such as strong.zip")
    parser.add_argument("--limit", type=float, default=20, help="largest size in MB (10^6 bytes)")
    args = parser.parse_args()

    run, out = pathlib.Path(args.run), pathlib.Path(args.out)
    if out.suffix != ".zip":
        raise kg.KerasganError(f"Argument '--out' must end in .zip. Received: {out}")
    if out.exists():
        raise kg.KerasganError(f"Argument '--out' names a file that exists: {out}")
    gan = kg.SegmentationGAN.load(run / "model")
    alone = kg.SegmentationGAN(gan.generator)
    alone.recipe = gan.recipe
    with tempfile.TemporaryDirectory() as temporary:
        model = pathlib.Path(temporary) / "model"
        alone.save(model)
        files = sorted(model.iterdir()) + [run / name for name in KEPT if (run / name).is_file()]
        sums = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}" for path in files]
        part = pathlib.Path(temporary) / "part.zip"
        with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            for path in files:
                archive.write(path, f"{out.stem}/{path.name}")
            archive.writestr(f"{out.stem}/SHA256SUMS", "\n".join(sums) + "\n")
        size = part.stat().st_size / 1e6
        if size > args.limit:
            raise kg.KerasganError(
                f"The bundle would take {size:.1f} MB, above --limit {args.limit:g}; train with "
                "fewer filters, or raise the limit"
            )
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(part.read_bytes())
    print(f"{out}: {size:.1f} MB, {len(files) + 1} files")
    return out.parent


common.run(main)
