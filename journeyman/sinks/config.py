"""What all sinks read their configuration with."""

from typing import Any, TypeVar

import msgspec

from agent.config import Config, InputError
from controllers.config import explain


class SinkOptions(Config):
    """Base of the options of a sink."""


_Options = TypeVar("_Options", bound=SinkOptions)


def read_sink_options(config: dict[str, Any], kind: type[_Options], name: str) -> _Options:
    """Read `sink.NAME.config` strictly.

    Raises:
        InputError: A key or value is not known.
    """
    try:
        return msgspec.convert(config, kind, strict=False)
    except msgspec.ValidationError as error:
        raise InputError(f"sink.{name}.config: {explain(error, kind, config)}") from None
