"""Train, score and explain a polyp segmenter on Kvasir-SEG (or a folder laid out like it)."""

import common

import kerasgan as kg
from kerasgan.cli import runs


def main():
    parser = common.arguments(__doc__, results="results/polyp")
    parser.add_argument(
        "--test-names",
        help="text file with the names to report on; splits/val.txt in the data if it is there, "
        "else a tenth drawn at random",
    )
    parser.add_argument("--unlabelled", help="folder of images without masks to learn from too")
    args = parser.parse_args()

    samples = kg.data.load_folder(args.data)
    recipe = runs.recipe_from(args, samples)
    rest, test = runs.rest_and_test(samples, args.data, args.test_names)
    recipe, frames = runs.with_unlabelled(recipe, args.unlabelled, test)
    folder = runs.results_folder(args.results, args.resume)
    return common.experiment(args, recipe, folder, rest, test, 0.1, frames)


common.run(main)
