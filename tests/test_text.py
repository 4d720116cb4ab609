import codecs
import json
import pathlib

import numpy as np
import pytest
from refusals import refused

import kerasgan as kg
from kerasgan.text import json_text, normalize_unicode, read_text

WORDS = "Café 手術, 1\n"
ENCODED = {
    "plain": WORDS.encode(),
    "notepad": codecs.BOM_UTF8 + WORDS.encode(),
    "excel": codecs.BOM_UTF16_LE + WORDS.encode("utf-16-le"),
    "big": codecs.BOM_UTF16_BE + WORDS.encode("utf-16-be"),
    "wide": codecs.BOM_UTF32_LE + WORDS.encode("utf-32-le"),
}


@pytest.mark.parametrize("kind", ENCODED)
def test_a_byte_order_mark_is_no_part_of_the_text(kind, tmp_path):
    (tmp_path / "t.txt").write_bytes(ENCODED[kind])
    assert read_text(tmp_path / "t.txt") == WORDS


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-16-le"])
def test_another_encoding_is_named_with_the_file(encoding, tmp_path):
    (tmp_path / "t.txt").write_bytes("Café.png".encode(encoding))
    refused(r"t\.txt .*Save it as UTF-8", read_text, tmp_path / "t.txt")


def test_names_have_one_form():
    assert normalize_unicode("Cafe\u0301/x") == "Caf\u00e9/x"
    assert normalize_unicode("\udc80") == "\udc80"


def test_settings_and_histories_may_begin_with_a_mark(tmp_path):
    recipe = kg.recipes.get("fast")
    recipe.save(tmp_path / "r.json")
    text = (tmp_path / "r.json").read_text(encoding="utf-8")
    (tmp_path / "r.json").write_text(text, encoding="utf-8-sig")
    assert kg.recipes.Recipe.load(tmp_path / "r.json") == recipe
    rows = "epoch,loss,val_loss\n0,2.0,3.0\n1,1.0,2.0\n"
    (tmp_path / "h.csv").write_text(rows, encoding="utf-16")
    assert kg.report.training_figure(tmp_path / "h.csv").axes


def test_json_has_null_for_what_is_not_a_number():
    value = {
        "low": float("nan"),
        1: (np.float32("inf"), np.int64(2), True),
        "at": pathlib.Path("a"),
    }
    assert json.loads(json_text(value)) == {"low": None, "1": [None, 2, True], "at": "a"}
