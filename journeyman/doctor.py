"""`journeyman doctor`: is this machine ready, and if not, what to do about it."""

import argparse
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable
from dataclasses import asdict
from importlib import metadata
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from agent.config import Config, InputError
from journeyman import checkup_machine
from journeyman.checkup import Check, Verdict
from journeyman.checkup_clock import ClockAnswerer, peer_clock, split_address, synchronisation
from journeyman.options import read_options


class DoctorOptions(Config):
    """What `journeyman doctor` is asked for besides.

    Attributes:
        peer: `HOST:PORT` where another machine answers: the offset of its clock is measured.
        answer: `HOST:PORT` to answer at, for a `peer=` elsewhere, until Ctrl-C; nothing is checked then.
        arm: Name of a robot behind ROS 2, or the path of its YAML: that is checked instead of the machine, and which
            tasks fit it.
    """

    peer: str | None = None
    answer: str | None = None
    arm: str | None = None


GIB = 2**30
_STYLES = {Verdict.OK: "green", Verdict.WARN: "yellow", Verdict.FAIL: "bold red"}
_PROBE_TIMEOUT_S = 60.0
_WIDE = 240

_PHYSICS_XML = "<mujoco><worldbody><body><freejoint/><geom size='.1'/></body></worldbody></mujoco>"

# Graphics drivers may abort the whole process, so the probe is a process of its own.
_RENDER_PROBE = f"""
import time, mujoco
model = mujoco.MjModel.from_xml_string("{_PHYSICS_XML}")
data = mujoco.MjData(model)
with mujoco.Renderer(model, 128, 128) as renderer:
    renderer.update_scene(data); renderer.render()
    start_s = time.perf_counter()
    renderer.update_scene(data); renderer.render()
    print(f"{{(time.perf_counter() - start_s) * 1e3:.1f}}")
"""

# A node that hears itself: libraries that load may still find no network.
_ROS_PROBE = """
import rclpy, time
from std_msgs.msg import Bool
rclpy.init()
node = rclpy.create_node("journeyman_doctor")
heard = []
node.create_subscription(Bool, "journeyman_doctor", heard.append, 1)
publisher = node.create_publisher(Bool, "journeyman_doctor", 1)
deadline_s = time.monotonic() + 10.0
while not heard and time.monotonic() < deadline_s:
    publisher.publish(Bool(data=True))
    rclpy.spin_once(node, timeout_sec=0.1)
name = rclpy.get_rmw_implementation_identifier()
node.destroy_node()
rclpy.shutdown()
if not heard:
    raise SystemExit(f"a node does not hear itself through {name}: is multicast on the loopback device blocked?")
print(name)
"""

_REAL_TIME_PROBE = "import os; os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))"


def run(options: argparse.Namespace, write: Callable[[str], object] = print) -> int:
    """Check this machine and write what was found.

    Args:
        options: `json` asks for a JSON list of checks instead of a table; `overrides` are `DoctorOptions`.
        write: Takes the text, once.

    Returns:
        Exit code: 1 if any check failed, else 0.
    """
    wanted = read_options(DoctorOptions, getattr(options, "overrides", []), "doctor")
    if wanted.answer is not None:
        return _answer(wanted.answer, write)
    if wanted.arm is not None:
        if wanted.peer is not None:
            raise InputError(
                f"arm={wanted.arm} and peer={wanted.peer} are two things: ask one after the other."
            )
        from journeyman.checkup_arm import check_arm  # MuJoCo may be what is broken.

        return _tell(check_arm(wanted.arm), options, write)
    probes = dict(_PROBES)
    if wanted.peer is not None:
        peer = wanted.peer
        split_address(peer)
        probes["clock of the peer"] = lambda: peer_clock(peer)
    return _tell([_guarded(name, probe) for name, probe in probes.items()], options, write)


def _tell(checks: list[Check], options: argparse.Namespace, write: Callable[[str], object]) -> int:
    write(json.dumps([asdict(check) for check in checks], indent=1) if options.json else _as_table(checks))
    return int(any(check.verdict is Verdict.FAIL for check in checks))


def _answer(address: str, write: Callable[[str], object]) -> int:
    """Tell others the time until Ctrl-C."""
    answerer = ClockAnswerer(split_address(address))
    write(
        f"Telling the time at {address}. On the other machine: journeyman doctor peer=THIS_HOST:{answerer.port}"
    )
    try:
        answerer.serve()
    except KeyboardInterrupt:
        answerer.close()
    return 0


