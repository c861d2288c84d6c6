"""The comparison of the twin with another environment."""

import sys
from pathlib import Path

import pytest

from bench import twin
from controllers.config import InputError


def test_a_peer_of_known_speed_gives_that_ratio(monkeypatch) -> None:
    # Every look at the clock costs our process a millisecond, whatever it does in between.
    ticks = iter(range(10_000))
    monkeypatch.setattr(twin.time, "process_time", lambda: 1e-3 * next(ticks))
    asked = []

    def ask(**request):
        asked.append(request)
        return {"us": 1e4} if "steps" in request else {"substeps": 50}

    row = twin._contest(ask, 10.0, False, 3, 5, 7)
    assert row["ours"] == {
        "substeps": 50,
        "timestep_s": 0.002,
        "control_laws": 10,
        "dofs": 15,
        "us": pytest.approx(200.0),
    }
    assert row["times_as_fast"] == pytest.approx(50.0)
    # One block more than is counted, and a description before all.
    assert [request.get("steps") for request in asked] == [None, 7, 7, 7, 7]


def test_a_python_without_gym_hil_is_refused_in_a_sentence(monkeypatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(twin.__file__).parents[1]))
    with pytest.raises(InputError, match="cannot run gym-hil"):
        twin.peer_figures(Path(sys.executable))
