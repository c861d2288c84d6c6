"""A SpaceMouse by its raw reports, in place of the package `hid`."""

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controllers.config import InputError
from robot_env.devices.reading import GripperRequest
from robot_env.devices.spacemouse import UDEV_RULE, SpaceMouse, SpaceMouseConfig, make_spacemouse
from robot_env.robot import RobotUnavailableError
from robot_env.teleoperator import Event

COMPACT = {
    "vendor_id": 0x256F,
    "product_id": 0xC635,
    "path": b"/dev/hidraw3",
    "product_string": "SpaceMouse Compact",
}
MULTI_AXIS = {"usage_page": 1, "usage": 8}
BUTTONS = {0: "close", 1: "open", 2: "success", 3: "quit"}

raw = st.integers(-350, 350)


class FakeHid:
    """What `hid` is used for: reports of a mouse that a test plugs in."""

    def __init__(self):
        self.plugged = [COMPACT | MULTI_AXIS]
        self.reports = []
        self.is_forbidden = False
        self.calls = []

    def enumerate(self, vendor, product):
        return [each for each in self.plugged if each["vendor_id"] == vendor]

    def device(self):
        return self

    def open_path(self, path):
        if self.is_forbidden:
            raise OSError("open failed")
        self.calls.append(path)

    def set_nonblocking(self, value):
        self.calls.append(("nonblocking", value))

    def read(self, size):
        if not self.plugged:
            raise OSError("read error")
        return list(self.reports.pop(0)) if self.reports else []

    def close(self):
        self.calls.append("close")


@pytest.fixture
def hid():
    return FakeHid()


@pytest.fixture
def mouse(hid, stopwatch):
    mouse = SpaceMouse(SpaceMouseConfig(buttons=BUTTONS), lambda: hid, stopwatch)
    mouse.open()
    return mouse


def report(number, *values):
    return struct.pack(f"<B{len(values)}h", number, *values)


def buttons(*down):
    return struct.pack("<BI", 3, sum(1 << number for number in down))


@given(st.tuples(*[raw] * 6), st.booleans())
def test_both_generations_of_reports_deflect_in_the_axes_of_the_arm(values, is_new):
    """Right, towards the hand and down are positive for the device; away, left and up for the arm."""
    hid = FakeHid()
    mouse = SpaceMouse(SpaceMouseConfig(), lambda: hid)
    mouse.open()
    hid.reports = [report(1, *values)] if is_new else [report(1, *values[:3]), report(2, *values[3:])]
    reading = mouse.read()
    right, near, down, about_right, about_near, about_down = np.array(values) / 350
    np.testing.assert_allclose(reading.linear, [-near, -right, -down])
    np.testing.assert_allclose(reading.angular, [-about_near, -about_right, -about_down])
    assert reading.deadman is None
    # It speaks only while it is moved, and ends with zeros.
    assert mouse.read().linear.tolist() == reading.linear.tolist()
    hid.reports = [report(1, 0, 0, 0, *([0, 0, 0] if is_new else [])), report(2, 0, 0, 0)]
    assert not mouse.read().linear.any()


def test_buttons_once_per_press(hid, mouse):
    hid.reports = [buttons(1), buttons(0, 1), buttons(0, 1, 2), buttons(), buttons(3)]
    assert mouse.get_events() == (Event.SUCCESS, Event.QUIT)
    assert mouse.read().gripper is GripperRequest.CLOSE
    assert mouse.read().gripper is None
    hid.reports = [buttons(3)]
    assert mouse.get_events() == ()


def test_a_dead_man_button(hid, stopwatch):
    mouse = SpaceMouse(SpaceMouseConfig(buttons={0: "deadman"}), lambda: hid, stopwatch)
    mouse.open()
    assert mouse.read().deadman is False
    hid.reports = [buttons(0)]
    assert mouse.read().deadman is True
    hid.reports = [buttons()]
    assert mouse.read().deadman is False


def test_silence_under_a_deflected_cap_is_not_believed(hid, mouse, stopwatch):
    hid.reports = [report(1, 350, 0, 0)]
    assert mouse.read().linear.any()
    stopwatch.now_s += 0.4
    assert mouse.read().linear.any()
    stopwatch.now_s += 0.2
    assert mouse.read() is None
    assert not mouse.read().linear.any()
    stopwatch.now_s += 100.0
    assert not mouse.read().linear.any()  # At rest it has nothing to say.


def test_pulled_out_it_is_gone_and_plugged_in_it_goes_on(hid, mouse):
    hid.reports = [report(1, 350, 0, 0)]
    assert mouse.read().linear.any()
    there, hid.plugged = hid.plugged, []
    with pytest.raises(RobotUnavailableError, match=r"SpaceMouse is gone \(read error\): plug it in"):
        mouse.read()
    with pytest.raises(RobotUnavailableError, match="SpaceMouse is gone: plug it in"):
        mouse.read()
    assert mouse.get_events() == ()
    hid.plugged = there
    assert not mouse.read().linear.any()


def test_reports_that_are_cut_off_or_unknown_are_passed_over(hid, mouse):
    hid.reports = [b"\x01\x02", b"\x17\x64\x01", report(2, 1)]
    reading = mouse.read()
    assert not reading.linear.any()
    assert not reading.angular.any()


def test_it_never_waits(hid, mouse):
    assert ("nonblocking", True) in hid.calls
    mouse.close()
    mouse.close()
    assert hid.calls.count("close") == 1
    mouse.open()


def test_one_that_may_not_be_opened_names_its_rule(hid):
    hid.is_forbidden = True
    with pytest.raises(InputError, match="/dev/hidraw3 may not be opened") as caught:
        SpaceMouse(SpaceMouseConfig(), lambda: hid).open()
    assert UDEV_RULE in str(caught.value)


@pytest.mark.parametrize(
    "plugged",
    [
        [],
        [COMPACT | {"usage_page": 12, "usage": 1}],
        [{"vendor_id": 0x046D, "product_id": 0xC077, "path": b"x", "product_string": "Optical Mouse"}],
    ],
)
def test_without_one_it_says_what_to_do(hid, plugged):
    hid.plugged = plugged
    with pytest.raises(InputError, match="no SpaceMouse"):
        SpaceMouse(SpaceMouseConfig(), lambda: hid).open()


def test_one_of_several_by_name(hid):
    pro = COMPACT | {"path": b"/dev/hidraw9", "product_string": "SpaceMouse Pro"}
    hid.plugged = [COMPACT, pro]
    SpaceMouse(SpaceMouseConfig(product="pro"), lambda: hid).open()
    assert b"/dev/hidraw9" in hid.calls


@pytest.mark.parametrize("config", [{"buttons": {0: "+x"}}, {"buttons": {"first": "open"}}, {"axes": {}}])
def test_a_configuration_that_cannot_be_meant(make_env, config):
    with pytest.raises(InputError, match=r"device\.config"):
        make_spacemouse(make_env(), config)
