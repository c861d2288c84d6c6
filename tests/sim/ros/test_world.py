"""The twin with its time: paced, reproducible, and asked for things by other threads."""

import threading
import time
from pathlib import Path

import numpy as np
import pytest

import sim
from controllers.config import InputError
from sim.registration import load
from sim.ros.world import TwinWorld, find_task


@pytest.fixture(scope="module")
def lift_cube():
    return load("lift_cube")


@pytest.fixture(scope="module")
def world(lift_cube):
    return TwinWorld(lift_cube)


def start_state(world, seed):
    assert world.reset(seed) == ""
    cube_m, _ = world.scene.poses()["cube"]
    return np.concatenate([world.twin.state(0.0).joint_position_rad, cube_m])


def test_a_seed_makes_a_reset_reproducible_and_no_seed_makes_it_new(world):
    first, other, again = (start_state(world, seed) for seed in (1, 2, 1))
    assert np.array_equal(first, again)
    assert not np.allclose(first, other)
    assert not np.allclose(start_state(world, None), start_state(world, None))


def test_a_reset_that_fails_says_why(world, monkeypatch):
    from robot_env.contracts import ResetResult

    monkeypatch.setattr(type(world.scene), "reset", lambda *_: ResetResult(False, "out of reach"))
    assert world.reset(1) == "out of reach"


def test_time_passes_at_the_wanted_speed(lift_cube):
    took_s = {}
    for rate_factor in (0.5, 20.0):
        world = TwinWorld(lift_cube, rate_factor, simulated_time=True)
        began_s = time.monotonic()
        for _ in range(150):
            world.tick()
        took_s[rate_factor] = time.monotonic() - began_s
    # 0.6 s; it may have been behind its schedule by up to 0.1 s at the beginning, and makes up for that.
    assert took_s[0.5] >= 0.49
    assert took_s[20.0] < took_s[0.5]


def test_two_milliseconds_pass_in_a_tick_and_go_on_across_a_reset(lift_cube):
    world = TwinWorld(lift_cube, 20.0, simulated_time=True)
    assert world.time_ns() == 0
    for _ in range(5):
        world.tick()
    assert world.time_ns() == world.stamp_ns() == 10_000_000
    world.reset(0)
    world.tick()
    assert world.time_ns() == 12_000_000


def test_stamps_are_the_systems_time_unless_time_is_simulated(world):
    assert abs(world.stamp_ns() - time.time_ns()) < 5e9


def test_time_that_a_stalled_machine_lost_is_left_out_and_counted(lift_cube):
    world = TwinWorld(lift_cube)
    world.tick()
    time.sleep(0.3)
    world.tick()
    assert 0.19 < world.dropped_s < 20.0
    lost_s, began_s = world.dropped_s, time.monotonic()
    world.tick()
    world.tick()
    # Nothing of it is made up for in a burst.
    assert time.monotonic() - began_s >= 0.002 or world.dropped_s > lost_s


def test_wishes_of_other_threads_are_granted_between_ticks_by_the_physics_thread(world):
    granted_by, answers = [], []

    def act():
        granted_by.append(threading.current_thread())
        return f"answer {len(granted_by)}"

    askers = [threading.Thread(target=lambda: answers.append(world.wish(act))) for _ in range(3)]
    for asker in askers:
        asker.start()
    deadline_s = time.monotonic() + 20.0
    while len(answers) < 3:
        assert time.monotonic() < deadline_s
        world.grant_wishes()
        time.sleep(0.001)
    for asker in askers:
        asker.join()
    assert granted_by == [threading.current_thread()] * 3
    assert sorted(answers) == ["answer 1", "answer 2", "answer 3"]


def test_a_wish_that_nobody_grants_is_answered_and_not_granted_later(world, monkeypatch):
    monkeypatch.setattr("sim.ros.world._WISH_TIMEOUT_S", 0.05)
    granted = []
    assert world.wish(lambda: granted.append(1) or "") == "the physics does not answer"
    world.grant_wishes()
    assert granted == []


@pytest.mark.parametrize("rate_factor", [0.0, -1.0, 21.0, float("nan"), float("inf")])
def test_a_speed_that_cannot_be_is_refused(lift_cube, rate_factor):
    with pytest.raises(InputError, match=r"rate_factor .* must lie between 0.01 and 20; 1 is real time"):
        TwinWorld(lift_cube, rate_factor, simulated_time=True)


def test_another_speed_needs_a_clock_that_others_can_read(lift_cube):
    with pytest.raises(InputError, match=r"rate_factor 2 .* set publish_clock"):
        TwinWorld(lift_cube, 2.0)


def test_tasks_are_found_by_name_and_by_path(tmp_path):
    assert find_task("reach").name == "reach"
    text = (Path(sim.__file__).parent / "conf" / "task" / "reach.yaml").read_text()
    (tmp_path / "mine.yaml").write_text(text.replace("name: reach", "name: mine"))
    assert find_task(str(tmp_path / "mine.yaml")).name == "mine"
    for wrong in ("no_such", str(tmp_path / "no_such.yaml")):
        with pytest.raises(InputError, match="no_such"):
            find_task(wrong)
