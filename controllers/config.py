"""How configuration and bad input look everywhere below `journeyman`."""

import difflib
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Any, Literal, TypeVar, dataclass_transform, get_args, get_origin

import msgspec
import yaml

_Config = TypeVar("_Config", bound=msgspec.Struct)
_REFUSED = re.compile(
    r"(?:Object (?:contains unknown|missing required) field `(?P<key>.+?)`|Invalid enum value '?(?P<value>.*?)'?)"
    r"(?: - at `\$\.?(?P<path>.*)`)?$"
)


class InputError(ValueError):
    """Something a person gave us is wrong.

    The message is one sentence with the bad value, what is allowed and what to do next. The command line
    prints it without a traceback and exits with code 2.
    """

    exit_code = 2


# Type checkers do not see by themselves that subclasses inherit frozen.
@dataclass_transform(frozen_default=True, field_specifiers=(msgspec.field,))
class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Frozen, typed configuration: read from YAML by `msgspec.convert`, unknown keys refused."""


def choices(error: msgspec.ValidationError, kind: Any) -> tuple[str, ...]:
    """What would have been right where a key is unknown or missing, or a value is none of the few that there are.

    Args:
        error: Of `msgspec.convert`.
        kind: What was to be made.

    Returns:
        The keys, or the values; none if something else is wrong.
    """
    refused = _REFUSED.match(str(error))
    if not refused:
        return ()
    leaves = list(_leaves_at(kind, refused["path"] or ""))
    if refused["key"]:
        return tuple(sorted({name for leaf in leaves for name in getattr(leaf, "__struct_fields__", ())}))
    values = [value for leaf in leaves if get_origin(leaf) is Literal for value in get_args(leaf)]
    members = [e.value for leaf in leaves if isinstance(leaf, type) and issubclass(leaf, Enum) for e in leaf]
    return tuple(str(value) for value in (*values, *members))


def explain(error: msgspec.ValidationError, kind: Any, plain: Any = None) -> str:
    """What is wrong, in one sentence; with what would have been right, if that can be listed.

    Args:
        error: Of `msgspec.convert`.
        kind: What was to be made.
        plain: Of what, for the value that is of the wrong type.
    """
    said = " ".join(str(error).split()).replace(" - at `$.", f"{_bad_value(error, plain)} at `").rstrip(".")
    refused, names = _REFUSED.match(str(error)), choices(error, kind)
    if not refused or not names:
        return f"{said}."
    word = refused["key"] or refused["value"]
    known = "known are" if refused["key"] else "choose from"
    return f"{said}; {known} {', '.join(names)}.{did_you_mean(word, names)}"


def did_you_mean(word: str, names: Iterable[str]) -> str:
    """A sentence, with a blank before it, about the name that is like a word; empty if none is, or the word is one."""
    near = difflib.get_close_matches(word, list(names), 1)
    return f" Did you mean {near[0]!r}?" if near and near[0] != word else ""


def read(kind: type[_Config], plain: Mapping[str, Any], what: str) -> _Config:
    """A configuration from plain data.

    Args:
        kind: Its class.
        plain: What was read from YAML.
        what: For people, what is read, or that it does not fit something.

    Raises:
        InputError: A key is unknown or missing, or a value does not fit.
    """
    try:
        return msgspec.convert(dict(plain), kind, strict=False)
    except msgspec.ValidationError as error:
        raise InputError(f"{what}: {explain(error, kind, plain)}") from None


def read_file(kind: type[_Config], path: Path, what: str) -> _Config:
    """A configuration from a YAML file.

    Args:
        kind: Its class.
        path: Of the file.
        what: For people, what the file should hold, in one word.

    Raises:
        InputError: The file is missing or holds something else; the message names the key.
    """
    try:
        plain = yaml.safe_load(path.read_text())
        made = msgspec.convert(plain, kind, strict=False)
    except OSError as error:
        raise InputError(
            f"{what.capitalize()} file {path} cannot be read: {error.strerror}; check the path."
        ) from None
    except msgspec.ValidationError as error:
        raise InputError(f"{path} is not a {what}: {explain(error, kind, plain)}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not a {what}: {' '.join(str(error).split())}.") from None
    if where := not_finite(plain):
        raise InputError(f"{path} is not a {what}: {where} must be a finite number.")
    return made


def not_finite(plain: Any, path: str = "") -> str:
    """Where in plain data a number is NaN or infinite, such as `gripper.scale` or `kinematics.dh[0][2]`; or "".

    Args:
        plain: What was read from YAML.
        path: Of `plain` itself.
    """
    if isinstance(plain, float):
        return "" if math.isfinite(plain) else path
    parts: Iterator[tuple[str, Any]] = iter(())
    if isinstance(plain, Mapping):
        parts = ((f"{path}.{key}".lstrip("."), value) for key, value in plain.items())
    elif isinstance(plain, list | tuple):
        parts = ((f"{path}[{index}]", value) for index, value in enumerate(plain))
    return next(filter(None, (not_finite(value, name) for name, value in parts)), "")


def _bad_value(error: msgspec.ValidationError, plain: Any) -> str:
    """The value that is of the wrong type, with a blank before it; "" where it cannot be told in a few words."""
    wrong = re.fullmatch(r"Expected .*, got `\w+` - at `\$\.(?P<path>[^\s]*)`", str(error))
    for part in re.findall(r"\[(\d+)\]|([^.\[\]]+)", wrong["path"] if wrong else ""):
        try:
            plain = plain[int(part[0]) if part[0] else part[1]]
        except (KeyError, IndexError, TypeError):
            return ""
    shown = wrong and isinstance(plain, str | int | float | list) and len(repr(plain)) < 60
    return f" {plain!r}" if shown else ""


def _leaves_at(kind: Any, path: str) -> Iterator[Any]:
    """The types, unions and containers taken apart, that stand at a path such as `action.x` or `cameras[...].width`."""
    name, _, rest = re.sub(r"\[.*?\]", "", path).lstrip(".").partition(".")
    for leaf in _leaves(kind):
        if not name:
            yield leaf
        elif isinstance(leaf, type) and issubclass(leaf, msgspec.Struct):
            inner = {field.name: field.type for field in msgspec.structs.fields(leaf)}
            yield from _leaves_at(inner[name], rest) if name in inner else ()


def _leaves(kind: Any) -> Iterator[Any]:
    if get_origin(kind) is not None and get_origin(kind) is not Literal:
        for part in get_args(kind):
            yield from _leaves(part)
    else:
        yield kind
