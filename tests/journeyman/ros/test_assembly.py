"""A task on a robot behind ROS 2: the same environment as on the twin in process, or one sentence that says why not."""

import threading

import msgspec
import numpy as np
import pytest
import yaml

from controllers.config import InputError
from robot_env.robot import RobotUnavailableError

pytestmark = pytest.mark.ros


@pytest.fixture(scope="module")
def task():
    from sim.registration import load

    return msgspec.structs.replace(load("lift_cube"), episode_length_s=1.0)


@pytest.fixture(scope="module")
def patient(tmp_path_factory):
    """Path of the twin's YAML without a controller node between, and patient with machines that run tests."""
    from robot_env.ros.description import ROBOTS

    text = yaml.safe_load((ROBOTS / "twin.yaml").read_text())
    for topic in text["state"].values():
        topic["max_age_s"] = 3.0
    text["gripper"]["max_age_s"] = 3.0
    text["safety"] = {"max_state_age_s": 3.0}
    path = tmp_path_factory.mktemp("robot") / "patient.yaml"
    path.write_text(yaml.safe_dump(text | {"commander": "direct"}))
    return str(path)


@pytest.fixture(scope="module")
def twin(run_process):
    with run_process(
        "-m", "sim.ros.twin_node", "--ros-args", "-p", "cameras:=false", ready="running"
    ) as process:
        yield process


@pytest.fixture(scope="module")
def make(patient):
    from journeyman.ros.assembly import make_ros2

    made = []

    def make_env(task, **config):
        env = make_ros2(task, {"arm": patient, "objects_max_age_s": 3.0, "connect_timeout_s": 30.0} | config)
        made.append(env)
        return env

    yield make_env
    for env in made:
        env.close()


@pytest.fixture(scope="module")
def env(twin, make, task):
    return make(task)


def test_it_looks_like_the_environment_in_process_and_starts_nothing_until_it_is_reset(make, task):
    from sim.registration import make_env

    before = set(threading.enumerate())
    env, in_process = make(task), make_env(task)
    assert env.state_names == in_process.state_names
    assert env.observation_space == in_process.observation_space
    assert env.action_space == in_process.action_space
    assert env.robot.joint_names == in_process.robot.joint_names
    assert env.robot.max_gripper_width_m == in_process.robot.max_gripper_width_m
    assert set(threading.enumerate()) == before
    env.close()


def test_an_episode_over_ros_observes_acts_and_pays(env, task):
    first, _ = env.reset(seed=3)
    assert first in env.observation_space
    total = 0.0
    for step in range(1, task.episode_steps + 1):
        observation, reward, terminated, truncated, info = env.step(
            np.array((-0.4, 0.0, 0.4, 1.0), np.float32)
        )
        assert observation in env.observation_space
        assert not terminated
        assert truncated == (step == task.episode_steps)
        assert info["executed_action"].shape == (4,)
        total += reward
    moved_m = (observation["state"][:3] - first["state"][:3]) * task.observation[0].scale
    assert moved_m[0] < -0.02
    assert moved_m[2] > 0.02
    assert total == task.episode_steps * task.reward.step
    assert info["rate"].ticks >= task.episode_steps


def test_a_robot_in_a_namespace_is_found_there_and_only_there(run_process, make, task):
    arguments = ("-m", "journeyman", "twin", "--no-cameras", "robot.config.namespace=left")
    with run_process(*arguments, ready="running"):
        env = make(task, arm="twin", namespace="left")
        env.reset(seed=0)
        observation, *_ = env.step(np.zeros(4, np.float32))  # Taken by the controller node there.
        assert np.isfinite(observation["state"]).all()
        env.close()
        with pytest.raises(RobotUnavailableError, match="/right/joint_states, which has no publisher"):
            make(task, arm="twin", namespace="right", connect_timeout_s=1.0).reset(seed=0)


def test_a_seed_decides_the_start_of_an_episode(env, task):
    starts = []
    for seed in (3, 4, 3):
        observation, _ = env.reset(seed=seed)
        starts.append(observation["state"])
        env.step(np.array((1.0, 1.0, 1.0, -1.0), np.float32))
    assert starts[2] == pytest.approx(starts[0], abs=0.02)
    assert np.abs(starts[1] - starts[0]).max() > 0.05


