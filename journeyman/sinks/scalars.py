"""From an entry of the journal to figures with names."""

from collections.abc import Iterator, Mapping
from typing import Any

_NOT_FIGURES = ("time", "kind", "agent", "environment_steps", "offline")
EVENTS = ("fault", "agent_failed", "rollback", "quarantine", "policy_refused")
"""Kinds of entries that say that something has happened."""


def scalars(entry: Mapping[str, Any]) -> tuple[int | None, dict[str, float]]:
    """The environment step of an entry, None if it has none, and what it counts or measures.

    Every number of the journal is there under its own name, so that nothing has to be listed twice. Truth values are 0
    and 1, lists of names their length. What only happens, such as a fault, is a 1 under its kind. Of a learner in its
    offline phase, in which no environment step is made, the step is the number of updates and the kind `offline`.
    """
    kind, step, agent = str(entry["kind"]), _step_of(entry), entry.get("agent", "")
    figures = dict(_figures({key: value for key, value in entry.items() if key not in _NOT_FIGURES}))
    if kind in EVENTS:
        figures = {"happened": 1.0}
    done, wanted = entry.get("offline", (0, 0))
    if kind == "learner" and done < wanted:
        kind, step = "offline", done
    elif kind == "learner":
        figures["environment_steps"] = float(step or 0)
    group = f"{kind}.{agent}" if agent else kind
    return step, {f"{group}/{name}": value for name, value in figures.items()}


def _step_of(entry: Mapping[str, Any]) -> int | None:
    """A report without a kind may say anything; a sink takes what 64 bits hold."""
    step = entry.get("environment_steps")
    return step if type(step) is int and 0 <= step < 1 << 62 else None


def _figures(values: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, float]]:
    for key, value in values.items():
        name = f"{above}{key}"
        if isinstance(value, int | float):
            yield name, float(value)
        elif isinstance(value, Mapping):
            yield from _figures(value, f"{name}/")
        elif isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
            yield name, float(len(value))
