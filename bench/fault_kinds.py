"""What can go wrong, for bench/faults.py: each kind happens to somebody, lasts a random while, and is over."""

import signal
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from bench.fault_ground import LEARNER, ROBOTS
from bench.fault_stack import Stack

_STILL_S, _MOVING_S = 0.3, 0.1


class Kind(NamedTuple):
    """One way of going wrong.

    Attributes:
        meaning: For a person.
        victims: Whom it happens to; those that a stack does not have are left out.
        happen: Does it to a victim, waits, and undoes it. What is dead stays dead.
        needs_disks: Whether file systems of its own are needed.
    """

    meaning: str
    victims: tuple[str, ...]
    happen: Callable[[Stack, str, np.random.Generator], None]
    needs_disks: bool = False


def _kill(stack: Stack, victim: str, rng: np.random.Generator) -> None:
    stack.send(victim, signal.SIGKILL)
    time.sleep(rng.uniform(0.0, 3.0))


def _freeze(stack: Stack, victim: str, rng: np.random.Generator) -> None:
    stack.send(victim, signal.SIGSTOP)
    time.sleep(rng.uniform(0.2, 8.0))
    stack.send(victim, signal.SIGCONT)


def _cut(stack: Stack, _: str, rng: np.random.Generator) -> None:
    stack.network.pull_cable(True)
    time.sleep(rng.uniform(0.2, 10.0))
    stack.network.pull_cable(False)


def _block(stack: Stack, _: str, rng: np.random.Generator) -> None:
    stack.network.block(True)
    time.sleep(rng.uniform(0.2, 10.0))
    stack.network.block(False)


def _delay(stack: Stack, _: str, rng: np.random.Generator) -> None:
    stack.network.tell_relay(f"delay {rng.uniform(0.05, 1.5):.3f}")
    time.sleep(rng.uniform(2.0, 8.0))
    stack.network.tell_relay("open")


def _reset_connections(stack: Stack, _: str, rng: np.random.Generator) -> None:
    for _ in range(rng.integers(1, 6)):
        stack.network.tell_relay("cut")
        time.sleep(rng.uniform(0.0, 0.3))
        stack.network.tell_relay("open")
        time.sleep(rng.uniform(0.0, 1.0))


def _fill(stack: Stack, victim: str, rng: np.random.Generator) -> None:
    stack.disks[victim].fill()
    time.sleep(rng.uniform(0.5, 8.0))
    stack.disks[victim].empty()


def _slow(stack: Stack, victim: str, rng: np.random.Generator) -> None:
    for _ in range(rng.integers(2, 12)):
        stack.disks[victim].stand_still(True)
        time.sleep(rng.uniform(0.0, _STILL_S))
        stack.disks[victim].stand_still(False)
        time.sleep(_MOVING_S)


def _stall(stack: Stack, victim: str, rng: np.random.Generator) -> None:
    stack.disks[victim].stand_still(True)
    time.sleep(rng.uniform(0.5, 5.0))
    stack.disks[victim].stand_still(False)


_PROCESSES = ("learner", "actor-0", "actor-1", "twin", "controller")
_SIDES = (LEARNER, ROBOTS)
_WIRE = ("network",)
KINDS = {
    "kill": Kind("`kill -9`, started again after 0 to 3 s", _PROCESSES, _kill),
    "freeze": Kind("SIGSTOP, SIGCONT after 0.2 to 8 s", _PROCESSES, _freeze),
    "cut": Kind("the cable is pulled for 0.2 to 10 s", _WIRE, _cut),
    "block": Kind("packets to the robots vanish for 0.2 to 10 s", _WIRE, _block),
    "delay": Kind("0.05 to 1.5 s longer each way, for 2 to 8 s", _WIRE, _delay),
    "reset": Kind("all connections end, 1 to 5 times", _WIRE, _reset_connections),
    "disk full": Kind("not one block free for 0.5 to 8 s", _SIDES, _fill, needs_disks=True),
    "disk slow": Kind("stands still for up to 0.3 s, 2 to 11 times", _SIDES, _slow, needs_disks=True),
    "disk stalled": Kind("stands still for 0.5 to 5 s", _SIDES, _stall, needs_disks=True),
}
