"""What every test runs under: one thread per library, no window, reproducible examples."""

import ctypes.util
import importlib.util
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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


@pytest.fixture(scope="session")
def wait_until() -> Callable[..., Any]:
    """Wait until a condition holds and return what it gave: 20 s, because machines that run tests are slow at times."""

    def wait(condition: Callable[[], Any], timeout_s: float = 20.0) -> Any:
        deadline_s = time.monotonic() + timeout_s
        while not (found := condition()):
            assert time.monotonic() < deadline_s, "it did not come about"
            time.sleep(0.005)
        return found

    return wait


@pytest.fixture(scope="session")
def run_process() -> Callable[..., Any]:
    """Run Python with these arguments until the block ends: `with run_process("-m", "x", ready="up") as process`."""

    @contextmanager
    def run(*arguments: object, ready: str = "", **options: Any) -> Iterator[subprocess.Popen[str]]:
        paths = [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
        process = subprocess.Popen(
            [sys.executable, *map(str, arguments)],
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            **options,
        )
        assert process.stdout is not None
        # One that neither comes up nor ends must not hold up the tests for ever.
        watchdog = threading.Timer(60.0, process.kill)
        watchdog.start()
        try:
            while ready and ready not in (line := process.stdout.readline()):
                assert line, f"the process ended with {process.wait()} before it said {ready!r}"
            watchdog.cancel()
            yield process
        finally:
            watchdog.cancel()
            process.kill()
            process.communicate()

    return run
