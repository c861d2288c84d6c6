"""Whether a run had a better policy on the way than the one it ended with: learning may forget what it could do."""

from collections.abc import Mapping, Sequence
from typing import Any

from agent.evaluation import Evaluation


def summarise(journal: Sequence[Mapping[str, Any]], final: Evaluation) -> dict[str, Any] | None:
    """The best evaluation on the way, if it was surely better than the final one; None else.

    Args:
        journal: Entries of a run.
        final: Evaluation of the policy that it ended with.

    Returns:
        Its `successes`, `episodes` and `environment_steps`.
    """
    on_the_way = [entry for entry in journal if entry["kind"] == "evaluation"]
    # The one whose policy `agent.checkpoint` keeps: of equal ones the newest.
    best = max(
        reversed(on_the_way), key=lambda entry: (entry["success_rate"], entry["mean_return"]), default=None
    )
    if best is None or best["success_low"] <= final.success_high:
        return None
    return {key: best[key] for key in ("successes", "episodes", "environment_steps")}


def describe(best: Mapping[str, Any], run: object) -> str:
    """What to do about it."""
    return (
        f"Learning has forgotten: at {best['environment_steps']:,} steps {best['successes']} of {best['episodes']} "
        f"episodes succeeded. The policy nearest to that one is kept: journeyman evaluate run={run} "
        "evaluation.checkpoint=best; to go on from it: journeyman train "
        f"init={run} init_checkpoint=best."
    )
