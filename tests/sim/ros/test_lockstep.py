"""Simulated time waits for commands that came regularly, but not for ever."""

import pytest

from sim.ros import lockstep
from sim.ros.lockstep import Lockstep


class Wall:
    """The wall's time, which only sleep lets pass."""

    def __init__(self):
        self.now_s = 0.0

    def monotonic(self):
        return self.now_s

    def sleep(self, duration_s):
        self.now_s += duration_s


class Rig:
    """A `Lockstep`, and when its commander speaks by the wall's time."""

    def __init__(self, speaks_at_s=()):
        self.now_s, self.looks, self.refreshed_s, self.speaks_at_s = 0.0, 0, [], list(speaks_at_s)
        self.lockstep = Lockstep(
            lambda: self.now_s, self.look, lambda: self.refreshed_s.append(self.wall.now_s)
        )

    def look(self):
        self.looks += 1
        if self.speaks_at_s and self.wall.now_s >= self.speaks_at_s[0]:
            self.speaks_at_s.pop(0)
            self.lockstep.heard()


@pytest.fixture
def make(monkeypatch):
    def of(**options):
        rig = Rig(**options)
        rig.wall = Wall()
        monkeypatch.setattr(lockstep, "time", rig.wall)
        return rig

    return of


def test_nobody_is_waited_for_before_the_first_command(make):
    rig = make()
    for rig.now_s in (0.0, 1.0, 100.0):
        rig.lockstep.wait(lambda: False)
    assert rig.looks == 0
    assert rig.wall.now_s == 0.0


def test_time_stands_still_until_the_next_command_comes(make):
    rig = make(speaks_at_s=(0.37,))
    rig.lockstep.heard()
    rig.now_s = 0.05
    rig.lockstep.wait(lambda: False)
    assert rig.wall.now_s == 0.0, "a little ahead is as it always is"
    rig.now_s = 0.06
    rig.lockstep.wait(lambda: False)
    assert rig.wall.now_s == pytest.approx(0.37, abs=0.01)
    assert len(rig.refreshed_s) == 1, "a silent clock would count as stopped"
    rig.now_s = 0.1
    rig.lockstep.wait(lambda: False)
    assert rig.wall.now_s == pytest.approx(0.37, abs=0.01)


def test_a_commander_that_is_gone_is_waited_for_once(make):
    rig = make(speaks_at_s=(5.0,))
    rig.lockstep.heard()
    for rig.now_s in (1.0, 2.0, 3.0):
        rig.lockstep.wait(lambda: False)
    assert rig.wall.now_s == pytest.approx(2.0, abs=0.01)
    assert (
        max(later - sooner for sooner, later in zip([0.0, *rig.refreshed_s], rig.refreshed_s, strict=False))
        < 0.25
    )
    rig.lockstep.heard()  # It is back.
    rig.now_s = 4.0
    rig.lockstep.wait(lambda: False)
    assert rig.wall.now_s == pytest.approx(4.0, abs=0.02)


def test_a_signal_ends_the_wait(make):
    rig = make()
    rig.lockstep.heard()
    rig.now_s = 1.0
    rig.lockstep.wait(lambda: rig.wall.now_s > 0.1)
    assert rig.wall.now_s < 0.2
