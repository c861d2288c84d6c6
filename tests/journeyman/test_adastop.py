"""AdaStop: its level, its power, and what it asks for."""

import msgspec
import numpy as np
import pytest

from journeyman import adastop as module
from journeyman.adastop import AdaStopConfig, Decision, adastop

PLAN = AdaStopConfig(permutations=1000)


def decisions(scores, plan=PLAN):
    return {(pair.first, pair.second): pair.decision for pair in adastop(scores, plan).pairs}


def test_a_clear_difference_is_seen_at_the_first_look():
    outcome = adastop({"good": [0.9, 0.95, 1.0, 0.98, 0.92], "bad": [0.1, 0.2, 0.0, 0.3, 0.1]}, PLAN)
    [pair] = outcome.pairs
    assert (pair.decision, pair.seeds, outcome.missing) == (Decision.LARGER, 5, {})
    assert decisions({"bad": [0.1, 0.2, 0.0, 0.3, 0.1], "good": [0.9, 0.95, 1.0, 0.98, 0.92]}) == {
        ("bad", "good"): Decision.SMALLER
    }


def test_arms_that_are_alike_are_equal_only_after_the_last_block():
    alike = [0.9, 1.0, 0.8, 0.95, 0.85]
    for blocks in range(1, 5):
        outcome = adastop({"x": alike * blocks, "y": alike * blocks}, PLAN)
        assert [pair.decision for pair in outcome.pairs] == [Decision.UNDECIDED]
        assert outcome.missing == {"x": 5, "y": 5}
    outcome = adastop({"x": alike * 5, "y": alike * 5}, PLAN)
    assert [(pair.decision, pair.seeds) for pair in outcome.pairs] == [(Decision.EQUAL, 25)]
    assert outcome.missing == {}


def test_only_those_that_are_undecided_need_seeds():
    good, also_good, bad = (
        [0.9, 1.0, 0.8, 0.95, 0.85],
        [0.92, 0.98, 0.83, 0.9, 0.88],
        [0.0, 0.1, 0.05, 0.0, 0.1],
    )
    outcome = adastop({"good": good, "also": [*also_good, 0.9, 0.8], "bad": bad}, PLAN)
    assert {(pair.first, pair.second): str(pair.decision) for pair in outcome.pairs} == {
        ("good", "also"): "undecided",
        ("good", "bad"): "larger",
        ("also", "bad"): "larger",
    }
    assert outcome.missing == {"good": 5, "also": 3}


def test_before_the_first_block_is_whole_nothing_is_decided():
    outcome = adastop({"x": [1.0, 1.0, 1.0], "y": [0.0] * 5}, PLAN)
    assert [(pair.decision, pair.seeds) for pair in outcome.pairs] == [(Decision.UNDECIDED, 0)]
    assert outcome.missing == {"x": 2}


def test_one_algorithm_is_compared_with_nothing():
    assert adastop({"x": [1.0] * 5}, PLAN) == module.Outcome((), {})


def test_a_decision_stays_when_more_seeds_come():
    generator = np.random.default_rng(3)
    scores = {
        name: list(generator.normal(mean, 0.1, 25)) for name, mean in (("x", 0.6), ("y", 0.5), ("z", 0.5))
    }
    decided = {}
    for seeds in range(0, 26, 5):
        now = {
            pair: decision
            for pair, decision in decisions({name: values[:seeds] for name, values in scores.items()}).items()
            if decision is not Decision.UNDECIDED
        }
        assert decided.items() <= now.items()
        decided = now
    assert decided["x", "y"] is Decision.LARGER


def test_all_permutations_are_looked_at_where_they_are_few():
    signs = module._signs(1, PLAN)
    assert len({tuple(row[0]) for row in signs}) == len(signs) == 252
    assert signs[0].tolist() == [[1.0] * 5 + [-1.0] * 5]
    drawn = module._signs(2, PLAN)
    assert drawn.shape == (1000, 2, 10)
    assert drawn[0].tolist() == [[1.0] * 5 + [-1.0] * 5] * 2
    assert (drawn.sum(axis=-1) == 0).all()


def test_the_boundary_is_exceeded_as_often_as_the_level_says():
    """One look, level 5 %, 252 permutations: 12 may exceed it; a difference in both directions counts."""
    plan = AdaStopConfig(blocks=1)
    generator = np.random.default_rng(0)
    totals = module._totals(
        {"x": generator.normal(size=5), "y": generator.normal(size=5)},
        module._Comparison("x", "y"),
        module._signs(1, plan),
    )
    sizes = np.abs(totals)
    boundary = module._last_boundary(sizes, plan)
    assert (sizes > boundary).sum() == 12
    assert ((totals > boundary).sum(), (totals < -boundary).sum()) == (6, 6)


def test_looks_share_the_level():
    """Of what never differs one in twenty crosses a boundary at any of five looks, a fifth of these at each."""
    steps = np.random.default_rng(4).normal(size=(20_000, 5))
    sizes = np.abs(np.cumsum(steps, axis=1))
    boundaries = [module._last_boundary(sizes[:, :looks], AdaStopConfig()) for looks in range(1, 6)]
    crossed = [(sizes[:, :looks] > boundaries[:looks]).any(axis=1).mean() for looks in range(1, 6)]
    assert crossed == pytest.approx([0.01, 0.02, 0.03, 0.04, 0.05])


def test_a_difference_counts_in_both_directions():
    """So large a difference is chance in 22 of 252 permutations, half of them the other way round."""
    scores = {"x": [0.5, 0.6, 0.7, 0.9, 1.0], "y": [0.2, 0.3, 0.5, 0.8, 0.4]}
    assert decisions(scores, AdaStopConfig(blocks=1, alpha=0.05)) == {("x", "y"): Decision.EQUAL}
    assert decisions(scores, AdaStopConfig(blocks=1, alpha=0.10)) == {("x", "y"): Decision.LARGER}


@pytest.mark.parametrize(
    ("arms", "plan"), [(2, AdaStopConfig(blocks=1)), (3, AdaStopConfig(block=3, blocks=3, permutations=500))]
)
def test_equal_arms_are_seldom_told_apart(arms, plan):
    """At 5 %: of 300 experiments 15 are expected, and more than 27 have a probability below 0.2 %."""
    generator = np.random.default_rng(11)
    wrong = 0
    for _ in range(300):
        scores = {f"arm {n}": generator.binomial(50, 0.8, plan.block * plan.blocks) / 50 for n in range(arms)}
        wrong += any(decision is not Decision.EQUAL for decision in decisions(scores, plan).values())
    assert wrong <= 27


def test_equal_sums_are_equal_however_they_were_added_up():
    scores = {"x": [0.1, 0.2, 0.3, 0.4, 0.5], "y": [0.5, 0.4, 0.3, 0.2, 0.1]}
    totals = module._totals(scores, module._Comparison("x", "y"), module._signs(1, PLAN))
    assert totals[0, 0] == 0.0


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"block": 1}, "block 1"),
        ({"blocks": 0}, "blocks 0"),
        ({"alpha": 1.0}, "alpha 1"),
        ({"permutations": 9}, "permutations 9"),
    ],
)
def test_plans_that_decide_nothing_are_refused(values, expected):
    with pytest.raises(msgspec.ValidationError, match=expected):
        msgspec.convert(values, AdaStopConfig)
