"""Look for ways through the readers with a fuzzer that watches which lines its inputs reach.

Example:
    pip install "atheris>=2.3,<3"
    python benchmarks/fuzz.py --seconds 300

Each reader gets its share of the time, in a process of its own. Inputs are changed, and kept by the
lines of kerasgan and Pillow that they reach, beginning with whole files. What counts as a fault is
the same as in tests/fuzz: anything but a result or a KerasganError, ten seconds without an end, a
file written elsewhere. An input at fault is kept in the folder named by --found.
"""

import argparse
import os
import pathlib
import re
import subprocess
import sys
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

HERE = pathlib.Path(__file__).resolve().parent
READERS = ("pictures", "lists", "recipes", "bundles")
PARTS = ("", "generator.safetensors", "kerasgan.json", "bundle.json", "SHA256SUMS", "README.md")
END = re.compile(r"^(Done \d+ runs in \d+ second.*|#\d+\s+DONE.*)$", re.MULTILINE)


def seeds_and_check(reader):
    """Return whole inputs of a reader, and the function from a place and bytes that reads them."""
    sys.path.insert(0, str(HERE.parent / "tests" / "fuzz"))
    import fuzz_files as files
    import fuzz_models as models

    endings = files.IMAGE_SUFFIXES
    if reader == "pictures":
        return [b"\0" + one for one in files.pictures()], lambda place, data: files.check_picture(
            place, (data[1:], endings[data[0] % len(endings)] if data else ".png", True)
        )
    if reader == "lists":
        return [b"a\nb/c.png\n", "\ufeffé\n".encode()], files.check_list
    if reader == "recipes":
        import json

        return [json.dumps(files.recipe()).encode()], files.check_recipe
    whole = models.unpacked(models.bundle())

    def bundle(place, data):
        """The first byte says what the others are: the bundle, or a part of it."""
        number = data[0] % len(PARTS) if data else 0
        content = data[1:]
        if number:
            changed = {PARTS[number]: content}
            content = models.rewritten(changed, [], honest=PARTS[number] != PARTS[4])
        models.check_bundle(place, content)

    parts = [models.bundle(), *(whole[name] for name in PARTS[1:])]
    return [bytes([number]) + part for number, part in enumerate(parts)], bundle


def watch(reader, corpus, arguments):
    """Feed one reader until its time is over; the fuzzer ends the process."""
    import atheris

    # Atheris 2.3 spoils the code of Pillow's TIFF writer on Python 3.11.
    with atheris.instrument_imports(include=["PIL", "kerasgan"], exclude=["PIL.TiffImagePlugin"]):
        seeds, check = seeds_and_check(reader)
    from fuzz_place import Place

    for number, seed in enumerate(seeds):
        (pathlib.Path(corpus) / f"seed_{number}").write_bytes(seed)
    place = Place(pathlib.Path(tempfile.mkdtemp()) / "place")
    place.root.mkdir()

    def once(data):
        place.fresh()
        check(place, data)

    atheris.Setup([sys.argv[0], corpus, *arguments], once)
    atheris.Fuzz()


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--seconds", type=int, default=240, help="for all readers together")
    add("--readers", nargs="+", choices=READERS, default=READERS)
    add("--found", default="results/fuzz", help="where inputs at fault are kept")
    add("--watch", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.watch:
        reader, corpus, *arguments = args.watch
        watch(reader, corpus, arguments)
    found = pathlib.Path(args.found)
    found.mkdir(parents=True, exist_ok=True)
    faults = 0
    for reader in args.readers:
        with tempfile.TemporaryDirectory() as corpus:
            options = [
                f"-max_total_time={max(args.seconds // len(args.readers), 1)}",
                f"-artifact_prefix={found / reader}_",
                "-timeout=30",
                "-rss_limit_mb=6000",
                "-max_len=65536",
                "-verbosity=1",
            ]
            command = [sys.executable, __file__, "--watch", reader, corpus, *options]
            done = subprocess.run(command, capture_output=True, text=True, errors="replace")
        ended = END.findall(done.stderr)
        print(f"{reader}: {'; '.join(ended) or 'no end'}")
        if done.returncode:
            faults += 1
            print(done.stderr[-3000:])
            print(done.stdout[-3000:])
    sys.exit(faults)


if __name__ == "__main__":
    main()
