"""What an argument that cannot be used must lead to."""

import pytest

from kerasgan.errors import KerasganError


def refused(message, function, /, *arguments, **options):
    """Make sure that a call ends in a `KerasganError` whose text holds a regular expression."""
    with pytest.raises(KerasganError, match=message):
        function(*arguments, **options)
