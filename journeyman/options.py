"""Options of the verbs that need no run: `key=value` with YAML values, as one frozen `Config`.

What must be text is taken as it stands: a folder may be called `2026-01-31` or `-`, which YAML would not leave alone.
"""

import re
from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec
import yaml

from agent.config import InputError
from controllers.config import did_you_mean, explain

_Options = TypeVar("_Options", bound=msgspec.Struct)


def read_options(kind: type[_Options], words: Sequence[str], verb: str) -> _Options:
    """Read `key=value` words; `part.key=value` reaches into a part.

    Args:
        kind: What they make.
        words: For example `size=96`, `cameras=[front, wrist]`, `crops={front: [0, 0, 48, 64]}`.
        verb: For messages.

    Raises:
        InputError: A word is not `key=value`, or a key or value is not known.
    """
    plain: dict[str, Any] = {}
    for word in words:
        key, separator, text = word.partition("=")
        if not separator or not key:
            raise InputError(f"{word!r} cannot be read by journeyman {verb}; write it as key=value.")
        _put(plain, key, text, kind, verb)
    try:
        return msgspec.convert(plain, kind, strict=False)
    except msgspec.ValidationError as error:
        missing = re.fullmatch(r"Object missing required field `(\w+)`", str(error))
        if missing:
            keys = ", ".join(sorted(kind.__struct_fields__))
            raise InputError(
                f"journeyman {verb} needs `{missing[1]}`: write {missing[1]}=VALUE; its keys are {keys}."
            ) from None
        raise InputError(explain(error, kind, plain)) from None


def _put(plain: dict[str, Any], key: str, text: str, kind: type[msgspec.Struct], verb: str) -> None:
    """Set a key, in a part if it has a dot, known or refused with the choices."""
    name, _, rest = key.partition(".")
    fields = {field.name: field.type for field in msgspec.structs.fields(kind)}
    if name not in fields:
        hint = did_you_mean(name, fields)
        raise InputError(
            f"journeyman {verb} has no key {name!r}; choose from {', '.join(sorted(fields))}.{hint}"
        )
    part = fields[name]
    if not rest:
        plain[name] = text if part in (str, str | None) else _parsed(f"{name}={text}", text)
        return
    if not (isinstance(part, type) and issubclass(part, msgspec.Struct)):
        raise InputError(f"{name!r} of journeyman {verb} has no parts; write {name}=value.")
    _put(plain.setdefault(name, {}), rest, text, part, verb)


def _parsed(word: str, text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        raise InputError(
            f"The value of {word!r} cannot be read; it must be YAML, such as 0.5 or [a, b]."
        ) from None
