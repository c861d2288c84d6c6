"""How configuration and bad input look in the learning packages (which import nothing of the robot side)."""

import difflib
import re
from typing import Any, Literal, dataclass_transform, get_args, get_origin

import msgspec

_LONGEST_VALUE = 60


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


def explain(error: msgspec.ValidationError, kind: type[msgspec.Struct], plain: Any, who: str) -> str:
    """What is wrong with plain data, the value that is, and what may stand there, in a sentence.

    As `controllers.config.explain`, which learning may not import.

    Args:
        error: Of `msgspec.convert`.
        kind: What was to be made.
        plain: Of what.
        who: Whose configuration it is.
    """
    said, place = re.fullmatch(r"(.*?)(?: - at `\$\.?(.*)`)?", str(error), re.DOTALL).groups()  # type: ignore[union-attr]
    inner, value = kind, plain
    for part in re.findall(r"[^.\[\]]+", place or ""):
        fields = msgspec.structs.fields(inner) if _has_keys(inner) else ()
        inner, value = {f.name: f.type for f in fields}.get(part, inner), _entry(value, part)
    shown = isinstance(value, str | int | float | list) and len(repr(value)) < _LONGEST_VALUE
    what = f" {value!r}" if shown and re.match("Expected `", said) else ""
    where = f" at `{place}`" if place else ""
    allowed = hint = ""
    if get_origin(inner) is Literal:
        allowed = f"; choose from {', '.join(map(str, get_args(inner)))}"
    elif (unknown := re.match(r"Object contains unknown field `(\w+)`", said)) and _has_keys(inner):
        allowed = f"; {place or who} knows {', '.join(sorted(inner.__struct_fields__))}"
        near = difflib.get_close_matches(unknown[1], inner.__struct_fields__, 1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"{said}{what}{where}{allowed}.{hint}"


def _entry(plain: Any, part: str) -> Any:
    """What stands there; None where msgspec does not say which entry it is (`...`)."""
    if isinstance(plain, dict):
        return plain.get(part)
    return plain[int(part)] if isinstance(plain, list | tuple) and part.isdigit() else None


def _has_keys(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)
