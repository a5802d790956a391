"""Signatures without their types: names, kinds and defaults, which callers rely on."""

import inspect
from collections.abc import Callable


def untyped(function: Callable) -> str:
    """The signature as text, annotations left out."""
    found, empty = inspect.signature(function), inspect.Parameter.empty
    bare = [one.replace(annotation=empty) for one in found.parameters.values()]
    return str(found.replace(parameters=bare, return_annotation=inspect.Signature.empty))
