"""Tasks that do not fit the twin are refused in one sentence, before anything moves."""

from typing import Any

import msgspec
import pytest

from controllers.config import InputError
from robot_env.task import CameraConfig, WorkspaceConfig
from sim.registration import load, make_env


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scene": "sim.tasks.reach.Rich"}, "scene 'sim.tasks.reach.Rich' of task 'reach' cannot be loaded"),
        ({"scene": "nowhere"}, "scene 'nowhere' of task 'reach' cannot be loaded"),
        ({"scene": "sim.twin.Twin"}, "is not a TwinScene"),
        ({"scene_config": {}}, "scene_config of task 'reach' does not fit .*start"),
        ({"scene_config": {"goals": 3}}, "scene_config of task 'reach' does not fit"),
        (
            {"scene_config": {"goal": {"min_m": [0, float("nan")]}}},
            r"goal\.min_m\[1\] must be a finite number",
        ),
        ({"control_rate_hz": 30.0}, "control_rate_hz 30 .* ticks of 10 ms; choose for example 10, 20"),
        ({"control_rate_hz": 5.0}, "leaves 0.2 s between commands"),
        ({"cameras": {"back": CameraConfig()}}, "no camera 'back'; choose from .*front"),
    ],
)
def test_the_sentence_names_what_is_wrong(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_env(msgspec.structs.replace(load("reach"), **change))


def test_the_workspace_is_the_tasks() -> None:
    workspace = WorkspaceConfig(min_m=(0.4, -0.1, 0.1), max_m=(0.6, 0.1, 0.3))
    env = make_env(msgspec.structs.replace(load("reach"), workspace=workspace))
    assert env.robot.twin.config.safety.workspace_min_m == workspace.min_m
    assert env.robot.twin.config.safety.workspace_max_m == workspace.max_m
