import numpy as np
import pytest
from PIL import Image

import kerasgan as kg
from kerasgan.data.convert import from_video
from kerasgan.errors import KerasganError

av = pytest.importorskip("av")
FRAMES, RATE, H, W = 20, 10, 32, 48


def value(index):
    return 20 + 10 * index


@pytest.fixture
def film(tmp_path):
    """Write a video whose frames grow lighter, with a white left upper quarter."""

    def write(name="film.mp4", count=FRAMES):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with av.open(str(path), "w") as container:
            stream = container.add_stream("mpeg4", rate=RATE)
            stream.width, stream.height, stream.pix_fmt = W, H, "yuv420p"
            stream.bit_rate = 4_000_000
            for index in range(count):
                pixels = np.full((H, W, 3), value(index), np.uint8)
                pixels[: H // 2, : W // 2] = 255
                container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            container.mux(stream.encode())
        return path

    return write


def light(out, name):
    pixels = np.asarray(Image.open(out / "images" / f"{name}.png"))
    assert pixels.shape == (H, W, 3)
    return float(pixels[H // 2 + 4 :, W // 2 + 4 :].mean())


@pytest.mark.parametrize("name", ["film.mp4", "film.avi", "film.mkv"])
def test_every_nth_frame_is_written(name, film, tmp_path):
    table = from_video(film(name), tmp_path / "out", every=6)
    assert table["frame"].tolist() == [0, 6, 12, 18]
    assert table["seconds"].tolist() == pytest.approx([0, 0.6, 1.2, 1.8], abs=0.002)
    for frame in table["frame"]:
        assert light(tmp_path / "out", f"film/{frame:06}") == pytest.approx(value(frame), abs=4)
    samples = kg.data.load_folder(tmp_path / "out", masks=None)
    assert (samples.channels, samples.names[1]) == (3, "film/000006")


def test_times_choose_the_frame_shown_then(film, tmp_path):
    """Frame k is shown from k / 10 s on; the last ends at 2.0 s."""
    table = from_video(film(), tmp_path / "out", times=[1.95, 0, 0.35, 0.31])
    assert table["frame"].tolist() == [0, 3, 19]
    assert light(tmp_path / "out", "film/000003") == pytest.approx(value(3), abs=4)
    with pytest.raises(KerasganError, match=r"film\.mp4 ends at 2 seconds"):
        from_video(tmp_path / "film.mp4", tmp_path / "late", times=[0.5, 2.0])


def test_a_folder_keeps_videos_apart(film, tmp_path):
    film("in/p1/a.mp4", 3)
    film("in/p2/a.mp4", 3)
    table = from_video(tmp_path / "in", tmp_path / "out", every=2)
    assert table["name"].tolist() == [
        "p1/a/000000", "p1/a/000002", "p2/a/000000", "p2/a/000002"
    ]  # fmt: skip
    film("in/p2/a.avi", 3)
    with pytest.raises(KerasganError, match=r"of .*a\.avi and of .*a\.mp4"):
        from_video(tmp_path / "in", tmp_path / "other", every=2)


def test_the_rotation_tag_is_followed(film, tmp_path):
    """The matrix of a phone held upright: a quarter turn clockwise for display."""
    path = film(count=2)
    content = path.read_bytes()
    one = (1 << 16).to_bytes(4, "big")
    zero, minus, last = bytes(4), (-(1 << 16)).to_bytes(4, "big", signed=True), b"\x40\0\0\0"
    plain = one + zero * 3 + one + zero * 3 + last
    turned = zero + one + zero + minus + zero * 4 + last
    start = content.index(b"tkhd")
    place = content.index(plain, start)
    path.write_bytes(content[:place] + turned + content[place + len(plain) :])
    from_video(path, tmp_path / "out", every=2)
    seen = np.asarray(Image.open(tmp_path / "out" / "images" / "film" / "000000.png"))
    assert seen.shape == (W, H, 3)
    bright = seen.mean(-1) > 128
    assert bright[: W // 2 - 4, H // 2 + 4 :].all()
    assert not bright[W // 2 + 4 :].any()
    assert not bright[:, : H // 2 - 4].any()


def refused(match, path, out, **options):
    with pytest.raises(KerasganError, match=match):
        from_video(path, out, **(options or {"every": 1}))


def test_unfit_videos_are_refused_by_name(film, tmp_path):
    out = tmp_path / "out"
    whole = film("whole.avi")
    cut = tmp_path / "cut.avi"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    refused(r"cut\.avi (is cut off|cannot be decoded)", cut, out)
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(film("whole.mp4").read_bytes()[:-400])
    refused(r"cut\.mp4 cannot be decoded", cut, tmp_path / "out2")
    foreign = tmp_path / "foreign.mp4"
    foreign.write_bytes(b"no film" * 100)
    refused(r"foreign\.mp4 cannot be decoded", foreign, tmp_path / "out3")
    foreign.write_bytes(b"")
    refused(r"foreign\.mp4 cannot be decoded", foreign, tmp_path / "out3")


@pytest.mark.parametrize(
    "text", ["#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{}\n#EXT-X-ENDLIST\n",
             "ffconcat version 1.0\nfile '{}'\n"]
)  # fmt: skip
def test_play_lists_open_no_other_file(text, film, tmp_path):
    film("secret.mp4")
    for target in ("secret.mp4", tmp_path / "secret.mp4"):
        path = tmp_path / "list.mp4"
        path.write_text(text.format(target))
        refused(r"list\.mp4 cannot be decoded", path, tmp_path / "out")


def test_sound_alone_is_refused(tmp_path):
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(
            np.zeros((1, 1024), np.float32), format="fltp", layout="mono"
        )
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    refused(r"sound\.mp4 holds no video", path, tmp_path / "out")


def test_arguments_are_checked(tmp_path):
    refused("either 'every' or 'times'", "x.mp4", tmp_path, every=1, times=[1])
    for every in (0, -1, 1.5, True):
        refused("'every' must be", "x.mp4", tmp_path, every=every)
    for times in ([], [-1], [np.nan], ["x"], 3):
        refused("'times' must be a list of seconds", "x.mp4", tmp_path, times=times)
