"""The repository as a ROS 2 package: what it declares, and what `colcon build` makes of it."""

import ast
import os
import re
import subprocess
import sys
import tomllib
import venv
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PACKAGES = ("agent", "controllers", "journeyman", "reward_models", "robot_env", "sim")
MANIFEST = ElementTree.parse(ROOT / "package.xml").getroot()

# They come with rclpy, or with the drivers of the robots that need them.
IMPLIED = {"builtin_interfaces", "rcl_interfaces", "control_msgs"}
# What pip says when it reached no index, rather than that something is wrong with the packages.
UNREACHABLE = (
    "No matching distribution found",
    "Failed to establish a new connection",
    "Could not fetch URL",
)


def tracked_files():
    names = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    return [name for name in names.split("\0") if name and (ROOT / name).exists()]


def without_ros_or_venv():
    """The environment of a shell that has nothing sourced."""
    sourced = ("PYTHON", "VIRTUAL_ENV", "AMENT_", "COLCON_", "ROS_")
    return {key: value for key, value in os.environ.items() if not key.startswith(sourced)}


def test_both_manifests_agree():
    assert MANIFEST.get("format") == "3"
    assert MANIFEST.findtext("export/build_type") == "ament_python"
    for key in ("name", "version", "description"):
        assert MANIFEST.findtext(key) == PROJECT[key]


def test_the_manifest_names_every_ros_package_that_is_imported():
    imported = set()
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
                    imported.add(node.module.split(".")[0])
                elif isinstance(node, ast.Import):
                    imported.update(alias.name.split(".")[0] for alias in node.names)
    of_ros = {name for name in imported if re.fullmatch(r"rclpy|\w+_(msgs|srvs|interfaces)", name)}
    named = {element.text for element in MANIFEST.findall("exec_depend")}
    assert of_ros - IMPLIED <= named
    assert {"launch", "launch_ros"} <= named


def test_licence_and_python_are_those_of_the_project(pip_setup, colcon_setup):
    for asked in (pip_setup, colcon_setup):
        assert asked["license"] == MANIFEST.findtext("license") == "Apache-2.0"
        assert asked["python_requires"] == ">=3.11"


def test_pip_installs_one_command_and_no_files_outside_the_packages(pip_setup):
    assert pip_setup["entry_points"] == {"console_scripts": ["journeyman = journeyman.cli:main"]}
    assert not pip_setup["data_files"]


@pytest.fixture
def colcon(tmp_path):
    """colcon in an environment of its own, with the packages that build ROS packages."""
    folder = tmp_path / "venv"
    venv.create(folder, with_pip=True)
    install = [folder / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    pip = subprocess.run(
        [*install, "colcon-core", "colcon-ros"],
        env=without_ros_or_venv(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    if pip.returncode and not os.environ.get("CI") and any(words in pip.stderr for words in UNREACHABLE):
        pytest.skip("needs a package index")
    assert pip.returncode == 0, pip.stderr
    return folder / "bin/colcon"


@pytest.fixture
def source(tmp_path):
    """A workspace with a copy of what is tracked."""
    workspace = tmp_path / "workspace"
    for name in tracked_files():
        copy = workspace / "src/journeyman" / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes((ROOT / name).read_bytes())
    return workspace / "src/journeyman"


def build(colcon, source, *options):
    """Run `colcon build`; returns where it installed."""
    base = source.parents[1] / ("linked" if options else "copied")
    command = [colcon, "build", "--build-base", base / "build", "--install-base", base / "install"]
    before = {path: path.stat().st_mtime_ns for path in source.rglob("*")}
    finished = subprocess.run(
        [*map(str, command), *options, "--event-handlers", "console_direct+"],
        cwd=source.parents[1],
        env=without_ros_or_venv(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert "doesn't explicitly install" not in finished.stderr
    assert {path: path.stat().st_mtime_ns for path in source.rglob("*")} == before
    return base / "install"


def run_sourced(install, *command):
    """Run a command in a shell that has sourced the workspace, with this Python's libraries."""
    script = f'. "{install}/local_setup.sh" && exec "$@"'
    return subprocess.run(
        ["sh", "-c", script, "sh", *map(str, command)],
        cwd=install,
        env=without_ros_or_venv() | {"PYTHONSAFEPATH": "1"},
        capture_output=True,
        text=True,
        timeout=60,
    )


def check_that_what_ros_looks_for_is_installed(built, colcon):
    share, scripts = built / "journeyman/share", built / "journeyman/lib/journeyman"
    marker = share / "ament_index/resource_index/packages/journeyman"
    assert marker.read_bytes() == b""
    assert (share / "journeyman/package.xml").read_bytes() == (ROOT / "package.xml").read_bytes()
    for folder, origin, pattern in (
        ("launch", "launch", "*.launch.py"),
        ("robots", "robot_env/ros/robots", "*.yaml"),
        ("tasks", "sim/conf/task", "*.yaml"),
    ):
        tracked = {
            Path(n).name for n in tracked_files() if Path(n).parent == Path(origin) and Path(n).match(pattern)
        }
        assert tracked
        assert {path.name for path in (share / "journeyman" / folder).iterdir()} == tracked
    nodes = {"actor_node", "controller_node", "teleop_node", "twin_node"}
    assert {path.name for path in scripts.iterdir()} == {"journeyman"} | nodes
    for path in scripts.iterdir():
        assert os.access(path, os.X_OK)
        assert path.read_text().startswith(f"#!{colcon.parent}/python")


def check_that_a_sourced_workspace_has_the_packages(built, source):
    code = "import os, sys; print(os.environ['AMENT_PREFIX_PATH'], *(__import__(n).__file__ for n in sys.argv[1:]))"
    finished = run_sourced(built, sys.executable, "-c", code, *PACKAGES)
    assert finished.returncode == 0, finished.stderr
    prefix, *places = finished.stdout.split()
    assert prefix == str(built / "journeyman")
    assert len(places) == len(PACKAGES)
    assert not [place for place in places if not place.startswith(str(source.parents[1]))]


def check_that_an_installed_executable_runs(built):
    finished = run_sourced(built, sys.executable, built / "journeyman/lib/journeyman/journeyman", "--help")
    assert finished.returncode == 0, finished.stderr
    assert "learner" in finished.stdout


@pytest.mark.slow
def test_colcon_builds_a_ros_package_and_leaves_the_source_as_it_was(colcon, source):
    # One test, as each needs the environment, and tests in parallel would make one each.
    for options in ([], ["--symlink-install"]):
        built = build(colcon, source, *options)
        check_that_what_ros_looks_for_is_installed(built, colcon)
        check_that_a_sourced_workspace_has_the_packages(built, source)
        check_that_an_installed_executable_runs(built)
