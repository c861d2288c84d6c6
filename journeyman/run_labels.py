"""Which runs are seeds of one configuration, and what to call the others: `rlpd critics=10`."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from agent.algorithm_config import load_algorithm
from journeyman.config import RunConfig
from journeyman.initialisation import as_given, origin

Values = Mapping[str, Any]
"""Of a configuration, by dotted key or as it is nested."""

# Where and how a run is kept, not what is learned: runs that differ in these are seeds of one configuration.
_NOT_COMPARED = (
    "seed",
    "transport.",
    "recording.",
    "sink.",
    "actor.name",
    "learner.keep_checkpoints",
    "evaluation.video_episodes",
    "evaluation.baseline",
)
# What is to be learned, and on what: another value makes another task, not another algorithm.
_PROBLEM = ("task.", "robot.")
# Parts of a configuration that are chosen by name: where the name differs, it stands for all that goes with it.
_CHOSEN = ("robot", "reward", "reset", "practice", "curriculum", "device")


def names(runs: Sequence[tuple[RunConfig, Values]]) -> list[tuple[str, str]]:
    """Of each run the names of task and algorithm, with the keys in which runs of the same name differ.

    An algorithm's keys are those that vary within some task. So its name means the same on all tasks.
    """
    by_task: dict[str, list[Values]] = {}
    for config, values in runs:
        by_task.setdefault(config.task.name, []).append(values)
    problem = {
        task: [key for key in varying(alike) if key.startswith(_PROBLEM)] for task, alike in by_task.items()
    }
    tasks = [_label(config.task.name, problem[config.task.name], values) for config, values in runs]
    by_both: dict[tuple[str, str], list[Values]] = {}
    for task, (config, values) in zip(tasks, runs, strict=True):
        by_both.setdefault((task, config.algorithm.name), []).append(values)
    keys: dict[str, set[str]] = {}
    for (_, algorithm), alike in by_both.items():
        keys.setdefault(algorithm, set()).update(varying(alike))
    labels = [
        _label(config.algorithm.name, sorted(keys[config.algorithm.name]), values) for config, values in runs
    ]
    return list(zip(tasks, labels, strict=True))


def comparable(config: RunConfig) -> Values:
    """Dotted key to value of what makes a configuration, an algorithm's defaults filled in.

    Each seed begins with a pretrained run of its own. What counts of that is how it was made: `init` is the name of its
    algorithm, and a few digits that are the same for the same configuration.

    Raises:
        InputError: The run that it began with is not here any more.
    """
    before, given = origin(config), as_given(config)
    plain = msgspec.to_builtins(given)
    plain["algorithm"]["config"] = msgspec.to_builtins(load_algorithm(config.algorithm)[1])
    if before is not None:
        made = json.dumps(sorted(comparable(before).items())).encode()
        plain["init"] = f"{before.algorithm.name}-{hashlib.sha256(made).hexdigest()[:4]}"
    return {key: value for key, value in _flat(plain) if not key.startswith(_NOT_COMPARED)}


def _flat(values: Values, above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def varying(configurations: Sequence[Values]) -> list[str]:
    """Keys whose values are not all the same, but those that only go with a choice by name."""
    keys = _differing(configurations)
    for part in _CHOSEN:
        name = f"{part}.name"
        if name not in keys:
            continue
        by_name: dict[str, list[Values]] = {}
        for values in configurations:
            by_name.setdefault(values[name], []).append(values)
        telling = {name, *(key for alike in by_name.values() for key in _differing(alike))}
        keys = [key for key in keys if not key.startswith(f"{part}.") or key in telling]
    return keys


def _differing(configurations: Sequence[Values]) -> list[str]:
    keys = sorted({key for values in configurations for key in values})
    first = configurations[0]
    return [key for key in keys if any(values.get(key) != first.get(key) for values in configurations)]


def _label(name: str, keys: Sequence[str], values: Values) -> str:
    """`rlpd critics=10`: a name, and each key by as much of it as tells it from the others."""
    paths = [key.removesuffix(".name").split(".") for key in keys]
    parts = [name]
    for key, path in zip(keys, paths, strict=True):
        others = [other for other in paths if other is not path]
        length = 1
        while length < len(path) and any(path[-length:] == other[-length:] for other in others):
            length += 1
        value = values.get(key)
        text = value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
        parts.append(f"{'.'.join(path[-length:])}={text}")
    return " ".join(parts)
