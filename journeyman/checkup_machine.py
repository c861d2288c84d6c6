"""Checks of the computer itself: disk, memory, GPU, limits, processor, and what people and cameras are plugged into."""

import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from journeyman.checkup import Check, Verdict

_GIB = 2**30
_ENOUGH_MEMORY, _LITTLE_MEMORY = 4 * _GIB, 1 * _GIB
_ENOUGH_GPU_MEMORY = 2 * _GIB
_ENOUGH_DESCRIPTORS = 1024
_BLOCK = bytes(4096)
_WRITES, _SYNCS = 200, 5
_SLOW_WRITE_S, _SLOW_SYNC_S = 0.02, 0.5
_SPACE_MOUSE = "0000256F"  # The vendor as the kernel writes it.


def disk_speed(folder: Path = Path("runs")) -> Check:
    """How long appending and `fsync` take where runs are kept; a disk that cannot be written shows here, too."""
    name, place = "disk speed", folder if folder.is_dir() else Path.cwd()
    try:
        write_s, sync_s = _time_disk(place)
    except OSError as error:
        found = f"{place.absolute()} cannot be written: {error.strerror}"
        return Check(
            name,
            Verdict.WARN,
            found,
            "Free some space, mount it writable, or start runs elsewhere.",
        )
    found = (
        f"in {place.absolute()} appending takes at most {write_s * 1e3:.2f} ms, fsync {sync_s * 1e3:.1f} ms"
    )
    if write_s > _SLOW_WRITE_S or sync_s > _SLOW_SYNC_S:
        fix = "Let runs/ be on a local disk that nothing else keeps busy (a link will do): every step is written there."
        return Check(name, Verdict.WARN, found, fix)
    return Check(name, Verdict.OK, found)


def _time_disk(folder: Path) -> tuple[float, float]:
    """The longest write of a block, and the longest `fsync` of a megabyte."""
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        writes = [_seconds(lambda: file.write(_BLOCK)) for _ in range(_WRITES)]
        syncs = []
        for _ in range(_SYNCS):
            file.write(_BLOCK * 256)
            syncs.append(_seconds(lambda: os.fsync(file.fileno())))
    return max(writes), max(syncs)


def _seconds(act: Callable[[], object]) -> float:
    start_s = time.perf_counter()
    act()
    return time.perf_counter() - start_s


def memory(root: Path = Path("/")) -> Check:
    """What is left for replay and networks; of a container, what it may still take."""
    available = _kernel_available(root)
    limit, used = (_number(root / "sys/fs/cgroup" / name) for name in ("memory.max", "memory.current"))
    if limit is not None and used is not None:
        available = min(available, max(0, limit - used))
    found = f"{available / _GIB:.1f} GiB available"
    fix = "Close other programs, or set learner.replay_capacity lower; images take most of it."
    if available < _LITTLE_MEMORY:
        return Check("memory", Verdict.FAIL, found, fix)
    if available < _ENOUGH_MEMORY:
        return Check("memory", Verdict.WARN, found, fix)
    return Check("memory", Verdict.OK, found)


def _kernel_available(root: Path) -> int:
    for line in (root / "proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    raise OSError("/proc/meminfo does not say what is available")


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # No container, or one without a limit.
        return None


def gpu() -> Check:
    """Whether there is room on the GPU, if torch can use one."""
    import torch

    if not torch.cuda.is_available():
        return Check(
            "GPU", Verdict.OK, "none that torch can use (see torch); two cores learn low-dimensional tasks"
        )
    free, total = torch.cuda.mem_get_info()
    found = f"{torch.cuda.get_device_name()}, {free / _GIB:.1f} of {total / _GIB:.1f} GiB free"
    if free < _ENOUGH_GPU_MEMORY:
        fix = "End what else uses it (nvidia-smi lists it), or set learner.device=cpu."
        return Check("GPU", Verdict.WARN, found, fix)
    return Check("GPU", Verdict.OK, found)


def descriptors() -> Check:
    """How many files and sockets a process may have open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    found = f"{soft} files a process (at most {hard})"
    if 0 <= soft < _ENOUGH_DESCRIPTORS:
        fix = f"ulimit -n {4 * _ENOUGH_DESCRIPTORS}, for good in /etc/security/limits.conf: each actor takes a few."
        return Check("open files", Verdict.WARN, found, fix)
    return Check("open files", Verdict.OK, found)


def governor(root: Path = Path("/")) -> Check:
    """Whether the processor saves power between the steps of a control loop."""
    paths = sorted(root.glob("sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor"))
    found = sorted({path.read_text().strip() for path in paths})
    if not found:
        return Check("CPU governor", Verdict.OK, "none (the machine below, or the firmware, decides)")
    if found != ["performance"]:
        fix = "For a real robot: sudo cpupower frequency-set -g performance"
        return Check("CPU governor", Verdict.WARN, ", ".join(found), fix)
    return Check("CPU governor", Verdict.OK, "performance")


def devices(root: Path = Path("/")) -> Check:
    """Cameras, gamepads and SpaceMice that are plugged in, and whether this user may open them."""
    found, closed, fixes = [], [], []
    for kind, path, fix in _plugged_in(root):
        found.append(f"{kind} {path}")
        if not os.access(root / path, os.R_OK | os.W_OK):
            closed.append(str(path))
            fixes.append(fix)
    if not found:
        return Check("devices", Verdict.OK, "no camera, gamepad or SpaceMouse at this machine")
    if closed:
        finding = f"{', '.join(found)}; this user may not open {', '.join(closed)}"
        return Check("devices", Verdict.WARN, finding, " ".join(dict.fromkeys(fixes)))
    return Check("devices", Verdict.OK, ", ".join(found))


def _plugged_in(root: Path) -> Iterator[tuple[str, Path, str]]:
    """Kind, path below `root`, and how to get the right to open it."""
    for path in sorted(root.glob("dev/video[0-9]*")):
        yield "camera", path.relative_to(root), "sudo usermod -aG video $USER, then log in again."
    for path in sorted(root.glob("dev/input/js[0-9]*")):
        yield "gamepad", path.relative_to(root), "sudo usermod -aG input $USER, then log in again."
    for path in sorted(root.glob("sys/class/hidraw/hidraw[0-9]*/device/uevent")):
        if f":{_SPACE_MOUSE}:" in path.read_text(errors="replace").upper():
            from robot_env.devices.spacemouse import (
                UDEV_RULE,  # Late: other checks say what keeps this from loading.
            )

            rule = f"Put {UDEV_RULE} into /etc/udev/rules.d/70-spacemouse.rules, and plug it in again."
            yield "SpaceMouse", Path("dev") / path.parents[1].name, rule
