"""What a run protected itself from, for its report."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from journeyman.over_training import Episodes


def summarise(journal: Episodes, quarantined: Mapping[str, int]) -> dict[str, Any]:
    """Count it.

    Args:
        journal: All entries of a run's journal, in order.
        quarantined: Transitions that were not learned from, by the reason.

    Returns:
        `rollbacks`, how often a learner went back to a checkpoint, by the agent's name where there are several; and
        `quarantined`; `refused_policies`, how often an actor refused weights or an action.
    """
    rollbacks = Counter(entry.get("agent", "") for entry in journal if entry["kind"] == "rollback")
    refused = sum(entry["kind"] == "policy_refused" for entry in journal)
    return {"rollbacks": dict(rollbacks), "quarantined": dict(quarantined), "refused_policies": refused}


def describe(summary: dict[str, Any]) -> str:
    """One line, empty where nothing happened."""
    parts = []
    if rollbacks := sum(summary["rollbacks"].values()):
        times = "once" if rollbacks == 1 else f"{rollbacks} times"
        parts.append(f"learning diverged and went back to a checkpoint {times}")
    if quarantined := summary["quarantined"]:
        why = ", ".join(f"{reason} ({count:,})" for reason, count in quarantined.items())
        parts.append(f"{sum(quarantined.values()):,} transitions were not learned from: {why}")
    if refused := summary["refused_policies"]:
        parts.append(f"actors refused {refused} polic{'y' if refused == 1 else 'ies'}")
    return f"Protection: {'; '.join(parts)}." if parts else ""
