"""What varies stays in its range, and nothing of it is left when it is off again."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controllers.config import InputError
from sim.config import RandomisationConfig, TwinConfig
from sim.randomisation import _CHANGED
from sim.registration import load, make_env, make_twin

EVERYTHING = RandomisationConfig(
    object_mass_kg=(0.02, 0.2),
    object_friction=(0.5, 1.5),
    joint_damping_scale=(0.5, 2.0),
    gripper_force_n=(15.0, 40.0),
    camera_offset_m=(-0.01, 0.01),
    light_scale=(0.6, 1.2),
    action_delay_s=(0.0, 0.04),
    position_noise_m=(0.0, 0.002),
)


@pytest.fixture(scope="module")
def varied():
    return make_env("lift_cube", TwinConfig(randomisation=EVERYTHING))


@pytest.fixture(scope="module")
def nominal():
    return make_env("lift_cube").robot.twin.model


@settings(max_examples=25)
@given(seed=st.integers(0, 2**32 - 1))
def test_everything_stays_in_its_range(varied, nominal, seed: int) -> None:
    varied.reset(seed=seed)
    twin, ranges = varied.robot.twin, EVERYTHING
    model = twin.model
    cube = model.body("cube")
    assert ranges.object_mass_kg[0] <= cube.mass[0] <= ranges.object_mass_kg[1]
    np.testing.assert_allclose(
        cube.inertia / cube.mass[0], nominal.body("cube").inertia / nominal.body("cube").mass[0]
    )
    assert ranges.object_friction[0] <= model.geom("cube").friction[0] <= ranges.object_friction[1]
    damping = model.dof_damping[:7] / nominal.dof_damping[:7]
    assert ranges.joint_damping_scale[0] <= damping.min() <= damping.max() <= ranges.joint_damping_scale[1]
    low, high = model.actuator("gripper").forcerange
    assert -low == high
    assert ranges.gripper_force_n[0] <= high <= ranges.gripper_force_n[1]
    assert np.abs(model.cam_pos - nominal.cam_pos).max() <= ranges.camera_offset_m[1]
    light = model.light_diffuse / nominal.light_diffuse
    assert ranges.light_scale[0] <= light.min() <= light.max() <= ranges.light_scale[1]
    assert 0.0 <= twin.variation.action_delay_s <= ranges.action_delay_s[1]
    assert 0.0 <= twin.variation.position_noise_m <= ranges.position_noise_m[1]
    others = np.arange(model.nbody) != cube.id
    np.testing.assert_array_equal(model.body_mass[others], nominal.body_mass[others])
    others = np.arange(model.ngeom) != model.geom("cube").id
    np.testing.assert_array_equal(model.geom_friction[others], nominal.geom_friction[others])


def test_draws_do_not_add_up(varied) -> None:
    varied.reset(seed=5)
    first = {name: getattr(varied.robot.twin.model, name).copy() for name in _CHANGED}
    for seed in range(20):
        varied.reset(seed=seed)
    varied.reset(seed=5)
    for name, value in first.items():
        np.testing.assert_array_equal(getattr(varied.robot.twin.model, name), value)


def test_nothing_varies_by_default(nominal) -> None:
    env = make_env("lift_cube")
    env.reset(seed=1)
    for name in _CHANGED:
        np.testing.assert_array_equal(getattr(env.robot.twin.model, name), getattr(nominal, name))


def test_varied_episodes_are_reproducible_too(varied) -> None:
    def episode() -> bytes:
        varied.reset(seed=3)
        action = np.array([0.3, -0.4, -1.0, -1.0], np.float32)
        return np.array([varied.step(action)[0]["state"] for _ in range(20)]).tobytes()

    assert episode() == episode()


def test_the_expert_copes_with_variation(varied, expert_successes) -> None:
    assert len(expert_successes(varied, 10, 0.1)) >= 9


@pytest.mark.parametrize(
    ("ranges", "message"),
    [
        ({"object_mass_kg": [0.2, 0.1]}, "object_mass_kg"),
        ({"object_mass_kg": [0.0, 0.1]}, "object_mass_kg"),
        ({"gripper_force_n": [-1.0, 1.0]}, "gripper_force_n"),
        ({"cube_mass_kg": [0.1, 0.2]}, "cube_mass_kg"),
    ],
)
def test_senseless_ranges_are_refused(ranges, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_twin(load("lift_cube"), {"randomisation": ranges})
