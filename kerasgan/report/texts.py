"""What a report says in words: scores, rules, limits, and a glossary for non-specialists."""

from __future__ import annotations

from kerasgan.report.collect import Collected

SCORE_WORDS = {
    "dice": "overlap of both outlines; 1 is perfect, 0 is none",
    "jaccard": "overlap, counted more strictly than Dice",
    "recall": "share of the true area that was found (sensitivity)",
    "precision": "share of the drawn area that is right (positive predictive value)",
    "specificity": "share of the true background that was left alone",
    "accuracy": "share of all pixels that are right; high even where a small object is missed",
    "f2": "recall and precision in one, recall weighing more",
    "true_area": "share of the frame that the expert marked",
    "predicted_area": "share of the frame that the network marked",
}
"""What each score means."""

KIND_WORDS = {
    "missed": "an object that is marked, and of which nothing was drawn",
    "false alarm": "a region was drawn that touches nothing that is marked",
    "partial": "an object was found, and the Jaccard index of the image is below 0.5",
    "found": "every marked object was found, and nothing else was drawn",
    "rightly empty": "nothing is marked, and nothing was drawn",
}
"""What each kind of finding means."""

RULES = {
    "z-plus": "Follows only what speaks for the mask. Steady and easy to read. It shows what the "
    "mask rests on, not what speaks against it.",
    "epsilon-gamma-box": "Follows both signs, and favours what speaks for the mask; a pixel counts "
    "by where it lies between black and white.",
    "epsilon": "Follows what speaks for and what speaks against the mask, exactly as the network "
    "weighs it. Finer, and noisier.",
    "epsilon-plus": "Exact near the decision, only what speaks for the mask in the layers before.",
    "gamma": "Follows both signs, and favours what speaks for the mask.",
    "gradient": "Says which change of a pixel would change the mask, not what the mask rests on.",
}
"""What the best-known rules show."""

LIMITS = (
    "This software is for research. It is not a medical device, and no decision about a patient "
    "may rest on it.",
    "The scores hold for images like those tested: the same kind of camera, of patients and of "
    "objects. Elsewhere they may be much lower, and only a test there can tell.",
    "The intervals say how far the means would move with other images from the same source. They "
    "do not cover other hospitals, another training of the network, or a test set that lacks what "
    "is hard.",
    "If images of one patient or one procedure are among both the training and the test images, "
    "the scores are too high.",
    "A heatmap shows what the network's answer rests on, not whether the answer is right. A map "
    "inside the outline is no proof that the network knows what the object is.",
    "Two rules can give two maps of one mask, since they answer two questions. What only one of "
    "them shows calls for caution.",
    "The true masks were drawn by people, who differ among each other; a score near that "
    "difference cannot be told from a perfect one.",
)
"""What holds for every model of this kind."""

GLOSSARY = (
    ("Background", "Every pixel that is not part of what is looked for."),
    ("Calibration", "Whether the network is as often right as it says. Of all pixels that it is "
     "80 % sure of, 80 % should be right."),
    ("Dice score", "Twice the area common to both outlines, divided by the sum of their areas. 1 "
     "if they agree, 0 if they do not touch."),
    ("Expected calibration error", "By how much confidence and accuracy differ, on average over "
     "all pixels. 0 is best."),
    ("False alarm", "A region drawn by the network that touches nothing the expert marked."),
    ("Heatmap", "A picture of relevance: red where a pixel speaks for the mask, blue where against "
     "it, white where it says nothing."),
    ("Interval", "The range in which the mean would lie in 95 of 100 repetitions with other images "
     "from the same source (a bootstrap interval)."),
    ("Jaccard index", "The area common to both outlines, divided by the area covered by either. "
     "Also called IoU."),
    ("Layer", "A step of the computation in a network. Early layers see edges and colours, deep "
     "ones larger patterns, on a coarser grid."),
    ("Layer-wise relevance propagation (LRP)", "A way to share out the network's answer among the "
     "pixels, step by step backwards through the network, so that nothing is added on the way."),
    ("Ledger", "The account of that sharing: how much of the answer reached the pixels, how much "
     "rests on constants of the network, and whether any was lost."),
    ("Logit", "The network's score of a pixel before it becomes a probability: above 0 for "
     "foreground, below 0 for background."),
    ("Mask", "A picture of the outline: which pixels belong to what is looked for."),
    ("Precision", "Of all that was drawn, the share that is right."),
    ("Recall", "Of all that is there, the share that was found. Clinicians call it sensitivity."),
    ("Relevance", "What a pixel contributes to the network's answer, in the units of a logit."),
    ("Rule", "How relevance is shared out in each step. Different rules ask different questions."),
    ("Shortcut", "Something that has nothing to do with the object and that the network uses all "
     "the same, such as burned-in text."),
    ("True mask", "The outline that an expert drew, against which the network is scored."),
)  # fmt: skip
"""Terms and what they mean."""


def sentences(collected: Collected, threshold: float | None = None) -> list[str]:
    """Say in a few sentences how good the masks are."""
    count = len(collected.table)
    images = f"{count} image{'s' if count != 1 else ''}"
    if collected.summary is None or collected.calibration is None:
        masks = "true masks" if count != 1 else "a true mask"
        empty = int((collected.table["predicted_area"] == 0).sum())
        return [
            f"{images} without {masks}: nothing can be said of how right the masks are.",
            f"The network drew nothing in {empty} of them.",
        ]
    dice = collected.summary["scores"]["dice"]
    low, high = dice["low"], dice["high"]
    table = collected.table
    objects, missed = int(table["objects"].sum()), int(table["missed"].sum())
    false = int(table["false"].sum())
    lines = [
        f"On {images}, the mean Dice score is {dice['mean']:.2f} "
        f"({100 * collected.summary['confidence']:g} % interval {low:.2f} to {high:.2f}).",
        f"Of {objects} marked object{'s' if objects != 1 else ''}, {missed} "
        f"{'were' if missed != 1 else 'was'} missed altogether; the network drew {false} "
        f"region{'s that touch' if false != 1 else ' that touches'} nothing marked.",
        "How sure it is differs from how often it is right by "
        f"{collected.calibration.error:.3f} on average (expected calibration error).",
    ]
    if threshold is not None:
        lines.append(f"A pixel counts as foreground above a probability of {threshold:g}.")
    return lines
