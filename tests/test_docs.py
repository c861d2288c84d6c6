"""The worked examples in docs/ are run, so that they stay true."""

import importlib
import re
from pathlib import Path
from types import ModuleType

import gymnasium
import msgspec
import numpy as np
import pytest
import torch
import yaml

from agent.algorithm_config import AlgorithmConfig, load_algorithm, make_policy
from agent.transition import TransitionSpec
from controllers.ik import InverseKinematics
from controllers.kinematics import Kinematics
from controllers.limits import SafetyLimits
from controllers.state import PoseCommand
from journeyman.config import RobotConfig
from robot_env.env import RobotEnv
from robot_env.robot import RobotError
from robot_env.ros.description import load_description
from robot_env.task import load_task
from sim.registration import make_env

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"^```(?:python|yaml)\n# (\S+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def files_in(page: str) -> dict[str, str]:
    """Code blocks that begin with the path they belong to."""
    return dict(BLOCK.findall((ROOT / "docs" / page).read_text()))


@pytest.mark.parametrize(
    "page", [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
)
def test_links_point_at_something(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", page.read_text())
    assert not [link for link in links if not (page.parent / link).exists()]


@pytest.fixture
def cloning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AlgorithmConfig:
    files = files_in("add_an_algorithm.md")
    (tmp_path / "cloning.py").write_text(files["agent/cloning.py"])
    monkeypatch.syspath_prepend(str(tmp_path))
    choice = yaml.safe_load(files["journeyman/conf/algorithm/cloning.yaml"])
    assert choice["algorithm"] == "agent.cloning.Cloning"
    return msgspec.convert({**choice, "algorithm": "cloning.Cloning"}, AlgorithmConfig)


def test_the_algorithm_of_the_example_learns_and_resumes(cloning: AlgorithmConfig) -> None:
    spaces = gymnasium.spaces.Box(-9, 9, (3,), np.float32), gymnasium.spaces.Box(-1, 1, (2,), np.float32)
    spec = TransitionSpec.of(*spaces)
    make, config = load_algorithm(cloning)
    states = torch.randn(config.batch_size, 3, generator=torch.Generator().manual_seed(0))
    batch = {"observation.state": states, "action": states[:, :2].tanh()}
    learner, resumed = (make(config, spec, torch.device("cpu"), seed) for seed in (1, 2))
    losses = [learner.update(batch)["cloning_loss"] for _ in range(100)]
    assert losses[-1] < 0.1 * losses[0]

    resumed.load_state_dict(learner.state_dict())
    learner.update(batch)
    resumed.update(batch)
    for name, value in learner.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name

    policy = make_policy(cloning, spec, seed=3)
    policy.load_weights(learner.policy_weights())
    action = policy.act({"state": np.array([0.5, -0.5, 0.0], np.float32)}, deterministic=True)
    assert action == pytest.approx(np.tanh([0.5, -0.5]), abs=0.2)


@pytest.fixture
def push_cube(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RobotEnv:
    files = files_in("add_a_task.md")
    (tmp_path / "push_cube.py").write_text(files["sim/tasks/push_cube.py"])
    (tmp_path / "push_cube.yaml").write_text(files["sim/conf/task/push_cube.yaml"])
    monkeypatch.syspath_prepend(str(tmp_path))
    task = load_task(tmp_path / "push_cube.yaml")
    assert task.scene == "sim.tasks.push_cube.PushCube"
    return make_env(msgspec.structs.replace(task, scene="push_cube.PushCube"))


def test_the_task_of_the_example_is_solved_by_its_expert(push_cube: RobotEnv) -> None:
    rng = np.random.default_rng(0)
    for seed in range(10):
        push_cube.reset(seed=seed)
        expert = push_cube.scene.make_expert()
        terminated = truncated = False
        while not (terminated or truncated):
            noisy = expert.act() + rng.normal(0.0, 0.2, push_cube.action_space.shape)
            _, _, terminated, truncated, _ = push_cube.step(np.clip(noisy, -1, 1).astype(np.float32))
        assert terminated
        assert all(0.0 <= term <= 1.0 for term in push_cube.scene.dense_terms().values())


class AcmeArm:
    """The driver of the robot of the example, made of memory; it turns by 90 degrees about x."""

    def __init__(self, acme: ModuleType) -> None:
        half = np.sqrt(0.5)
        joints = np.array([0.0, 0.1, 0.0, -2.0, 0.0, 2.0, 0.0])
        pose = np.array([0.5, 0.0, 0.3]), np.array([half, half, 0.0, 0.0])
        self.reading = acme.Reading(
            0.001, joints, *np.zeros((2, 7)), *pose, np.zeros(3), np.zeros(3), np.zeros(6), 0.08
        )
        self.calls: list[tuple[object, ...]] = []

    def read(self) -> object:
        return self.reading

    def __getattr__(self, name: str) -> object:
        return lambda *arguments: self.calls.append((name, *arguments))


@pytest.fixture
def acme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    (tmp_path / "acme.py").write_text(files_in("add_a_robot.md")["robot_env/acme.py"])
    monkeypatch.syspath_prepend(str(tmp_path))
    return importlib.import_module("acme")


def test_the_robot_of_the_example_sends_what_the_filter_lets_through(acme: ModuleType) -> None:
    arm = AcmeArm(acme)
    robot = acme.AcmeRobot(arm, SafetyLimits())
    robot.connect()
    state = robot.observe()
    assert state.ee_quaternion_xyzw == pytest.approx([np.sqrt(0.5), 0.0, 0.0, np.sqrt(0.5)])

    near = PoseCommand(robot.clock.now_s(), state.ee_position_m + 0.001, state.ee_quaternion_xyzw, 0.04)
    assert robot.send_command(near) is near
    name, position_m, quaternion_wxyz, width_m = arm.calls[-1]
    assert name == "go_to_pose"
    assert position_m == pytest.approx(near.ee_position_m)
    assert quaternion_wxyz == pytest.approx(arm.reading.quaternion_wxyz)
    assert width_m == 0.04

    far = PoseCommand(robot.clock.now_s(), np.array([9.0, 0.0, 0.3]), state.ee_quaternion_xyzw, 0.04)
    sent = robot.send_command(far)
    assert sent.ee_position_m[0] < 0.75
    assert arm.calls[-1][1] == pytest.approx(sent.ee_position_m)
    assert robot.limit_hits


def test_the_robot_of_the_example_refuses_an_old_state(acme: ModuleType) -> None:
    arm = AcmeArm(acme)
    robot = acme.AcmeRobot(arm, SafetyLimits())
    arm.reading = arm.reading._replace(age_s=float("nan"))
    with pytest.raises(RobotError, match="old"):
        robot.send_command(PoseCommand(robot.clock.now_s(), np.zeros(3), np.zeros(4), 0.04))
    assert arm.calls == [("hold",)]


def test_the_robot_of_the_example_closes_twice(acme: ModuleType) -> None:
    arm = AcmeArm(acme)
    robot = acme.AcmeRobot(arm, SafetyLimits())
    robot.close()
    robot.close()
    assert arm.calls == [("hold",), ("disconnect",)] * 2


def test_the_choice_of_the_example_is_a_robot_config() -> None:
    choice = yaml.safe_load(files_in("add_a_robot.md")["journeyman/conf/robot/acme.yaml"])
    assert msgspec.convert(choice, RobotConfig).factory == "journeyman.acme.make_acme"


def test_the_ros_robot_of_the_example_loads_and_reaches_its_workspace(tmp_path: Path) -> None:
    path = tmp_path / "kestrel.yaml"
    path.write_text(files_in("add_a_robot.md")["kestrel.yaml"])
    robot = load_description(str(path))
    assert robot.kinematics is not None
    kinematics = Kinematics(robot.kinematics, robot.joint_names)
    home = np.array(robot.home_joint_position_rad)
    position_m, quaternion = kinematics.pose(home)
    low, high = np.array(robot.safety.workspace_min_m), np.array(robot.safety.workspace_max_m)
    assert (position_m > low).all()
    assert (position_m < high).all()
    solver = InverseKinematics(kinematics.model, kinematics.site_name)
    for offset_m in (0.05, -0.05):
        corner = position_m + offset_m
        joints = solver.solve(corner, quaternion, home)
        assert kinematics.pose(joints)[0] == pytest.approx(corner, abs=1e-3)


def test_every_test_that_the_page_of_faults_names_is_there() -> None:
    folder = ROOT / "tests"
    for path, name in re.findall(r"`([\w/]+\.py)(?:::(\w+))?`", (ROOT / "docs" / "faults.md").read_text()):
        found = [file for file in folder.rglob(Path(path).name) if str(file).endswith(path)]
        assert found, path
        assert any(f"def {name}(" in file.read_text() for file in found) or not name, name
