"""Scripts of examples/, each in a process of its own or, in less time, in this one."""

import contextlib
import functools
import io
import pathlib
import runpy
import signal
import subprocess
import sys
import types
import warnings

import pytest

import kerasgan as kg

EXAMPLES = pathlib.Path(__file__).resolve().parents[1] / "examples"
QUIET = (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning)


def command(script, *arguments):
    """The command that runs a script with shallow networks."""
    return [sys.executable, __file__, str(EXAMPLES / f"{script}.py"), *map(str, arguments)]


def run_alone(script, *arguments):
    """Run a script in a process of its own, with shallow networks."""
    return subprocess.run(command(script, *arguments), capture_output=True, text=True, timeout=300)


def shallow(patch):
    """Let generators halve the image once, not five times, where nothing else is said."""
    for name in ("unet", "residual_unet"):
        patch.setattr(kg.models, name, functools.partial(getattr(kg.models, name), levels=1))


def shown(message, category, filename, lineno, file=None, line=None):
    """Print a warning, as outside of pytest."""
    sys.stderr.write(warnings.formatwarning(message, category, filename, lineno, line))


def run(script, *arguments, cwd="."):
    """Run a script in this process, with shallow networks; what came of it, as of a process."""
    output, error, code = io.StringIO(), io.StringIO(), 0
    before = set(sys.modules)
    with contextlib.ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        stack.enter_context(contextlib.redirect_stdout(output))
        stack.enter_context(contextlib.redirect_stderr(error))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("default")
        for kind in QUIET:
            warnings.simplefilter("ignore", kind)
        patch.setattr(warnings, "showwarning", shown)
        shallow(patch)
        patch.syspath_prepend(EXAMPLES)
        patch.chdir(cwd)
        patch.setattr(sys, "argv", command(script, *arguments)[2:])
        try:
            runpy.run_path(sys.argv[0], run_name="__main__")
        except SystemExit as stop:
            code = stop.code or 0
    for name in set(sys.modules) - before:
        file = getattr(sys.modules[name], "__file__", None)
        if file and pathlib.Path(file).parent == EXAMPLES:
            del sys.modules[name]
    if isinstance(code, str):
        error.write(f"{code}\n")
        code = 1
    return types.SimpleNamespace(returncode=code, stdout=output.getvalue(), stderr=error.getvalue())


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's & ignores it
    del sys.argv[0]
    sys.path[0] = str(EXAMPLES)
    shallow(pytest.MonkeyPatch())
    runpy.run_path(sys.argv[0], run_name="__main__")
