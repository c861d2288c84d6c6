"""What a process does so that its control loop is not held up by Python itself; in one of its own, where it stays."""

import json

import pytest

PROGRAM = """
import gc, json, sys
from robot_env.realtime import prefer_control_loop
first = prefer_control_loop()
frozen, interval_s = gc.get_freeze_count(), sys.getswitchinterval()
kept = [[] for _ in range(1000)]
second = prefer_control_loop()
print(json.dumps([first, second, frozen, gc.get_freeze_count(), interval_s]))
"""


@pytest.fixture
def told(run_process):
    with run_process("-c", PROGRAM) as process:
        return json.loads(process.stdout.read())


def test_what_was_loaded_is_frozen_once_and_threads_hand_over_within_a_millisecond(told):
    first, second, frozen, later, interval_s = told
    assert first == second
    assert frozen > 1000
    assert abs(later - frozen) < 500  # Not what came after, or every start of a loop would leak.
    assert interval_s <= 1e-3
