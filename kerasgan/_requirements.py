"""Importing this module refuses what kerasgan cannot run on, in one sentence.

It comes first in `kerasgan`, so that the sentence comes before any other failure. What is installed
is read from its metadata, so a wrong TensorFlow is named even where it would not import. The
command checks later, when it imports TensorFlow, so that `kerasgan doctor` can say what is wrong.
"""

import contextlib
import os
import sys
import tempfile
import warnings

TENSORFLOW = ("tensorflow", "tensorflow-cpu", "tensorflow-macos", "tensorflow-intel")
OLDER = '"tensorflow>=2.14,<2.15" "keras>=2.14,<2.15"'
NEWER = '"tensorflow>=2.16" "keras>=3.5"'


def version_of(*distributions):
    """Return the version of the first that is installed; None if none is."""
    from importlib import metadata

    for name in distributions:
        with contextlib.suppress(metadata.PackageNotFoundError):
            return metadata.version(name)
    return None


def _numbers(version):
    return tuple(int(part) for part in (version or "").split(".")[:2] if part.isdigit())


def _check_python(version):
    if not (3, 9) <= version <= (3, 13):
        raise ImportError(
            "kerasgan runs on Python 3.9 to 3.13, but this is Python {}.{}: install one of those, "
            "make a virtual environment with it, and install kerasgan there.".format(*version)
        )


def _check_packages(python):
    tensorflow, keras = version_of(*TENSORFLOW), version_of("keras")
    of_tensorflow, of_keras = _numbers(tensorflow), _numbers(keras)
    older = of_tensorflow == of_keras == (2, 14)
    newer = of_tensorflow >= (2, 16) and (3, 5) <= of_keras < (4,)
    if older or newer:
        return
    wanted = OLDER if python < (3, 12) and not of_keras >= (3,) else NEWER
    raise ImportError(
        "kerasgan runs on TensorFlow 2.14 with Keras 2.14, or on TensorFlow 2.16 or later with "
        f"Keras 3.5 or later, but TensorFlow {tensorflow or '(none)'} and Keras "
        f"{keras or '(none)'} are installed: run `pip install {wanted}`."
    )


def import_keras():
    """Import Keras without TensorFlow's notices."""
    with warnings.catch_warnings():
        # TensorFlow 2.14 itself uses names that newer releases of its dependencies deprecate.
        warnings.simplefilter("ignore", DeprecationWarning)
        _import_keras()


def _import_keras():
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    if backend == "tensorflow":
        try:
            with _without_notices():
                import keras
            backend = keras.backend.backend()
        except ModuleNotFoundError as error:
            if error.name not in ("jax", "torch", "openvino"):
                raise
            backend = error.name  # that keras.json asks for
    if backend != "tensorflow":
        raise ImportError(
            f"kerasgan runs on Keras' backend 'tensorflow', but this is {backend!r}: set "
            "KERAS_BACKEND to 'tensorflow' before Keras is imported."
        )


@contextlib.contextmanager
def _without_notices():
    """Hold back what TensorFlow writes when it starts; TF_CPP_MIN_LOG_LEVEL below 3 shows it.

    Newer releases write it before they read that setting, past Python, so the file that they write
    to is exchanged. If the import fails, what was written is shown.
    """
    try:
        shown = os.dup(2) if os.environ["TF_CPP_MIN_LOG_LEVEL"] == "3" else None
    except OSError:  # there is no such file
        shown = None
    if shown is None:
        yield
        return
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(shown, held.read())
            raise
        finally:
            os.dup2(shown, 2)
            os.close(shown)


def is_command():
    """Say whether Python was started as `kerasgan` or as `python -m kerasgan`."""
    started = sys.argv[0] if getattr(sys, "argv", None) else ""
    return started == "-m" or os.path.basename(started) in ("kerasgan", "kerasgan.exe")


def check_packages():
    """Refuse what is installed, in one sentence, if kerasgan cannot run on it."""
    _check_packages(sys.version_info[:2])


_check_python(sys.version_info[:2])
if not is_command():
    check_packages()
