"""Lets `python -m kerasgan` be the command `kerasgan`."""

import sys

from kerasgan.cli.command import main

if __name__ == "__main__":
    sys.exit(main())
