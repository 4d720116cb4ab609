"""Results cached in a folder, so that the same call goes on after those that are finished.

The folder holds a `key` of everything that the results depend on. A call with other content, or
another version of kerasgan, TensorFlow or Keras, is refused.
"""

from __future__ import annotations

import json
import pathlib
import warnings
from typing import Any

import pandas as pd

from kerasgan.errors import KerasganError
from kerasgan.storage import content_key, is_new_or_empty, package_versions, write_file
from kerasgan.tables import unescape_formula


def open_cache(folder: pathlib.Path, facts: dict[str, Any], name: str, contents: str) -> None:
    """Make a folder, or make sure that it is of the same call with the same content.

    `facts` is whatever the results depend on, by name, of which the file `name` keeps keys;
    `contents`, such as "folds", says in errors what the folder holds.
    """
    file = folder / name
    keys = {
        fact: content_key(value, f"Argument 'folder' cannot be used with this '{fact}'")
        for fact, value in facts.items()
    }
    plain = {fact: value for fact, value in facts.items() if isinstance(value, (int, float, str))}
    versions = package_versions()
    try:
        if file.is_file():
            earlier = json.loads(file.read_text(encoding="utf-8-sig"))
            for package, version in versions.items():
                if earlier.get(package) != version:
                    raise KerasganError(
                        f"Argument 'folder' holds the {contents} of another version of {package}, "
                        f"which may have measured otherwise: {folder}. Pass another folder"
                    )
            before = earlier["keys"]
            other = [fact for fact in {**keys, **before} if keys.get(fact) != before.get(fact)]
            if other:
                raise KerasganError(
                    f"Argument 'folder' holds the {contents} of other {', '.join(other)}: "
                    f"{folder}. Pass another folder"
                )
            return
        if not is_new_or_empty(folder):
            raise KerasganError(
                f"Argument 'folder' must be new, empty, or of an earlier call. Received: {folder}"
            )
        folder.mkdir(parents=True, exist_ok=True)
        write_file(file, json.dumps({**plain, **versions, "keys": keys}, indent=1) + "\n")
    except KerasganError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise KerasganError(
            f"Argument 'folder' must be a folder that can be written and holds no damaged {name}. "
            f"Received: {folder} ({error})"
        ) from error


def read_result(file: pathlib.Path, again: str) -> pd.DataFrame | None:
    """Read what `save_table` wrote; None if there is no such file.

    `again` says in the error what deleting a damaged file leads to.
    """
    if not file.is_file():
        return None
    try:
        with warnings.catch_warnings():
            # pandas before 3.1 has to be asked for every digit; later ones deprecate that.
            warnings.filterwarnings("ignore", "The 'float_precision'", DeprecationWarning)
            table = pd.read_csv(file, float_precision="round_trip")
        table = table.rename(columns=unescape_formula)
        for name in table.select_dtypes(exclude="number"):
            table[name] = table[name].map(unescape_formula)
    except (OSError, ValueError, KeyError) as error:
        raise KerasganError(f"File {file} is damaged: {error}. Delete it to {again}") from error
    return table
