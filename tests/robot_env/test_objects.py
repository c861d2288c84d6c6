"""What a task may observe of a tracked object."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controllers.rotations import from_rotation_vector, multiply
from robot_env.objects import object_of, observables_of, observe_object

angles = st.floats(-np.pi, np.pi)


@pytest.mark.parametrize(
    ("observable", "name"),
    [
        ("cube_position", "cube"),
        ("red_cube_from_ee", "red_cube"),
        ("peg_quaternion", "peg"),
        ("peg_yaw", "peg"),
        ("gripper_width", None),
        ("position", None),
        ("_position", None),
        ("cube", None),
    ],
)
def test_an_observable_belongs_to_the_object_in_its_name(observable, name):
    assert object_of(observable) == name


@given(st.lists(st.from_regex(r"[a-z]{1,8}", fullmatch=True), unique=True, max_size=3))
def test_every_observable_has_the_size_that_is_said_and_names_its_object(names):
    said = observables_of(names)
    for name in names:
        seen = observe_object(name, np.zeros(3), np.array((0.0, 0.0, 0.0, 1.0)), np.zeros(3))
        assert {key: value.size for key, value in seen.items()} == {
            key: size for key, size in said.items() if object_of(key) == name
        }
    assert len(said) == 4 * len(names)


def yaw_of(quaternion):
    return observe_object("cube", np.zeros(3), quaternion, np.zeros(3))["cube_yaw"]


@given(angles)
def test_yaw_is_cosine_and_sine_of_four_times_the_turn(angle_rad):
    found = yaw_of(from_rotation_vector(np.array((0.0, 0.0, angle_rad))))
    assert found == pytest.approx([np.cos(4.0 * angle_rad), np.sin(4.0 * angle_rad)], abs=1e-6)


@given(angles, st.integers(0, 3))
def test_a_box_looks_the_same_after_quarter_turns(angle_rad, quarters):
    turn = from_rotation_vector(np.array((0.0, 0.0, angle_rad)))
    turned = multiply(from_rotation_vector(np.array((0.0, 0.0, quarters * np.pi / 2.0))), turn)
    assert yaw_of(turned) == pytest.approx(yaw_of(turn), abs=1e-6)


@given(angles)
def test_both_signs_of_a_quaternion_look_the_same(angle_rad):
    quaternion = from_rotation_vector(np.array((0.0, 0.0, angle_rad)))
    assert yaw_of(-quaternion) == pytest.approx(yaw_of(quaternion))
