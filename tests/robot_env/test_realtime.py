"""What a process does so that its control loop is not held up by Python itself; in one of its own, where it stays."""

import json

import pytest

PROGRAM = """
import gc, json, sys
from robot_env.realtime import prefer_control_loop

class Node:
    def __del__(self):
        print("the node is gone")

node = Node()
node.itself = node
first = prefer_control_loop()
frozen, interval_s = gc.get_freeze_count(), sys.getswitchinterval()
kept = [[] for _ in range(1000)]
second = prefer_control_loop()
print(json.dumps([first, second, frozen, gc.get_freeze_count(), interval_s]), flush=True)
"""


@pytest.fixture
def told(run_process):
    with run_process("-c", PROGRAM) as process:
        return process.stdout.read().splitlines()


def test_what_was_loaded_is_frozen_once_and_threads_hand_over_within_a_millisecond(told):
    first, second, frozen, later, interval_s = json.loads(told[0])
    assert first == second
    assert frozen > 1000
    assert abs(later - frozen) < 500  # Not what came after, or every start of a loop would leak.
    assert interval_s <= 1e-3


def test_what_was_frozen_is_thrown_away_at_the_end(told):
    assert told[1:] == ["the node is gone"]  # Or others would take it for there.
