"""How often a person took over, and whether that grew rarer."""

from typing import Any

from journeyman.over_training import Episodes, count_over_training


def summarise(episodes: Episodes) -> dict[str, Any] | None:
    """Counts over all episodes and, under `over_training`, over fifths of them.

    An intervention is a row of steps in which a person acted; the rate is the share of steps.

    Args:
        episodes: The `episode` entries of a run's journal, in order.

    Returns:
        None where nobody intervened.
    """
    counted = [episode for episode in episodes if "interventions" in episode]
    if not any(episode["interventions"] for episode in counted):
        return None
    return count_over_training(counted, _counts)


def describe(summary: dict[str, Any]) -> str:
    """One line."""
    over = ", ".join(
        f"{part['rate']:.0%} up to {part['environment_steps']:,}" for part in summary["over_training"]
    )
    return (
        f"Interventions: {summary['interventions']} in {summary['episodes_with']} of {summary['episodes']} episodes, "
        f"{summary['steps']:,} steps; share of steps: {over}."
    )


def _counts(episodes: Episodes) -> dict[str, Any]:
    steps, all_steps = (sum(e[key] for e in episodes) for key in ("intervened_steps", "steps"))
    return {
        "episodes": len(episodes),
        "episodes_with": sum(e["interventions"] > 0 for e in episodes),
        "interventions": sum(e["interventions"] for e in episodes),
        "steps": steps,
        "rate": steps / max(1, all_steps),
    }
