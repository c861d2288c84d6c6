"""What every test runs under: one thread per library, no window, reproducible examples."""

import contextlib
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

_SEGMENTS_BEFORE = pytest.StashKey[set[str]]()

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
# instead of shared memory, whose segments a killed process leaves behind; with a discovery range of LOCALHOST Fast DDS
# would use it all the same.
_worker = os.environ.get("PYTEST_XDIST_WORKER")
_run = os.getppid() if _worker else os.getpid()
os.environ["ROS_DOMAIN_ID"] = str(1 + (_run * 8 + int((_worker or "gw0").removeprefix("gw"))) % 230)
os.environ["FASTDDS_BUILTIN_TRANSPORTS"] = "UDPv4"
os.environ.pop("ROS_AUTOMATIC_DISCOVERY_RANGE", None)
# Inherited by every process that a test starts; see `pytest_sessionfinish`.
os.environ.setdefault("JOURNEYMAN_TEST_RUN", str(_run))

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


def _segments() -> set[str]:
    """Shared memory of DDS that no living process uses."""
    found = {str(path) for path in Path("/dev/shm").glob("fast*_*") if not path.name.endswith("_el")}
    for maps in Path("/proc").glob("[0-9]*/maps"):
        # Processes end while they are looked at.
        with contextlib.suppress(OSError):
            text = maps.read_text()
            found = {segment for segment in found if segment not in text}
    return found


def _processes() -> list[str]:
    """Living processes that tests of this run started, by their command lines."""
    mark = f"JOURNEYMAN_TEST_RUN={os.environ['JOURNEYMAN_TEST_RUN']}".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            environment = (folder / "environ").read_bytes().split(b"\0")
            if mark in environment and int(folder.name) != os.getpid():
                found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
    # Pytest's own workers are about to end.
    return [command for command in found if command and "execnet" not in command]


def pytest_sessionstart(session: pytest.Session) -> None:
    """Remember what was there before."""
    session.config.stash[_SEGMENTS_BEFORE] = _segments()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """The tests leave neither processes nor shared memory behind."""
    if _worker or not sys.platform.startswith("linux"):
        return
    left = sorted(_segments() - session.config.stash[_SEGMENTS_BEFORE]) + _processes()
    if left:
        print("\nLeft behind by the tests:", *left, sep="\n  ", file=sys.stderr)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
