"""A task's goal: found among what is observed, and judged as hindsight judges it."""

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controllers.config import InputError
from robot_env.env import RobotEnv
from robot_env.goal import TaskGoal
from robot_env.task import GoalConfig, Observable, Task
from sim.registration import load, make_env

NAMES = tuple(
    f"{name}.{i}" for name in ("ee_position", "ee_linear_velocity", "goal_position") for i in range(3)
)


def with_goal(**changes) -> Task:
    return msgspec.structs.replace(load("reach_goal"), **changes)


@pytest.fixture(scope="module")
def env() -> RobotEnv:
    return make_env("reach_goal")


@pytest.mark.parametrize("seed", range(3))
def test_what_a_step_was_paid_is_what_hindsight_would_pay(env: RobotEnv, seed: int) -> None:
    env.reset(seed=seed)
    expert, done, successes = env.scene.make_expert(), False, 0
    while not done:
        observation, reward, terminated, truncated, _ = env.step(expert.act())
        state = observation["state"][None]
        paid, ended = env.goal.pay(state[:, env.goal.achieved], state[:, env.goal.desired])
        assert (reward, terminated) == (paid[0], ended[0])
        assert terminated == env.scene.success()  # Of the same tolerance, from the true state.
        done, successes = terminated or truncated, successes + terminated
    assert successes == 1


@given(st.lists(st.floats(-0.06, 0.06), min_size=3, max_size=3))
def test_a_goal_is_reached_within_the_tolerance_in_metres(offset):
    task = with_goal()
    goal = TaskGoal(task, task.goal, NAMES)
    assert (goal.achieved, goal.desired) == (slice(0, 3), slice(6, 9))
    distance = float(np.linalg.norm(offset))
    if abs(distance - 0.02) < 1e-6:
        return
    here = np.float32([[1.5, -0.2, 0.6]])
    there = (here + np.array(offset) / 0.3).astype(np.float32)
    rewards, terminated = goal.pay(here, there)
    assert terminated.tolist() == [distance < 0.02]
    assert rewards.tolist() == [0.0 if distance < 0.02 else -1.0]
    assert goal.pay(here[:0], there[:0])[0].shape == (0,)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"goal": GoalConfig(achieved="ee_position", desired="gripper_width", tolerance=0.1)}, "does not observe"),
        (
            {"goal": GoalConfig(achieved="gripper_width", desired="goal_position", tolerance=0.1)},
            "'gripper_width' of task 'reach_goal' has 1 entries .* 'goal_position' 3",
        ),
        (
            {"observation": (Observable(name="ee_position"), Observable(name="goal_position", scale=0.3))},
            "same scale",
        ),
        (
            {"observation": tuple(Observable(name=n) for n in ("ee_position", "goal_position", "goal_from_ee"))},
            "observes goal_from_ee, from which goal.desired 'goal_position' can be told",
        ),
    ],
)  # fmt: skip
def test_what_is_no_goal_is_refused(changes, message):
    if "gripper_width'" in message:
        observation = (*load("reach_goal").observation, Observable(name="gripper_width", scale=0.3))
        changes = {**changes, "observation": observation}
    with pytest.raises(InputError, match=message):
        make_env(with_goal(**changes))


@pytest.mark.parametrize("changes", [{"tolerance": 0.0}, {"desired": "ee_position"}, {"tolerance": np.inf}])
def test_a_goal_that_is_always_or_never_reached_is_refused(changes):
    with pytest.raises(ValueError, match=r"must differ, and goal\.tolerance"):
        GoalConfig(**{"achieved": "ee_position", "desired": "goal_position", "tolerance": 0.1, **changes})
