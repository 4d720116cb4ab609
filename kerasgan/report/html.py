"""The transparency report: one HTML page, and the files behind it."""

from __future__ import annotations

import datetime
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from kerasgan.data import Samples
from kerasgan.errors import KerasganError
from kerasgan.evaluation.benchmark import named_rules
from kerasgan.evaluation.breakdown import by_size
from kerasgan.evaluation.segmentation import save_table
from kerasgan.evaluation.shortcuts import Shortcuts
from kerasgan.explain.explainer import Gates
from kerasgan.explain.methods import DEFAULT_RULE
from kerasgan.inference.card import FIELDS, card_text, check_card, missing_fields
from kerasgan.models.preprocess import preprocess_of
from kerasgan.report import charts, checklist
from kerasgan.report.collect import Collected, collect
from kerasgan.report.failures import KINDS, choose
from kerasgan.report.figures import score_figure
from kerasgan.report.model_card import model_facts, whole_card, with_settings
from kerasgan.report.output_folder import check_report_folder, replace_report_folder
from kerasgan.report.page import kinds_of, render
from kerasgan.report.panels import Panels, balance
from kerasgan.report.texts import GLOSSARY, LIMITS, sentences
from kerasgan.validation import check_whole_number

MOST_IMAGES = 40


def write(
    model: Any,
    samples: Samples,
    folder: str | os.PathLike,
    *,
    rules: Any = (DEFAULT_RULE, "epsilon"),
    layers: Sequence[str] | None = None,
    images: int = 24,
    card: Mapping[str, Any] | None = None,
    shortcuts: Shortcuts | None = None,
    threshold: float = 0.5,
    empty: str = "agree",
    size: int | tuple[int, int] | None = None,
    mode: str | None = None,
    augment: bool | str = False,
    batch_size: int = 8,
    preprocess: Any = None,
    outlines: bool = True,
    gates: Gates | None = None,
    overwrite: bool = False,
    verbose: bool = True,
) -> pathlib.Path:
    """Write a report about a model on images that it has not seen.

    The page, `index.html`, holds everything it shows: it can be opened from disk, mailed and
    printed, and loads nothing from anywhere. Beside it lie `images.csv`, a row per image, and with
    true masks `summary.csv` and `by_size.csv`; `checklist.csv`, the lines of reporting guidelines,
    answered as far as the run and the card go; `card.json`, all fields of the card, to be filled in
    and passed as `card`; `model_card.md`; the folder `figures`; and `report.json`, by which a later
    call knows what it may replace. Everything is written beside the folder first and put in place
    at the end: a call that fails or is stopped leaves nothing, and an earlier report as it was.

    Memory grows by about two kilobytes an image. The page takes some 100 kilobytes for each image
    shown in full and 3 for each image in the table.

    Args:
        model: Functional `keras.Model` from image to mask, or an object with such a `.generator`.
        samples: `Samples`. Without masks the report has no scores and no errors.
        folder: New or empty; nothing else is ever written into.
        rules: What to explain by: a rule's name, a rule or another method; a list of these; or a
            dict from a name of your own to such a rule. `()` leaves explanations out, for a
            network that cannot be explained.
        layers: Names of layers to show relevance at, from the image to the logits; None picks
            three, of the encoder where the network has one. A prediction from windows or augmented
            views has none to show.
        images: How many images to show in full, 1 to 40: the worst, the median, the best, and
            errors of each kind.
        card: What only people know, by the fields of the card of `kerasgan.inference.save_bundle`,
            and "licence": text, a list, or a dict of facts. The report names required fields that
            are missing, and in its checklists the others. A bundle brings its author's card; fields
            that are given here go before.
        shortcuts: What `kerasgan.evaluation.shortcuts` returned; None to say that none were looked
            for.
        threshold: Probability above which a pixel is foreground, between 0 and 1 (one class).
        empty: As for `kerasgan.evaluate`.
        size: As for `kerasgan.evaluate`.
        mode: "stretch", "letterbox" or "window", as for `kerasgan.predict`; None as in training.
        augment: Test-time augmentation, True, False or "flips", as for `kerasgan.predict`.
        batch_size: Images at once.
        preprocess: What a network not trained on images in [-1, 1] takes: a name or a function, as
            for `kerasgan.predict`. The report says which.
        outlines: Whether figures show the outlines of masks, which can hide thin structures; in the
            page they can be switched off for each image.
        gates: As for `Explainer`; the page names them.
        overwrite: Whether an earlier report in the folder may be replaced. One that was changed, or
            that other files were added to, never is.
        verbose: Whether to show progress bars.

    Returns:
        The path of `index.html`.

    Example:
        >>> import keras
        >>> import kerasgan as kg
        >>> samples = kg.data.synthetic.write_dataset("data", count=2, size=32)
        >>> image = keras.Input((32, 32, 3))
        >>> model = keras.Model(image, keras.layers.Conv2D(1, 3, padding="same")(image))
        >>> page = kg.report.write(model, samples, "report", rules="epsilon", verbose=False)
        >>> page.read_text(encoding="utf-8")[:15]
        '<!doctype html>'
    """
    check_whole_number("images", images, 1, MOST_IMAGES)
    if shortcuts is not None and not isinstance(shortcuts, Shortcuts):
        raise KerasganError(
            "Argument 'shortcuts' must be what kerasgan.evaluation.shortcuts returned. Received: "
            f"{type(shortcuts).__name__}"
        )
    none = isinstance(rules, (list, tuple, Mapping)) and not rules
    stated, named = check_card(whole_card(model, card)), {} if none else named_rules(rules)
    path = check_report_folder(folder, overwrite)
    options: dict[str, Any] = {"size": size, "mode": mode, "augment": augment}
    options.update(preprocess=preprocess_of(model, preprocess), batch_size=batch_size)
    options["threshold"] = threshold
    panels = Panels(model, samples, [], named, layers, outlines=outlines, gates=gates, **options)
    collected = collect(model, samples, empty=empty, verbose=verbose, **options)
    used = {**options, **panels.framing._asdict(), "gates": panels.gates}
    facts = with_settings(model_facts(model), used, samples.classes)
    column = "dice" if collected.labelled else "confidence"
    panels.chosen = choose(collected.table, column, images)
    with replace_report_folder(path, overwrite) as new:
        (new / "figures").mkdir()
        shown = list(panels.make(new / "figures", verbose))
        date = datetime.date.today()
        title = _first(stated["name"]) or dict(facts["recipe"]).get("name") or panels.network.name
        lines = sentences(collected, threshold if samples.classes == 1 else None)
        balances = {rule: balance(ledgers) for rule, ledgers in panels.ledgers.items()}
        checklists = checklist.fill(
            stated,
            checklist.run_facts(
                model, panels.network, samples, collected, facts, balances, len(shown), shortcuts
            ),
        )
        tables = {**_tables(collected), "checklist": checklist.to_table(checklists)}
        for name, table in tables.items():
            save_table(table, new / f"{name}.csv")
        if collected.labelled:
            score_figure(collected.table, new / "figures" / "scores.png", "dice")
        sections: dict[str, Sequence[str]] = {
            heading.capitalize(): [f"{label}: {value}" for label, value in pairs]
            for heading, pairs in {"written": [("On", date.isoformat())], **facts}.items()
        }
        sections.update({"Scores": lines, "Limits of all such models": LIMITS})
        text = card_text(title, stated, sections)
        (new / "model_card.md").write_text(text, encoding="utf-8")
        fields = json.dumps(checklist.to_card(stated), indent=1, ensure_ascii=False)
        (new / "card.json").write_text(fields + "\n", encoding="utf-8")
        page = _page(
            title=title,
            date=_first(stated["date"]) or date.isoformat(),
            stated=stated,
            facts=facts,
            sentences=lines,
            collected=collected,
            sizes=tables.get("by_size"),
            panels=_with_rows(shown, collected),
            balances=balances,
            layers=panels.layers,
            shortcuts=shortcuts,
            checklists=checklists,
            known=checklist.trained_on(model, samples),
        )
        (new / "index.html").write_text(page, encoding="utf-8")
    return path / "index.html"


