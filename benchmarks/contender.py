"""How `train.py` talks to the processes that it times: a step when asked, and what it took.

Nothing but the standard library is imported here, so that every process can.
"""

import argparse
import json
import resource
import sys
import time

MAXRSS = 1 if sys.platform == "darwin" else 1024


def arguments():
    """Return what `train.py` tells each process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("kind")
    for name in ("size", "filters", "batch", "threads", "seed"):
        parser.add_argument(f"--{name}", type=int)
    return parser.parse_args()


def serve(step, peak=None, **facts):
    """Say what this process is, then run a step for every line read, and say what it took.

    `step` returns when its work is done, on a GPU too. `peak` returns the bytes of GPU memory used
    at most; without it the memory told is the most that the process ever held.
    """
    print(json.dumps(facts), flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        step()
        seconds = time.perf_counter() - start
        held = peak() if peak else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * MAXRSS
        print(json.dumps({"seconds": seconds, "MiB": held / 2**20}), flush=True)
