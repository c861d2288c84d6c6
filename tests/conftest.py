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


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give a test marked `seeds(2, soak=1)` a `seed` of 0, 1 and, by `make soak`, 2."""
    for marker in metafunc.definition.iter_markers("seeds"):
        (usual,), more = marker.args, marker.kwargs["soak"]
        soaked = [pytest.param(seed, marks=pytest.mark.soak) for seed in range(usual, usual + more)]
        metafunc.parametrize("seed", [*range(usual), *soaked])


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
    """Wait until a condition holds and return what it gave: 20 s, because machines that run tests are slow at times.

    `what` is waited for, in words for who waited in vain. A file that starts whole programs gives them longer, by a
    fixture of the same name.
    """

    def wait(condition: Callable[[], Any], timeout_s: float = 20.0, what: str = "a condition") -> Any:
        deadline_s = time.monotonic() + timeout_s
        while not (found := condition()):
            assert time.monotonic() < deadline_s, f"waited {timeout_s:g} s in vain: {what}"
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


@pytest.fixture(scope="session")
def make_episode() -> Callable[..., Any]:
    """An episode of random numbers, sizes as asked for."""
    import numpy as np

    from robot_env.episode import MEASUREMENTS, PROVENANCES, Episode, EpisodeMetadata

    sizes = {"ee_quaternion_xyzw": (4,), "ee_wrench": (6,), "gripper_width_m": ()}

    def make(
        number: int,
        steps: int = 4,
        joints: int = 2,
        measured: Any = MEASUREMENTS,
        cameras: Any = ("wrist",),
        end: Any = (True, False),
        **metadata: Any,
    ) -> Episode:
        rng = np.random.default_rng(number)
        rows = steps + 1
        ends = np.zeros((2, steps), bool)
        ends[:, -1] = end
        known: dict[str, Any] = {
            "schema_version": 1,
            "task": {"name": "reach", "control_rate_hz": 10.0},
            "robot": "fake",
            "joint_names": tuple(f"joint_{i + 1}" for i in range(joints)),
            "state_names": ("a", "b", "c"),
            "action_size": 2,
            "operator": "Ada",
            "seed": None,
            "recorded_at": "2026-01-31T12:00:00.123+00:00",
            "software": {"numpy": "2"},
            "measured": tuple(measured),
            **metadata,
        }
        states, actions = len(known["state_names"]), known["action_size"]
        shapes = {n: (joints,) if n.startswith("joint_") else sizes.get(n, (3,)) for n in measured}
        return Episode(
            metadata=EpisodeMetadata(**known),
            observations={
                "state": rng.normal(size=(rows, states)).astype(np.float32),
                **{name: rng.integers(0, 256, (rows, 5, 7, 3), np.uint8) for name in cameras},
            },
            actions=rng.uniform(-1, 1, (steps, actions)).astype(np.float32),
            rewards=rng.normal(size=steps),
            terminated=ends[0],
            truncated=ends[1],
            intervened=rng.random(steps) < 0.5,
            provenance=rng.choice(PROVENANCES, steps),
            robot={name: rng.normal(size=(rows, *shape)) for name, shape in shapes.items()},
            elapsed_s=np.cumsum([0, *rng.integers(0, 10**9, steps)]) * 1e-9,
            success=bool(rng.random() < 0.5),
        )

    return make


@pytest.fixture(scope="session")
def assert_same() -> Callable[..., None]:
    """Two episodes hold the same, bit for bit; but for the images of `lossy` cameras, which are left out."""
    import numpy as np

    def check(found: Any, wanted: Any, lossy: Any = ()) -> None:
        assert found.metadata == wanted.metadata
        assert found.success is wanted.success
        for name in (
            "actions",
            "rewards",
            "terminated",
            "truncated",
            "intervened",
            "provenance",
            "elapsed_s",
        ):
            mine, theirs = getattr(found, name), getattr(wanted, name)
            assert mine.dtype.kind == theirs.dtype.kind, name
            assert mine.tolist() == theirs.tolist(), name
        for group in ("observations", "robot"):
            mine, theirs = getattr(found, group), getattr(wanted, group)
            assert mine.keys() == theirs.keys()
            for name in mine.keys() - set(lossy):
                assert mine[name].dtype == theirs[name].dtype, name
                np.testing.assert_array_equal(mine[name], theirs[name], name)

    return check


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
