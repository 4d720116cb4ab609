"""Videos become frames."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from kerasgan.data.convert import output, sources
from kerasgan.errors import KerasganError
from kerasgan.validation import check_number, check_whole_number, invalid

_ENDINGS = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv")
# Play lists, image sequences and the like, which open other files, are not among them.
_CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,avi,matroska,webm,mpeg,mpegts,mpegvideo,asf,flv,ogg,h264,hevc"
)


def from_video(
    videos: sources.Paths,
    out: str | os.PathLike,
    *,
    every: int | None = None,
    times: Sequence[float] | None = None,
) -> pd.DataFrame:
    """Write frames of videos as colour pictures, for annotating them or for predicting.

    A frame is named `video/000125` by its position in the video, from 0. Neighbouring frames
    look alike, so split by video: `split_groups(lambda name: name.split("/")[0], ...)`. The file's
    rotation tag is followed. Frames have no masks: load them with
    `load_folder(out, masks=None)`, or put masks of the same names in `out/masks`.

    Args:
        videos: A file, a folder of videos, or a list of files.
        out: The folder to write: new, or an interrupted conversion with the same settings.
        every: Write the frames 0, every, 2 * every and so on.
        times: Instead of `every`, moments in seconds from the video's start: the frame shown then
            is written, once.

    Returns:
        The table in `manifest.csv`: name, source, frame, and its time in seconds.

    Raises:
        KerasganError: If a file cannot be decoded, is cut off or ends before one of `times`, or
            `out` holds anything else.

    Example:
        >>> import av
        >>> with av.open("film.avi", "w") as container:
        ...     stream = container.add_stream("mjpeg", rate=10)
        ...     stream.width, stream.height, stream.pix_fmt = 32, 16, "yuvj420p"
        ...     for _ in range(5):
        ...         container.mux(stream.encode(av.VideoFrame(32, 16, "yuvj420p")))
        ...     container.mux(stream.encode())
        >>> from_video("film.avi", "frames", every=2)["name"].tolist()
        ['film/000000', 'film/000002', 'film/000004']
    """
    av = sources.import_optional("av", "video")
    if (every is None) == (times is None):
        raise KerasganError("Pass either 'every' or 'times', and not both.")
    given = times
    if every is not None:
        every = check_whole_number("every", every, 1)
    if times is not None:
        try:
            times = sorted(check_number("times", time, 0) for time in times)
        except (TypeError, KerasganError):
            times = None
        if not times:
            raise invalid("times", "a list of seconds from 0 up", given)

    def frames(video: sources.SourceFile) -> Iterator[output.Picture]:
        decoded = _decoded(av, video.path)
        for index, time, frame in decoded if times is None else _at(decoded, times, video.path):
            if times is None and index % every:
                continue
            with sources.errors_naming(video.path, "video"):
                pixels = _pixels(frame, video.path)
            row = {"source": str(video.path), "frame": index, "seconds": time}
            name = output.safe_name(*video.parts, f"{index:06}")
            yield output.Picture(name, pixels, None, row)

    files = sources.find_files(videos, "videos", sources.suffix_in(_ENDINGS))
    settings = {"from": "video", "every": every, "times": times}
    jobs = [(str(one.path), lambda one=one: frames(one)) for one in files]
    return output.write_folder(out, settings, jobs)


def _decoded(av, path: pathlib.Path) -> Iterator[tuple[int, float, object]]:
    """Every frame with its position and its time from the first."""
    count = 0
    try:
        options = {"format_whitelist": _CONTAINERS, "protocol_whitelist": "file"}
        with av.open(str(path.resolve()), options=options) as container:
            if not container.streams.video:
                raise KerasganError(f"File {path} holds no video. Export it again, or leave it out")
            stream = container.streams.video[0]
            sources.check_pixel_count(path, stream.height, stream.width)
            promised, rate, start = stream.frames, stream.average_rate, None
            for frame in container.decode(stream):
                sources.check_pixel_count(path, frame.height, frame.width)
                time = count / float(rate or 25) if frame.time is None else frame.time
                start = time if start is None else start
                yield count, round(time - start, 6), frame
                count += 1
    except KerasganError:
        raise
    except Exception as error:
        after = f" after {count} frames" if count else ""
        raise KerasganError(
            f"File {path} cannot be decoded{after}: {error}. Export it again, or leave it out"
        ) from error
    # Containers may count a few frames that are never shown.
    if not count or count + 2 < 0.95 * promised:
        raise KerasganError(
            f"File {path} is cut off or damaged: {count} of {promised or 'its'} frames are there."
        )


def _at(frames: Iterator, times: list[float], path: pathlib.Path) -> Iterator:
    """The frame shown at each time, once; reading stops after the last of them."""
    shown, wanted, length = None, list(times), 0.0
    for frame in frames:
        due = [time for time in wanted if time < frame[1]]
        if shown is not None and due:
            yield shown
            wanted = wanted[len(due) :]
            if not wanted:
                return
        length = frame[1] - shown[1] if shown is not None else 0.0
        shown = frame
    # The last frame is shown for as long as the one before it.
    late = [time for time in wanted if time >= shown[1] + length and time > shown[1]]
    if late:
        raise KerasganError(
            f"Argument 'times' must lie within each video. Received: {late[0]:g}, but {path} "
            f"ends at {shown[1] + length:g} seconds."
        )
    yield shown


def _pixels(frame, path: pathlib.Path) -> np.ndarray:
    turn = getattr(frame, "rotation", 0)
    if turn % 90:
        raise KerasganError(f"File {path} asks for a turn by {turn} degrees, not a right angle.")
    return np.rot90(frame.to_ndarray(format="rgb24"), turn // 90)
