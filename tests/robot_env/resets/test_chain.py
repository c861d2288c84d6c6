"""The order of things: what is tried, what is said of it, and when a person is asked."""

import pytest

from controllers.config import InputError
from robot_env.contracts import Activity, ResetResult
from robot_env.program import ThreadDiedError
from robot_env.resets.chain import BudgetOverError, Link, ResetChain
from robot_env.resets.operator import HumanHelp
from robot_env.robot import RobotError, RobotUnavailableError

RESETTING, RECOVERING, WAITING = Activity.RESETTING, Activity.RECOVERING, Activity.WAITING_FOR_HUMAN


class Way:
    """A reset that ends as a test says: an error is raised, a word is the reason of a failure, "" is success."""

    def __init__(self, *ends):
        self.ends, self.calls = list(ends), 0

    def reset(self, rng, keep_going):
        self.calls += 1
        keep_going()
        end = self.ends.pop(0) if len(self.ends) > 1 else self.ends[0]
        if isinstance(end, Exception):
            raise end
        return ResetResult(not end, end)


class Eyes:
    """A verifier that sees one thing after the other."""

    def __init__(self, *sights):
        self.sights, self.restarts = list(sights), 0

    def restart(self):
        self.restarts += 1

    def verify(self):
        sight = self.sights.pop(0) if len(self.sights) > 1 else self.sights[0]
        if isinstance(sight, Exception):
            raise sight
        return ResetResult(not sight, sight)


class Person:
    """Answers at once."""

    def __init__(self):
        self.asked, self.stands = [], False

    def ask(self, question):
        self.asked.append(question)
        self.stands = True

    def answered(self):
        return True

    def done(self):
        self.stands = False


@pytest.fixture
def person():
    return Person()


@pytest.fixture
def make_chain(table, person):
    def make(*ways, eyes=None, asks=True, budget_s=10.0, **options):
        links = [Link(f"way{number}", way, budget_s) for number, way in enumerate(ways)]
        human = HumanHelp(table, person, lambda _: None) if asks else None
        return ResetChain(table, links, eyes or Eyes(""), human, **options)

    return make


@pytest.fixture
def said():
    return []


@pytest.fixture
def keep_going(said):
    def listen(activity=RESETTING, why=""):
        if not said or said[-1] != (activity, why):
            said.append((activity, why))

    return listen


def tried(result):
    return [(attempt.policy, attempt.reason) for attempt in result.attempts]


def test_what_works_at_once_is_all_that_is_tried(make_chain, person, keep_going, said):
    second = Way("")
    result = make_chain(Way(""), second).reset(None, keep_going)
    assert result.success
    assert tried(result) == [("way0", "")]
    assert said == [(RESETTING, "")]
    assert second.calls == 0
    assert not person.asked


def test_what_fails_falls_through_to_the_next_which_is_a_recovery(make_chain, keep_going, said):
    result = make_chain(Way("the cube slipped"), Way("")).reset(None, keep_going)
    assert result.success
    assert tried(result) == [("way0", "the cube slipped"), ("way1", "")]
    assert [attempt.success for attempt in result.attempts] == [False, True]
    assert said == [(RESETTING, ""), (RECOVERING, "the cube slipped")]


def test_a_reset_that_is_content_with_itself_is_not_believed(make_chain, keep_going):
    eyes = Eyes("the cube is out", "")
    result = make_chain(Way(""), Way(""), eyes=eyes).reset(None, keep_going)
    assert tried(result) == [("way0", "the cube is out"), ("way1", "")]
    assert eyes.restarts == 1


@pytest.mark.parametrize("error", [RobotError("it refuses"), ValueError("it refuses")])
def test_an_error_of_one_way_stops_the_robot_and_the_next_is_tried(make_chain, table, keep_going, error):
    result = make_chain(Way(error), Way("")).reset(None, keep_going)
    assert tried(result) == [("way0", "it refuses"), ("way1", "")]
    assert table.calls[-1] == "stop"


def test_an_error_without_words_is_named(make_chain, keep_going):
    assert tried(make_chain(Way(KeyError()), Way("")).reset(None, keep_going))[0] == ("way0", "KeyError")


