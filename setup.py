"""The part of the packaging that pyproject.toml cannot hold: everything else, dependencies included, is there.

`license` and `requires-python` are here because colcon-core 0.21 fails on a `requires-python` in pyproject.toml, and
because setuptools before 77, as in Ubuntu 24.04, refuses a `license` there in the form that later ones want.

pip and build install Python packages and the command `journeyman`. colcon also installs the ROS 2 nodes, launch files,
robots and tasks: executables with names such as `twin_node` belong in lib/journeyman, where ROS 2 looks, not on a PATH.
"""

import sys
from pathlib import Path

from setuptools import setup

# pip and build come through setuptools' build backend; colcon runs this file itself.
FOR_ROS = "setuptools.build_meta" not in sys.modules

ROOT = Path(__file__).resolve().parent
COMMANDS = ["journeyman = journeyman.cli:main"]
NODES = [
    "actor_node = journeyman.ros.actor_node:main",
    "controller_node = robot_env.ros.controller_node:main",
    "teleop_node = robot_env.ros.teleop_node:main",
    "twin_node = sim.ros.twin_node:main",
]


def files(pattern: str) -> list[str]:
    """Paths as colcon wants them: relative to this folder, though with --symlink-install it runs a link elsewhere."""
    return sorted(str(path.relative_to(ROOT)) for path in ROOT.glob(pattern))


DATA_FILES = [
    ("share/ament_index/resource_index/packages", ["resource/journeyman"]),
    # With --symlink-install, setuptools finds only what is listed here beside setup.py: so also what it reads.
    ("share/journeyman", ["package.xml", "pyproject.toml", "README.md", "LICENSE"]),
    ("share/journeyman/launch", files("launch/*.launch.py")),
    ("share/journeyman/robots", files("robot_env/ros/robots/*.yaml")),
    ("share/journeyman/tasks", files("sim/conf/task/*.yaml")),
]

setup(
    license="Apache-2.0",
    python_requires=">=3.11",
    data_files=DATA_FILES if FOR_ROS else [],
    entry_points={"console_scripts": COMMANDS + (NODES if FOR_ROS else [])},
)
