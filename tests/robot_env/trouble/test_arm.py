import numpy as np
import pytest

from robot_env.trouble.arm import ContactConfig, GripperJammedConfig, StuckConfig

FAR = {"cube": (0.2, 0.3, 0.0)}
NEAR = {"cube": (0.5, 0.0, 0.29)}


@pytest.fixture
def stuck(make_task):
    return StuckConfig().detector(make_task())


@pytest.fixture
def contact(make_task):
    return ContactConfig().detector(make_task())


@pytest.fixture
def jammed(make_task):
    return GripperJammedConfig().detector(make_task())


def test_an_arm_that_is_told_to_move_and_does_not_is_stuck(stuck, first_alarm):
    time_s, complaint = first_alarm(stuck, lambda _: {"asked": (0.0, 0.5, 0.0)})
    assert time_s == 2.0
    assert complaint == "the arm is stuck: in 2 s it came 0 mm forward although it was told to move"


def test_an_arm_that_springs_back_and_forth_a_little_is_stuck_all_the_same(stuck, first_alarm):
    springing = first_alarm(
        stuck, lambda t: {"asked": (1, 1, 0), "tool_m": (0.5 + 0.004 * np.sin(7 * t), 0, 0.3)}
    )
    assert springing is not None


def test_an_arm_that_slides_along_what_is_in_its_way_is_stuck(stuck, first_alarm):
    sliding = first_alarm(stuck, lambda t: {"asked": (1, 0, 0), "tool_m": (0.5, 0.02 * t, 0.3)})
    assert sliding is not None


@pytest.mark.parametrize(
    "seen",
    [
        lambda t: {"asked": (1, 0, 0), "tool_m": (0.3 + 0.006 * t, 0, 0.3)},  # It goes, if slowly.
        lambda t: {"asked": (0.2, 0, 0)},  # It is told next to nothing.
        lambda t: {"asked": ((-1.0) ** round(10 * t), 0, 0)},  # It is told to tremble.
        lambda t: {"asked": (np.nan, 0, 0)},  # The robot refuses that, and says so.
    ],
)
def test_an_arm_that_follows_or_is_not_told_to_move_is_not_stuck(stuck, first_alarm, seen):
    assert first_alarm(stuck, seen) is None


def test_an_episode_is_not_judged_by_the_one_before(stuck, make_moment):
    for step in range(20):
        assert not stuck.look(make_moment(step / 10, asked=(1, 0, 0)))
    stuck.restart()
    assert not stuck.look(make_moment(2.0, asked=(1, 0, 0)))


def test_nothing_is_made_of_a_clock_that_jumped_back(stuck, contact, jammed, make_moment):
    for start_s in (100.0, 5.0, 3.0):
        for step in range(8):
            moment = make_moment(
                start_s + step / 10, asked=(1, 0, 0), force_n=(0, 0, 30), asked_width_m=0.08, width_m=0.0
            )
            assert not any(detector.look(moment) for detector in (stuck, contact, jammed))


def test_force_that_lasts_is_trouble(contact, first_alarm):
    time_s, complaint = first_alarm(contact, lambda _: {"force_n": (0, 20, -20)})
    assert time_s == 1.0
    assert complaint.startswith("the arm has pressed on something with more than 25 N for 1 s")


def test_a_blow_is_trouble_at_once(contact, first_alarm):
    time_s, complaint = first_alarm(contact, lambda t: {"force_n": (0, 0, 500 if t == 0.3 else 0)})
    assert time_s == 0.3
    assert "bumped into something with 500 N" in complaint


def test_a_policy_that_leans_again_on_what_the_safety_filter_let_go_of_presses(contact, first_alarm):
    time_s, _ = first_alarm(contact, lambda t: {"force_n": (0, 0, 0 if round(10 * t) % 2 else 40)})
    assert time_s == 1.0


def test_a_touch_now_and_then_is_manipulation(contact, first_alarm):
    assert first_alarm(contact, lambda t: {"force_n": (0, 0, 5 if round(10 * t) % 4 else 60)}) is None


def test_fingers_that_do_not_open_are_jammed_whatever_is_near(jammed, first_alarm):
    for objects in ({}, NEAR, FAR):
        jammed.restart()
        time_s, complaint = first_alarm(
            jammed, lambda _, o=objects: {"asked_width_m": 0.08, "width_m": 0.0, "objects": o}
        )
        assert time_s == 2.0
        assert "its fingers stayed 0 mm apart although they were told to open" in complaint


def test_fingers_that_do_not_close_are_jammed_only_where_it_is_known_that_nothing_is_between_them(
    jammed, first_alarm
):
    def seen(objects):
        return lambda _: {"asked_width_m": 0.0, "width_m": 0.05, "objects": objects}

    assert first_alarm(jammed, seen(NEAR)) is None
    assert first_alarm(jammed, seen({})) is None
    jammed.restart()
    assert "told to close" in first_alarm(jammed, seen(FAR))[1]


def test_an_object_that_was_there_a_moment_ago_explains_fingers_that_stay_open(jammed, first_alarm):
    alarm = first_alarm(
        jammed,
        lambda t: {
            "asked_width_m": 0.0,
            "width_m": 0.05,
            "objects": NEAR if round(10 * t) % 15 == 0 else FAR,
        },
    )
    assert alarm is None


def test_jammed_fingers_are_seen_under_a_policy_that_cannot_make_up_its_mind(jammed, first_alarm):
    widths = np.random.default_rng(0).uniform(0.0, 0.08, 300)
    alarm = first_alarm(jammed, lambda t: {"asked_width_m": widths[round(10 * t)], "width_m": 0.0})
    assert alarm is not None


@pytest.mark.parametrize(
    "seen",
    [
        lambda t: {"asked_width_m": 0.08, "width_m": min(0.08, 0.01 * t)},  # Slow.
        lambda t: {"asked_width_m": 0.08, "width_m": 0.075},  # Not quite.
        lambda t: {"asked_width_m": None, "width_m": 0.0},  # The task holds them.
    ],
)
def test_fingers_that_come_or_are_not_told_anything_are_not_jammed(jammed, first_alarm, seen):
    assert first_alarm(jammed, seen) is None


def test_limits_that_everything_or_nothing_exceeds_are_refused(refuses):
    refuses(StuckConfig, "progress_m 0.0 must be positive", progress_m=0)
    refuses(StuckConfig, "duration_s inf must be positive and finite", duration_s=float("inf"))
    refuses(StuckConfig, "asked nan", asked=float("nan"))
    refuses(ContactConfig, "peak_force_n 10.0 must not lie below force_n 25.0", peak_force_n=10)
    refuses(GripperJammedConfig, "difference_m -0.01", difference_m=-0.01)
    refuses(GripperJammedConfig, "unknown field `difference`", difference=1)
