"""A run that ended with a worse policy than it had says so, and says where the better one is."""

import pytest

from agent.evaluation import _Outcome, _summarise, wilson_interval
from journeyman import decline
from journeyman.config import compose
from journeyman.report import _decline


def evaluation(successes, episodes=50):
    return _summarise([_Outcome(number < successes, 0.0, 10) for number in range(episodes)])


def on_the_way(steps, successes, episodes=20, mean_return=0.0):
    low, _ = wilson_interval(successes, episodes)
    counts = {"successes": successes, "episodes": episodes, "environment_steps": steps}
    rate = {"success_rate": successes / episodes, "success_low": low, "mean_return": mean_return}
    return {"kind": "evaluation", **rate, **counts}


def test_the_best_on_the_way_is_told_where_the_end_is_surely_worse():
    journal = [on_the_way(1000, 3), on_the_way(2000, 13), {"kind": "learner"}, on_the_way(3000, 2)]
    best = decline.summarise(journal, evaluation(1))
    assert best == {"successes": 13, "episodes": 20, "environment_steps": 2000}
    said = decline.describe(best, "runs/x")
    assert "at 2,000 steps 13 of 20 episodes succeeded" in said
    assert "journeyman evaluate run=runs/x evaluation.checkpoint=best" in said
    assert "init=runs/x init_checkpoint=best" in said


def test_of_equal_ones_it_is_the_one_whose_checkpoint_is_kept():
    journal = [
        on_the_way(1000, 13),
        on_the_way(2000, 13, mean_return=1.0),
        on_the_way(3000, 13, mean_return=1.0),
    ]
    journal.append(on_the_way(4000, 13))
    assert decline.summarise(journal, evaluation(1))["environment_steps"] == 3000


@pytest.mark.parametrize(
    ("journal", "final"),
    [([], 0), ([on_the_way(1000, 13)], 25), ([on_the_way(1000, 20)], 46), ([on_the_way(1000, 0)], 0)],
)
def test_what_may_be_chance_is_not_told(journal, final):
    assert decline.summarise(journal, evaluation(final)) is None


def test_nothing_is_told_of_the_best_policy_itself():
    journal, finals = [on_the_way(1000, 20)], {"": evaluation(1)}
    assert _decline(compose([]), journal, finals)
    assert _decline(compose(["evaluation.checkpoint=best"]), journal, finals) is None
