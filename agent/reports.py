"""What an actor's report must hold to be read as what it calls itself: everything behind the journal relies on it."""

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

_Count = Annotated[int, msgspec.Meta(ge=0, lt=1 << 62)]


class _Episode(msgspec.Struct):
    actor: str
    environment_steps: _Count
    steps: _Count
    success: bool
    policy_version: int
    interventions: _Count
    intervened_steps: _Count
    trouble: str
    resets: _Count
    failed_resets: _Count
    human_resets: _Count
    limit_hits: dict[str, float]
    missed_deadlines: _Count
    ticks: _Count
    worst_lateness_s: float


class _Evaluation(msgspec.Struct):
    environment_steps: _Count
    policy_version: int
    episodes: _Count
    successes: _Count
    success_rate: Annotated[float, msgspec.Meta(ge=0, le=1)]
    success_low: float
    success_high: float
    mean_return: float
    mean_length: float


class _Fault(msgspec.Struct):
    actor: str
    message: str


class _State(msgspec.Struct):
    actor: str
    state: str
    before: str
    seconds_before: float
    why: str


class _PolicyRefused(msgspec.Struct):
    message: str


_LEAST: dict[str, type[msgspec.Struct]] = {
    "episode": _Episode,
    "evaluation": _Evaluation,
    "fault": _Fault,
    "state": _State,
    "policy_refused": _PolicyRefused,
}
"""Of each kind, what is read without asking whether it is there. More may be there."""

KINDS = tuple(_LEAST)
"""Kinds of entries that actors report; the learner writes them down."""
OTHER = "report"
"""Kind of what an actor reported without one of these, or without what belongs to it."""

_OF_THE_LEARNER = ("agent", "offline", "time")


def admitted(report: Mapping[str, Any]) -> dict[str, Any]:
    """A report as the journal may hold it: of a kind only with all that belongs to that kind.

    Whoever draws, counts or shows what is in a journal need not distrust it, whatever an actor of another version, or
    a broken one, says. What only a learner says of itself is left out.
    """
    values = {key: value for key, value in report.items() if key not in _OF_THE_LEARNER}
    kind = values.get("kind")
    least = _LEAST.get(kind) if isinstance(kind, str) else None
    try:
        if least is not None:
            msgspec.convert(values, least)
    except msgspec.ValidationError:
        least = None
    return values if least is not None else {**values, "kind": OTHER}
