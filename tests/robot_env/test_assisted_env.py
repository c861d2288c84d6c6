import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_env.assisted_env import AssistedEnv
from robot_env.fake import FakeRobot
from robot_env.robot import RobotUnavailableError
from robot_env.teleoperator import Event

POLICY = np.array([0.1, 0.2, 0.3, 1.0], np.float32)
HAND = np.array([-0.5, 0.0, 0.5, -1.0], np.float32)


class ScriptedHand:
    """Acts where `hold` says so, and says what `say` holds for the next call."""

    def __init__(self, hold=()):
        self.hold = set(hold)
        self.say = ()
        self.calls = []
        self.asked = []
        self.lost = False

    def connect(self):
        self.calls.append("connect")

    def restart(self, state):
        self.calls.append("restart")
        self.step = 0

    def get_action(self, state, last_action):
        if self.lost:
            raise RobotUnavailableError("The gamepad is gone: plug it in.")
        self.asked.append(last_action)
        held = self.step in self.hold
        self.step += 1
        return HAND if held else None

    def get_events(self):
        said, self.say = self.say, ()
        return said

    def disconnect(self):
        self.calls.append("disconnect")


@given(st.sets(st.integers(0, 9)))
def test_whoever_has_a_hand_on_the_device_acts_and_that_is_what_counts(make_env, hold):
    env = AssistedEnv(make_env(), ScriptedHand(hold))
    env.reset(seed=0)
    for step in range(10):
        _, _, _, truncated, info = env.step(POLICY)
        assert info["intervened"] == (step in hold)
        np.testing.assert_array_equal(info["executed_action"], HAND if step in hold else POLICY)
    assert truncated


def test_the_hand_is_told_what_was_executed_before(make_env):
    robot = FakeRobot()
    robot.place((0.5, 0.0, 0.3))
    hand = ScriptedHand({1})
    env = AssistedEnv(make_env(robot), hand)
    env.reset(seed=0)
    width = 2.0 * robot.observe().gripper_width_m / robot.max_gripper_width_m - 1.0
    for _ in range(3):
        env.step(POLICY)
    np.testing.assert_allclose(hand.asked[0], [0.0, 0.0, 0.0, width], atol=1e-6)
    np.testing.assert_array_equal(hand.asked[1], POLICY)
    np.testing.assert_array_equal(hand.asked[2], HAND)


def test_the_device_is_opened_at_the_first_reset_and_closed_with_the_environment(make_env):
    hand = ScriptedHand()
    env = AssistedEnv(make_env(), hand)
    assert hand.calls == []
    env.reset(seed=0)
    env.reset(seed=1)
    env.close()
    assert hand.calls == ["connect", "restart", "restart", "disconnect"]


def test_success_said_by_the_person_ends_the_episode_as_the_tasks_does(make_env):
    hand = ScriptedHand()
    env = AssistedEnv(make_env(), hand)
    env.reset(seed=0)
    env.step(POLICY)
    hand.say = (Event.FAILURE, Event.SUCCESS)
    _, reward, terminated, truncated, info = env.step(POLICY)
    assert (reward, terminated, truncated) == (0.0, True, False)
    assert info["success"]
    assert info["verdict"] is Event.SUCCESS
    assert {"rate", "limit_hits", "observation_ages"} <= info.keys()


def test_failure_said_by_the_person_outweighs_a_reward_that_saw_success(make_env):
    hand = ScriptedHand()
    inner = make_env()
    env = AssistedEnv(inner, hand)
    env.reset(seed=0)
    inner.scene.button = 1.0
    hand.say = (Event.FAILURE,)
    _, reward, terminated, truncated, info = env.step(POLICY)
    assert (reward, terminated, truncated) == (-1.0, False, True)
    assert not info["success"]
    assert not info["is_success"]


def test_agreement_changes_nothing(make_env):
    hand = ScriptedHand()
    inner = make_env()
    env = AssistedEnv(inner, hand)
    env.reset(seed=0)
    inner.scene.button = 1.0
    hand.say = (Event.SUCCESS,)
    _, reward, terminated, _, info = env.step(POLICY)
    assert (reward, terminated, info["success"]) == (0.0, True, True)


def test_what_is_said_between_episodes_is_about_the_one_that_is_over(make_env):
    hand = ScriptedHand()
    env = AssistedEnv(make_env(), hand)
    env.reset(seed=0)
    hand.say = (Event.FAILURE,)
    assert env.reset(seed=1)[1]["verdict"] is Event.FAILURE
    assert "verdict" not in env.step(POLICY)[4]


def test_nobody_acts_or_judges_in_an_episode_of_the_policy_alone(make_env):
    hand = ScriptedHand(range(10))
    env = AssistedEnv(make_env(), hand)
    env.reset(seed=0, options={"unaided": True})
    hand.say = (Event.SUCCESS,)
    _, _, terminated, truncated, info = env.step(POLICY)
    assert (terminated, truncated, info["intervened"]) == (False, False, False)
    np.testing.assert_array_equal(info["executed_action"], POLICY)
    env.reset(seed=1)
    assert env.step(POLICY)[4]["intervened"]


def test_a_device_that_is_gone_stops_the_robot(make_env):
    robot, hand = FakeRobot(), ScriptedHand()
    env = AssistedEnv(make_env(robot), hand)
    env.reset(seed=0)
    hand.lost = True
    sent = len(robot.sent)
    with pytest.raises(RobotUnavailableError, match="gamepad is gone"):
        env.step(POLICY)
    assert len(robot.sent) == sent
    assert robot.calls[-1] == "stop"


@given(st.integers(0, 5))
def test_an_episode_may_wait_for_the_hand_and_begins_with_what_it_wanted(make_env, looks):
    robot = FakeRobot()
    hand = ScriptedHand({looks})
    env = AssistedEnv(make_env(robot), hand)
    env.reset(seed=0)
    robot.place((0.4, 0.0, 0.2))  # The scene is still being put right.
    for look in range(looks + 1):
        hand.say = (Event.UNDO,)
        observation, is_on, events = env.wait_for_hand()
        assert is_on == (look == looks)
        assert events == (Event.UNDO,)
        np.testing.assert_allclose(observation["state"][:3] * 0.5, (0.4, 0.0, 0.2), atol=1e-6)
    _, _, _, _, info = env.step(POLICY)
    np.testing.assert_array_equal(info["executed_action"], HAND)
    _, _, _, _, info = env.step(POLICY)
    np.testing.assert_array_equal(info["executed_action"], POLICY)


def test_what_was_wanted_before_a_reset_is_forgotten(make_env):
    env = AssistedEnv(make_env(), ScriptedHand({0}))
    env.reset(seed=0)
    assert env.wait_for_hand()[1]
    env.teleoperator.hold = set()
    env.reset(seed=0)
    assert not env.step(POLICY)[4]["intervened"]


def test_the_device_is_let_go_of_even_if_the_robot_cannot_be_stopped(make_env):
    robot, hand = FakeRobot(), ScriptedHand()
    env = AssistedEnv(make_env(robot), hand)
    env.reset(seed=0)

    def refuse():
        raise RuntimeError("no answer")

    robot.close = refuse
    with pytest.raises(RuntimeError, match="no answer"):
        env.close()
    assert hand.calls[-1] == "disconnect"
