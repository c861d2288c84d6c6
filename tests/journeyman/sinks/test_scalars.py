"""Every number of the journal has a name."""

import json
import math

from hypothesis import given
from hypothesis import strategies as st

from journeyman.sinks.scalars import scalars

NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**31), 2**31) | st.booleans()
NAMES = st.text("abcdefg_", min_size=1, max_size=6)
PLAIN = st.recursive(
    NUMBERS | st.text(max_size=3) | st.none() | st.lists(st.text(max_size=3), max_size=3),
    lambda inner: st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=10,
)


def numbers_in(values):
    if isinstance(values, dict):
        return sum(map(numbers_in, values.values()))
    return isinstance(values, bool | int | float | list)


@given(values=st.dictionaries(NAMES, PLAIN, max_size=5), agent=st.sampled_from(["", "there"]))
def test_each_number_is_a_figure_of_its_kind(values, agent):
    entry = {"kind": "episode", "time": 1.0, "environment_steps": 7, **values}
    step, figures = scalars({**entry, **({"agent": agent} if agent else {})})
    assert step == 7
    assert len(figures) == numbers_in(values)
    group = "episode.there/" if agent else "episode/"
    assert all(name.startswith(group) and math.isfinite(value) for name, value in figures.items())
    assert json.loads(json.dumps(figures)) == figures


def test_names_are_those_of_the_journal():
    entry = {"kind": "episode", "environment_steps": 3, "success": True, "limit_hits": {"workspace": 2}}
    assert scalars(entry)[1] == {"episode/success": 1.0, "episode/limit_hits/workspace": 2.0}


def test_a_learner_in_its_offline_phase_counts_updates():
    entry = {"kind": "learner", "environment_steps": 0, "offline": [30, 100], "loss": 0.5}
    assert scalars(entry) == (30, {"offline/loss": 0.5})
    entry["offline"] = [100, 100]
    assert scalars(entry) == (0, {"learner/loss": 0.5, "learner/environment_steps": 0.0})


def test_what_happens_is_one_point():
    fault = {"kind": "fault", "environment_steps": 4, "message": "gone", "actor": "a"}
    assert scalars(fault) == (4, {"fault/happened": 1.0})
