import pandas as pd
import pytest

from kerasgan.report.charts import score_by_size


@pytest.mark.parametrize(
    ("areas", "least"), [([0.63, 0.69], 2), ([0.66], 1), ([0.01, 0.5], 2), ([0.0, 0.4], 2)]
)
def test_sizes_close_together_have_marks_on_their_axis(areas, least):
    rows = [
        {"name": str(area), "true_area": area, "finding": "found", "dice": 0.9} for area in areas
    ]
    marks = score_by_size(pd.DataFrame(rows), "dice", ["found"])[0]
    assert len(marks) >= least
