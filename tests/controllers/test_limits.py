import math

import msgspec
import pytest

from controllers.limits import JointLimits, SafetyLimits


def test_defaults_are_an_arm_of_seven_joints():
    assert SafetyLimits().joints.joints == 7


def test_limits_come_from_data_and_unknown_keys_are_refused():
    limits = msgspec.convert({"linear_speed_m_s": 0.2, "workspace_min_m": [0.3, -0.1, 0.0]}, SafetyLimits)
    assert limits.linear_speed_m_s == 0.2
    assert limits.workspace_min_m == (0.3, -0.1, 0.0)
    with pytest.raises(msgspec.ValidationError, match="linear_sped"):
        msgspec.convert({"linear_sped": 0.2}, SafetyLimits)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"linear_speed_m_s": 0.0}, "linear_speed_m_s 0.0 must be positive"),
        ({"contact_force_n": math.nan}, "contact_force_n nan must be positive"),
        ({"max_command_age_s": math.inf}, "max_command_age_s inf must be positive and finite"),
        ({"joint_speed_fraction": 1.1}, "joint_speed_fraction 1.1 must be at most 1"),
        ({"joint_margin_rad": 1.6}, "leaves no room"),
        ({"workspace_min_m": (0.8, 0.0, 0.0)}, "must lie below workspace_max_m"),
        ({"workspace_max_m": (0.8, math.nan, 0.5)}, "must lie below workspace_max_m"),
    ],
)
def test_limits_that_protect_nothing_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        SafetyLimits(**wrong)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"min_rad": (0.0,)}, "one entry per joint"),
        ({"min_rad": (4.0,) * 7}, "must lie below max_rad"),
        ({"effort_nm": (0.0,) * 7}, "effort_nm .* must be positive and finite"),
        ({"velocity_rad_s": (math.nan,) * 7}, "velocity_rad_s .* must be positive and finite"),
    ],
)
def test_joint_limits_no_arm_can_have_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        JointLimits(**wrong)
