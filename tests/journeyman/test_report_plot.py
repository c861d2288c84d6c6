"""What the learning curve shows where there is little to show."""

import pytest
from matplotlib.figure import Figure

from agent.evaluation import Evaluation
from journeyman.report import _plot_evaluations


def evaluation(steps, success):
    return Evaluation(
        episodes=5,
        successes=round(5 * success),
        success_rate=success,
        success_low=success / 2,
        success_high=(1 + success) / 2,
        mean_return=-1.0,
        mean_length=5.0,
        policy_version=steps,
        environment_steps=steps,
    )


@pytest.mark.parametrize("earlier", [[], [200, 400]])
def test_the_interval_is_seen_also_of_a_single_evaluation(earlier):
    axes = Figure().subplots()
    journal = [
        {
            "kind": "evaluation",
            **{k: getattr(evaluation(steps, 0.2), k) for k in Evaluation.__struct_fields__},
        }
        for steps in earlier
    ]
    _plot_evaluations(axes, journal, "", evaluation(600, 0.8), "C0")
    (drawn,) = axes.collections
    heights = [y for path in drawn.get_paths() for _, y in path.vertices]
    last = [y for path in drawn.get_paths() for x, y in path.vertices if x == 600]
    assert (min(last), max(last)) == pytest.approx((40, 90))
    assert max(heights) == pytest.approx(90)
