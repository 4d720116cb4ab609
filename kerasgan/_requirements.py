"""Importing this module refuses a Python, TensorFlow or Keras that kerasgan cannot run on.

It comes first in `kerasgan`, so that the sentence comes before any other failure. What is installed
is read from its metadata, so a wrong TensorFlow is named even where it would not import.
"""

import sys

__all__ = []


def _check_python(version):
    if not (3, 9) <= version <= (3, 11):
        raise ImportError(
            "kerasgan runs on Python 3.9, 3.10 and 3.11, but this is Python {}.{}: install one of "
            "those, make a virtual environment with it, and install kerasgan there.".format(
                *version
            )
        )


def _check_package(name, distribution):
    from importlib import metadata

    try:
        found = metadata.version(distribution)
    except metadata.PackageNotFoundError:
        found = None
    if found is None or found.split(".")[:2] != ["2", "14"]:
        raise ImportError(
            f"kerasgan runs on {name} 2.14, but {found or 'none'} is installed: run "
            '`pip install "tensorflow>=2.14,<2.15" "keras>=2.14,<2.15"`.'
        )


_check_python(sys.version_info[:2])
_check_package("TensorFlow", "tensorflow")
_check_package("Keras", "keras")
