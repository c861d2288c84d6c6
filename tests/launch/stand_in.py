"""Stands in for ROS's packages `launch` and `launch_ros`, which exist only in a ROS installation.

Just enough of them to evaluate our launch files in a plain Python: which arguments they declare, which processes they
start with what, and what they do when one ends. Names, keywords and order follow ros2/launch and ros2/launch_ros as in
Jazzy; a keyword that is not listed here is refused, as it would be there.
"""

import contextlib
import importlib.util
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

LISTENS = b"Learner of runs/of today listens on tcp://127.0.0.1:5488.\n"


@dataclass
class LaunchContext:
    """What a launch file sees while it is evaluated, and what it has done; also what happens to it afterwards."""

    launch_configurations: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    is_shutdown: bool = False
    declared: dict[str, "DeclareLaunchArgument"] = field(default_factory=dict)
    started: list["ExecuteProcess"] = field(default_factory=list)
    done: list["Recorded"] = field(default_factory=list)

    def processes(self, name: str) -> list["ExecuteProcess"]:
        """Those started so far whose executable is `name`."""
        return [process for process in self.started if process.executable == name]

    def messages(self) -> list[str]:
        """What the launch files have logged."""
        return [action.msg for action in self.done if isinstance(action, LogInfo)]

    def learner_says(self, text: bytes = LISTENS) -> None:
        """Let the newest learner print something."""
        handlers = [action.arguments[0] for action in self.done if isinstance(action, RegisterEventHandler)]
        self.visit(handlers[-1].on_stdout(SimpleNamespace(text=text)))

    def ends(self, process: "ExecuteProcess", code: int) -> list[str]:
        """Let a process end; returns what that leads to, by name. Timers run out at once."""
        before = len(self.done)
        reaction = process.on_exit
        if callable(reaction):
            reaction = reaction(SimpleNamespace(returncode=code, action=process), self)
        self.visit([reaction] if isinstance(reaction, Recorded) else reaction)
        led_to = self.done[before:]
        for action in led_to:
            if isinstance(action, TimerAction):
                self.visit(action.actions)
        return [type(action).__name__ for action in led_to]

    def visit(self, entities: Any) -> None:
        """Execute what a launch file returned."""
        for entity in entities or []:
            condition = getattr(entity, "condition", None)
            if condition is None or condition(self):
                entity.execute(self)


class LaunchDescription(list):
    def execute(self, context: LaunchContext) -> None:
        context.visit(self)


def perform(context: LaunchContext, value: Any) -> str:
    """The text of a substitution, a string, or a list of them."""
    if isinstance(value, str):
        return value
    return "".join(perform(context, v) for v in value) if isinstance(value, list) else value.perform(context)


class LaunchConfiguration:
    def __init__(self, variable_name: str) -> None:
        self.variable_name = variable_name

    def perform(self, context: LaunchContext) -> str:
        return context.launch_configurations[self.variable_name]


class EnvironmentVariable:
    def __init__(self, name: str, *, default_value: str) -> None:
        self.name, self.default_value = name, default_value

    def perform(self, context: LaunchContext) -> str:
        return context.environment.get(self.name, self.default_value)


class ExecutableInPackage:
    def __init__(self, executable: str, package: str) -> None:
        assert package == "journeyman"
        self.executable = executable

    def perform(self, context: LaunchContext) -> str:
        return self.executable


class FindPackageShare:
    def __init__(self, package: str) -> None:
        assert package == "journeyman"

    def perform(self, context: LaunchContext) -> str:
        return "/share/journeyman"


class ParameterValue:
    def __init__(self, value: Any, *, value_type: type) -> None:
        self.value, self.value_type = value, value_type

    def evaluate(self, context: LaunchContext) -> Any:
        text = perform(context, self.value)
        if self.value_type is not bool:
            return self.value_type(text)
        return {"true": True, "false": False}[text.lower()]


class DeclareLaunchArgument:
    def __init__(
        self, name: str, *, default_value: Any = None, description: str = "", choices: Any = None
    ) -> None:
        self.name, self.default_value, self.description, self.choices = (
            name,
            default_value,
            description,
            choices,
        )

    def execute(self, context: LaunchContext) -> None:
        context.declared.setdefault(self.name, self)
        if self.name not in context.launch_configurations:
            if self.default_value is None:
                raise RuntimeError(f"Required launch argument '{self.name}' was not provided.")
            context.launch_configurations[self.name] = perform(context, self.default_value)
        value = context.launch_configurations[self.name]
        if self.choices is not None and value not in self.choices:
            raise RuntimeError(f"Argument '{self.name}' provided value '{value}' is not valid.")


class SetEnvironmentVariable:
    def __init__(self, name: str, value: Any) -> None:
        self.name, self.value = name, value

    def execute(self, context: LaunchContext) -> None:
        context.environment[self.name] = perform(context, self.value)


class OpaqueFunction:
    def __init__(self, *, function: Any) -> None:
        self.function = function

    def execute(self, context: LaunchContext) -> None:
        context.visit(self.function(context))


class GroupAction:
    """Scoped: what is set inside is forgotten outside."""

    def __init__(self, actions: list[Any]) -> None:
        self.actions = actions

    def execute(self, context: LaunchContext) -> None:
        outside = context.launch_configurations
        context.launch_configurations = dict(outside)
        context.visit(self.actions)
        context.launch_configurations = outside


class PythonLaunchDescriptionSource:
    def __init__(self, path: str) -> None:
        self.path = path


