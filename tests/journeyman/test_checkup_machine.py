"""What a computer lacks is found in what its kernel says."""

import resource

import pytest

from journeyman import checkup_machine
from journeyman.checkup import Verdict
from journeyman.checkup_machine import descriptors, devices, disk_speed, governor, memory

GIB = 2**30


@pytest.fixture
def machine(tmp_path):
    """A computer made of files: `machine({"proc/meminfo": "..."})`."""

    def make(files):
        for name, content in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        return tmp_path

    return make


def meminfo(gib):
    return {"proc/meminfo": f"MemTotal: 99999999 kB\nMemAvailable: {round(gib * 2**20)} kB\n"}


@pytest.mark.parametrize(("gib", "verdict"), [(30, Verdict.OK), (2, Verdict.WARN), (0.5, Verdict.FAIL)])
def test_little_memory_is_found(machine, gib, verdict):
    assert memory(machine(meminfo(gib))).verdict is verdict


@pytest.mark.parametrize(("limit", "verdict"), [("max", Verdict.OK), (str(8 * GIB), Verdict.FAIL)])
def test_a_container_has_no_more_than_its_limit(machine, limit, verdict):
    group = {"sys/fs/cgroup/memory.max": limit, "sys/fs/cgroup/memory.current": str(8 * GIB - 1000)}
    assert memory(machine(meminfo(30) | group)).verdict is verdict


def test_this_machine_says_what_it_has():
    assert "GiB available" in memory().finding


@pytest.mark.parametrize(
    ("found", "verdict"),
    [(["performance"] * 2, Verdict.OK), (["performance", "powersave"], Verdict.WARN), ([], Verdict.OK)],
)
def test_a_processor_that_saves_power_is_found(machine, found, verdict):
    name = "sys/devices/system/cpu/cpu{}/cpufreq/scaling_governor"
    check = governor(machine({name.format(i): f"{word}\n" for i, word in enumerate(found)}))
    assert check.verdict is verdict
    assert ("cpupower" in check.fix) is (verdict is Verdict.WARN)


PLUGGED_IN = {
    "dev/video0": "",
    "dev/input/js0": "",
    "dev/hidraw3": "",
    "sys/class/hidraw/hidraw3/device/uevent": "DRIVER=hid-generic\nHID_ID=0003:0000256F:0000C635\n",
    "dev/hidraw4": "",
    "sys/class/hidraw/hidraw4/device/uevent": "DRIVER=hid-generic\nHID_ID=0003:0000046D:0000C52B\n",
}


def test_what_is_plugged_in_is_listed(machine):
    check = devices(machine(PLUGGED_IN))
    assert check.verdict is Verdict.OK
    assert check.finding == "camera dev/video0, gamepad dev/input/js0, SpaceMouse dev/hidraw3"
    assert devices(machine({}) / "dev").verdict is Verdict.OK


def test_what_may_not_be_opened_is_found_with_the_way_to_it(machine, monkeypatch):
    root = machine(PLUGGED_IN)
    monkeypatch.setattr(checkup_machine.os, "access", lambda path, _: "video" in str(path))
    check = devices(root)
    assert check.verdict is Verdict.WARN
    assert "may not open dev/input/js0, dev/hidraw3" in check.finding
    assert "256f" in check.fix
    assert "group" not in check.fix
    assert "-aG input" in check.fix
    assert "-aG video" not in check.fix


@pytest.mark.parametrize(("soft", "verdict"), [(256, Verdict.WARN), (1024, Verdict.OK), (-1, Verdict.OK)])
def test_few_open_files_are_found(monkeypatch, soft, verdict):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, 4096))
    assert descriptors().verdict is verdict


def test_a_disk_is_timed_and_left_as_it_was(tmp_path):
    check = disk_speed(tmp_path)
    assert "fsync" in check.finding
    assert str(tmp_path) in check.finding
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("times_s", [(1.0, 0.0), (0.0, 1.0)])
def test_a_slow_disk_is_found(monkeypatch, tmp_path, times_s):
    monkeypatch.setattr(checkup_machine, "_time_disk", lambda _: times_s)
    assert disk_speed(tmp_path).verdict is Verdict.WARN


def test_a_disk_that_takes_nothing_is_found(monkeypatch, tmp_path):
    def full(_):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(checkup_machine, "_time_disk", full)
    check = disk_speed(tmp_path)
    assert check.verdict is Verdict.WARN
    assert "Read-only" in check.finding
