"""Clocks that read and write message stamps, and notice that they jump."""

import sys
import threading
import time

import pytest

pytestmark = pytest.mark.ros


class Time:
    """Stands in for the module `time` in the clock's module; a test sets it."""

    sleep = staticmethod(time.sleep)

    def __init__(self):
        self.wall_s, self.steady_s = 1e9, 50.0
        self.held_up_s = 0.0

    def time(self):
        self.passes(self.held_up_s)
        self.held_up_s = 0.0
        return self.wall_s

    def time_ns(self):
        return round(self.wall_s * 1e9)

    def monotonic(self):
        return self.steady_s

    def passes(self, seconds, slew=0.0):
        self.steady_s += seconds
        self.wall_s += seconds * (1.0 + slew)


@pytest.fixture
def machine(monkeypatch):
    machine = Time()
    monkeypatch.setattr("robot_env.ros.ros_clock.time", machine)
    return machine


def wall_clock():
    from robot_env.ros.ros_clock import WallRosClock

    return WallRosClock()


def test_a_stamp_is_the_systems_time_and_comes_back_as_monotonic_time(machine):
    clock = wall_clock()
    stamp_ns = clock.stamp_ns()
    assert stamp_ns == 10**18
    machine.passes(3.0)
    assert clock.local_s(stamp_ns) == pytest.approx(50.0, abs=1e-5)
    assert clock.now_s() == 53.0


@pytest.mark.parametrize("jump_s", [-3600.0, -0.2, 0.2, 3600.0])
def test_a_system_clock_that_is_set_is_a_fault_once(machine, jump_s):
    clock = wall_clock()
    machine.passes(1.0)
    assert clock.fault() == ""
    machine.wall_s += jump_s
    assert f"jumped by {jump_s:+.3f} s" in clock.fault()
    machine.passes(1.0)
    assert clock.fault() == ""
    # Stamps from now on are understood by the new time.
    assert clock.local_s(clock.stamp_ns()) == pytest.approx(clock.now_s(), abs=1e-5)


def test_a_clock_that_is_corrected_bit_by_bit_is_no_fault_however_long_nobody_looked(machine):
    clock = wall_clock()
    for pause_s in (0.1, 1.0, 3600.0):
        machine.passes(pause_s, slew=0.0005)
        assert clock.fault() == ""


def test_a_thread_that_is_held_up_between_two_readings_sees_no_jump(machine):
    clock = wall_clock()
    machine.held_up_s = 1.0
    assert clock.fault() == ""
    assert clock.fault() == ""


def test_wall_time_sleeps_until_the_deadline_and_not_at_all_after_it():
    clock = wall_clock()
    before_s = clock.now_s()
    clock.sleep_until(before_s + 0.05)
    assert clock.now_s() >= before_s + 0.05
    clock.sleep_until(before_s)
    assert clock.now_s() < before_s + 5.0


class Simulation:
    """Publishes /clock."""

    def __init__(self, node):
        from rosgraph_msgs.msg import Clock

        self._publisher = node.create_publisher(Clock, "/clock", 10)

    def say(self, seconds):
        from rosgraph_msgs.msg import Clock

        from robot_env.ros.messages import to_time

        self._publisher.publish(Clock(clock=to_time(round(seconds * 1e9))))

    def run(self, start_s, speed, until):
        began_s = time.monotonic()
        while not until.wait(0.005):
            self.say(start_s + speed * (time.monotonic() - began_s))


@pytest.fixture
def simulation(runtime):
    return Simulation(runtime.node)


@pytest.fixture
def at(runtime, simulation, wait_until):
    """A clock that has been told the time."""
    from robot_env.ros.ros_clock import SimulatedRosClock

    def make(seconds, **options):
        clock = SimulatedRosClock(runtime.node, **options)

        def hears():
            simulation.say(seconds)
            return clock.now_s() == pytest.approx(seconds)

        wait_until(hears)
        return clock

    return make


def test_simulated_time_is_what_the_topic_says_and_stamps_are_it(at, simulation, wait_until):
    clock = at(100.0)
    simulation.say(100.25)
    wait_until(lambda: clock.now_s() == pytest.approx(100.25))
    assert clock.stamp_ns() == 100_250_000_000
    assert clock.local_s(100_000_000_000) == 100.0
    assert clock.fault() == ""


def test_before_there_is_a_node_it_is_no_time():
    from robot_env.ros.ros_clock import SimulatedRosClock

    clock = SimulatedRosClock()
    assert clock.now_s() == 0.0
    clock.sleep_until(0.0)


@pytest.mark.parametrize("jump_s", [-50.0, -0.01, 6000.0])
def test_a_topic_that_jumps_is_a_fault_once(at, simulation, wait_until, jump_s):
    clock = at(100.0)
    simulation.say(100.0 + jump_s)
    wait_until(lambda: clock.now_s() == pytest.approx(100.0 + jump_s))
    assert clock.fault() == f"/clock jumped by {jump_s:+.3f} s"
    assert clock.fault() == ""


def test_a_topic_that_falls_silent_is_a_fault_as_long_as_it_is_silent(at, simulation, wait_until):
    clock = at(100.0, longest_silence_s=0.1)
    assert "/clock is silent for" in wait_until(clock.fault)
    assert "is the simulation running?" in clock.fault()
    simulation.say(100.01)
    wait_until(lambda: clock.fault() == "")


def test_sleeping_takes_simulated_time_at_any_speed(at, simulation):
    clock = at(100.0, longest_silence_s=5.0)
    ending = threading.Event()
    thread = threading.Thread(target=simulation.run, args=(100.0, 20.0, ending))
    thread.start()
    try:
        before_s = time.monotonic()
        clock.sleep_until(110.0)
        assert clock.now_s() >= 110.0
        assert time.monotonic() - before_s < 5.0
    finally:
        ending.set()
        thread.join()
    assert clock.fault() == ""


def test_nobody_sleeps_on_a_clock_that_stopped(at):
    clock = at(100.0, longest_silence_s=0.1)
    clock.sleep_until(1e6)
    assert clock.now_s() == 100.0


def test_nobody_sleeps_until_a_clock_that_jumped_back_has_caught_up(at, simulation):
    clock = at(100.0, longest_silence_s=60.0)
    asleep = threading.Thread(target=clock.sleep_until, args=(100.5,))
    asleep.start()
    simulation.say(20.0)
    asleep.join(20.0)
    assert not asleep.is_alive()
    assert "/clock jumped by -80.000 s" in clock.fault()


@pytest.fixture
def fast_switching():
    before_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before_s)


def test_two_threads_that_read_one_clock_see_no_jump(at, simulation, fast_switching):
    clock = at(100.0, longest_silence_s=60.0)
    ending = threading.Event()

    def read():
        while not ending.is_set():
            clock.stamp_ns()

    threads = [threading.Thread(target=read) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(3000):
        simulation.say(100.0 + 0.001 * number)
    ending.set()
    for thread in threads:
        thread.join()
    assert clock.fault() == ""
