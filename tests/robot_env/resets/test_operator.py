"""How a person is asked and waited for."""

import pytest

from robot_env.contracts import Activity
from robot_env.resets.operator import HumanHelp


class Person:
    """Answers after a number of looks; writes down what it was asked."""

    def __init__(self, looks=3):
        self.looks, self.left, self.asked, self.ended = looks, 0, [], 0

    def ask(self, question):
        self.asked.append(question)
        self.left = self.looks

    def answered(self):
        self.left -= 1
        return self.left < 0

    def done(self):
        self.ended += 1


def test_the_robot_rests_until_a_person_has_answered(table):
    person, slept_s, said = Person(looks=5), [], []
    HumanHelp(table, person, slept_s.append).wait("Help.", lambda *what: said.append(what))
    assert table.calls[-1] == "stop"
    assert not table.sent
    assert person.asked == ["Help."]
    assert person.ended == 1
    assert slept_s == [0.1] * 5
    assert said == [(Activity.WAITING_FOR_HUMAN, "Help.")] * 6


def test_who_breaks_the_wait_off_leaves_the_question_standing(table):
    person = Person()

    def keep_going(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        HumanHelp(table, person, lambda _: None).wait("Help.", keep_going)
    assert person.asked == ["Help."]
    assert person.ended == 0
    assert "stop" in table.calls


def test_a_question_that_cannot_be_put_is_not_taken_as_answered(table):
    person = Person(looks=0)

    def full(question):
        raise OSError("disk full")

    person.ask = full
    with pytest.raises(OSError, match="disk full"):
        HumanHelp(table, person, lambda _: None).wait("Help.", lambda *_: None)
    assert table.calls[-1] == "stop"
