import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_env.clock import Rate, WallClock
from robot_env.fake import FakeClock

RATES = st.sampled_from([1.0, 10.0, 20.0, 500.0])
# Work before a wait, in periods: most ticks are in time, some are late, few are very late.
WORK = st.lists(st.floats(0.0, 5.0), min_size=1, max_size=60)


@given(RATES, st.lists(st.floats(0.0, 0.99), max_size=100))
def test_work_shorter_than_a_period_never_shifts_the_schedule(rate_hz, work):
    clock = FakeClock()
    rate = Rate(clock, rate_hz)
    for tick, part in enumerate(work, 1):
        clock.advance(part / rate_hz)
        assert rate.wait() == 0.0
        assert clock.now_s() == pytest.approx(100.0 + tick / rate_hz)


@given(RATES, WORK)
def test_deadlines_are_absolute_until_a_period_is_lost(rate_hz, work):
    clock = FakeClock(0.0)
    rate = Rate(clock, rate_hz)
    deadline_s = 1.0 / rate_hz
    for part in work:
        clock.advance(part / rate_hz)
        ready_s = clock.now_s()
        lateness_s = rate.wait()
        assert clock.now_s() == max(ready_s, deadline_s)
        assert lateness_s == pytest.approx(max(0.0, ready_s - deadline_s), abs=1e-12)
        # After a whole lost period it starts anew: never a burst of commands to catch up.
        late = lateness_s > 1.0 / rate_hz
        deadline_s = (clock.now_s() if late else deadline_s) + 1.0 / rate_hz


def test_a_late_tick_is_followed_by_a_shorter_one():
    clock = FakeClock(0.0)
    rate = Rate(clock, 10.0)
    clock.advance(0.15)
    assert rate.wait() == pytest.approx(0.05)
    assert rate.wait() == 0.0
    assert clock.now_s() == pytest.approx(0.2)


def test_a_lost_period_is_not_caught_up():
    clock = FakeClock(0.0)
    rate = Rate(clock, 10.0)
    clock.advance(0.95)
    rate.wait()
    rate.wait()
    assert clock.now_s() == pytest.approx(1.05)
    assert rate.statistics.missed == 1


@given(RATES, WORK)
def test_every_tick_is_counted_once(rate_hz, work):
    clock = FakeClock(0.0)
    rate = Rate(clock, rate_hz)
    lateness_s = []
    for part in work:
        clock.advance(part / rate_hz)
        lateness_s.append(rate.wait())
    statistics = rate.statistics
    assert statistics.ticks == statistics.lateness.counts.sum() == len(work)
    assert statistics.missed == sum(late > rate.period_s for late in lateness_s)
    assert statistics.worst_lateness_s == max(lateness_s)


def test_how_late_most_ticks_were_is_told_apart_from_the_worst():
    clock = FakeClock(0.0)
    rate = Rate(clock, 10.0)
    for tick in range(200):
        clock.oversleep_s = 0.03 if tick % 50 == 49 else 0.002
        rate.wait()
    summary = rate.statistics.lateness.summary()
    assert summary["median_s"] == pytest.approx(0.002, rel=0.13)
    assert summary["p99_s"] == pytest.approx(0.03, rel=0.13)


def test_restart_forgets_the_time_a_reset_took():
    clock = FakeClock(0.0)
    rate = Rate(clock, 10.0)
    clock.advance(30.0)
    rate.restart()
    assert rate.wait() == 0.0
    assert clock.now_s() == pytest.approx(30.1)
    assert rate.statistics.missed == 0


def test_the_wall_clock_is_monotonic_time():
    clock = WallClock()
    before_s = time.monotonic()
    clock.sleep_until(before_s + 0.002)
    assert clock.now_s() >= before_s + 0.002
    clock.sleep_until(before_s)  # Long past: returns instead of raising.
