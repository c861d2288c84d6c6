"""One commander at a time, whichever of its topics it uses."""

from controllers.commanders import Commanders

ALICE, BOB = b"alice's process.", b"bob's process...."


def test_nobody_and_one_are_no_conflict():
    commanders = Commanders()
    assert commanders.conflict(0.0) == ""
    for tick in range(100):
        commanders.hear("pose", ALICE, 0.01 * tick)
        assert commanders.conflict(0.01 * tick) == ""


def test_two_on_one_topic_are_named_by_it_for_half_a_second():
    commanders = Commanders()
    commanders.hear("pose", ALICE, 0.0)
    commanders.hear("pose", BOB, 0.3)
    assert commanders.conflict(0.4) == "more than one commander on pose"
    assert commanders.conflict(0.6) == ""


def test_two_publishers_of_one_process_on_one_topic_are_two_commanders():
    commanders = Commanders()
    commanders.hear("pose", ALICE + b"1", 0.0)
    commanders.hear("pose", ALICE + b"2", 0.0)
    assert commanders.conflict(0.0)


def test_one_process_may_use_several_topics_and_two_may_not():
    commanders = Commanders()
    commanders.hear("pose", ALICE + b"1", 0.0)
    commanders.hear("joint", ALICE + b"2", 0.0)
    assert commanders.conflict(0.0) == ""
    commanders.hear("joint", BOB, 0.6)
    assert commanders.conflict(0.6) == ""
    commanders.hear("pose", ALICE + b"1", 0.7)
    assert commanders.conflict(0.7) == "more than one commander on joint and pose"


def test_where_identifiers_tell_no_process_only_topics_count():
    commanders = Commanders(process_bytes=0)
    commanders.hear("pose", ALICE, 0.0)
    commanders.hear("joint", BOB, 0.0)
    assert commanders.conflict(0.0) == ""
    commanders.hear("pose", BOB, 0.0)
    assert commanders.conflict(0.0)


def test_unnamed_publishers_conflict_if_there_are_several():
    commanders = Commanders()
    commanders.hear("pose", b"", 0.0)
    assert commanders.conflict(0.0) == ""
    commanders.hear("pose", b"", 0.0, alone=False)
    assert commanders.conflict(0.0)


def test_a_clock_that_is_set_back_keeps_nobody():
    commanders = Commanders()
    commanders.hear("pose", ALICE, 100.0)
    commanders.hear("pose", BOB, 1.0)
    assert commanders.conflict(1.0) == ""
