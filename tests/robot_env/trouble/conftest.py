"""Moments at will: each detector is shown what a test makes up."""

from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace

from robot_env.fake import FakeRobot
from robot_env.trouble.detector import Detector, Moment

HELD = {"asked": (0.0, 0.0, 0.0), "asked_width_m": None, "objects": {}, "frames": {}, "terms": {}}


@pytest.fixture(scope="session")
def make_moment() -> Callable[..., Moment]:
    """`make_moment(time_s, tool_m=..., force_n=..., width_m=..., asked=..., ...)`; all is well by default."""

    def make(time_s: float, tool_m: Any = (0.5, 0.0, 0.3), force_n: Any = (0.0, 0.0, 0.0), width_m: float = 0.08,
             **seen: Any) -> Moment:  # fmt: skip
        robot = FakeRobot()
        robot.connect()
        state = replace(
            robot.observe(), stamp_s=time_s, ee_position_m=np.array(tool_m, float), gripper_width_m=width_m,
            ee_wrench=np.array([*force_n, 0.0, 0.0, 0.0], float),
        )  # fmt: skip
        known = {**HELD, **seen}
        objects = {name: np.array(place, float) for name, place in known["objects"].items()}
        return Moment(state, np.array(known["asked"], float), known["asked_width_m"], objects, known["frames"],
                      known["terms"])  # fmt: skip

    return make


@pytest.fixture
def first_alarm(make_moment) -> Callable[..., tuple[float, str] | None]:
    """When, and by what, a detector calls, shown `seen(time_s)` at 10 Hz; None if it does not within `until_s`."""

    def show(detector: Detector, seen: Callable[[float], dict[str, Any]], until_s: float = 30.0) -> Any:
        for step in range(round(until_s * 10)):
            time_s = 100.0 + step / 10
            complaint = detector.look(make_moment(time_s, **seen(step / 10)))
            if complaint:
                return step / 10, complaint
        return None

    return show


@pytest.fixture(scope="session")
def refuses() -> Callable[..., None]:
    """A configuration as YAML gives it is refused, by a message that names what is wrong."""

    def check(config: type[msgspec.Struct], match: str, **values: Any) -> None:
        with pytest.raises(msgspec.ValidationError, match=match):
            msgspec.convert(values, config, strict=False)

    return check
