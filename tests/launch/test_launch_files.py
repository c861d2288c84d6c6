import ast
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest

from journeyman.config import compose
from robot_env.ros.description import robot_names
from sim.registration import task_names

ROOT = Path(__file__).resolve().parents[2]
FILES = {path.name.removesuffix(".launch.py"): path for path in (ROOT / "launch").glob("*.launch.py")}

# Arguments with which each file starts all that it can start.
COMPLETE = {
    "learn": {"robot": "twin"},
    "real_robot": {"robot": "twin"},
    "sim_twin": {},
    "teleop": {"sim": "true"},
    "train": {},
}
PARAMETERS = {
    "twin_node": {"task": str, "arm": str, "rate_factor": float, "publish_clock": bool, "cameras": bool},
    "controller_node": {"arm": str, "task": str, "autostart": bool, "rate_hz": float, "use_sim_time": bool},
    "actor_node": {"overrides": list, "use_sim_time": bool},
    "teleop_node": {"arm": str, "task": str, "device": str, "rate_hz": float},
}
STARTED = {
    "learn": ["journeyman", "actor_node"],
    "real_robot": ["controller_node", "journeyman", "actor_node"],
    "sim_twin": ["twin_node", "controller_node"],
    "teleop": ["twin_node", "controller_node", "teleop_node"],
    "train": ["twin_node", "controller_node", "journeyman", "actor_node"],
}
# Arguments that are not any text, with those of the launch files that are included.
REFUSABLE = {
    "learn": ["provenance", "use_sim_time"],
    "real_robot": ["autostart", "rate_hz"],
    "sim_twin": ["autostart", "cameras", "rate_factor", "use_sim_time"],
    "teleop": ["sim", "device", "rate_hz", "autostart", "cameras", "rate_factor", "use_sim_time"],
    "train": ["autostart", "cameras", "rate_factor", "use_sim_time"],
}
LISTENS = b"Learner of runs/of today listens on tcp://127.0.0.1:5488.\n"


def learner_says(context, text=LISTENS):
    """The newest learner prints something."""
    handlers = [done.arguments[0] for done in context.done if type(done).__name__ == "RegisterEventHandler"]
    context.visit(handlers[-1].on_stdout(SimpleNamespace(text=text)))


def ends(context, process, code):
    """A process ends; what that leads to, by name."""
    before = len(context.done)
    context.visit(process.on_exit(SimpleNamespace(returncode=code, action=process), context))
    done = context.done[before:]
    for timer in [action for action in done if type(action).__name__ == "TimerAction"]:
        context.visit(timer.actions)
    return [type(action).__name__ for action in done]


def messages(context):
    return [action.msg for action in context.done if type(action).__name__ == "LogInfo"]


@pytest.fixture
def complete(launch):
    """A launch with everything running."""

    def complete(name, **arguments):
        context = launch(name, **COMPLETE[name] | arguments)
        if context.processes("journeyman"):
            learner_says(context)
        return context

    return complete


def test_there_are_the_launch_files_that_these_tests_know():
    assert set(FILES) == set(COMPLETE)


@pytest.mark.parametrize("name", FILES)
def test_every_argument_says_what_it_is_and_has_a_default(launch, ros, name):
    declared = [entity for entity in ros.load(FILES[name]) if isinstance(entity, ros.DeclareLaunchArgument)]
    assert declared
    assert not [argument.name for argument in declared if len(argument.description) < 15]
    # Nobody should move an arm that he did not name.
    needed = {"robot"} if name in ("learn", "real_robot") else set()
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
    assert {node.namespace for node in nodes} == {"left"}


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
    launch, name, environment, arguments, seen
):
    context = launch(name, environment, **COMPLETE[name] | arguments)
    if context.processes("journeyman"):
        learner_says(context)
    nodes = [process for process in context.started if process.executable != "journeyman"]
    assert {node.environment["FASTDDS_BUILTIN_TRANSPORTS"] for node in nodes} == {seen}


@pytest.mark.parametrize(
    ("name", "wrong"), [(name, wrong) for name, several in REFUSABLE.items() for wrong in several]
)
def test_a_wrong_argument_is_refused_before_anything_runs(ros, name, wrong):
    # launch (3.4) forgets processes that it started before an error, and leaves them running.
    context = ros.LaunchContext(launch_configurations=COMPLETE[name] | {wrong: "nonsense"})
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


def test_a_teleoperated_real_arm_has_no_twin(launch):
    started = launch("teleop", sim="false", robot="twin").started
    assert [process.executable for process in started] == ["controller_node", "teleop_node"]


def test_the_actor_waits_until_the_learner_listens_and_is_started_once(launch):
    context = launch("train")
    learner_says(context, b"Recording demonstrations ...\n")
    assert not context.processes("actor_node")
    learner_says(context)
    learner_says(context)
    assert len(context.processes("actor_node")) == 1


