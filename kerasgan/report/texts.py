"""What a report says in words: scores, rules, limits, and a glossary for non-specialists."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kerasgan.evaluation.objects import OVERLAP
from kerasgan.report.collect import Collected

SCORE_WORDS = {
    "dice": "overlap of the true and the predicted mask: 1 where they are equal, 0 where they do "
    "not overlap",
    "jaccard": "overlap (IoU), lower than Dice wherever the masks are not equal",
    "recall": "fraction of the true foreground that is predicted (sensitivity)",
    "precision": "fraction of the predicted foreground that is true (positive predictive value)",
    "specificity": "fraction of the true background that is predicted as background",
    "accuracy": "fraction of all pixels that are right; high even where a small object is missed",
    "f2": "recall and precision combined, with more weight on recall",
    "true_area": "fraction of the image that is foreground in the true mask",
    "predicted_area": "fraction of the image that is foreground in the predicted mask",
}
"""What each score means."""

EMPTY_WORDS = {
    "agree": "A score that would be 0/0 on an image, such as recall without true foreground, is 1 "
    "if both masks are equal and 0 if not (empty='agree').",
    "medai": "Where the true mask is empty, both masks are inverted before scoring "
    "(empty='medai').",
    "nan": "An image on which a score would be 0/0, such as recall without true foreground, is "
    "left out of the mean of that score (empty='nan').",
}
"""What is done where a score has nothing to divide by, by the name of the policy."""

KIND_WORDS = {
    "missed": "no pixel of an object of the true mask is predicted (a false negative)",
    "false positive": "a predicted region overlaps no object of the true mask",
    "partial": "an object is at least partly predicted, but the Jaccard index of the image is "
    "below 0.5",
    "found": "none of the errors above, and the true mask has an object",
    "correctly empty": "the true and the predicted mask are both empty",
}
"""What each kind of finding means."""

TARGETS = {
    "prediction": "predicted mask",
    "false_positives": "false positives",
    "false_negatives": "false negatives",
    "chosen": "what is explained",
}
"""What is explained of an image, by the name of its target, in words."""

RULES = {
    "z-plus": "Uses positive contributions only. Stable and easy to read. Shows what counts for "
    "the mask, not what counts against it.",
    "epsilon-gamma-box": "Uses positive and negative contributions, with more weight on the "
    "positive ones. At the pixels it takes their range from black to white into account.",
    "epsilon": "Uses positive and negative contributions, exactly as the network weighs them. More "
    "detailed, and noisier.",
    "epsilon-plus": "The epsilon rule in the layers near the output, positive contributions only "
    "in the layers before.",
    "gamma": "Uses positive and negative contributions, with more weight on the positive ones.",
    "gradient": "Shows how the output would change with a small change of a pixel, not what the "
    "output consists of.",
}
"""What the best-known rules show."""

LIMITS = (
    "This software is for research. It is not a medical device and must not be used for decisions "
    "about patients.",
    "The scores hold for images like those tested: the same kind of camera, patients and objects. "
    "On other images they may be much lower; only a test on such images can show it.",
    "The confidence intervals say how much the means vary between samples of images from the same "
    "source. They do not cover other hospitals, another training of the network, or difficult "
    "cases that the test set lacks.",
    "If images of one patient or one procedure are in both the training and the test set, the "
    "scores are too high.",
    "A heatmap shows what the network's output is based on, not whether the output is right. "
    "Relevance inside the mask does not prove that the network recognised the object.",
    "Two rules can give different heatmaps of the same mask, since they answer different "
    "questions. Be careful with what only one of them shows.",
    "The true masks were drawn by people, who differ from each other. Above the agreement between "
    "people, a higher score does not mean a better mask.",
)
"""What holds for every model of this kind."""

GLOSSARY = (
    ("Background", "All pixels that do not belong to an object."),
    ("Calibration", "Whether confidence equals accuracy: of all pixels with a confidence of 80 %, "
     "80 % should be right."),
    ("Confidence interval", "Here a 95 % bootstrap interval of the mean over images: the test "
     "images are drawn again many times with replacement, and 95 % of the means of these samples "
     "lie in the interval. It shows how much the mean depends on which images were tested."),
    ("Conservation", "That relevance is neither created nor lost between layers: what enters a "
     "layer leaves it, or is listed in the conservation table (to pixels, biases, stabiliser)."),
    ("Dice score", "Twice the area that the true and the predicted mask have in common, divided "
     "by the sum of their areas. 1 if they are equal, 0 if they do not overlap."),
    ("Expected calibration error", "The mean difference between confidence and accuracy over all "
     "pixels. 0 is best."),
    ("False negative", "A foreground pixel of the true mask that is predicted as background. An "
     "object without any predicted pixel is called missed."),
    ("False positive", "A predicted foreground pixel that is background in the true mask, or a "
     "predicted region that overlaps no true object."),
    ("Heatmap", "A picture of relevance: red where it is positive (for the mask), blue where it is "
     "negative (against it), white where it is zero."),
    ("Jaccard index", "The area that the true and the predicted mask have in common, divided by "
     "the area of their union. Also called IoU."),
    ("Layer", "A step of the computation in a network. Early layers respond to edges and colours, "
     "deep layers to larger patterns, at a lower resolution."),
    ("Layer-wise relevance propagation (LRP)", "A method that distributes the network's output "
     "over the input pixels, layer by layer from the output back to the image."),
    ("Logit", "The network's output for a pixel before it is turned into a probability: above 0 "
     "for foreground, below 0 for background."),
    ("Mask", "The label of every pixel: foreground (object) or background, or one of several "
     "classes."),
    ("Precision", "The fraction of the predicted foreground that is true foreground."),
    ("Recall", "The fraction of the true foreground that is predicted. Also called sensitivity."),
    ("Relevance", "The contribution of a pixel to the explained logits, in the same unit."),
    ("Rule", "The formula by which relevance is distributed in a layer."),
    ("Shortcut", "Something unrelated to the object that the network uses nevertheless, such as "
     "text in the image."),
    ("True mask", "The mask drawn by an expert, with which the prediction is compared."),
)  # fmt: skip
"""Terms and what they mean."""


def sentences(collected: Collected, threshold: float | None = None) -> list[str]:
    """Say in a few sentences how good the masks are; the second is about objects."""
    count = len(collected.table)
    images = f"{count} image{'s' if count != 1 else ''}"
    if collected.summary is None or collected.calibration is None:
        empty = int((collected.table["predicted_area"] == 0).sum())
        masks = "mask is" if empty == 1 else "masks are"
        return [
            f"{images} without true masks: the predicted masks cannot be scored.",
            f"{empty} of the predicted {masks} empty.",
        ]
    dice = collected.summary["scores"]["dice"]
    table = collected.table
    objects, missed = int(table["objects"].sum()), int(table["missed"].sum())
    regions, false = int(table["regions"].sum()), int(table["false"].sum())
    lines = [
        f"On {images}, the mean Dice score is {dice['mean']:.2f} "
        f"({100 * collected.summary['confidence']:g} % confidence interval {dice['low']:.2f} to "
        f"{dice['high']:.2f}).",
        f"Missed objects: {missed} of {objects} (criterion: no pixel of the object is predicted). "
        f"False positives: {false} of {regions} predicted regions (criterion: no pixel of the "
        "region belongs to a true object).",
        "These criteria are met by any overlap. The score object_sensitivity of kerasgan.evaluate "
        f"is stricter: by default an object counts as found only above a Jaccard index of "
        f"{OVERLAP:g}.",
        "Expected calibration error (mean difference between confidence and accuracy): "
        f"{collected.calibration.error:.3f}.",
    ]
    if threshold is not None:
        lines.append(f"A pixel is foreground if its predicted probability is above {threshold:g}.")
    return lines


def conservation_sentence(books: Mapping[str, Any]) -> str:
    """Say where the explained logits went, of what `panels.balance` returned."""
    if books["balanced"] is None:
        return "This method has no complete conservation table: lost relevance would not show."
    if not books["images"]:
        return "There was nothing to explain."
    places = {
        "pixels": "to pixels",
        "bias": "to biases (constants of the network, which belong to no pixel)",
        "stabiliser": "to the stabiliser of the rule",
        "unsupported": "to outputs without a contribution of the sign that the rule uses",
    }
    shares = [
        f"{100 * books[name]:.1f} % {place}".replace("-", "\N{MINUS SIGN}")
        for name, place in places.items()
        if name in ("pixels", "bias") or abs(books[name]) >= 0.0005
    ]
    opposite = round(books["pixels"], 3) * round(books["bias"], 3) < 0
    opposed = "; pixels and biases have opposite signs" if opposite else ""
    return f"Where the explained logits went: {', '.join(shares[:-1])} and {shares[-1]}{opposed}."


def map_sentence(entry: Mapping[str, Any]) -> str:
    """Say what a heatmap shows, of an entry of `panels`."""
    if entry["place"]:
        where = f"{entry['part']} ({entry['place']})" if entry["part"] else entry["place"]
        return f"Relevance at layer {where}: {entry['cells']} cells."
    if "inside" not in entry:
        return "There is nothing to explain: the target has no pixel, or no relevance."
    target = TARGETS[entry["target"]]
    inside, even, blurred = (f"{entry[key]:.0%}" for key in ("inside", "chance", "masked"))
    return (
        f"Relevance: {entry['positive']:.0%} positive, {1 - entry['positive']:.0%} negative. "
        f"{inside} of it is inside the {target}; a uniform heatmap would have {even} there, "
        f"the blurred {target} {blurred}."
    ).replace("%", " %")
