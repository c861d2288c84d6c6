"""What every test runs under: one thread per library, no window, reproducible examples."""

import ctypes.util
import importlib.util
import os
import sys

import hypothesis
import pytest

# Before any import of numpy, torch or mujoco, and inherited by every process that a test starts. Several
# workers share the cores, and two of torch's threads beside other load collapse.
for _variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_variable] = "1"
if sys.platform == "linux" and "MUJOCO_GL" not in os.environ:
    # Never a window, even where there is a display.
    for _library, _backend in (("EGL", "egl"), ("OSMesa", "osmesa")):
        if ctypes.util.find_library(_library):
            os.environ["MUJOCO_GL"] = _backend
            break

# A ROS domain for each worker of each run of the tests, or they would hear each other; the highest is 232. Sockets
# instead of shared memory: a killed process would leave its segments behind.
_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
os.environ["ROS_DOMAIN_ID"] = str(1 + (os.getppid() * 8 + _worker) % 230)
os.environ["FASTDDS_BUILTIN_TRANSPORTS"] = "UDPv4"
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"

# A shared machine stalls now and then: a deadline would fail tests at random.
hypothesis.settings.register_profile("default", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, database=None, print_blob=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "default")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what this machine cannot run."""
    if item.get_closest_marker("ros") and importlib.util.find_spec("rclpy") is None:
        # Continuous integration installs it; without it a third of the product would go untested unnoticed.
        (pytest.fail if os.environ.get("CI") else pytest.skip)("needs rclpy")
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA device")
