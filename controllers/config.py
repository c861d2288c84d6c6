"""How configuration and bad input look everywhere below `journeyman`."""

from typing import dataclass_transform

import msgspec


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
