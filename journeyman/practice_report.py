"""How a robot that practises spends its time, and how often it needs a person."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from agent.turns import ActorState

Entries = Sequence[dict[str, Any]]

_AT_WORK = (
    ActorState.LEARNING,
    ActorState.TELEOP,
    ActorState.EVALUATING,
    ActorState.RESETTING,
    ActorState.RECOVERING,
)


def summarise(states: Entries, episodes: Entries) -> dict[str, Any] | None:
    """Time, resets and help.

    `share` is of all actors' time, by state. Rates are per hour in which an actor was at work: a person who comes late
    makes none of them better. In simulated time these are hours of the computer.

    Args:
        states: The `state` entries of a run's journal, in order.
        episodes: The `episode` entries.

    Returns:
        None where nothing is known.
    """
    counted = [episode for episode in episodes if "resets" in episode]
    seconds: Counter[str] = Counter()
    for entry in states:
        seconds[entry["before"]] += entry["seconds_before"]
    total_s = sum(seconds.values())
    if not counted or not total_s:
        return None
    hours = sum(seconds[state] for state in _AT_WORK) / 3600
    resets, failed, human = (
        sum(e[key] for e in counted) for key in ("resets", "failed_resets", "human_resets")
    )
    interventions = sum(episode["interventions"] for episode in counted)
    return {
        "hours": round(hours, 4),
        "share": {state: spent_s / total_s for state, spent_s in seconds.most_common()},
        "episodes": len(counted),
        "troubles": sum(bool(episode["trouble"]) for episode in counted),
        "resets": resets,
        "failed_resets": failed,
        "reset_success_rate": (resets - failed) / max(1, resets),
        "questions": sum(entry["state"] == ActorState.WAITING_FOR_HUMAN for entry in states),
        "human_resets": human,
        "human_resets_per_hour": _rate(human, hours),
        "interventions_per_hour": _rate(interventions, hours),
    }


def describe(summary: dict[str, Any]) -> str:
    """One line."""
    share = ", ".join(f"{state.replace('_', ' ')} {part:.0%}" for state, part in summary["share"].items())
    return (
        f"Practice: {summary['resets'] - summary['failed_resets']} of {summary['resets']} resets worked, "
        f"{summary['troubles']} of {summary['episodes']} episodes ended in trouble; a person was asked "
        f"{summary['questions']} times, put the scene right {summary['human_resets_per_hour']:.1f} times and took over "
        f"{summary['interventions_per_hour']:.1f} times an hour; time: {share}."
    )


def _rate(count: int, hours: float) -> float:
    return count / hours if hours else 0.0
