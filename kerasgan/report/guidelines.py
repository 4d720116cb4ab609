"""What reporting guidelines and regulators ask, line by line, in this project's own words.

A line says which facts answer it: facts of the run (`RUN`) and fields of the card. Item numbers are
those of the documents; the exact text of an item stands there alone.
"""

from __future__ import annotations

from typing import NamedTuple

RUN = {
    "input": "Input of the network",
    "model": "Network",
    "weights": "Weights",
    "output": "Output of the network",
    "preparation": "Preparation of images by this library",
    "ensemble": "Ensembling",
    "versions": "Software of this report",
    "resources": "Size of the network, and hardware of this report",
    "reported": "Images of this report",
    "partitions": "Images of each part, recorded by fit",
    "independence": "Whether this report is on the training images",
    "fit": "Training, recorded by fit",
    "losses": "Losses and optimizer, by the recipe (needs a record of fit)",
    "initialisation": "Initial weights, by the recipe (needs a record of fit)",
    "kept_epoch": "Epoch of the weights, recorded by fit",
    "fit_versions": "Software of training, recorded by fit",
    "score_names": "Scores used (needs true masks)",
    "intervals": "How confidence intervals were made (needs true masks)",
    "scores": "Scores with confidence intervals (needs true masks)",
    "detection": "Objects missed, false positives (needs true masks)",
    "sizes": "Scores by size of the object (needs true masks)",
    "errors": "Errors (needs true masks)",
    "calibration": "Calibration (needs true masks)",
    "explanations": "Explanations (argument rules)",
    "shortcuts": "Shortcuts (argument shortcuts, of kerasgan.evaluation.shortcuts)",
}
"""Facts that a report can know by itself, and where one comes from that it may lack."""


class Line(NamedTuple):
    """One item of a document.

    Attributes:
        item: Its number or name there.
        asked: What it asks, in short.
        needs: Facts that answer it together; where `a|b` stands, one of both does.
    """

    item: str
    asked: str
    needs: tuple[str, ...]


class Document(NamedTuple):
    """A guideline, a law or principles.

    Attributes:
        name: Short name.
        source: Where it was published.
        about: For whom it is meant.
        lines: Its items, in its order.
    """

    name: str
    source: str
    about: str
    lines: tuple[Line, ...]


def _lines(*rows: tuple[str, str, str]) -> tuple[Line, ...]:
    return tuple(Line(item, asked, tuple(needs.split())) for item, asked, needs in rows)


CLAIM = Document(
    "CLAIM 2024",
    "Checklist for Artificial Intelligence in Medical Imaging, 2024 update. Tejani et al., "
    "Radiology: Artificial Intelligence 6(4), e240300, 2024. doi:10.1148/ryai.240300",
    "For papers on artificial intelligence in medical imaging.",
    _lines(
        ("1", "The title says that this is a study of AI, and of which kind", "title"),
        ("2", "A summary: design, methods, results, conclusions", "abstract"),
        ("3", "Medical background, and what the model is for", "background intended_use"),
        ("4", "Aims and hypotheses", "objectives"),
        ("5", "Prospective or retrospective", "study_design"),
        ("6", "Goal of the study", "objectives"),
        ("7", "Sources of the data", "training_data evaluation_data"),
        ("8", "Who and what was included and excluded", "eligibility"),
        ("9", "Preprocessing of the data", "preparation earlier_processing"),
        ("10", "How subsets of the data were chosen", "subsets"),
        ("11", "How the data were de-identified", "deidentification"),
        ("12", "What was done about missing data", "missing_data"),
        ("13", "How the images were acquired", "acquisition"),
        ("14", "How the reference standard (true masks) was made", "reference_standard"),
        ("15", "Why this reference standard", "reference_reason"),
        ("16", "Who made the annotations", "annotators"),
        ("17", "How the test images were annotated", "test_annotation"),
        ("18", "Agreement between and within annotators", "annotator_agreement"),
        ("19", "How data were assigned to training, validation and test", "partitions split"),
        ("20", "At which level these parts are disjoint", "split_level"),
        ("21", "Intended size of the test data", "sample_size"),
        ("22", "Detailed description of the model", "model input output"),
        ("23", "Software libraries and their versions", "fit_versions versions"),
        ("24", "Initial values of the weights", "initialisation|training"),
        ("25", "Details of the training", "fit|training losses|training"),
        ("26", "How the final model was chosen", "kept_epoch selection"),
        ("27", "Ensembling", "ensemble"),
        ("28", "Metrics of performance", "score_names|metrics"),
        ("29", "Measures of statistical significance and uncertainty", "intervals"),
        ("30", "Analysis of robustness or sensitivity", "shortcuts robustness"),
        ("31", "Methods that explain or interpret", "explanations"),
        ("32", "Evaluation on internal data", "scores test_source"),
        ("33", "Test on external data", "external_testing"),
        ("34", "Registration of a clinical trial", "registration"),
        (
            "35",
            "Numbers of patients or examinations, included and excluded",
            "participants reported",
        ),
        ("36", "Demographic and clinical data of the cases in each part", "demographics"),
        ("37", "Performance and its statistical uncertainty", "scores"),
        ("38", "Diagnostic performance and its precision", "detection"),
        ("39", "Analysis of failures", "errors"),
        ("40", "Limitations of the study", "limits"),
        ("41", "What follows for practice; clinical role", "implications intended_use"),
        ("42", "Where the full protocol or further details are", "protocol"),
        (
            "43",
            "Availability of software, trained model and data",
            "code_availability data_availability licence",
        ),
        ("44", "Funding, and the role of the funders", "funding"),
    ),
)