def _guarded(name: str, probe: Callable[[], Check]) -> Check:
    """Run a check; one that cannot even be made has failed, and the others still run."""
    try:
        return probe()
    except Exception as error:
        finding = f"{type(error).__name__}: {error}"
        return Check(name, Verdict.FAIL, finding, "Install journeyman again with its dependencies.")


def _as_table(checks: list[Check]) -> str:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("", "check", "finding", "what to do"):
        table.add_column(heading, overflow="fold")
    for check in checks:
        verdict = Text(check.verdict, style=_STYLES[check.verdict])
        table.add_row(verdict, check.name, Text(check.finding), Text(check.fix))
    console = Console()
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _WIDE  # Paths in a file or a pipe stay whole.
    with console.capture() as capture:
        console.print(table)
    return capture.get().rstrip("\n")


def _python() -> Check:
    return Check("Python", Verdict.OK, f"{platform.python_version()} ({sys.executable})")


def _torch() -> Check:
    import torch

    found = f"torch {torch.__version__}, {torch.get_num_threads()} threads"
    if torch.cuda.is_available():
        return Check("torch", Verdict.OK, f"{found}, {torch.cuda.get_device_name()}")
    if Path("/proc/driver/nvidia/version").exists():
        fix = "The NVIDIA driver is there: install a CUDA build of torch that this driver supports."
        return Check("torch", Verdict.WARN, f"{found}, no usable GPU", fix)
    return Check("torch", Verdict.OK, f"{found}, CPU only")


def _compiler() -> Check:
    """What torch.compile needs on a CPU."""
    compiler = next(
        filter(None, (shutil.which(name) for name in (os.environ.get("CXX", ""), "g++", "clang++"))), None
    )
    headers = Path(sysconfig.get_path("include"), "Python.h").exists()
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    missing = [*([] if compiler else ["g++"]), *([] if headers else [f"python{version}-dev"])]
    if " " in sys.prefix:
        # torch hands the paths of its libraries to the compiler without quotes.
        finding = f"torch.compile fails in a folder with spaces: {sys.prefix}"
        return Check("C++ compiler", Verdict.WARN, finding, "Put the virtual environment elsewhere.")
    if not missing:
        return Check("C++ compiler", Verdict.OK, f"{compiler} with Python headers")
    finding = f"torch.compile misses {' and '.join(missing)}: algorithm.config.compile=true will fail"
    return Check("C++ compiler", Verdict.WARN, finding, f"sudo apt-get install {' '.join(missing)}")


def _mujoco() -> Check:
    import mujoco

    model = mujoco.MjModel.from_xml_string(_PHYSICS_XML)
    data = mujoco.MjData(model)
    mujoco.mj_step(model, data)
    if not data.qpos[2] < 0:
        return Check("MuJoCo", Verdict.FAIL, "a ball does not fall", "Install mujoco again.")
    return Check("MuJoCo", Verdict.OK, f"mujoco {mujoco.__version__}, physics steps")


def _rendering() -> Check:
    backends = [os.environ["MUJOCO_GL"]] if os.environ.get("MUJOCO_GL") else ["egl", "osmesa"]
    errors = []
    for backend in backends:
        try:
            milliseconds = _probe(_RENDER_PROBE, MUJOCO_GL=backend)
        except (subprocess.SubprocessError, OSError) as error:
            errors.append(f"{backend}: {_last_line(error)}")
            continue
        return Check("rendering", Verdict.OK, f"MUJOCO_GL={backend}: 128 x 128 frame in {milliseconds} ms")
    fix = "sudo apt-get install libosmesa6 (or: libegl1 libgl1). Without: no cameras, no videos."
    return Check("rendering", Verdict.WARN, "; ".join(errors), fix)


def _inverse_kinematics() -> Check:
    try:
        import mink  # noqa: F401 - an old mink fails to import beside a new mujoco, and the reverse
    except Exception as error:
        finding = f"damped least squares, because mink does not load: {error}"
        return Check("inverse kinematics", Verdict.WARN, finding, "Install the mink that fits this mujoco.")
    return Check("inverse kinematics", Verdict.OK, f"mink {metadata.version('mink')}")


