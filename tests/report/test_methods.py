import numpy as np
import pandas as pd
import pytest
from PIL import Image
from refusals import refused

from kerasgan.report import method_figure

COLUMNS = ["name", "method", "kind", "metric", "value"]


def table():
    rng = np.random.default_rng(0)
    rows = [
        (name, method, kind, metric, rng.normal(place, 0.1))
        for place, metric in enumerate(("gap", "mass"))
        for name in "abcdef"
        for method, kind in (("epsilon", "rule"), ("random", "control"))
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def test_means_and_intervals_are_where_they_belong(tmp_path):
    rows = table()
    figure = method_figure(rows, tmp_path / "m.png")
    assert [axis.get_title() for axis in figure.axes] == ["gap", "mass"]
    for axis, metric in zip(figure.axes, ("gap", "mass")):
        dots = [line.get_xdata()[0] for line in axis.lines if line.get_marker() == "o"]
        bars = [line.get_xdata() for line in axis.lines if line.get_marker() != "o"]
        for method, dot, bar in zip(("epsilon", "random"), dots, bars):
            chosen = (rows["method"] == method) & (rows["metric"] == metric)
            values = rows.loc[chosen, "value"]
            assert dot == pytest.approx(values.mean())
            assert bar[0] < dot < bar[1]
    with Image.open(tmp_path / "m.png") as picture:
        assert np.asarray(picture.convert("L")).std() > 5


def test_undefined_values_are_left_out_and_metrics_chosen():
    rows = table()
    rows.loc[rows["method"] == "random", "value"] = np.nan
    figure = method_figure(rows, metrics=["mass"])
    assert len(figure.axes) == 1
    assert len(figure.axes[0].lines) == 2


def test_bad_arguments():
    refused("must have columns", method_figure, pd.DataFrame({"name": []}))
    refused("Did you mean 'mass'", method_figure, table(), metrics=["mas"])
