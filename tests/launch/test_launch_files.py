import ast
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from journeyman.config import compose
from robot_env.ros.description import robot_names
from sim.registration import task_names

ROOT = Path(__file__).resolve().parents[2]
FILES = {path.name.removesuffix(".launch.py"): path for path in (ROOT / "launch").glob("*.launch.py")}

STARTED = {
    "common": [],
    "controller": ["controller_node"],
    "learn": ["journeyman", "actor_node"],
    "real_robot": ["controller_node", "journeyman", "actor_node"],
    "sim_twin": ["controller_node", "twin_node"],
    "teleop": ["controller_node", "twin_node", "teleop_node"],
    "train": ["controller_node", "twin_node", "journeyman", "actor_node"],
}
PARAMETERS = {
    "twin_node": {"task": str, "arm": str, "rate_factor": float, "publish_clock": bool, "cameras": bool},
    "controller_node": {"arm": str, "task": str, "autostart": bool, "rate_hz": float, "use_sim_time": bool},
    "actor_node": {"overrides": list, "use_sim_time": bool},
    "teleop_node": {
        "arm": str,
        "task": str,
        "device": str,
        "frame": str,
        "rate_hz": float,
        "linear_speed_m_s": float,
        "angular_speed_rad_s": float,
        "use_sim_time": bool,
    },
}
# Arguments that are not any text, with those of the launch files that are included.
REFUSABLE = {
    "controller": ["autostart", "controller_rate_hz", "use_sim_time"],
    "learn": ["provenance", "use_sim_time"],
    "real_robot": ["autostart", "controller_rate_hz", "use_sim_time"],
    "sim_twin": ["autostart", "cameras", "controller_rate_hz", "rate_factor", "use_sim_time"],
    "teleop": [
        "sim",
        "device",
        "frame",
        "rate_hz",
        "linear_speed_m_s",
        "angular_speed_rad_s",
        "autostart",
        "cameras",
        "controller_rate_hz",
        "rate_factor",
        "use_sim_time",
    ],
    "train": ["autostart", "cameras", "controller_rate_hz", "rate_factor", "use_sim_time"],
}


def test_there_are_the_launch_files_that_these_tests_know():
    assert set(FILES) == set(STARTED)


@pytest.mark.parametrize("name", FILES)
def test_every_argument_says_what_it_is_and_has_a_default(complete, name):
    declared = complete(name).declared.values()
    assert declared
    assert not [argument.name for argument in declared if len(argument.description) < 15]
    # Nobody should move an arm that he did not name.
    needed = {"robot"} if name in ("controller", "learn", "real_robot") else set()
    assert {argument.name for argument in declared if argument.default_value is None} == needed


def test_a_real_robot_must_be_named(launch):
    with pytest.raises(RuntimeError, match="robot"):
        launch("real_robot")


@pytest.mark.parametrize("name", FILES)
def test_what_is_started(complete, name):
    assert [process.executable for process in complete(name).started] == STARTED[name]


@pytest.mark.parametrize("name", FILES)
def test_every_executable_is_installed(complete, executables, name):
    assert {process.executable for process in complete(name).started} <= set(executables)


@pytest.mark.parametrize("name", FILES)
def test_nodes_get_parameters_that_they_declare_with_the_right_types(complete, executables, name):
    for process in complete(name).started:
        types = PARAMETERS.get(process.executable, {})
        assert {key: type(value) for key, value in process.parameters.items()}.items() <= types.items()


@pytest.mark.parametrize("node", PARAMETERS)
def test_the_nodes_know_their_parameters(executables, node):
    module, function = executables[node]
    source = Path(find_spec(module).origin).read_text()
    assert function in {d.name for d in ast.parse(source).body if isinstance(d, ast.FunctionDef)}
    words = {n.value for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Constant)}
    assert not set(PARAMETERS[node]) - {"use_sim_time"} - words  # rclpy itself declares use_sim_time.


