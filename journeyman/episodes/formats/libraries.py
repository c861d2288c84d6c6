"""The libraries of other formats: optional, imported when one is needed, and not trusted with damaged files."""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
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
            f"This format needs the Python package {module.partition('.')[0]} ({error}); install it with: "
            "pip install 'journeyman[convert]'"
        ) from None


@contextmanager
def refusing(path: Path, what: str) -> Iterator[None]:
    """Turn whatever a library raises on damaged data into an InputError: of files, of keys, of types, of text.

    Only for calls of a library and for looking at what it gave, not for our own computing, whose faults are not damage.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"{path}: {what} cannot be read; it is damaged or something else ({reason})."
        ) from None
