"""Small episodes with known contents."""

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from controllers.state import RobotState
from robot_env.episodes import EpisodeWriter

TASK = {
    "name": "poke",
    "control_rate_hz": 10.0,
    "action": {"translation_m": 0.03, "gripper": True},
    "observation": [{"name": "ee_position", "scale": 0.5}, {"name": "gripper_width", "scale": 0.08}],
    "reward": {"kind": "sparse", "success": 0.0, "step": -1.0},
}
STATE_NAMES = ("ee_position.0", "ee_position.1", "ee_position.2", "gripper_width")


def robot_state(stamp_s: float, position_m: np.ndarray, width_m: float) -> RobotState:
    """An arm of two joints that points down."""
    return RobotState(
        stamp_s,
        *np.full((3, 2), 0.1),
        position_m,
        np.array([1.0, 0.0, 0.0, 0.0]),
        np.array([0.1, 0.0, 0.0]),
        np.zeros(3),
        np.zeros(6),
        width_m,
    )


def record(
    path: Path,
    *,
    steps: int = 5,
    success: bool = True,
    cameras: Collection[str] = (),
    seed: int = 0,
    intervened: Collection[int] = (),
    late: dict[int, float] | None = None,
    finish: bool = True,
    size: tuple[int, int] = (6, 8),
    **changes: Any,
) -> EpisodeWriter:
    """An episode of random numbers that `seed` decides.

    Args:
        path: Its file.
        steps: Its length.
        success: Whether the last step succeeds.
        cameras: Their pictures are as grey as ten times the step.
        seed: Also the seed that is recorded.
        intervened: Numbers of the steps, from 1, that a human did.
        late: By instant, how many seconds it comes too late.
        finish: Whether it gets its end.
        size: Height and width of the pictures.
        changes: Of what the writer is told.
    """
    rng = np.random.default_rng(seed)
    told = {"task": TASK, "robot": "fake", "state_names": STATE_NAMES, "action_size": 4, "seed": seed}
    writer = EpisodeWriter(path, **{**told, **changes})

    def instant(step: int) -> tuple[dict[str, Any], RobotState]:
        position_m, width_m = rng.uniform(0.2, 0.4, 3), float(rng.uniform(0.0, 0.08))
        stamp_s = 0.1 * step + sum(s for k, s in (late or {}).items() if k <= step)
        pictures = {camera: np.full((*size, 3), 10 * step % 250, np.uint8) for camera in cameras}
        state = np.append(position_m / 0.5, width_m / 0.08)
        return {"state": state, **pictures}, robot_state(stamp_s, position_m, width_m)

    writer.start(*instant(0))
    for step in range(1, steps + 1):
        seen, robot = instant(step)
        action, last = rng.uniform(-0.9, 0.9, 4), step == steps
        ends = last and success, last and not success
        writer.step(action, -1.0 + ends[0], seen, *ends, robot, intervened=step in intervened)
    if finish:
        writer.finish(success)
    return writer


@pytest.fixture(name="record", scope="session")
def record_fixture() -> Callable[..., EpisodeWriter]:
    """See `record`."""
    return record
