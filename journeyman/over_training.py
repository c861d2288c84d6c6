"""What is counted of a run's episodes, in all and as it changed while the run went on."""

from collections.abc import Callable, Sequence
from typing import Any

Episodes = Sequence[dict[str, Any]]

_PARTS = 5


def count_over_training(episodes: Episodes, count: Callable[[Episodes], dict[str, Any]]) -> dict[str, Any]:
    """Counts over all episodes and, under `over_training`, over fifths of them.

    Args:
        episodes: At least one, in order, each with its `environment_steps`.
        count: Of any number of them.
    """
    size = -(-len(episodes) // _PARTS)
    parts = [episodes[begin : begin + size] for begin in range(0, len(episodes), size)]
    over_training = [{"environment_steps": part[-1]["environment_steps"], **count(part)} for part in parts]
    return {**count(episodes), "over_training": over_training}
