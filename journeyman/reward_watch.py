"""The watch for reward hacking: what a learned reward called success, beside what the twin knows."""

from typing import Any

from journeyman.over_training import Episodes, count_over_training


def watch(episodes: Episodes) -> dict[str, Any] | None:
    """Compare both over training.

    A false success is an episode that the reward model ended with success although the truth saw none in it; a missed
    one is an episode in which the truth saw success and the reward model did not end it.

    Args:
        episodes: The `episode` entries of a run's journal, or `spot_checks.results`, in order.

    Returns:
        Counts over all episodes and, under `over_training`, over fifths of them; None where the truth is not known.
    """
    known = [episode for episode in episodes if "true_success" in episode]
    if not known:
        return None
    return count_over_training(known, _counts)


def describe(watched: dict[str, Any], who: str = "Reward watch over {} training episodes") -> str:
    """One line; `who` compared, with the number of episodes in it."""
    over = ", ".join(
        f"{part['false_successes']} of {part['successes']} up to {part['environment_steps']:,}"
        for part in watched["over_training"]
    )
    return (
        f"{who.format(watched['episodes'])}: {watched['false_successes']} of "
        f"{watched['successes']} successes were false, {watched['missed_successes']} of {watched['true_successes']} "
        f"true ones were missed; false over steps: {over}."
    )


def _counts(episodes: Episodes) -> dict[str, int]:
    pairs = [(bool(episode["success"]), bool(episode["true_success"])) for episode in episodes]
    return {
        "episodes": len(pairs),
        "successes": sum(said for said, _ in pairs),
        "true_successes": sum(true for _, true in pairs),
        "false_successes": pairs.count((True, False)),
        "missed_successes": pairs.count((False, True)),
    }
