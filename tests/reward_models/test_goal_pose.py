from math import nan

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controllers.config import InputError
from controllers.rotations import from_rotation_vector, multiply
from reward_models.goal_pose import GoalPoseConfig, GoalPoseReward
from robot_env.task import Task

GOAL_M = (0.5, -0.1, 0.2)
DOWN = (1.0, 0.0, 0.0, 0.0)
PARTS = {"ee_quaternion": (4, 1.0), "ee_position": (3, 0.3), "goal_position": (3, 0.5)}
NAMES = [f"{name}.{index}" for name, (size, _) in PARTS.items() for index in range(size)]


def make_task(parts=tuple(PARTS), **reward):
    return msgspec.convert(
        {
            "name": "insert",
            "scene": "none",
            "control_rate_hz": 10,
            "episode_length_s": 10,
            "action": {"translation_m": 0.02},
            "workspace": {"min_m": [0, -1, 0], "max_m": [1, 1, 1]},
            "observation": [{"name": name, "scale": PARTS[name][1]} for name in parts],
            "reward": reward,
        },
        Task,
    )


def observe(position_m, quaternion=DOWN, goal_m=(0.0, 0.0, 0.0)):
    values = {"ee_quaternion": quaternion, "ee_position": position_m, "goal_position": goal_m}
    parts = [np.asarray(values[name]) / scale for name, (_, scale) in PARTS.items()]
    return {"state": np.concatenate(parts).astype(np.float32)}


def judge(observation, config, **reward):
    return GoalPoseReward(make_task(**reward), NAMES, config).reward(observation)


@given(axis=st.integers(0, 2), sign=st.sampled_from([-1, 1]), share=st.floats(0.0, 3.0))
def test_success_is_nearness_in_every_axis(axis, sign, share):
    tolerance_m = (0.01, 0.02, 0.005)
    offset = np.zeros(3)
    offset[axis] = sign * share * tolerance_m[axis]
    config = GoalPoseConfig(goal_position_m=GOAL_M, position_tolerance_m=tolerance_m)
    reward = judge(observe(GOAL_M - offset), config)
    if abs(share - 1.0) > 1e-3:
        assert reward.success == (share < 1.0)
    assert reward.terms["xyz"[axis] + "_m"] == pytest.approx(offset[axis], abs=1e-6)


@given(axis=st.integers(0, 2), sign=st.sampled_from([-1, 1]), share=st.floats(0.0, 3.0), flip=st.booleans())
def test_success_is_nearness_about_every_axis(axis, sign, share, flip):
    turn = np.zeros(3)
    turn[axis] = sign * share * 0.2
    quaternion = multiply(from_rotation_vector(-turn), np.array(DOWN)) * (-1 if flip else 1)
    config = GoalPoseConfig(goal_position_m=GOAL_M, goal_quaternion_xyzw=DOWN)
    reward = judge(observe(GOAL_M, quaternion), config)
    if abs(share - 1.0) > 1e-3:
        assert reward.success == (share < 1.0)
    assert reward.terms["xyz"[axis] + "_rad"] == pytest.approx(turn[axis], abs=1e-5)


def test_without_a_wanted_orientation_any_will_do():
    config = GoalPoseConfig(goal_position_m=GOAL_M)
    assert judge(observe(GOAL_M, (0.0, 0.0, 0.0, 1.0)), config).success


def test_the_goal_may_be_observed():
    config = GoalPoseConfig(goal_position_m="goal_position")
    assert judge(observe(GOAL_M, goal_m=GOAL_M), config).success
    assert not judge(observe(GOAL_M, goal_m=(0.5, 0.1, 0.2)), config).success


def test_it_pays_what_the_task_says():
    config = GoalPoseConfig(goal_position_m=GOAL_M)
    assert judge(observe(GOAL_M), config).value == 0.0
    assert judge(observe((0.0, 0.0, 0.0)), config).value == -1.0
    assert judge(observe(GOAL_M), config, success=10.0, step=-0.1).value == 10.0
    assert judge(observe((0.0, 0.0, 0.0)), config, success=10.0, step=-0.1).value == -0.1


@pytest.mark.parametrize("goal", [GOAL_M, "goal_position"])
def test_a_nan_is_no_success(goal):
    config = GoalPoseConfig(goal_position_m=goal)
    assert not judge(observe((nan, -0.1, 0.2), goal_m=GOAL_M), config).success


@pytest.mark.parametrize(
    ("parts", "config"),
    [
        (["ee_quaternion"], {"goal_position_m": GOAL_M}),
        (["ee_position"], {"goal_position_m": GOAL_M, "goal_quaternion_xyzw": DOWN}),
        (["ee_position"], {"goal_position_m": "goal_position"}),
    ],
)
def test_what_is_not_observed_cannot_be_judged(parts, config):
    names = [name for name in NAMES if name.partition(".")[0] in parts]
    with pytest.raises(InputError, match="add it there"):
        GoalPoseReward(make_task(parts), names, GoalPoseConfig(**config))


def test_a_dense_reward_is_refused():
    with pytest.raises(InputError, match="sparse"):
        GoalPoseReward(make_task(kind="dense"), NAMES, GoalPoseConfig(goal_position_m=GOAL_M))


@pytest.mark.parametrize(
    "config",
    [
        {"goal_position_m": [0.5, 0.0]},
        {"goal_position_m": [0.5, 0.0, nan]},
        {"goal_position_m": GOAL_M, "goal_quaternion_xyzw": [0, 0, 0, 0]},
        {"goal_position_m": GOAL_M, "position_tolerance_m": [0.01, 0.0, 0.01]},
        {"goal_position_m": GOAL_M, "rotation_tolerance_rad": [0.1, nan, 0.1]},
        {"goal_position_m": GOAL_M, "speed": 1},
    ],
)
def test_a_goal_that_is_none_is_refused(config):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(config, GoalPoseConfig)
