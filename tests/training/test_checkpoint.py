import contextlib
import os

import pytest

from kerasgan.training import checkpoint


def put(folder, text):
    with checkpoint.replacing(folder) as fresh:
        (fresh / "note.txt").write_text(text)
        checkpoint.seal(fresh)


def test_everything_is_on_the_disk_before_the_names_change(tmp_path, monkeypatch):
    done, fsync, rename = [], os.fsync, checkpoint.pathlib.Path.rename

    def noted_sync(handle):
        done.append(os.path.basename(os.readlink(f"/proc/self/fd/{handle}")))
        fsync(handle)

    def noted_rename(path, target):
        done.append(f"{path.name} -> {target.name}")
        return rename(path, target)

    put(tmp_path / "state", "old")
    monkeypatch.setattr(checkpoint.os, "fsync", noted_sync)
    monkeypatch.setattr(checkpoint.pathlib.Path, "rename", noted_rename)
    put(tmp_path / "state", "new")
    assert sorted(done[:2]) == ["checksums.json", "note.txt"]
    assert done[2:] == ["state.new", "state -> state.old", "state.new -> state", tmp_path.name]
    assert (tmp_path / "state" / "note.txt").read_text() == "new"


@pytest.mark.parametrize("at", range(6))
def test_a_cut_at_any_moment_leaves_the_old_or_the_new(tmp_path, monkeypatch, at):
    """Every call that changes the disk's state may be the last one."""
    folder, count = tmp_path / "state", iter(range(100))
    put(folder, "old")

    def cut(function):
        def until(*args, **kwargs):
            if next(count) >= at:
                raise SystemExit
            return function(*args, **kwargs)

        return until

    for name in ("fsync", "replace", "rename"):
        monkeypatch.setattr(checkpoint.os, name, cut(getattr(os, name)))
    monkeypatch.setattr(checkpoint.shutil, "rmtree", lambda *args, **kwargs: None)
    with contextlib.suppress(SystemExit):
        put(folder, "new")
    monkeypatch.undo()
    kept = checkpoint.standing(folder)
    assert checkpoint.broken(kept) is None
    assert (kept / "note.txt").read_text() in ("old", "new")
    put(folder, "newer")
    assert (checkpoint.standing(folder) / "note.txt").read_text() == "newer"


def test_what_is_broken_is_named(tmp_path):
    folder = tmp_path / "state"
    put(folder, "kept")
    assert checkpoint.broken(folder) is None
    (folder / "note.txt").write_text("lost")
    assert "'note.txt' has changed" in checkpoint.broken(folder)
    (folder / "note.txt").unlink()
    assert checkpoint.broken(folder) == "'note.txt' is missing"
    for text in ("", "[]", "{"):
        (folder / "checksums.json").write_text(text)
        assert "cannot be read" in checkpoint.broken(folder)