def _tables(collected: Collected) -> dict[str, pd.DataFrame]:
    tables = {"images": collected.table}
    if collected.labelled:
        tables.update(summary=collected.score_table(), by_size=by_size(collected.table))
    return tables


def _with_rows(panels: list[dict[str, Any]], collected: Collected) -> list[dict[str, Any]]:
    """Panels with their number and the row of their image."""
    rows = collected.table.to_dict("records")
    shown = ((panel, rows[panel["index"]]) for panel in panels)
    return [
        {**panel, "number": number, "row": row, "name": row["name"]}
        for number, (panel, row) in enumerate(shown, 1)
    ]


def _page(**content: Any) -> str:
    collected = content["collected"]
    labelled = collected.labelled
    rows = collected.table.to_dict("records")
    counts = {kind: sum(kind in kinds_of(row) for row in rows) for kind in KINDS}
    return render(
        "report.html",
        **content,
        kind="Transparency report",
        rows=rows,
        kinds=[kind for kind in KINDS if counts[kind]],
        counts=counts,
        places={panel["index"]: panel["number"] for panel in content["panels"]},
        size_chart=charts.score_by_size(collected.table, "dice", KINDS) if labelled else None,
        reliability=charts.reliability(collected.calibration.table) if labelled else None,
        fields=FIELDS,
        missing=[FIELDS[name] for name in missing_fields(content["stated"])],
        glossary=GLOSSARY,
        limits=LIMITS,
    )


def _first(statements: Sequence[tuple[str, str]]) -> str:
    return statements[0][1] if statements else ""
