from hypothesis import given
from hypothesis import strategies as st

from journeyman.interventions import describe, summarise

EPISODES = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 10), st.integers(0, 40)), max_size=30)


def entries(counts):
    return [
        {
            "environment_steps": number,
            "interventions": times,
            "intervened_steps": times * length,
            "steps": times * length + alone,
        }
        for number, (times, length, alone) in enumerate(counts, start=1)
    ]


@given(EPISODES)
def test_every_intervention_is_counted_once(counts):
    summary = summarise(entries(counts))
    assert (summary is None) == (not any(times for times, _, _ in counts))
    if summary is None:
        return
    assert summary["interventions"] == sum(times for times, _, _ in counts)
    for name in ("interventions", "steps", "episodes", "episodes_with"):
        assert sum(part[name] for part in summary["over_training"]) == summary[name]
    assert all(0.0 <= part["rate"] <= 1.0 for part in summary["over_training"])


def test_journals_from_before_interventions_were_counted_are_read():
    assert summarise([{"environment_steps": 3, "steps": 3}]) is None


def test_it_is_said_in_one_line():
    line = describe(summarise(entries([(1, 10, 0), (0, 0, 10)])))
    assert "1 in 1 of 2 episodes" in line
    assert "100% up to 1, 0% up to 2" in line
