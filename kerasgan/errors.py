"""The one error and the one warning that kerasgan raises itself."""

from __future__ import annotations

import contextlib
import difflib
import inspect
import os
import warnings
from collections.abc import Iterable


class KerasganError(ValueError):
    """Something given to kerasgan cannot be used.

    Raised wherever an argument is not what a docstring says, a file cannot be read, or one cannot
    be written; `Raises` names what else there is. The message names the argument or file, what was
    expected, what came, and what to do. It is a `ValueError`, so code that catches those keeps
    working.

    Example:
        >>> import kerasgan as kg
        >>> try:
        ...     kg.models.pix2pix_generator(size=100)
        ... except kg.KerasganError as error:
        ...     print(error)
        Argument 'size' must be a power of two from 32 up. Received: 100
    """


class KerasganWarning(UserWarning):
    """Something works, but probably not as meant.

    Example:
        >>> import warnings
        >>> import kerasgan as kg
        >>> warnings.simplefilter("error", kg.KerasganWarning)  # be strict in a script
        >>> warnings.resetwarnings()
    """


def unknown_name(argument: str, received, known: Iterable[str]) -> KerasganError:
    """Return the error for a name that is not known, with near matches suggested."""
    known = list(known)
    hint = did_you_mean(received, known, most=1)
    return KerasganError(
        f"Argument '{argument}' must be one of {', '.join(known)}. "
        f"Received: {received!r}{'. ' if hint else ''}{hint}"
    )


def did_you_mean(received, known: Iterable[str], most: int = 3) -> str:
    """Return a question naming the known names nearest to what came."""
    near = difflib.get_close_matches(str(received), list(known), n=most)
    return f"Did you mean {' or '.join(map(repr, near))}?" if near else ""


def install_command(extra: str) -> str:
    """Return how to install an extra, for an error about what it brings."""
    copy = f"in a copy of the repository pip install -e '.[{extra}]'"
    return f"pip install 'kerasgan[{extra}]', or {copy}"


def warn(text: str) -> None:
    """Warn at the line outside kerasgan that led here, so that each such line is told once.

    Contexts that decorate functions of kerasgan are passed over.
    """
    inside = (os.path.dirname(__file__) + os.sep, contextlib.__file__)
    frame, level = inspect.currentframe().f_back, 2
    while frame is not None and frame.f_code.co_filename.startswith(inside):
        frame, level = frame.f_back, level + 1
    warnings.warn(text, KerasganWarning, stacklevel=level)
