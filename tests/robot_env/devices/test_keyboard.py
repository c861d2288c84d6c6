"""Keys without key-up: what repeats is held, what was pressed moves once, and nothing twice."""

import os
import pty

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controllers.config import InputError
from robot_env.devices.keyboard import Keyboard, KeyboardConfig, make_keyboard
from robot_env.devices.reading import GripperRequest
from robot_env.robot import RobotUnavailableError
from robot_env.teleoperator import Event
from sim.registration import make_env

KEYS = {
    "w": "+x",
    "s": "-x",
    "a": "+y",
    "r": "+z",
    "f": "-z",
    "d": "-y",
    "g": "toggle",
    "q": "quit",
    "enter": "success",
}
REPEAT_S = 0.033


class Typist:
    """A source of keys that a test presses."""

    def __init__(self):
        self.pressed = []
        self.is_gone = False

    def open(self):
        pass

    def read(self):
        if self.is_gone:
            raise RobotUnavailableError("gone")
        pressed, self.pressed = self.pressed, []
        return pressed

    def close(self):
        pass


@pytest.fixture
def typist():
    return Typist()


@pytest.fixture
def make(typist, stopwatch):
    def make_one(keys=KEYS, **config):
        return Keyboard(KeyboardConfig(keys=keys, **config), typist, stopwatch)

    return make_one


def moves(reading):
    return reading.linear.any() or reading.angular.any()


@given(gap_s=st.floats(0.0, 3.0))
def test_a_press_moves_exactly_once_however_late_it_is_asked_for(gap_s):
    typist, now = Typist(), [0.0]
    keyboard = Keyboard(KeyboardConfig(keys=KEYS), typist, lambda: now[0])
    typist.pressed = ["w"]
    keyboard.get_events()
    now[0] += gap_s
    np.testing.assert_array_equal(keyboard.read().linear, [1, 0, 0])
    now[0] += 0.1
    assert not moves(keyboard.read())


def test_a_key_that_repeats_is_held_until_it_stops(make, typist, stopwatch):
    keyboard = make()
    held = []
    for tick in range(60):
        stopwatch.now_s += REPEAT_S
        if tick == 0 or 15 <= tick < 40:  # The keyboard waits for half a second before it repeats.
            typist.pressed = ["w"]
        held.append(bool(moves(keyboard.read())))
    assert held[0]
    assert not any(held[2:15])
    assert all(held[16:40])
    assert not any(held[46:])


def test_the_pause_before_repetition_can_be_bridged(make, typist, stopwatch):
    keyboard = make(press_s=0.5)
    typist.pressed = ["w"]
    for _ in range(15):
        assert moves(keyboard.read())
        stopwatch.now_s += REPEAT_S


def test_another_key_ends_the_one_before(make, typist):
    keyboard = make()
    typist.pressed = ["w"] * 3
    assert keyboard.read().linear[0] == 1.0
    typist.pressed = ["a"]
    np.testing.assert_array_equal(keyboard.read().linear, [0, 1, 0])


def test_gripper_and_events_come_once_for_a_key_that_is_held(make, typist, stopwatch):
    keyboard = make()
    requests, events = [], []
    for _ in range(10):
        typist.pressed = ["g", "q"]
        requests.append(keyboard.read().gripper)
        events += keyboard.get_events()
        stopwatch.now_s += REPEAT_S
    assert requests == [GripperRequest.TOGGLE] + [None] * 9
    assert events == [Event.QUIT]
    stopwatch.now_s += 1.0
    typist.pressed = ["g", "enter"]
    assert keyboard.get_events() == (Event.SUCCESS,)
    assert keyboard.read().gripper is GripperRequest.TOGGLE


def test_a_dead_man_must_be_pressed_first_and_lets_go_after_silence(make, typist, stopwatch):
    keyboard = make({**KEYS, "space": "deadman"}, deadman_s=2.0)
    typist.pressed = ["w"]
    assert keyboard.read().deadman is False
    typist.pressed = ["space"]
    assert keyboard.read().deadman is True
    for _ in range(4):
        stopwatch.now_s += 1.5
        typist.pressed = ["w"]
        assert keyboard.read().deadman is True
    stopwatch.now_s += 2.1
    assert keyboard.read().deadman is False
    typist.pressed = ["w"]
    assert keyboard.read().deadman is False


def test_a_terminal_that_is_gone_is_told_by_reading(make, typist):
    keyboard = make()
    typist.is_gone = True
    assert keyboard.get_events() == ()
    with pytest.raises(RobotUnavailableError):
        keyboard.read()


@pytest.mark.parametrize("config", [{"press_s": 0}, {"repeat_s": -1}, {"keys": {"w": "fly"}}, {"key": 1}])
def test_a_configuration_that_cannot_be_meant(make_env, config):
    with pytest.raises(InputError, match=next(iter(config))):
        make_keyboard(make_env(), config)


def test_keys_in_a_terminal_drive_the_twin_to_success():
    """The whole way: bytes into a pseudo-terminal, key by key, until the tool is at the goal."""
    person, program = pty.openpty()
    env = make_env("reach")
    keyboard = make_keyboard(env, {"keys": KEYS, "terminal": os.ttyname(program)})
    keyboard.connect()
    try:
        env.reset(seed=3)
        keyboard.restart(env.state)
        last, success = env.action_at_rest(env.state), False
        assert keyboard.get_action(env.state, last) is None
        for _ in range(env.task.episode_steps):
            way_m = env.scene.observe()["goal_from_ee"]
            axis = int(np.argmax(np.abs(way_m)))
            os.write(person, ["ws", "ad", "rf"][axis][int(way_m[axis] < 0)].encode())
            action = None
            while action is None:  # A pseudo-terminal delivers a moment later.
                action = keyboard.get_action(env.state, last)
            _, _, success, _, info = env.step(action)
            last = info["executed_action"]
            if success:
                break
        assert success
    finally:
        keyboard.disconnect()
        os.close(person)
        os.close(program)
