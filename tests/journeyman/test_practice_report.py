import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.turns import ActorState
from journeyman.config import compose
from journeyman.practice_report import describe, summarise
from journeyman.report import _practice

STATES = st.lists(st.tuples(st.sampled_from(list(ActorState)), st.floats(0.0, 1e4)), max_size=40)


def states(spent):
    """Entries of the journal of an actor that was in these states for so long, and then ended."""
    names = [str(state) for state, _ in spent]
    return [
        {"state": after, "before": before, "seconds_before": seconds}
        for before, after, (_, seconds) in zip(names, [*names, "stopped"][1:], spent, strict=True)
    ]


def episode(resets=1, failed=0, human=0, trouble="", interventions=0):
    return {
        "resets": resets,
        "failed_resets": failed,
        "human_resets": human,
        "trouble": trouble,
        "interventions": interventions,
    }


@given(STATES)
def test_all_time_is_somebodys(spent):
    summary = summarise(states(spent), [episode()])
    total_s = sum(seconds for _, seconds in spent)
    assert (summary is None) == (total_s == 0.0)
    if summary is not None:
        assert sum(summary["share"].values()) == pytest.approx(1.0)
        assert summary["hours"] <= total_s / 3600 + 1e-4


def test_resets_questions_and_help_are_counted():
    spent = [
        (ActorState.WAITING_FOR_POLICY, 10.0),
        (ActorState.RESETTING, 300.0),
        (ActorState.RECOVERING, 600.0),
        (ActorState.WAITING_FOR_HUMAN, 1800.0),
        (ActorState.LEARNING, 900.0),
    ]
    episodes = [episode(), episode(resets=3, failed=2, human=1, trouble="the cube is gone", interventions=2)]
    summary = summarise(states(spent), episodes)
    assert summary["hours"] == 0.5
    assert summary["share"]["waiting_for_human"] == pytest.approx(1800 / 3610)
    assert (summary["resets"], summary["failed_resets"], summary["reset_success_rate"]) == (4, 2, 0.5)
    assert (summary["questions"], summary["human_resets"], summary["troubles"]) == (1, 1, 1)
    assert summary["human_resets_per_hour"] == 2.0  # However long the person let it wait.
    assert summary["interventions_per_hour"] == 4.0
    line = describe(summary)
    assert "2 of 4 resets worked, 1 of 2 episodes ended in trouble" in line
    assert "waiting for human 50%" in line


def test_of_a_run_that_never_worked_there_is_nothing_to_divide_by():
    summary = summarise(states([(ActorState.PAUSED, 10.0)]), [episode()])
    assert summary["human_resets_per_hour"] == 0.0


def test_journals_from_before_resets_were_counted_are_read():
    assert summarise(states([(ActorState.LEARNING, 10.0)]), [{"interventions": 0, "steps": 3}]) is None
    assert summarise([], [episode()]) is None


def test_the_twins_own_resets_are_nobodys_practice():
    journal = [{"kind": "state", **entry} for entry in states([(ActorState.LEARNING, 10.0)])]
    assert _practice(compose([]), journal, [episode()]) is None
    assert _practice(compose(["robot.provenance=robot"]), journal, [episode()])["resets"] == 1