def test_success_of_the_twin_is_the_reward(env, runtime, task):
    from std_msgs.msg import Bool

    env.reset(seed=3)
    # Another voice beside the twin's, which says no a hundred times a second.
    publisher = runtime.node.create_publisher(Bool, "success", 1)
    ending = threading.Event()

    def insist():
        while not ending.wait(0.0005):
            publisher.publish(Bool(data=True))

    insisting = threading.Thread(target=insist)
    insisting.start()
    try:
        for _ in range(200):
            _, reward, terminated, truncated, info = env.step(np.zeros(4, np.float32))
            if terminated:
                break
            if truncated:
                env.reset(seed=3)
    finally:
        ending.set()
        insisting.join()
    assert terminated
    assert info["success"]
    assert reward == task.reward.success


def test_an_arm_without_a_node_that_resets_drives_home(twin, make, task):
    wide = msgspec.structs.replace(
        task, observation=[o for o in task.observation if not o.name.startswith("cube")]
    )
    env = make(wide, reset="joint", reset_speed_fraction=0.5)
    env.reset(seed=0)
    for _ in range(5):
        env.step(np.array((1.0, 1.0, 1.0, 1.0), np.float32))
    away = env.robot.observe().joint_position_rad
    env.reset(seed=0)
    home = np.array(env.robot.description.home_joint_position_rad)
    found = env.robot.observe().joint_position_rad
    assert np.abs(found - home).max() < 0.05 < np.abs(away - home).max()
    env.close()


def test_a_reward_by_nearness_to_a_goal_needs_no_judge(make, task):
    from reward_models.goal_pose import GoalPoseReward

    goal = {"goal_position_m": [0.5, 0.0, 0.15]}
    env = make(task, reward="goal_pose", goal_pose=goal)
    assert isinstance(env.reward_model, GoalPoseReward)


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ({"namespace": "left arm"}, r"robot.config does not fit a ROS 2 robot: namespace 'left arm'"),
        ({"arn": "twin"}, r"robot.config does not fit a ROS 2 robot: .*`arn`"),
        ({"reset": "magic"}, r"robot.config does not fit a ROS 2 robot: .*'magic'"),
        ({"arm": "twim"}, "There is no robot 'twim'; .* Did you mean 'twin'"),
        ({"arm": "/no/such.yaml"}, r"Robot file /no/such\.yaml cannot be read"),
        ({"reward": "goal_pose"}, r"say where, by robot\.config\.goal_pose\.goal_position_m"),
        ({"controller_rate_hz": 5}, r"controller_rate_hz 5.0 must lie between 10 and 1000"),
        ({"objects_topic": "poses"}, r"objects_topic 'poses' must hold \{name\}"),
    ],
)
def test_a_configuration_that_cannot_be_used_is_one_sentence(make, task, config, complaint):
    with pytest.raises(InputError, match=complaint) as caught:
        make(task, **config)
    assert "\n" not in str(caught.value)


def test_a_task_that_does_not_fit_the_robot_is_one_sentence(make, task):
    from robot_env.task import CameraConfig, Observable, RewardConfig, WorkspaceConfig

    ceiling = {"ceiling": CameraConfig(height=8, width=8)}
    wide = WorkspaceConfig(min_m=(0.0, -1.0, 0.0), max_m=(1.0, 1.0, 1.0))
    for changes, complaint in (
        ({"cameras": ceiling}, r"Robot 'twin' has no camera 'ceiling'; choose from \['front', 'wrist'\]"),
        ({"workspace": wide}, "of task 'lift_cube' reaches out of .* which robot 'twin' allows"),
        ({"reward": RewardConfig(kind="dense")}, "'dense' cannot be told from a topic; choose sparse"),
        ({"observation": [Observable(name="mood")]}, "observes 'mood', which does not exist"),
    ):
        with pytest.raises(InputError, match=complaint):
            make(msgspec.structs.replace(task, **changes))


def test_the_workspace_of_the_task_narrows_the_robots_limits(env, task):
    env.reset(seed=3)
    highest_m = 0.0
    for _ in range(9):
        env.step(np.array((0.0, 0.0, 1.0, 1.0), np.float32))
        highest_m = max(highest_m, float(env.robot.observe().ee_position_m[2]))
    assert highest_m < task.workspace.max_m[2] + 0.01
    assert "workspace" in env.robot.limit_hits
