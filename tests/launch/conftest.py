"""Launch files evaluated without ROS, and what setup.py asks for."""

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Arguments with which each launch file starts all that it can start.
COMPLETE = {"robot": "twin", "sim": "true"}

_ASK_SETUP = """
import json, runpy, sys
import setuptools
if sys.argv[1] == "pip":
    import setuptools.build_meta
asked = {}
setuptools.setup = asked.update
runpy.run_path("setup.py", run_name="__main__")
print(json.dumps(asked))
"""


@pytest.fixture(scope="session")
def ros() -> ModuleType:
    """The stand-in for ROS's launch."""
    spec = importlib.util.spec_from_file_location(
        "stand_in_for_launch", Path(__file__).with_name("stand_in.py")
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def launch(ros: ModuleType) -> Callable[..., Any]:
    """`launch("train", task="reach")` is what `ros2 launch journeyman train.launch.py task:=reach` would do."""

    def launch(name: str, environment: dict[str, str] | None = None, **arguments: str) -> Any:
        context = ros.LaunchContext(
            launch_configurations=dict(arguments), environment=dict(environment or {})
        )
        ros.load(ROOT / "launch" / f"{name}.launch.py").execute(context)
        return context

    return launch


@pytest.fixture
def complete(launch: Callable[..., Any]) -> Callable[..., Any]:
    """The same with everything running that the file can start."""

    def complete(name: str, environment: dict[str, str] | None = None, **arguments: str) -> Any:
        context = launch(name, environment, **COMPLETE | arguments)
        if context.processes("journeyman"):
            context.learner_says()
        return context

    return complete


def asked_of_setuptools(frontend: str) -> dict[str, Any]:
    """The arguments that setup.py gives to `setup` when run by `pip` or by `colcon`."""
    command = [sys.executable, "-c", _ASK_SETUP, frontend]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    return json.loads(finished.stdout)


@pytest.fixture(scope="session")
def colcon_setup() -> dict[str, Any]:
    return asked_of_setuptools("colcon")


@pytest.fixture(scope="session")
def pip_setup() -> dict[str, Any]:
    return asked_of_setuptools("pip")


@pytest.fixture(scope="session")
def executables(colcon_setup: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Name in lib/journeyman -> module and function."""
    scripts = (script.split(" = ") for script in colcon_setup["entry_points"]["console_scripts"])
    return {name: tuple(where.split(":")) for name, where in scripts}
