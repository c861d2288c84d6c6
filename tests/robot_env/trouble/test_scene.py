import numpy as np
import pytest

from robot_env.trouble.scene import CameraFrozenConfig, NoProgressConfig, ObjectOutConfig

# The workspace of the task in tests/robot_env/conftest.py: 0.2 to 0.8, -0.4 to 0.4, 0 to 0.6 m.


@pytest.fixture
def out(make_task):
    return ObjectOutConfig().detector(make_task())


@pytest.fixture
def frozen(make_task):
    return CameraFrozenConfig().detector(make_task())


@pytest.mark.parametrize(
    "place_m", [(0.9, 0, 0.1), (0.5, -0.5, 0.1), (0.5, 0, -0.2), (0.5, 0, 0.7), (np.nan, 0, 0.1)]
)
def test_an_object_that_left_the_widened_workspace_is_trouble(out, first_alarm, place_m):
    time_s, complaint = first_alarm(out, lambda _: {"objects": {"ball": (0.5, 0, 0.1), "cube": place_m}})
    assert time_s == 0.3
    assert complaint.startswith("cube is out of reach at ")


def test_an_object_at_the_workspaces_border_is_in_reach(out, first_alarm):
    assert first_alarm(out, lambda _: {"objects": {"cube": (0.84, 0.44, -0.04)}}) is None


def test_one_wrong_pose_of_a_tracker_is_not_believed(out, first_alarm):
    seen = [(0.5, 0, 0.1), (5.0, 0, 0.1)]
    assert first_alarm(out, lambda t: {"objects": {"cube": seen[round(10 * t) % 4 == 0]}}) is None


def test_nothing_is_said_of_a_scene_without_objects(out, first_alarm):
    assert first_alarm(out, lambda _: {}) is None


def test_the_box_may_be_given(make_task, first_alarm, refuses):
    config = ObjectOutConfig(min_m=(0.0, -1.0, 0.5))
    lower = config.detector(make_task())
    assert first_alarm(lower, lambda _: {"objects": {"cube": (0.1, -0.9, 0.55)}}) is None
    assert "at 0.50, 0.00, 0.40 m" in first_alarm(lower, lambda _: {"objects": {"cube": (0.5, 0, 0.4)}})[1]
    refuses(ObjectOutConfig, "must lie below max_m", min_m=[0, 0, 0], max_m=[1, 1, 0])
    refuses(ObjectOutConfig, "margin_m", margin_m=-0.1)


def frame(number):
    return np.full((4, 6, 3), number, np.uint8)


def moving(t):
    return (0.4 + 0.1 * t, 0.0, 0.3)


def test_a_camera_that_shows_the_same_while_the_arm_moves_is_frozen(frozen, first_alarm):
    def seen(t):
        frames = {"front": frame(round(10 * t)), "wrist": frame(7 if t >= 1.0 else round(10 * t))}
        return {"tool_m": moving(t), "frames": frames}

    time_s, complaint = first_alarm(frozen, seen)
    assert time_s == 2.0
    assert complaint == "camera wrist shows the same picture while the arm moves"


def test_all_frozen_cameras_are_named(frozen, first_alarm):
    frames = {"front": frame(1), "wrist": frame(2)}
    _, complaint = first_alarm(frozen, lambda t: {"tool_m": moving(t), "frames": frames})
    assert "camera front, wrist shows" in complaint


def test_nothing_happens_before_a_camera_while_the_arm_rests(frozen, first_alarm):
    assert first_alarm(frozen, lambda _: {"frames": {"front": frame(1)}}) is None


def test_an_arm_that_went_away_and_came_back_has_moved(frozen, first_alarm):
    def seen(t):
        return {"tool_m": moving(0.5 if t == 0.3 else 0.0), "frames": {"front": frame(1)}}

    assert first_alarm(frozen, seen)[0] == 1.0


def test_a_slow_camera_is_not_frozen(frozen, first_alarm):
    assert (
        first_alarm(frozen, lambda t: {"tool_m": moving(t), "frames": {"front": frame(int(2 * t))}}) is None
    )


def test_a_camera_that_writes_into_the_same_memory_is_not_frozen(frozen, first_alarm):
    memory = frame(0)

    def seen(t):
        memory[:] = round(10 * t) % 256
        return {"tool_m": moving(t), "frames": {"front": memory}}

    assert first_alarm(frozen, seen) is None


def test_terms_that_do_not_rise_are_no_progress(make_task, first_alarm):
    detector = NoProgressConfig(duration_s=3.0).detector(make_task())
    time_s, complaint = first_alarm(
        detector, lambda t: {"terms": {"reach": min(t, 1.0), "lift": 0.1 * (t > 9)}}
    )
    assert time_s == 4.1
    assert "no progress for 3 s" in complaint
    detector.restart()
    assert first_alarm(detector, lambda t: {"terms": {"reach": 0.05 * t}}) is None
    assert first_alarm(detector, lambda t: {}) is None