@pytest.mark.parametrize("name", ["real_robot", "sim_twin", "teleop", "train"])
def test_nodes_get_the_task_as_an_installed_file(complete, colcon_setup, name):
    installed = {
        f"/{folder}/{Path(path).name}" for folder, paths in colcon_setup["data_files"] for path in paths
    }
    tasks = {process.parameters.get("task") for process in complete(name, task="reach").started} - {None}
    assert tasks == {"/share/journeyman/tasks/reach.yaml"}
    assert tasks <= installed


@pytest.mark.parametrize("name", FILES)
def test_a_namespace_reaches_every_node(complete, name):
    nodes = [p for p in complete(name, namespace="left").started if p.executable != "journeyman"]
    assert {node.namespace for node in nodes} <= {"left"}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    ("environment", "arguments", "seen"),
    [
        ({}, {}, "DEFAULT"),
        ({"FASTDDS_BUILTIN_TRANSPORTS": "UDPv4"}, {}, "UDPv4"),
        ({"FASTDDS_BUILTIN_TRANSPORTS": "UDPv4"}, {"transports": "LARGE_DATA"}, "LARGE_DATA"),
    ],
)
def test_the_transports_of_the_user_are_kept_unless_others_are_asked_for(
    complete, name, environment, arguments, seen
):
    context = complete(name, environment, **arguments)
    nodes = [process for process in context.started if process.executable != "journeyman"]
    assert {node.environment["FASTDDS_BUILTIN_TRANSPORTS"] for node in nodes} <= {seen}
    assert context.environment["FASTDDS_BUILTIN_TRANSPORTS"] == seen


@pytest.mark.parametrize(
    ("name", "wrong"), [(name, wrong) for name, several in REFUSABLE.items() for wrong in several]
)
def test_a_wrong_argument_is_refused_before_anything_runs(ros, name, wrong):
    # launch (3.4) forgets processes that it started before an error, and leaves them running.
    context = ros.LaunchContext(launch_configurations={"robot": "twin", "sim": "true", wrong: "nonsense"})
    with pytest.raises((RuntimeError, ValueError)):
        ros.load(FILES[name]).execute(context)
    assert context.started == []


@pytest.mark.parametrize("use_sim_time", ["true", "false"])
def test_the_actor_of_a_new_learner_elsewhere_is_configured_by_overrides(launch, use_sim_time):
    arguments = {"robot": "twin", "task": "reach", "use_sim_time": use_sim_time}
    context = launch(
        "learn", learner_address="tcp://10.0.0.5:5488", overrides="seed=3 actor.name=two", **arguments
    )
    (actor,) = context.started
    config = compose(actor.parameters["overrides"])
    assert (config.task.name, config.seed, config.actor.name) == ("reach", 3, "two")
    assert config.robot.config["arm"] == "twin"
    assert config.robot.config.get("simulated_time", False) == actor.parameters["use_sim_time"]
    assert config.transport.address == "tcp://10.0.0.5:5488"


@pytest.mark.parametrize(("name", "provenance"), [("real_robot", "robot"), ("train", "twin")])
def test_the_learner_is_configured_by_overrides_and_the_actor_takes_them_from_its_run(
    complete, name, provenance
):
    context = complete(name, task="reach", overrides="'seed=3'")
    (learner,), (actor,) = context.processes("journeyman"), context.processes("actor_node")
    verb, *overrides = learner.command[1:]
    config = compose(overrides)
    assert verb == "learner"
    assert (config.task.name, config.seed, config.robot.config["arm"]) == ("reach", 3, "twin")
    assert config.robot.provenance == provenance
    assert actor.parameters["overrides"] == ["run=runs/of today"]


def test_a_run_that_goes_on_keeps_its_task_and_robot(complete):
    context = complete("train", run="runs/latest", overrides="learner.device=cpu")
    assert context.processes("journeyman")[0].command[1:] == [
        "learner",
        "run=runs/latest",
        "learner.device=cpu",
    ]


def test_the_learner_yields_to_the_control_loop(complete):
    (learner,) = complete("train").processes("journeyman")
    assert learner.prefix == "nice -n 19"


