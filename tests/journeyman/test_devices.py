"""Every device that comes with the project can be chosen, is described, and drives at the pace of a hand."""

import re
from pathlib import Path

import pytest

import journeyman.conf
from journeyman.config import compose
from journeyman.wiring import at_the_pace_of_a_hand, make_env, make_teleoperator
from robot_env.devices.spacemouse import UDEV_RULE
from robot_env.teleoperator import ExplainedTeleoperator

PAGE = (Path(__file__).resolve().parents[2] / "docs/teleoperation.md").read_text()
NAMES = sorted(path.stem for path in Path(journeyman.conf.__path__[0]).glob("device/*.yaml"))
# A replay needs a recording.
MADE = [
    pytest.param(name, marks=pytest.mark.ros if name.startswith("ros_") else ())
    for name in NAMES
    if name not in ("none", "replay")
]


@pytest.mark.parametrize("name", MADE)
def test_a_device_is_made_as_it_comes(name):
    config = compose(["task=lift_cube", f"device={name}"])
    assert config.device.name == name
    teleoperator = make_teleoperator(config, make_env(config))
    assert teleoperator is not None
    if config.device.person:
        assert isinstance(teleoperator, ExplainedTeleoperator)
        assert teleoperator.notice == ""
        assert teleoperator.get_events() == ()
    teleoperator.disconnect()  # It was never open.


@pytest.mark.parametrize("name", NAMES)
def test_a_device_is_described(name):
    assert f"`{name}`" in PAGE


def test_the_rule_for_linux_is_the_one_that_the_message_gives():
    assert UDEV_RULE in PAGE


def test_the_keys_are_those_of_the_page():
    keys = compose(["device=keyboard"]).device.config["keys"]
    assert keys == compose(["device=keyboard_window"]).device.config["keys"]
    section = PAGE.split("## Keys of")[1].split("##")[0]
    for key, meaning in keys.items():
        if meaning != "none":
            assert re.search(rf"\b{key}\b", section), key


@pytest.mark.parametrize(("device", "is_paced"), [("keyboard", True), ("expert", False), ("none", False)])
def test_simulated_time_is_no_faster_than_a_hand(device, is_paced):
    config = at_the_pace_of_a_hand(compose(["task=reach", f"device={device}"]))
    assert config.robot.config["realtime"] == is_paced
    assert config.robot.simulated_time != is_paced
    real = compose(["task=reach", "robot=ros2", f"device={device}"])
    assert at_the_pace_of_a_hand(real) == real
