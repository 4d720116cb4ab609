"""Show which pixels the masks of a trained model rest on, for a folder of images."""

import argparse
import pathlib

import common
import keras

import kerasgan as kg


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add("--model", required=True, help="folder of a saved model")
    add("--images", required=True, help="folder of images; masks in it are not used")
    add("--results", default="results/explanations", help="folder for pictures and arrays")
    rules = ", ".join(kg.explain.rule_names())
    add("--rule", default=kg.explain.methods.DEFAULT_RULE, help=rules)
    add("--target", default="prediction", help="what to explain: prediction, border")
    add("--layers", nargs="*", help="layers to show, such as down_2 down_4; three if left out")
    add("--limit", type=int, help="explain only the first so many images")
    args = parser.parse_args()

    gan = kg.SegmentationGAN.load(args.model)
    explainer = kg.Explainer(gan.generator, rule=args.rule)
    samples = kg.data.load_folder(args.images, masks=None)[: args.limit]
    folder = common.results_folder(args.results, resume=False)
    layers = common.layers_to_show(gan) if args.layers is None else args.layers
    progress = keras.utils.Progbar(len(samples), unit_name="image")
    size = gan.generator.input_shape[1:3]
    for name, image in zip(samples.names, samples.batches(1, size=size)):
        explanation = explainer.explain(image, target=args.target, layers=layers)
        path = folder / pathlib.Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        explanation.plot(f"{path}.png", layers=layers)
        explanation.save(f"{path}.npz")
        progress.add(1)
    return folder


common.run(main)
