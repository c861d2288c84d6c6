import gymnasium
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.transition import TransitionSpec
from controllers.config import InputError
from reward_models.judged import judged_cameras, judged_spec, state_entries

NAMES = ("place.0", "place.1", "width", "speed.0")
SPEC = TransitionSpec.of(
    gymnasium.spaces.Dict(
        {
            "state": gymnasium.spaces.Box(-np.inf, np.inf, (4,), np.float32),
            "front": gymnasium.spaces.Box(0, 255, (4, 6, 3), np.uint8),
            "wrist": gymnasium.spaces.Box(0, 255, (4, 4, 3), np.uint8),
        }
    ),
    gymnasium.spaces.Box(-1, 1, (2,), np.float32),
)


@given(parts=st.sets(st.sampled_from(["place", "width", "speed"])))
def test_parts_of_the_state_are_found_in_its_order(parts):
    entries = state_entries(sorted(parts), NAMES, "key")
    assert [NAMES[entry] for entry in entries] == [name for name in NAMES if name.split(".")[0] in parts]
    assert state_entries(None, NAMES, "key") == [0, 1, 2, 3]


def test_the_layout_has_what_is_judged_and_no_more():
    judged = judged_spec(SPEC, 2, ["wrist"], "key")
    assert {name: space.shape for name, space in judged.observation_space.items()} == {
        "wrist": (4, 4, 3),
        "state": (2,),
    }
    assert judged_cameras(None, SPEC) == ("front", "wrist")
    assert judged_cameras(["wrist"], SPEC) == ("wrist",)


def test_what_is_not_there_is_refused():
    with pytest.raises(
        InputError, match=r"key names \['cube'\], but the state of this task has place, width, speed"
    ):
        state_entries(["cube", "width"], NAMES, "key")
    with pytest.raises(InputError, match=r"names \['top'\], but the task has \['front', 'wrist'\]"):
        judged_cameras(["top", "front"], SPEC)
    with pytest.raises(InputError, match="key is empty and there are no cameras"):
        judged_spec(SPEC, 0, [], "key")
