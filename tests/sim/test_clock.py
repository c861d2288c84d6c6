"""Sleeping lets the physics pass, in simulated time or at the pace of the wall."""

import time

import numpy as np
import pytest

from robot_env.clock import Rate
from sim.clock import PacedTwinClock, TwinClock
from sim.registration import load, make_twin


def test_simulated_time_passes_only_by_sleeping(lift_cube) -> None:
    twin = lift_cube.robot.twin
    clock = TwinClock(twin)
    start = clock.now_s()
    clock.sleep_until(start + 0.5)
    assert clock.now_s() == pytest.approx(start + 0.5, abs=1e-5)
    clock.sleep_until(start)
    assert clock.now_s() == pytest.approx(start + 0.5, abs=1e-5)


def test_a_simulated_rate_is_never_late(lift_cube) -> None:
    rate = Rate(lift_cube.robot.clock, 20.0)
    worst = max(rate.wait() for _ in range(50))
    assert worst < 1e-5
    assert rate.statistics.missed == 0


def test_time_never_goes_back(lift_cube) -> None:
    times = []
    for seed in range(3):
        lift_cube.reset(seed=seed)
        times.append(lift_cube.robot.clock.now_s())
        lift_cube.step(np.zeros(4, np.float32))
        times.append(lift_cube.robot.clock.now_s())
    assert times == sorted(set(times))


def test_paced_physics_keeps_up_with_the_wall(lift_cube) -> None:
    twin = lift_cube.robot.twin
    clock = PacedTwinClock(twin)
    begin_s, simulated_s = time.monotonic(), twin.now_s()
    for period in range(1, 6):
        clock.sleep_until(begin_s + 0.02 * period)
        assert time.monotonic() >= begin_s + 0.02 * period
    assert twin.now_s() - simulated_s == pytest.approx(0.1, abs=twin.tick_s + 1e-5)


def test_a_pause_is_made_up_for_within_reason(lift_cube) -> None:
    twin = lift_cube.robot.twin
    clock = PacedTwinClock(twin)
    clock._simulated_s -= 60.0
    before_s = twin.now_s()
    clock.sleep_until(time.monotonic())
    assert twin.now_s() - before_s == pytest.approx(1.0, abs=2 * twin.tick_s)


def test_an_episode_in_real_time() -> None:
    env = make_twin(load("reach"), {"realtime": True})
    begin_s = time.monotonic()
    env.reset(seed=0)
    for _ in range(3):
        env.step(np.zeros(3, np.float32))
    assert time.monotonic() - begin_s >= 0.3
    assert env.robot.limit_hits.get("stale_command", 0) == 0