TRIPOD = Document(
    "TRIPOD+AI",
    "TRIPOD+AI statement: updated guidance for reporting clinical prediction models that use "
    "regression or machine learning methods. Collins et al., BMJ 385, e078378, 2024. "
    "doi:10.1136/bmj-2023-078378",
    "For studies that develop or evaluate a prediction model. Here the outcome is the mask, and "
    "the predictors are the pixels of the image.",
    _lines(
        ("1", "The title names model, target population and outcome", "title"),
        ("2", "Abstract by the checklist for abstracts", "abstract"),
        ("3a", "Medical context, reasons for the model, earlier models", "background"),
        ("3b", "Target population, purpose in the care pathway, users", "intended_use users"),
        ("3c", "Known health inequalities between groups", "inequalities"),
        ("4", "Objectives: development, evaluation or both", "objectives"),
        (
            "5a",
            "Sources of the data for development and evaluation, and why these",
            "training_data evaluation_data",
        ),
        ("5b", "Dates of the data", "data_dates"),
        ("6a", "Setting: level of care, number and place of centres", "setting"),
        ("6b", "Eligibility criteria", "eligibility"),
        ("6c", "Treatments received", "treatments"),
        (
            "7",
            "Preprocessing and quality checks of the data",
            "preparation earlier_processing data_quality",
        ),
        ("8a", "The outcome, how it was assessed, and why it", "segments reference_standard"),
        ("8b", "Who assessed the outcome", "annotators"),
        ("8c", "Whether the assessment was blinded", "blinding"),
        ("9a", "Choice of the predictors", "input"),
        ("9b", "Definition of all predictors, how they were measured", "input acquisition"),
        ("9c", "Who measured predictors that need judgement", "image_choice"),
        ("10", "How the sample size was arrived at", "sample_size"),
        ("11", "What was done about missing data", "missing_data"),
        ("12a", "How the data were used and divided", "partitions split"),
        ("12b", "How predictors were handled: rescaling and the like", "preparation"),
        (
            "12c",
            "Type of model, why, how it was built and tuned",
            "model fit|training losses|training selection design_reason",
        ),
        ("12d", "How differences between centres were handled", "centres"),
        ("12e", "Measures and plots of performance", "score_names|metrics intervals calibration"),
        ("12f", "Updates of the model that followed from the evaluation", "updating"),
        ("12g", "How predictions were calculated", "preparation output weights"),
        ("13", "Methods against class imbalance", "class_imbalance"),
        ("14", "Approaches to fairness", "fairness"),
        ("15", "Output of the model; how thresholds were found", "output threshold_choice"),
        ("16", "Differences between development and evaluation data", "data_differences"),
        ("17", "Ethics committee; consent or waiver", "ethics_approval"),
        ("18a", "Funding, and the role of the funders", "funding"),
        ("18b", "Conflicts of interest", "conflicts"),
        ("18c", "Where the protocol is, or that there is none", "protocol"),
        ("18d", "Registration, or that there is none", "registration"),
        ("18e", "Availability of the data", "data_availability"),
        ("18f", "Availability of the code", "code_availability"),
        ("19", "Involvement of patients and the public", "involvement"),
        ("20a", "Flow of the participants", "participants reported"),
        ("20b", "Characteristics of the participants", "demographics"),
        ("20c", "Evaluation data compared with the development data", "data_differences"),
        ("21", "Participants and outcome events in each analysis", "partitions participants"),
        ("22", "The full model, so that others can use it", "model weights code_availability"),
        ("23a", "Performance with confidence intervals, also of groups", "scores sizes groups"),
        ("23b", "Differences in performance between centres", "centres"),
        ("24", "Results of updates of the model", "updating"),
        ("25", "Interpretation of the results, fairness among them", "interpretation"),
        ("26", "Limitations", "limits"),
        ("27a", "What to do with input that is poor or missing", "input_quality"),
        ("27b", "What users have to do, and the expertise they need", "user_skill"),
        ("27c", "Next steps of research", "next_steps"),
    ),
)

