import csv
import io
import re

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from kerasgan.evaluation import save_table
from kerasgan.tables import csv_bytes, escape_formula, unescape_formula

HOSTILE = [
    "=1+1",
    '=HYPERLINK("http://x","y")',
    "+1",
    "-1",
    "@SUM(A1)",
    "\tx",
    "\r=x",
    "\n=x",
    "a;=1+1",
    "'=1",
    "＝1",
]
TEXT = st.text(st.sampled_from("=+-@'; \t\r\na1,\"＝"), max_size=8)


def test_no_cell_begins_as_a_formula_does():
    table = pd.DataFrame({name: [name, "plain"] for name in HOSTILE})
    table["number"] = [-1.5, 2.0]
    text = csv_bytes(table).decode()
    rows = list(csv.reader(io.StringIO(text, newline="")))
    assert [len(row) for row in rows] == 3 * [len(HOSTILE) + 1]
    found = [cell for row in rows for cell in row]
    assert not [cell for cell in found if re.match(r"[=+@\t\r\n＝]|-(?!1\.5)", cell)]
    assert {cell.strip("'") for cell in found} >= {"=1+1", "-1", "@SUM(A1)"}
    assert not re.search(r"(^|[;\r\n])\"?[=+@＝-]", text)  # semicolons and lines begin cells too


def test_numbers_stay_numbers():
    table = pd.DataFrame({"n": [-1, 2], "x": [-0.1, float("nan")], "mixed": [-1, "-1"]})
    assert csv_bytes(table) == b"n,x,mixed\n-1,-0.1,-1\n2,,'-1\n"


def test_names_that_are_no_text_are_escaped():
    assert csv_bytes(pd.DataFrame({"name": ["\udcffé"]})) == "name\n\\udcffé\n".encode()


@given(TEXT)
def test_it_can_be_undone(text):
    assert unescape_formula(escape_formula(text)) == text
    assert not re.match(r"[=+\-@\t\r\n＝]", escape_formula(text))
    for part in re.split(r"[;\t\r\n]", escape_formula(text)):
        assert not re.match(r"[=+\-@＝]", part)


def test_what_was_kept_is_read_as_it_was(tmp_path):
    """Names given again, and rules, which a user may have named like formulas."""
    names = ["=a", "'=a", "007", "NA", "b\r;-c"]
    table = pd.DataFrame(
        {"name": names, "method": ["=r", "-r", "'-r", "@r", "r\r=q"], "-x": range(5)}
    )
    save_table(table, tmp_path / "t.csv")
    again = pd.read_csv(tmp_path / "t.csv", dtype={"name": str}, keep_default_na=False)
    again = again.rename(columns=unescape_formula)
    for column in ("name", "method"):
        again[column] = again[column].map(unescape_formula)
    pd.testing.assert_frame_equal(again, table, check_dtype=False)
