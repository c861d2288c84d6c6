"""Anybody pulls it, only a human releases it, and nobody while somebody insists."""

from hypothesis import given
from hypothesis import strategies as st

from controllers.emergency_stop import EmergencyStop


def test_false_neither_pulls_nor_releases_it():
    stop = EmergencyStop()
    stop.hear(b"a", False, "a")
    assert stop.reason == ""
    stop.hear(b"a", True, "a")
    stop.hear(b"a", False, "a")
    assert stop.reason == "a"


def test_it_knows_whom_it_heard():
    stop = EmergencyStop()
    stop.hear(b"a", False)
    stop.hear(b"b", True)
    assert stop.heard == {b"a", b"b"}


def test_the_first_reason_stays():
    stop = EmergencyStop()
    stop.hear(b"a", True, "the button")
    stop.hear(b"b", True, "the light curtain")
    assert stop.reason == "the button"


def test_it_is_not_released_while_somebody_insists():
    stop = EmergencyStop()
    stop.hear(b"a", True, "a")
    stop.hear(b"b", True, "b")
    assert "2 publishers" in stop.reset()
    stop.hear(b"a", False, "a")
    assert "1 publisher of the emergency stop still says true" in stop.reset()
    assert stop.reason == "a"
    stop.hear(b"b", False, "b")
    assert stop.reset() == ""
    assert stop.reason == ""


def test_who_is_gone_insists_no_longer():
    stop = EmergencyStop()
    stop.hear(b"a", True, "a")
    assert stop.reset(alive={b"a"})
    assert stop.reset(alive=set()) == ""


@given(st.lists(st.tuples(st.sampled_from([b"a", b"b"]), st.booleans())))
def test_once_pulled_it_stays_so_without_a_reset(story):
    stop = EmergencyStop()
    for source, says in story:
        stop.hear(source, says, "it")
    assert bool(stop.reason) == any(says for _, says in story)
