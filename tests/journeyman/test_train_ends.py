"""What `journeyman train` does when it ends, without processes."""

import msgspec
import pytest

from journeyman.config import compose
from journeyman.train import is_evaluated

TWIN = compose(["task=reach"])
ARM = msgspec.structs.replace(TWIN, robot=compose(["task=reach", "robot=ros2"]).robot)


@pytest.mark.parametrize("code", [1, 2, 3, 130])
def test_a_robot_whose_time_is_real_moves_for_an_evaluation_only_after_a_complete_run(code):
    assert is_evaluated(ARM, 0, has_policy=True)
    assert not is_evaluated(ARM, code, has_policy=True)
    assert is_evaluated(TWIN, 0, has_policy=True)
    assert is_evaluated(TWIN, code, has_policy=True)
    assert not is_evaluated(TWIN, code, has_policy=False)