@pytest.mark.parametrize(
    "error", [RobotUnavailableError("gone"), ThreadDiedError("dead"), KeyboardInterrupt()]
)
@pytest.mark.parametrize("where", ["way", "eyes"])
def test_what_is_no_failure_of_a_reset_ends_it_with_the_robot_at_rest(
    make_chain, table, person, error, where
):
    way = Way("")
    way.ends, eyes = ([error], Eyes("")) if where == "way" else ([""], Eyes(error))
    if isinstance(error, KeyboardInterrupt):
        way.reset = eyes.verify = lambda *_: (_ for _ in ()).throw(error)
    with pytest.raises(type(error)):
        make_chain(way, Way(""), eyes=eyes).reset(None)
    assert table.calls[-1] == "stop"
    assert not person.asked


def test_a_measurement_that_cannot_be_verified_by_is_a_failure(make_chain, keep_going):
    result = make_chain(Way(""), Way(""), eyes=Eyes(RobotError("NaN"), "")).reset(None, keep_going)
    assert tried(result) == [("way0", "NaN"), ("way1", "")]


class Pausing(Exception):
    """What a person who wants the robot to rest makes `keep_going` raise."""


def test_what_keep_going_raises_is_not_taken_for_a_failure(make_chain, table, person):
    def pause(*_):
        raise Pausing

    second = Way("")
    with pytest.raises(Pausing):
        make_chain(Way(""), second).reset(None, pause)
    assert table.calls[-1] == "stop"
    assert second.calls == 0
    assert not person.asked


class Slow:
    """Takes ten seconds, a tenth at a time."""

    def __init__(self, clock):
        self.clock = clock

    def reset(self, rng, keep_going):
        for _ in range(100):
            keep_going()
            self.clock.advance(0.1)
        return ResetResult(True)


def test_a_way_that_takes_too_long_is_ended_and_the_next_has_its_own_time(make_chain, table, keep_going):
    result = make_chain(Slow(table.clock), Slow(table.clock), Way(""), budget_s=4.0).reset(None, keep_going)
    assert tried(result) == [
        ("way0", "it took longer than 4 s"),
        ("way1", "it took longer than 4 s"),
        ("way2", ""),
    ]
    assert table.clock.now_s() == pytest.approx(108.2)
    assert issubclass(BudgetOverError, Exception)


def test_when_nothing_works_a_person_is_asked_once_with_what_is_wrong(make_chain, person, keep_going, said):
    eyes = Eyes("")
    result = make_chain(Way("it slipped"), Way("it fell"), eyes=eyes).reset(None, keep_going)
    assert result.success
    question = "Put the scene into a start state. What is wrong: it fell."
    assert person.asked == [question]
    assert tried(result) == [("way0", "it slipped"), ("way1", "it fell"), ("operator", "")]
    assert said == [(RESETTING, ""), (RECOVERING, "it slipped"), (WAITING, question)]
    assert not person.stands


def test_what_a_person_left_for_the_arm_to_do_the_arm_does(make_chain, person, keep_going, said):
    eyes = Eyes("the arm is away", "")
    result = make_chain(Way("out of reach", ""), eyes=eyes).reset(None, keep_going)
    assert tried(result) == [("way0", "out of reach"), ("operator", "the arm is away"), ("way0", "")]
    assert len(person.asked) == 1
    assert said[-1] == (RECOVERING, "the arm is away")


def test_a_person_is_asked_again_while_it_is_still_wrong(make_chain, person, keep_going):
    eyes = Eyes("A", "B", "")
    result = make_chain(Way("it fell"), eyes=eyes).reset(None, keep_going)
    assert result.success
    assert [question.partition(": ")[2] for question in person.asked] == ["it fell."] * 3
    assert [attempt.policy for attempt in result.attempts] == ["way0", "operator"] * 3


def test_a_question_from_before_a_restart_is_taken_back_when_all_is_well(make_chain, person, keep_going):
    person.stands = True
    assert make_chain(Way("")).reset(None, keep_going).success
    assert not person.stands


def test_without_a_person_a_chain_may_fail(make_chain, keep_going):
    result = make_chain(Way("A"), Way("B"), asks=False).reset(None, keep_going)
    assert (result.success, result.reason) == (False, "B")
    assert tried(result) == [("way0", "A"), ("way1", "B")]


def test_who_always_asks_does_so_once_per_reset(make_chain, person, keep_going):
    chain = make_chain(Way(""), ask_always=True)
    for number in (1, 2):
        result = chain.reset(None, keep_going)
        assert tried(result) == [("way0", ""), ("operator", "")]
        assert person.asked == ["Put the scene into a start state."] * number


def test_a_chain_without_links_is_refused(make_chain):
    with pytest.raises(InputError, match="at least one link"):
        make_chain()
