"""The libraries of other formats: optional, imported when one is needed."""

import importlib
from typing import Any

from controllers.config import InputError


def library(module: str) -> Any:
    """An optional module.

    Raises:
        InputError: It is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(
            f"This conversion needs the Python package {module.partition('.')[0]} ({error}); install it with: "
            "pip install 'journeyman[convert]'"
        ) from None