AI_ACT = Document(
    "EU AI Act, article 13",
    "Regulation (EU) 2024/1689 of 13 June 2024, article 13(3). Official Journal, L series, 12 July "
    "2024. https://eur-lex.europa.eu/eli/reg/2024/1689/oj",
    "What instructions for use of a high-risk AI system have to contain. Whether a system is one, "
    "and who its provider is, only people can say.",
    _lines(
        ("13(3)(a)", "Identity and contact of the provider", "developed_by contact"),
        ("13(3)(b)(i)", "Intended purpose", "intended_use"),
        (
            "13(3)(b)(ii)",
            "Accuracy with its metrics, robustness, cybersecurity, and what affects them",
            "scores calibration shortcuts robustness security limits",
        ),
        (
            "13(3)(b)(iii)",
            "Uses, foreseeable misuse too, that may lead to risks",
            "risks out_of_scope",
        ),
        ("13(3)(b)(iv)", "What the system offers to explain its output", "explanations"),
        ("13(3)(b)(v)", "Performance for specific persons or groups", "groups"),
        (
            "13(3)(b)(vi)",
            "Specification of the input; training, validation and test data",
            "input partitions training_data evaluation_data",
        ),
        ("13(3)(b)(vii)", "How to interpret and use the output", "output user_skill"),
        ("13(3)(c)", "Changes that were determined beforehand", "planned_changes"),
        ("13(3)(d)", "Human oversight, and technical means for it", "human_oversight explanations"),
        (
            "13(3)(e)",
            "Computing resources, expected lifetime, maintenance, updates",
            "resources maintenance",
        ),
        ("13(3)(f)", "How logs are collected, stored and interpreted", "logs"),
    ),
)

GMLP = Document(
    "Good machine learning practice",
    "Good Machine Learning Practice for Medical Device Development: Guiding Principles. FDA, "
    "Health Canada and MHRA, October 2021",
    "For developers of medical devices. Principles are named by their number.",
    _lines(
        ("Principle 1", "Expertise of several disciplines, over the whole life", "expertise"),
        ("Principle 2", "Good software engineering and security", "security"),
        ("Principle 3", "Data represent the intended patients", "demographics representativeness"),
        (
            "Principle 4",
            "Training data are independent of test data",
            "partitions independence split_level",
        ),
        (
            "Principle 5",
            "The reference standard rests on the best available methods",
            "reference_standard reference_reason",
        ),
        (
            "Principle 6",
            "The model suits the data and the intended use",
            "model design_reason intended_use",
        ),
        ("Principle 7", "Performance of people with the model", "human_team"),
        (
            "Principle 8",
            "Tests under clinically relevant conditions",
            "scores errors test_conditions",
        ),
        (
            "Principle 9",
            "Users get clear, essential information",
            "intended_use scores limits information_place",
        ),
        ("Principle 10", "Monitoring in use; risks of training again", "monitoring"),
    ),
)

TRANSPARENCY = Document(
    "Transparency principles",
    "Transparency for Machine Learning-Enabled Medical Devices: Guiding Principles. FDA, Health "
    "Canada and MHRA, June 2024",
    "For developers of medical devices. Principles are named by the question that each answers.",
    _lines(
        ("Who", "Whom the information is for", "users"),
        ("What", "Intended use", "intended_use"),
        ("What", "Development", "fit|training training_data"),
        ("What", "Performance", "scores calibration errors limits"),
        ("What", "Logic: how an output was reached", "explanations"),
        ("Where", "Where the information is placed", "information_place"),
        ("When", "When users get it, and hear of changes", "information_time"),
    ),
)

DOCUMENTS = (CLAIM, TRIPOD, AI_ACT, GMLP, TRANSPARENCY)
