import numpy as np
import pytest

from robot_env.contracts import ResetResult, Reward
from robot_env.resets.region import Region
from robot_env.resets.verify import AllOf, ArmAtStart, CamerasAlive, GripperAt, NotDone, ObjectAtStart
from robot_env.robot import RobotError, RobotUnavailableError

HERE = Region(min_m=(0.4, -0.1, 0.2), max_m=(0.5, 0.1, 0.3))
PLACE = Region(min_m=(0.4, -0.1), max_m=(0.6, 0.1))
NAN = float("nan")


class Says:
    """A verifier that was made up its mind."""

    def __init__(self, answer):
        self.answer, self.restarts = answer, 0

    def restart(self):
        self.restarts += 1

    def verify(self):
        if isinstance(self.answer, Exception):
            raise self.answer
        return ResetResult(not self.answer, self.answer)


def test_all_that_is_wrong_is_told_together():
    assert AllOf([Says(""), Says("")]).verify().success
    told = AllOf([Says("the arm is away"), Says(""), Says(RobotError("the cube is not seen"))]).verify()
    assert told == ResetResult(False, "the arm is away; the cube is not seen")


def test_what_is_not_there_is_nobodys_verdict():
    with pytest.raises(RobotUnavailableError):
        AllOf([Says("wrong"), Says(RobotUnavailableError("gone"))]).verify()


def test_those_that_compare_are_told_that_a_reset_begins(table):
    told = Says("")
    AllOf([told, GripperAt(table, 0.08, 0.01)]).restart()
    assert told.restarts == 1


@pytest.mark.parametrize(
    ("position_m", "words"),
    [((0.5, 0.0, 0.31), ""), ((0.5, 0.0, 0.4), "0.100 m outside"), ((0.5, NAN, 0.3), "nan m outside")],
)
def test_the_arm_is_in_its_start_region(table, position_m, words):
    table.place(position_m)
    result = ArmAtStart(table, HERE).verify()
    assert result.success is (not words)
    assert words in result.reason


def test_the_arm_rests(table):
    table.speed_m_s = lambda: 0.1
    assert "still moves with 0.10 m/s" in ArmAtStart(table, HERE).verify().reason


@pytest.mark.parametrize(("jammed_m", "words"), [(None, ""), (0.02, "0.020 m between"), (NAN, "nan m")])
def test_the_gripper_is_where_it_was_told_to_be(table, jammed_m, words):
    table.jammed_m = jammed_m
    result = GripperAt(table, 0.08, 0.01).verify()
    assert result.success is (not words)
    assert words in result.reason


@pytest.mark.parametrize(
    ("cube_m", "words"),
    [
        ((0.5, 0.0, 0.02), ""),
        ((0.5, 0.5, 0.02), "cube is 0.400 m outside its start region, at 0.50, 0.50, 0.02 m"),
        ((0.5, 0.0, 0.3), "cube is in the gripper"),
        ((NAN, 0.0, 0.02), "cube is nan m outside"),
        ((0.5, 0.0, NAN), "cube does not rest"),
    ],
)
def test_an_object_lies_in_its_region_and_not_in_the_gripper(table, cube_m, words):
    table.cube_m[:] = cube_m
    result = ObjectAtStart(table, table.scene(), "cube", PLACE).verify()
    assert result.success is (not words)
    assert words in result.reason


def test_an_object_that_rolls_does_not_rest(table):
    scene = table.scene()
    observe = scene.observe

    def roll():
        table.cube_m[0] += 0.01
        return observe()

    scene.observe = roll
    before_s = table.clock.now_s()
    assert ObjectAtStart(table, scene, "cube", PLACE, rest_s=0.3).verify().reason == "cube does not rest"
    assert table.clock.now_s() == pytest.approx(before_s + 0.3)
    assert not table.sent


class Pictures:
    """Of two cameras, one of which sees."""

    def __init__(self):
        self.seen = 0

    def __call__(self):
        self.seen += 1
        return {"state": np.zeros(1), "blind": np.zeros((2, 2, 3)), "good": np.full((2, 2, 3), self.seen)}


def test_a_camera_that_did_not_see_the_arm_move_is_named(table):
    verifier = CamerasAlive(table, Pictures(), ("good", "blind"))
    verifier.restart()
    table.place((0.4, 0.0, 0.3))
    assert verifier.verify().reason == "camera blind shows the same picture as before the arm moved"
    only_good = CamerasAlive(table, Pictures(), ("good",))
    only_good.restart()
    table.place((0.5, 0.0, 0.3))
    assert only_good.verify().success


def test_where_nothing_moved_the_same_picture_is_no_fault(table):
    verifier = CamerasAlive(table, Pictures(), ("blind",))
    assert verifier.verify().success  # Nobody has said that a reset begins.
    verifier.restart()
    assert verifier.verify().success


@pytest.mark.parametrize("error", [RobotError, RobotUnavailableError])
def test_pictures_that_are_not_there_before_a_reset_are_not_compared(table, error):
    def look():
        raise error("no picture")

    verifier = CamerasAlive(table, look, ("good",))
    if error is RobotUnavailableError:
        with pytest.raises(RobotUnavailableError):
            verifier.restart()
    else:
        verifier.restart()
        table.place((0.4, 0.0, 0.3))
        assert verifier.verify().success


class Judge:
    """Remembers a success of the last episode until it is restarted."""

    def __init__(self, success, remembers=False):
        self.success, self.remembers = success, remembers

    def restart(self):
        self.remembers = False

    def reward(self, observation):
        return Reward(0.0, self.success or self.remembers)


@pytest.mark.parametrize(
    ("judges", "success"),
    [([Judge(False)], True), ([Judge(False), Judge(True)], False), ([Judge(False, remembers=True)], True)],
)
def test_nobody_says_that_it_is_done_already(judges, success):
    result = NotDone(dict, lambda: judges).verify()
    assert result.success is success
    assert success or "done before" in result.reason
