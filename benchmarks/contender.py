"""How a benchmark talks to the processes that it times: a step when asked, and what it took.

Nothing but the standard library is imported here, so that every process can.
"""

import argparse
import json
import os
import pathlib
import resource
import subprocess
import sys
import time

MAXRSS = 1 if sys.platform == "darwin" else 1024


def arguments():
    """Return what each process is told."""
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


class Contender:
    """A process that takes a step when asked; the other end of `serve`."""

    def __init__(self, kind, command, threads):
        self.kind = kind
        self.process = subprocess.Popen(
            list(map(str, command)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": str(threads)},
        )
        self.facts = self._answer()

    def _answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"Contender '{self.kind}' ended early; see above")
        return json.loads(line)

    def step(self):
        """Take a step; return its seconds and the memory held so far."""
        self.process.stdin.write("step\n")
        self.process.stdin.flush()
        return self._answer()

    def end(self):
        """Let the process end."""
        self.process.stdin.close()
        self.process.wait()


def processor():
    """Return the name of the processor, and whether it has bfloat16 instructions."""
    path = pathlib.Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.is_file() else []
    facts = dict(reversed([[x.strip() for x in line.split(":", 1)] for line in lines if line]))
    flags = facts.get("flags", "").split()
    return facts.get("model name", "unknown processor"), {"avx512_bf16", "amx_bf16"} & {*flags}
