"""What the fuzz tests share: a place where nothing may leak, and ways to break bytes and JSON."""

import collections
import contextlib
import json
import os
import pathlib
import shutil
import signal
import sys
import tempfile
import warnings

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from kerasgan.errors import KerasganError

SECONDS = 10
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
CHANGES = ("os.mkdir", "os.rename", "os.symlink", "os.link", "os.remove", "os.rmdir", "os.truncate")
DAMAGE = ("bit", "number", "cut", "drop", "twice", "insert", "head")
NUMBERS = (0, 1, 2, 255, 256, 65535, 2**16, 2**31 - 1, 2**31, 2**32 - 1)

_allowed = []
_leaks = []


class Hang(BaseException):
    """Not an `Exception`, so that no handler of the package takes it for a broken file."""


def _audit(event, arguments):
    if not _allowed:
        return
    if event == "open":
        path, mode, flags = arguments
        paths = [path] if flags & WRITES or set(mode or "") & set("wax+") else []
    elif event in CHANGES:
        paths = [a for a in arguments[:2] if isinstance(a, (str, bytes, os.PathLike))]
        if isinstance(arguments[-1], int) and arguments[-1] >= 0 and os.path.isdir("/proc/self/fd"):
            base = os.readlink(f"/proc/self/fd/{arguments[-1]}")
            paths = [os.path.join(base, os.fsdecode(path)) for path in paths]
    else:
        return
    for path in paths:
        if isinstance(path, int) or os.fsdecode(path) == os.devnull:
            continue
        full = os.path.realpath(os.fsdecode(path))
        if "__pycache__" not in full and not full.startswith(tuple(_allowed)):
            _leaks.append(f"{event} {full}")


sys.addaudithook(_audit)


class Place:
    """A folder with `given` for hostile files, `out` for results, and what must stay as it is.

    Args:
        root: An empty folder.
    """

    def __init__(self, root):
        self.root = root
        self.given, self.out, self.temporary = (root / x for x in ("given", "out", "temporary"))
        self.counts = collections.Counter()

    def fresh(self):
        shutil.rmtree(self.root)
        for folder in (self.given, self.temporary, self.root / "beside"):
            folder.mkdir(parents=True)
        (self.root / "beside" / "precious.txt").write_text("precious")

    def put(self, name, content):
        path = self.given / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    def run(self, call):
        """Call, and return the result, or None after a `KerasganError`; all else is a failure."""
        before, result, said = self.listing(), None, "result"
        try:
            with self._watched(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                result = call()
            self.counts["results"] += 1
        except KerasganError as error:
            said = str(error).strip()
            self.counts["errors"] += 1
        assert said
        assert not _leaks, _leaks
        assert self.listing() == before
        assert not list(self.temporary.iterdir())
        return result

    def listing(self):
        files = [path for path in self.root.rglob("*") if self.out not in (path, *path.parents)]
        return {str(p): p.read_bytes() for p in files if p.is_file() and not p.is_symlink()}

    @contextlib.contextmanager
    def _watched(self):
        def late(*_):
            raise Hang(f"not done after {SECONDS} s")

        old = signal.signal(signal.SIGALRM, late)
        tempfile.tempdir = str(self.temporary)
        _leaks.clear()
        _allowed.extend(os.path.realpath(path) for path in (self.out, self.temporary))
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, old)
            _allowed.clear()
            tempfile.tempdir = None


def fuzz(strategy, check, cases, place):
    """Check so many cases, always the same ones; both kinds of end must be among them."""

    @settings(
        max_examples=cases,
        deadline=None,
        database=None,
        derandomize=True,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def run(case):
        place.fresh()
        place.counts["cases"] += 1
        check(place, case)

    run()
    assert place.counts["results"]
    assert place.counts["errors"]
    return place.counts


# --- Breaking what was whole ---


class Files(tuple):
    """Contents of whole files, not printed."""

    __slots__ = ()

    def __repr__(self):
        return f"<{len(self)} files>"


def broken(seeds):
    """Bytes of one of the files, damaged in up to five places, more often near the beginning."""
    return _broken(Files(seeds))


@st.composite
def _broken(draw, seeds):
    content = bytearray(draw(st.sampled_from(seeds)))
    # Damage that moves nothing leaves more for the reader to take at its word.
    kinds = draw(st.sampled_from((("bit", "number"), DAMAGE)))
    for _ in range(draw(st.integers(0, 2 if len(kinds) == 2 else 5))):
        most = max(len(content) - 1, 0)
        at = draw(st.integers(0, min(most, 64)) | st.integers(0, most))
        kind = draw(st.sampled_from(kinds))
        if kind == "bit" and content:
            content[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "number":
            size = draw(st.sampled_from((1, 2, 4)))
            number = draw(st.sampled_from(NUMBERS)) % 256**size
            order = draw(st.sampled_from(("little", "big")))
            content[at : at + size] = number.to_bytes(size, order)
        elif kind == "cut":
            del content[at:]
        elif kind in ("drop", "twice"):
            end = at + draw(st.integers(1, 64))
            content[at:end] = b"" if kind == "drop" else content[at:end] * 2
        elif kind == "insert":
            content[at:at] = draw(st.binary(min_size=1, max_size=16))
        elif kind == "head":
            content[:at] = draw(st.sampled_from(seeds))[:at]
    return bytes(content)


def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


VALUES = st.one_of(
    st.sampled_from(
        [None, True, False, 0, 1, -1, 2**31, 2**64, 10**400, 0.5, 1e308, float("nan"), float("inf")]
    ),
    st.sampled_from(["", "x", "../x", "/etc/passwd", "a\0b", "x" * 5000, "=1+1", "\udcff", "1"]),
    st.sampled_from([[], {}, [[]], [1, 2], {"x": 1}, {"class_name": "x"}, nested(300)]),
    st.integers(-3, 300),
    st.floats(),
    st.text(max_size=8),
    st.lists(st.integers(-1, 9) | st.floats(), max_size=8),
)


@st.composite
def broken_json(draw, whole, values=VALUES):
    """JSON with up to three of its parts exchanged, doubled or left out."""
    value = json.loads(json.dumps(whole))
    for _ in range(draw(st.integers(0, 3))):
        holders = [part for part in _parts(value) if part]
        if not holders:
            break
        holder = draw(st.sampled_from(holders))
        keys = list(holder) if isinstance(holder, dict) else range(len(holder))
        key = draw(st.sampled_from(keys))
        kind = draw(st.sampled_from(("change", "change", "change", "drop", "twice")))
        if kind == "change":
            holder[key] = json.loads(json.dumps(draw(values)))  # a copy, which may be broken too
        elif kind == "drop":
            del holder[key]
        elif isinstance(holder, list):
            holder.append(holder[key])
        else:
            holder[f"{key}_"] = holder[key]
    return json.dumps(value).encode()


def _parts(value):
    """The tables and lists in a value, those within others too."""
    todo = [value]
    while todo:
        part = todo.pop()
        if isinstance(part, (dict, list)):
            yield part
            todo += part.values() if isinstance(part, dict) else part


def whole_files(folder):
    """Assert that a folder holds nothing half written; return its files' names."""
    files = [path for path in pathlib.Path(folder).rglob("*") if path.is_file()]
    assert not [path for path in files if path.name.endswith((".part", ".new", ".old"))]
    return {path.relative_to(folder).as_posix(): path for path in files}
