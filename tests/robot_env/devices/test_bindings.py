"""What keys and buttons mean."""

import numpy as np
import pytest

from controllers.config import InputError
from robot_env.devices.bindings import Bindings
from robot_env.devices.reading import GripperRequest
from robot_env.teleoperator import Event


def test_every_meaning():
    bindings = Bindings(
        {"w": "+x", "s": "-x", "j": "+yaw", "g": "toggle", "q": "quit", "space": "deadman", "p": "none"},
        "keys",
    )
    np.testing.assert_array_equal(bindings.directions["w"], [1, 0, 0, 0, 0, 0])
    np.testing.assert_array_equal(bindings.directions["s"], -bindings.directions["w"])
    np.testing.assert_array_equal(bindings.directions["j"], [0, 0, 0, 0, 0, 1])
    assert bindings.request(["g"]) is GripperRequest.TOGGLE
    assert bindings.said(["w", "q", "p", "unknown"]) == [Event.QUIT]
    assert bindings.deadman == {"space"}


def test_the_last_request_counts_and_events_keep_their_order():
    bindings = Bindings({0: "open", 1: "close", 2: "success", 3: "undo"}, "buttons", turns=False)
    assert bindings.request([0, 1, 2]) is GripperRequest.CLOSE
    assert bindings.request([2]) is None
    assert bindings.said([3, 2, 3]) == [Event.UNDO, Event.SUCCESS, Event.UNDO]


@pytest.mark.parametrize(("word", "turns"), [("+w", True), ("+x", False), ("-height", True)])
def test_what_means_nothing_is_refused_with_the_choices(word, turns):
    with pytest.raises(
        InputError,
        match=rf"device.config.keys binds 'w' to '{word}'.*close, deadman, discard".replace("+", r"\+"),
    ):
        Bindings({"w": word}, "device.config.keys", turns)