def _transport() -> Check:
    import zmq

    found = f"pyzmq {metadata.version('pyzmq')}"
    if not zmq.has("curve"):
        fix = "Install pyzmq from a wheel: without CURVE only actors on this machine may connect."
        return Check("transport", Verdict.WARN, f"{found} without CURVE", fix)
    return Check("transport", Verdict.OK, f"{found} with CURVE")


def _disk() -> Check:
    free_gib = shutil.disk_usage(Path.cwd()).free / GIB
    found = f"{free_gib:.1f} GiB free in {Path.cwd()}"
    if not os.access(Path.cwd(), os.W_OK):
        return Check("disk", Verdict.WARN, f"{Path.cwd()} cannot be written", "Start runs from another.")
    if free_gib < 1:
        return Check("disk", Verdict.FAIL, found, "Free at least 1 GiB; a run with cameras needs more.")
    if free_gib < 5:
        return Check("disk", Verdict.WARN, found, "A run with cameras may fill this.")
    return Check("disk", Verdict.OK, found)


def _real_time() -> Check:
    try:
        _probe(_REAL_TIME_PROBE)
    except (subprocess.SubprocessError, OSError):
        fix = "For a real robot: '@realtime - rtprio 98' in /etc/security/limits.conf, and join that group."
        return Check("real time", Verdict.WARN, "SCHED_FIFO is not permitted", fix)
    return Check("real time", Verdict.OK, "SCHED_FIFO is permitted")


def _clock() -> Check:
    resolution_s = time.get_clock_info("monotonic").resolution
    late_s = max(_lateness_s(0.002) for _ in range(25))
    found = f"resolution {resolution_s * 1e9:.0f} ns, sleeps wake up at most {late_s * 1e3:.1f} ms late"
    if resolution_s > 1e-4 or late_s > 0.02:
        fix = "Close what else is running before a real robot is driven from this machine."
        return Check("clock", Verdict.WARN, found, fix)
    return Check("clock", Verdict.OK, found)


def _lateness_s(duration_s: float) -> float:
    start_s = time.monotonic()
    time.sleep(duration_s)
    return time.monotonic() - start_s - duration_s


def _ros() -> Check:
    if importlib.util.find_spec("rclpy") is None:
        return Check("ROS 2", Verdict.OK, "not here (needed for real robots and rehearsals only)")
    from controllers.config import InputError
    from robot_env.ros.runtime import require_ros

    try:
        require_ros()
        found = _probe(_ROS_PROBE)
    except InputError as error:
        return Check("ROS 2", Verdict.FAIL, "here twice", str(error))
    except subprocess.SubprocessError as error:
        fix = "Source the ROS 2 that matches this Python, or install the ros extra anew in an empty environment."
        return Check("ROS 2", Verdict.FAIL, _last_line(error), fix)
    distribution, domain = os.environ.get("ROS_DISTRO", "wheels"), os.environ.get("ROS_DOMAIN_ID", "0")
    return Check("ROS 2", Verdict.OK, f"rclpy ({distribution}), {found}, domain {domain}")


def _probe(code: str, **environment: str) -> str:
    """Run Python code in a process of its own and return what it printed."""
    command = [sys.executable, "-c", code]
    finished = subprocess.run(
        command,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=_PROBE_TIMEOUT_S,
        check=True,
    )
    return finished.stdout.strip()


def _last_line(error: Exception) -> str:
    output = error.stderr if isinstance(error, subprocess.CalledProcessError) else str(error)
    lines = (output or "").strip().splitlines()
    return lines[-1] if lines else str(error)


_PROBES: dict[str, Callable[[], Check]] = {
    "Python": _python,
    "torch": _torch,
    "C++ compiler": _compiler,
    "MuJoCo": _mujoco,
    "rendering": _rendering,
    "inverse kinematics": _inverse_kinematics,
    "transport": _transport,
    "GPU": checkup_machine.gpu,
    "memory": checkup_machine.memory,
    "disk": _disk,
    "disk speed": checkup_machine.disk_speed,
    "open files": checkup_machine.descriptors,
    "real time": _real_time,
    "CPU governor": checkup_machine.governor,
    "clock": _clock,
    "clock synchronisation": synchronisation,
    "devices": checkup_machine.devices,
    "ROS 2": _ros,
}
