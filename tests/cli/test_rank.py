"""`kerasgan rank`: which images to label next."""

import pandas as pd

import kerasgan as kg


def test_the_list_is_written_and_nothing_else(answer, scenes, model, tmp_path):
    out = tmp_path / "next" / "list.csv"
    found = answer("rank", scenes / "images", "--model", model, "--out", out, "--count", 3)
    assert (found["images"], found["listed"], found["by"]) == (4, 3, "disagreement")
    table = pd.read_csv(out, keep_default_na=False)
    assert list(table.columns) == ["rank", "name", "score", "like"]
    assert table["name"].tolist() == found["first"]
    assert [path.name for path in out.parent.iterdir()] == ["list.csv"]
    expected = kg.inference.rank_images(kg.SegmentationGAN.load(model), scenes / "images", count=3)
    assert table["name"].tolist() == expected["name"].tolist()


def test_random_needs_no_model_and_images_with_masks_come_last(run, scenes, tmp_path):
    words = ("rank", scenes, "--out", tmp_path / "all.csv", "--by", "random", "--labelled", scenes)
    code, out, _ = run(*words)
    assert code == 0
    assert "4 of 4 images, by random" in out
    assert "the last 4 are almost like an image with a mask" in out


def test_what_is_refused(refused, run, scenes, model, tmp_path):
    words = "rank", scenes, "--out", tmp_path / "a.csv"
    assert "'--model' must be given for --by disagreement" in refused(*words)
    assert "there is no file or folder 'gone'" in refused(*words, "--model", "gone")
    assert "'--labelled': there is no" in refused(*words, "--model", model, "--labelled", "gone")
    assert "bundles have none" in refused(*words, "--model", model, "--by", "discriminator")
    assert run(*words, "--by", "doubt")[0] == 2
    (tmp_path / "a.csv").write_text("mine")
    assert "exists" in refused(*words, "--model", model)
    assert (tmp_path / "a.csv").read_text() == "mine"


def test_an_image_that_cannot_be_read_loses_no_score(refused, answer, scenes, model, tmp_path):
    broken, out = scenes / "images" / "s3.png", tmp_path / "list.csv"
    whole = broken.read_bytes()
    broken.write_bytes(whole[:-60])
    words = ("rank", scenes / "images", "--model", model, "--out", out, "--by", "entropy")
    assert "s3.png" in refused(*words)
    assert out.with_name("list.csv.part").is_file()
    broken.write_bytes(whole)
    assert answer(*words)["listed"] == 4
