"""Memory while a dataset larger than memory is streamed from disk.

Example:
    python benchmarks/memory.py
    python benchmarks/memory.py --counts 1000 10000 --size 64

The datasets are simulated: every sample is one of a few real files, under a name of its own. Each
is read once, shuffled and in batches, with `cache` naming a folder, as for training. Prints, for
each number of samples, the MiB that the process holds:
    before      before the pipeline is built
    built       after it: the lists of names and paths
    first, end  after the first tenth of the pass, and after the whole of it
    growth      from the first tenth to the end
    pixels      what the samples' pixels would take in memory
"""

import argparse
import gc
import os
import pathlib
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import kerasgan as kg


def held():
    """Return the MiB that this process holds."""
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def simulated(files, count):
    """Return so many samples, made of a few files."""
    where = [number % len(files) for number in range(count)]
    return kg.data.Samples(
        names=tuple(f"sample_{number:06}" for number in range(count)),
        image_paths=tuple(files.image_paths[n] for n in where),
        mask_paths=tuple(files.mask_paths[n] for n in where),
    )


def measure(samples, cache, args):
    """Stream all samples once; return the MiB held before, built, after a tenth, and at the end."""
    gc.collect()
    found = [held()]
    batches = samples.batches(args.batch_size, args.size, args.augment, cache=cache, shuffle=True)
    found.append(held())
    steps = len(batches)
    for number, _ in enumerate(batches, start=1):
        if number in (max(1, steps // 10), steps):
            found.append(held())
    return found


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--counts", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--size", type=int, default=128, help="pixels a side")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--augment", action="store_true", help="as in training; slower")
    args = parser.parse_args()
    print(f"at start: {held():.0f} MiB, libraries included")
    columns = ("before", "built", "first", "end", "growth", "pixels")
    print(f"{'samples':>8}", *(f"{name:>7}" for name in columns))
    with tempfile.TemporaryDirectory() as folder:
        files = kg.data.synthetic.write_dataset(f"{folder}/files", count=8, size=args.size)
        measure(simulated(files, 200), f"{folder}/cache", args)  # TensorFlow's own start
        for count in args.counts:
            found = measure(simulated(files, count), f"{folder}/cache", args)
            pixels = count * args.size**2 * 4 / 2**20
            row = [*found, found[-1] - found[-2], pixels]
            print(f"{count:>8}", *(f"{value:>7.0f}" for value in row), flush=True)


if __name__ == "__main__":
    main()
