import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_env.resets.region import Region

BOX = Region(min_m=(0.0, -1.0), max_m=(1.0, 1.0))


@given(seed=st.integers(0, 2**31))
def test_samples_lie_inside(seed):
    point_m = BOX.sample(np.random.default_rng(seed))
    assert BOX.distance_m(point_m) == 0.0
    np.testing.assert_array_equal(BOX.nearest(point_m), point_m)


def test_how_far_outside_a_point_is():
    assert BOX.distance_m((4.0, 5.0)) == 5.0
    assert np.isnan(BOX.distance_m((np.nan, 0.0)))


@pytest.mark.parametrize(
    ("low", "high"),
    [((1.0,), (0.0,)), ((0.0,), (1.0, 1.0)), ((), ()), ((np.nan,), (1.0,)), ((0.0,), (np.inf,))],
)
def test_a_box_without_a_point_in_it_is_refused(low, high):
    with pytest.raises(ValueError, match="region"):
        Region(min_m=low, max_m=high)
