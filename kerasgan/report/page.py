"""Fills in a template: one page that holds its style, its script and every picture."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import Any

import jinja2
import pandas as pd

from kerasgan._version import __version__
from kerasgan.inference.card import printable
from kerasgan.report import charts
from kerasgan.report.failures import FAILURES, SPECK
from kerasgan.report.pictures import LEVELS, palette
from kerasgan.report.texts import (
    EMPTY_WORDS,
    KIND_WORDS,
    RULES,
    SCORE_WORDS,
    TARGETS,
    conservation_sentence,
)


def render(template: str, **content: Any) -> str:
    """Fill in a template of `assets`, escaped throughout."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("kerasgan.report", "assets"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=_number, percent=_percent, signed=signed, printable=printable)
    environment.filters["figures"] = figures
    environment.filters["conservation"] = conservation_sentence
    script = environment.loader.get_source(environment, "report.js")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    return environment.get_template(template).render(
        **content,
        style=environment.loader.get_source(environment, "report.css")[0],
        script=script,
        digest=digest,
        version=__version__,
        chart=charts,
        failures=FAILURES,
        kind_words=KIND_WORDS,
        speck=SPECK,
        targets=TARGETS,
        palette=palette().tolist(),
        levels=LEVELS,
        rule_words=RULES,
        score_words=SCORE_WORDS,
        empty_words=EMPTY_WORDS,
    )


def kinds_of(row: Mapping[str, Any]) -> list[str]:
    """Return what the findings of an image are, of a row of the table of all images."""
    return str(row.get("finding", "")).split("; ")


def signed(value: Any, digits: int = 2) -> str:
    """Write a number with its sign; what rounds to zero has none."""
    if pd.isna(value):
        return "–"
    rounded = round(float(value), digits)
    return f"{rounded:+.{digits}f}".replace("-", "−") if rounded else f"{0:.{digits}f}"


def figures(value: float, digits: int = 4) -> str:
    """Write a number to so many significant digits.

    Example:
        >>> figures(-2.48913), figures(0.000000536187)
        ('−2.489', '5.362e−07')
        >>> figures(83271.4).split()
        ['83', '270']
    """
    rounded = float(f"{value:.{digits}g}")
    large = 10 ** (digits - 1) <= abs(rounded) < 1e9
    text = f"{rounded:,.0f}".replace(",", "\xa0") if large else f"{rounded:.{digits}g}"
    return text.replace("-", "−")


def _number(value: Any, digits: int = 2) -> str:
    return "–" if pd.isna(value) else f"{value:.{digits}f}"


def _percent(value: Any, digits: int = 1) -> str:
    return "–" if pd.isna(value) else f"{100 * value:.{digits}f} %"
