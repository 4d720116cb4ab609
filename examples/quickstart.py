"""Draw a dataset, train a segmentation GAN on it, score it and explain it, in a few minutes."""

import common

import kerasgan as kg
from kerasgan.cli import runs


def main():
    parser = common.arguments(__doc__, results="results/quickstart", data=False)
    parser.add_argument("--count", type=int, default=360, help="scenes to draw")
    parser.add_argument("--kind", default="polyp", choices=["polyp", "instrument"])
    parser.set_defaults(epochs=30, filters=16)
    args = parser.parse_args()
    recipe = runs.recipe_from(args)

    folder = runs.results_folder(args.results, args.resume)
    samples = common.drawn(
        folder,
        f"{args.count} scenes",
        lambda place: kg.data.synthetic.write_dataset(
            place, count=args.count, size=recipe.size, kind=args.kind, seed=args.seed
        ),
    )
    rest, test = samples.split(1 / 6, seed=0)
    return common.experiment(args, recipe, folder, rest, test, 1 / 6)


common.run(main)