def test_the_actor_belongs_to_the_scope_of_its_launch_file(ros):
    context = ros.LaunchContext(launch_configurations={"robot": "twin", "namespace": "left"})
    ros.load(FILES["learn"]).execute(context)
    context.launch_configurations = {"namespace": "somebody else's"}
    learner_says(context)
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
    learner_says(context, line)
    (override,) = context.processes("actor_node")[0].parameters["overrides"]
    assert (tmp_path / override.removeprefix("run=") / "config.yaml").exists()


@pytest.mark.parametrize("code", [1, -9, -11])
def test_a_crashed_learner_goes_on_with_its_run(complete, code):
    context = complete("train", overrides="seed=1")
    assert ends(context, context.processes("journeyman")[0], code) == ["LogInfo", "TimerAction"]
    assert context.processes("journeyman")[1].command[1:] == ["learner", "run=runs/of today"]
    learner_says(context)
    assert len(context.processes("actor_node")) == 1
    ends(context, context.processes("journeyman")[1], code)
    assert context.processes("journeyman")[2].command[1:] == ["learner", "run=runs/of today"]


def test_a_learner_that_crashed_before_it_had_a_run_begins_again(launch):
    context = launch("train", task="reach")
    first = context.processes("journeyman")[0]
    ends(context, first, 1)
    assert context.processes("journeyman")[1].command == first.command
    learner_says(context)
    assert len(context.processes("actor_node")) == 1


@pytest.mark.parametrize("code", [1, -9])
def test_a_crashed_actor_is_respawned_by_launch(complete, code):
    context = complete("train")
    (actor,) = context.processes("actor_node")
    assert actor.respawn
    assert ends(context, actor, code) == ["LogInfo"]


@pytest.mark.parametrize("process", ["journeyman", "actor_node"])
def test_what_keeps_crashing_ends_the_launch(complete, process):
    context = complete("train")
    for _ in range(5):
        assert "Shutdown" not in ends(context, context.processes(process)[-1], 1)
    assert ends(context, context.processes(process)[-1], 1) == ["LogInfo", "Shutdown"]


@pytest.mark.parametrize(("code", "why"), [(2, "wrong input"), (3, "needs a human"), (130, "interrupted")])
@pytest.mark.parametrize("process", ["journeyman", "actor_node"])
def test_wrong_input_a_robot_in_need_and_an_interruption_end_the_launch(complete, process, code, why):
    context = complete("train")
    assert ends(context, context.processes(process)[0], code) == ["LogInfo", "Shutdown"]
    assert why in messages(context)[-1]


def test_a_complete_run_ends_the_launch(complete):
    context = complete("train")
    # The actor was told to end by the learner, which still saves: the launch waits for that, and restarts nothing.
    assert ends(context, context.processes("actor_node")[0], 0) == ["EmitEvent"]
    event = context.done[-1].event
    assert type(event).__name__ == "ShutdownProcess"
    assert event.process_matcher(context.processes("actor_node")[0])
    assert not event.process_matcher(context.processes("journeyman")[0])
    assert ends(context, context.processes("journeyman")[0], 0) == ["LogInfo", "Shutdown"]


def test_an_actor_that_a_learner_elsewhere_told_to_end_ends_the_launch(launch):
    context = launch("real_robot", robot="twin", learner_address="tcp://10.0.0.5:5488")
    assert ends(context, context.processes("actor_node")[0], 0) == ["LogInfo", "Shutdown"]


@pytest.mark.parametrize("code", [0, 1, 2, -9])
@pytest.mark.parametrize("name", ["real_robot", "sim_twin", "teleop"])
def test_a_robot_side_that_ended_is_not_started_again(complete, name, code):
    for number, process in enumerate(complete(name).started):
        if process.executable in ("journeyman", "actor_node"):
            continue
        context = complete(name)
        assert not process.respawn
        assert ends(context, context.started[number], code) == ["LogInfo", "Shutdown"]
        assert len(context.started) == len(STARTED[name])


@pytest.mark.parametrize("name", FILES)
def test_nothing_is_restarted_while_the_launch_ends(complete, name):
    context = complete(name)
    context.is_shutdown = True
    assert [ends(context, process, code) for process in context.started for code in (0, 1, -9)] == [[]] * (
        3 * len(STARTED[name])
    )


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
    assert re.search(said, messages(context)[0])
    assert type(context.done[-1]).__name__ == "Shutdown"


@pytest.mark.parametrize("name", FILES)
def test_robots_and_tasks_that_are_named_exist(ros, name):
    declared = {
        entity.name: entity
        for entity in ros.load(FILES[name])
        if isinstance(entity, ros.DeclareLaunchArgument)
    }
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
        assert "robot" in {argument.name for argument in read.get_launch_arguments()}
