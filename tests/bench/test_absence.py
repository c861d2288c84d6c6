"""bench/absence.py: that it counts what an actor keeps, and a short run of it, which is also one of bench/soak.py."""

import re
import sys

import gymnasium
import numpy as np
import pytest

from agent.transition import TransitionSpec
from agent.transport.spool import Spool
from bench import absence

SPEC = TransitionSpec.of(gymnasium.spaces.Box(-1, 1, (3,)), gymnasium.spaces.Box(-1, 1, (2,)))


def test_items_of_a_spool_in_use_are_counted(tmp_path):
    spool = Spool(tmp_path / "spool", SPEC.dtype)
    for made in (0, 3, 4):
        assert absence.made(tmp_path / "spool", SPEC.dtype) == made
        spool.append(np.zeros(3 - 2 * (made > 0), SPEC.dtype))
    spool.append_report({"steps": 5})
    assert absence.made(tmp_path / "spool", SPEC.dtype) == spool.next_sequence == 6
    spool.close()


@pytest.mark.slow
def test_actors_go_on_without_a_learner_and_deliver_all_of_it(tmp_path, monkeypatch, capsys):
    # The machine may be too busy for deadlines, and a few seconds are too short for slopes: neither is judged here.
    monkeypatch.setattr(absence, "deadlines", lambda *_: (0, 0, 0.0))
    monkeypatch.setattr(absence, "_LOOK_S", 0.5)
    words = f"--minutes 0.1 --before 0.05 --no-ros --plain --folder {tmp_path / 'absence'}".split()
    monkeypatch.setattr(sys, "argv", ["absence", *words])
    absence.main()
    said = capsys.readouterr().out
    assert "0 lost, 0 doubled, 0 out of order" in said
    kept = [int(number) for number in re.findall(r"made (\d+) items meanwhile", said)]
    assert len(kept) == 2
    assert min(kept) >= 10
    assert "| actor-1 | threads | " in said
    assert not re.search(r"\| (threads|files) .* YES", said)
