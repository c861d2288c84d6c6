"""Classes and functions named in YAML by their dotted path: adding one is adding a file."""

from importlib import import_module
from typing import Any

from controllers.config import InputError


def load_attribute(path: str, what: str) -> Any:
    """What a dotted path such as `sim.tasks.reach.Reach` names.

    Args:
        path: Module, dot, name.
        what: What it is, with its path, to begin a message with.

    Raises:
        InputError: There is no such module or name, or importing it fails.
    """
    module, _, name = path.rpartition(".")
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(f"{what} cannot be loaded: {error}.") from None