class IncludeLaunchDescription:
    """Not scoped: the arguments stay set."""

    def __init__(self, source: Any, *, launch_arguments: Any = (), condition: Any = None) -> None:
        self.source, self.launch_arguments, self.condition = source, launch_arguments, condition

    def execute(self, context: LaunchContext) -> None:
        description = load(Path(self.source.path))
        given = {name for name, _ in self.launch_arguments}
        for entity in description:
            if (
                isinstance(entity, DeclareLaunchArgument)
                and entity.default_value is None
                and entity.name not in given
            ):
                raise RuntimeError(f"Included launch description missing required argument '{entity.name}'")
        for name, value in self.launch_arguments:
            context.launch_configurations[name] = perform(context, value)
        description.execute(context)


class ExecuteProcess:
    """A process; evaluated when it is executed."""

    def __init__(
        self,
        *,
        cmd: list[Any],
        name: str | None = None,
        prefix: Any = None,
        additional_env: dict[str, Any] | None = None,
        output: str = "log",
        on_exit: Any = None,
        respawn: bool = False,
        respawn_delay: float | None = None,
        sigterm_timeout: str = "5",
        sigkill_timeout: str = "5",
        condition: Any = None,
    ) -> None:
        self.cmd, self.prefix, self.condition = cmd, prefix or "", condition
        self.on_exit, self.respawn, self.output = on_exit, respawn, output
        self.additional_env = additional_env or {}
        self.parameters: dict[str, Any] = {}

    def execute(self, context: LaunchContext) -> None:
        self.command = [perform(context, part) for part in self.cmd]
        self.executable = self.command[0]
        self.prefix = perform(context, self.prefix)
        own = {name: perform(context, value) for name, value in self.additional_env.items()}
        self.environment = context.environment | own
        context.started.append(self)


class Node(ExecuteProcess):
    def __init__(
        self, *, package: str, executable: str, namespace: Any, parameters: Any, **keywords: Any
    ) -> None:
        super().__init__(cmd=[ExecutableInPackage(executable, package)], **keywords)
        self.namespace, (self.given,) = namespace, parameters

    def execute(self, context: LaunchContext) -> None:
        self.namespace = perform(context, self.namespace)
        for name, value in self.given.items():
            self.parameters[name] = value.evaluate(context) if isinstance(value, ParameterValue) else value
        super().execute(context)


class Recorded:
    """An action, event or handler that is only looked at."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        self.arguments = arguments
        self.__dict__.update(keywords)

    def execute(self, context: LaunchContext) -> None:
        context.done.append(self)


def _recorded(name: str) -> type[Recorded]:
    return type(name, (Recorded,), {})


def _is_true(context: LaunchContext, value: Any) -> bool:
    return ParameterValue(value, value_type=bool).evaluate(context)


Shutdown, LogInfo, TimerAction, EmitEvent, RegisterEventHandler, OnProcessIO, ShutdownProcess = map(
    _recorded,
    (
        "Shutdown",
        "LogInfo",
        "TimerAction",
        "EmitEvent",
        "RegisterEventHandler",
        "OnProcessIO",
        "ShutdownProcess",
    ),
)

_MODULES: dict[str, dict[str, Any]] = {
    "launch": {"LaunchContext": LaunchContext, "LaunchDescription": LaunchDescription},
    "launch.actions": {
        thing.__name__: thing
        for thing in (
            *(
                DeclareLaunchArgument,
                SetEnvironmentVariable,
                OpaqueFunction,
                GroupAction,
                IncludeLaunchDescription,
            ),
            *(ExecuteProcess, Shutdown, LogInfo, TimerAction, EmitEvent, RegisterEventHandler),
        )
    },
    "launch.conditions": {
        "IfCondition": lambda value: lambda context: _is_true(context, value),
        "UnlessCondition": lambda value: lambda context: not _is_true(context, value),
    },
    "launch.event_handlers": {"OnProcessIO": OnProcessIO},
    "launch.events": {"matches_action": lambda action: lambda other: other is action},
    "launch.events.process": {"ShutdownProcess": ShutdownProcess},
    "launch.launch_description_sources": {"PythonLaunchDescriptionSource": PythonLaunchDescriptionSource},
    "launch.substitutions": {
        "EnvironmentVariable": EnvironmentVariable,
        "LaunchConfiguration": LaunchConfiguration,
    },
    "launch_ros": {},
    "launch_ros.actions": {"Node": Node},
    "launch_ros.parameter_descriptions": {"ParameterValue": ParameterValue},
    "launch_ros.substitutions": {
        "ExecutableInPackage": ExecutableInPackage,
        "FindPackageShare": FindPackageShare,
    },
}


@contextlib.contextmanager
def in_place_of_ros() -> Iterator[None]:
    """Let `import launch` find these, whatever else is installed, and forget them afterwards."""
    hidden = {name: module for name, module in sys.modules.items() if re.match(r"launch(_ros)?(\.|$)", name)}
    for name in hidden:
        del sys.modules[name]
    for name, things in _MODULES.items():
        module = ModuleType(name)
        module.__dict__.update(things)
        sys.modules[name] = module
    try:
        yield
    finally:
        for name in _MODULES:
            sys.modules.pop(name, None)
        sys.modules.update(hidden)


def load(path: Path) -> LaunchDescription:
    """What a launch file describes."""
    spec = importlib.util.spec_from_file_location(f"launch_file_{path.name.split('.')[0]}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with in_place_of_ros():
        spec.loader.exec_module(module)
        return module.generate_launch_description()
