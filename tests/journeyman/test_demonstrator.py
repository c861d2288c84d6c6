"""Demonstrations for a robot that has no scripted expert of its own."""

from pathlib import Path

import pytest

from controllers.config import InputError
from journeyman.collect import record_demonstrations
from journeyman.config import compose
from robot_env.episodes import list_episodes


def test_the_twin_behind_ros_gets_its_demonstrations_from_the_twin_in_process(tmp_path: Path) -> None:
    record_demonstrations(compose(["robot=ros2", "task=reach"]), tmp_path, 2)
    assert len(list_episodes(tmp_path)) == 2


def test_a_real_arm_gets_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no scripted expert"):
        record_demonstrations(compose(["robot=ros2", "task=reach", "robot.provenance=robot"]), tmp_path, 2)
    assert not list_episodes(tmp_path)
