"""Train an instrument segmenter on two surgeries, score and explain it on a third.

The surgery is what stands before the first underscore of a name, as in the EndoVis 2015 frames
`OP1_img_01.png`. Files without such a prefix (Kvasir-Instrument) are split at random.
"""

import common

import kerasgan as kg
from kerasgan.cli import runs


def surgery(name):
    return name.split("/")[-1].split("_")[0]


def main():
    parser = common.arguments(__doc__, results="results/instrument")
    parser.add_argument(
        "--held-out", help="the surgery to report on; the last one in the alphabet if left out"
    )
    parser.set_defaults(epochs=100)
    args = parser.parse_args()

    samples = kg.data.load_folder(args.data)
    recipe = runs.recipe_from(args, samples)
    surgeries = sorted({surgery(name) for name in samples.names})
    if 1 < len(surgeries) < len(samples):
        held_out = args.held_out or surgeries[-1]
        rest, test = samples.split_groups(surgery, held_out)
        print(f"Reporting on surgery {held_out}, training on the others of {surgeries}")
    else:
        rest, test = samples.split(0.2, seed=0)

    folder = runs.results_folder(args.results, args.resume)
    return common.experiment(args, recipe, folder, rest, test, 0.15)


common.run(main)
