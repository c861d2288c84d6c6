"""What a run protected itself from, for its report."""

from collections import Counter
from typing import Any

from journeyman.over_training import Episodes


def summarise(journal: Episodes) -> dict[str, Any]:
    """Count it.

    Args:
        journal: All entries of a run's journal, in order.

    Returns:
        `rollbacks`: how often a learner went back to a checkpoint, by the agent's name where there are several.
    """
    rollbacks = Counter(entry.get("agent", "") for entry in journal if entry["kind"] == "rollback")
    return {"rollbacks": dict(rollbacks)}


def describe(summary: dict[str, Any]) -> str:
    """One line, empty where nothing happened."""
    parts = []
    if rollbacks := sum(summary["rollbacks"].values()):
        times = "once" if rollbacks == 1 else f"{rollbacks} times"
        parts.append(f"learning diverged and went back to a checkpoint {times}")
    return f"Protection: {'; '.join(parts)}." if parts else ""