def test_twin_and_nodes_agree_on_the_time(complete):
    context = complete("train", use_sim_time="True", rate_factor="2")
    (twin,), (controller,) = context.processes("twin_node"), context.processes("controller_node")
    assert twin.parameters["publish_clock"]
    assert twin.parameters["rate_factor"] == 2.0
    assert controller.parameters["use_sim_time"]


@pytest.mark.parametrize("sim", ["true", "false"])
def test_teleoperation_and_controller_agree_on_the_time(launch, sim):
    context = launch("teleop", sim=sim, use_sim_time="true")
    for executable in ("controller_node", "teleop_node"):
        (process,) = context.processes(executable)
        assert process.parameters["use_sim_time"] is True


def test_a_teleoperated_real_arm_has_no_twin(launch):
    started = launch("teleop", sim="false", robot="twin").started
    assert [process.executable for process in started] == ["controller_node", "teleop_node"]


def test_the_actor_waits_until_the_learner_listens_and_is_started_once(launch):
    context = launch("train")
    context.learner_says(b"Recording demonstrations ...\n")
    assert not context.processes("actor_node")
    context.learner_says()
    context.learner_says()
    assert len(context.processes("actor_node")) == 1


def test_the_actor_belongs_to_the_scope_of_its_launch_file(ros):
    context = ros.LaunchContext(launch_configurations={"robot": "twin", "namespace": "left"})
    ros.load(FILES["learn"]).execute(context)
    context.launch_configurations = {"namespace": "somebody else's"}
    context.learner_says()
    assert context.processes("actor_node")[0].namespace == "left"
    assert context.launch_configurations == {"namespace": "somebody else's"}


@pytest.mark.slow
def test_the_learner_says_what_the_launch_file_listens_for(launch, tmp_path):
    overrides = ["task=reach", "demonstrations.episodes=0", f"transport.address=ipc://{tmp_path}/learner"]
    command = [sys.executable, "-m", "journeyman", "learner", *overrides]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, env=environment)
    try:
        line = process.stdout.readline()  # Or the end of its output.
    finally:
        process.terminate()
        process.communicate(timeout=30)
    context = launch("train")
    context.learner_says(line)
    (override,) = context.processes("actor_node")[0].parameters["overrides"]
    assert (tmp_path / override.removeprefix("run=") / "config.yaml").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"run": "runs/latest", "learner_address": "tcp://10.0.0.5:5488"}, "runs/latest.*exclude each other"),
        ({"overrides": "seed=1 'open"}, "'open.*cannot be split"),
    ],
)
def test_arguments_that_contradict_end_the_launch_with_a_reason(launch, arguments, said):
    context = launch("real_robot", robot="twin", **arguments)
    assert [process.executable for process in context.started] == ["controller_node"]
    assert re.search(said, context.messages()[0])
    assert type(context.done[-1]).__name__ == "Shutdown"


@pytest.mark.parametrize("name", sorted(set(FILES) - {"common"}))
def test_robots_and_tasks_that_are_named_exist(complete, name):
    declared = complete(name).declared
    robot = declared["robot"]
    listed = re.findall(r"\((\w+(?:, \w+)+)\)", robot.description)
    robots = {robot.default_value or "twin", *", ".join(listed).split(", ")} - {""}
    assert robots <= set(robot_names())
    assert declared["task"].default_value in task_names()


def test_the_folder_launch_does_not_hide_the_package_of_ros(tmp_path):
    (tmp_path / "launch").mkdir()
    (tmp_path / "launch" / "__init__.py").write_text("class LaunchDescription: ...")
    code = f"import sys; sys.path.append({str(tmp_path)!r}); import launch; print(launch.LaunchDescription)"
    finished = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=30
    )
    assert finished.returncode == 0, finished.stderr


def test_ros_itself_reads_the_launch_files():
    launch_file_utilities = pytest.importorskip(
        "launch.launch_description_sources.python_launch_file_utilities", reason="needs ROS's launch"
    )
    for path in FILES.values():
        read = launch_file_utilities.get_launch_description_from_python_launch_file(str(path))
        assert "task" in {argument.name for argument in read.get_launch_arguments()}
