from kerasgan.training import checkpoint


def test_what_is_broken_is_named(tmp_path):
    folder = tmp_path / "state"
    folder.mkdir()
    (folder / "note.txt").write_text("kept")
    checkpoint.write_checksums(folder)
    assert checkpoint.find_damage(folder) is None
    (folder / "note.txt").write_text("lost")
    assert "'note.txt' has changed" in checkpoint.find_damage(folder)
    (folder / "note.txt").unlink()
    assert checkpoint.find_damage(folder) == "'note.txt' is missing"
    for text in ("", "[]", "{"):
        (folder / "checksums.json").write_text(text)
        assert "cannot be read" in checkpoint.find_damage(folder)
