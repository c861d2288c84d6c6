"""From a configuration back to the command line that makes it."""

import functools
import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from agent.config import InputError
from journeyman.config import RunConfig, compose
from journeyman.initialisation import as_given, origin

_GROUPS = ("task", "algorithm", "robot", "reward", "reset", "practice", "curriculum", "device", "deploy_gate")
_PLAIN = re.compile(r"[A-Za-z_][\w./-]*")
_NOT_TEXT = {"null", "true", "false", "yes", "no", "on", "off", "nan", "inf"}


def train_command(config: RunConfig, seeds: Sequence[int]) -> str | None:
    """A shell command that trains `config` with each of `seeds`; None if no command line makes this configuration."""
    words = [_overrides(part) for part in _parts(config)]
    if None in words:
        return None
    commands = [shlex.join(["journeyman", "train", *(part or ())]) for part in words]
    if len(seeds) == 1:
        return "; ".join(f"{command} seed={seeds[0]}" for command in commands)
    body = "; ".join(f"{command} seed=$seed" for command in commands)
    return f"for seed in {' '.join(map(str, seeds))}; do {body}; done"


def _parts(config: RunConfig) -> list[RunConfig]:
    """What has to be run one after the other: each seed begins with a pretrained run of its own, if with any."""
    before = origin(config)
    if before is None:
        return [config]
    return [*_parts(before), msgspec.structs.replace(as_given(config), init="runs/latest")]


def _overrides(config: RunConfig) -> list[str] | None:
    """The choices, and what differs from what they bring; None if these do not give the configuration back."""
    wanted = _without_seed(config)
    usual = _composed()
    choices = [
        f"{group}={wanted[group]['name']}"
        for group in _GROUPS
        if wanted[group]["name"] != usual[group]["name"] or group in ("task", "algorithm")
    ]
    try:
        words = [*choices, *_changes(_composed(*choices), wanted)]
        again = _composed(*words)
    except InputError:  # A choice of that name need not exist: names are for people.
        return None
    return words if again == wanted else None


@functools.lru_cache(maxsize=64)
def _composed(*words: str) -> dict[str, Any]:
    """What overrides make, not to be changed; Hydra takes half a second for it."""
    return _without_seed(compose(words))


def _without_seed(config: RunConfig) -> dict[str, Any]:
    """Nor where figures go, which is each machine's own."""
    return {key: value for key, value in msgspec.to_builtins(config).items() if key not in ("seed", "sink")}


def _changes(before: Mapping[str, Any], after: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """Overrides, in Hydra's grammar, that make `after` of `before`."""
    for key, value in after.items():
        old = before.get(key)
        if isinstance(value, dict) and isinstance(old, dict):
            yield from _changes(old, value, f"{above}{key}.")
        elif key not in before or value != old:
            yield f"{above}{key}={_text(value)}"
    yield from (f"~{above}{key}" for key in before if key not in after)


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{_text(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_text, value)) + "]"
    if not isinstance(value, str):
        return json.dumps(value)
    if _PLAIN.fullmatch(value) and value.lower() not in _NOT_TEXT:
        return value
    # Before a quote backslashes count twice, elsewhere as they stand.
    escaped = re.sub(r"(\\*)('|$)", lambda found: found[1] * 2 + ("\\'" if found[2] else ""), value)
    return f"'{escaped}'"
