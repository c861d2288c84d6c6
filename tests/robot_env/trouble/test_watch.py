import numpy as np
import pytest
from msgspec.structs import replace

from robot_env.contracts import Reward
from robot_env.env import RobotEnv
from robot_env.fake import FakeRobot
from robot_env.trouble.detector import DetectorConfig, Moment
from robot_env.trouble.scene import ObjectOutConfig
from robot_env.trouble.watch import ObjectsInReach, TroubleConfig, Watch


class CubeScene:
    """A cube that a test moves."""

    observables = {"cube_position": 3, "cube_yaw": 2}

    def __init__(self):
        self.cube_m = np.array((0.5, 0.0, 0.02))

    def observe(self):
        return {"cube_position": self.cube_m, "cube_yaw": np.array((1.0, 0.0))}


class NoReward:
    def reward(self, observation):
        return Reward(-1.0, False)


class Nothing:
    def reset(self, rng, keep_going):
        raise AssertionError("nobody resets")


class Remembers:
    """A detector that keeps what it is shown."""

    def __init__(self):
        self.moments: list[Moment] = []

    def restart(self):
        self.moments.clear()

    def look(self, moment):
        self.moments.append(moment)
        return ""


@pytest.fixture
def env(make_task):
    robot = FakeRobot()
    robot.connect()
    task = make_task(observation=[{"name": "ee_position"}])
    return RobotEnv(robot, task, CubeScene(), NoReward(), Nothing())


def shown(env, action, before=None):
    """What a detector is shown of a step."""
    witness = Remembers()

    class Config(DetectorConfig, frozen=True):
        def detector(self, task):
            return witness

    watch = Watch(env, replace(TroubleConfig(), stuck=Config()))
    env.begin()
    assert watch.look(before or env.state, np.array(action, np.float32), {}, {"lift": 0.5}) == ""
    return witness.moments[-1]


def test_a_moment_has_what_was_asked_for_and_what_was_seen(env):
    moment = shown(env, (0.5, -2.0, 0.0, 0.0))
    np.testing.assert_allclose(moment.asked, (0.5, -1.0, 0.0), atol=1e-12)
    assert moment.asked_width_m == pytest.approx(0.04)
    assert moment.objects.keys() == {"cube"}
    assert moment.terms == {"lift": 0.5}


def test_no_action_asks_for_more_than_there_is(env):
    moment = shown(env, (0.0, 0.0, 9.0, 9.0))
    np.testing.assert_allclose(moment.asked, (0.0, 0.0, 1.0), atol=1e-12)
    assert moment.asked_width_m == env.robot.max_gripper_width_m


def test_to_lean_on_the_walls_of_the_workspace_asks_for_nothing(env):
    env.robot.place((0.8, 0.0, 0.3))
    np.testing.assert_allclose(shown(env, (1.0, 0.0, 1.0, 0.0)).asked, (0.0, 0.0, 1.0), atol=1e-12)
    env.robot.place((0.5, 0.0, 0.01))
    np.testing.assert_allclose(shown(env, (0.0, 0.0, -1.0, 0.0)).asked, (0.0, 0.0, -1 / 3), atol=1e-12)


def test_actions_in_the_hands_axes_are_turned(make_task, env):
    # The fake robot's hand is turned by half a revolution about x: its z points down.
    action = {"translation_m": 0.03, "frame": "end_effector", "gripper": False}
    task = make_task(observation=[{"name": "ee_position"}], action=action)
    turned = RobotEnv(env.robot, task, env.scene, NoReward(), Nothing())
    moment = shown(turned, (0.1, 0.2, 0.3))
    np.testing.assert_allclose(moment.asked, (0.1, -0.2, -0.3), atol=1e-6)
    assert moment.asked_width_m is None


def test_what_is_null_is_not_looked_for(env):
    nothing = TroubleConfig(**dict.fromkeys(TroubleConfig.__struct_fields__))
    env.begin()
    env.scene.cube_m[:] = 9.0
    for config, is_seen in ((nothing, False), (TroubleConfig(), True)):
        watch = Watch(env, config)
        said = set()
        for _ in range(5):
            env.robot.clock.advance(0.1)
            env.begin()
            said.add(watch.look(env.state, np.zeros(4, np.float32), {}, {}))
        assert any("cube is out of reach" in text for text in said) is is_seen


def test_troubles_that_come_together_are_all_told(env):
    watch = Watch(env, TroubleConfig())
    env.begin()
    env.scene.cube_m[:] = 9.0
    env.robot.fault = "stuck"
    for _ in range(30):
        env.robot.clock.advance(0.1)
        env.begin()
        complaint = watch.look(env.state, np.array((1, 0, 0, 1), np.float32), {}, {})
    assert "the arm is stuck" in complaint
    assert "; cube is out of reach" in complaint


def test_after_a_reset_an_object_out_of_reach_is_still_trouble(env):
    verifier = ObjectsInReach(env.scene, env.task, ObjectOutConfig())
    assert verifier.verify().success
    env.scene.cube_m[2] = -0.5
    result = verifier.verify()
    assert not result.success
    assert result.reason == "cube is out of reach at 0.50, 0.00, -0.50 m"
    assert ObjectsInReach(env.scene, env.task, ObjectOutConfig(), {"cube"}).verify().success
