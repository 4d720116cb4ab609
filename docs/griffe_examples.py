"""Two habits of our docstrings that Griffe does not know, changed before they are parsed."""

import re

import griffe


class Examples(griffe.Extension):
    """Read `Example:` as `Examples:`, and a return value without its type, colons and all."""

    def on_instance(self, *, obj, **kwargs):
        """Change one docstring."""
        if obj.docstring:
            text = re.sub(r"(?m)^Example:$", "Examples:", obj.docstring.value)
            if obj.is_function:
                text = re.sub(r"(?m)^(Returns:\n +)", rf"\g<1>{obj.returns or 'Any'}: ", text)
            obj.docstring.value = text
