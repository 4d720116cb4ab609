"""Pack the model of a finished training run into one file, to attach to a release or a mail.

The zip is a bundle of `kerasgan.inference.save_bundle`: the generator with its recipe, its card and
licence, the settings, scores and hardware of the run, and a checksum of every file. Discriminator
and optimizers stay behind; nothing in it is code. To use it:

    bundle = kerasgan.inference.load_bundle("strong.zip")
    masks = bundle.predict("frames")
"""

import argparse
import pathlib

import common

from kerasgan.cli import tasks


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
    print(tasks.bundle(**vars(args)).text)
    return pathlib.Path(args.out).parent


common.run(main)
